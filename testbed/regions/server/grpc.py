"""`grpc.health.v1.Health/Check` over HTTP/2, with GOAWAY on command.

The h2 library speaks the protocol; the two messages are one field each, so they are read and written here instead of
importing protobuf into a program that has to start quickly.
"""

from __future__ import annotations

import asyncio
import struct

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from testbed.regions.server.behaviour import Behaviour, later

_CHECK = "/grpc.health.v1.Health/Check"
_SERVING, _NOT_SERVING = 1, 2
_OK, _NOT_FOUND, _UNIMPLEMENTED, _UNAVAILABLE = 0, 5, 12, 14
_MAX_MESSAGE = 4096


class GrpcConnection(asyncio.Protocol):
    """One HTTP/2 connection that answers health checks."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._http2 = H2Connection(config=H2Configuration(client_side=False, header_encoding="utf-8"))
        self._requests: dict[int, tuple[str, bytearray]] = {}
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        self._behaviour.connections_accepted += 1
        self._behaviour.connections.add(self)
        self._http2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._behaviour.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            events = self._http2.receive_data(data)
        except ProtocolError:
            self._flush()
            self._close()
            return
        for event in events:
            if isinstance(event, RequestReceived):
                self._requests[event.stream_id] = (dict(event.headers).get(":path", ""), bytearray())
            elif isinstance(event, DataReceived):
                self._http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.stream_id in self._requests and len(self._requests[event.stream_id][1]) < _MAX_MESSAGE:
                    self._requests[event.stream_id][1].extend(event.data)
            elif isinstance(event, StreamEnded):
                self._requested(event.stream_id)
            elif isinstance(event, StreamReset):
                self._requests.pop(event.stream_id, None)
            elif isinstance(event, ConnectionTerminated):
                self._close()
        self._flush()

    def close_if_idle(self) -> None:
        if not self._requests:
            self._close()

    def say_goodbye(self) -> None:
        """GOAWAY, then the end of the connection: requests in flight are lost."""
        if self._transport is not None:
            self._http2.close_connection()
            self._flush()
            self._close()

    def _requested(self, stream: int) -> None:
        self._behaviour.requests["grpc"] += 1
        later(self._behaviour.health.delay, lambda: self._answer(stream))

    def _answer(self, stream: int) -> None:
        request = self._requests.pop(stream, None)
        if request is None or self._transport is None:
            return
        path, message = request
        answers = self._behaviour.health
        if answers.next_is_hang_up():
            self._close()
            return
        service = _service_name(bytes(message))
        if path != _CHECK:
            self._fail(stream, _UNIMPLEMENTED, "only Check is implemented")
        elif answers.next_is_error() or answers.status != 200:
            self._fail(stream, _UNAVAILABLE, "on command")
        elif service not in self._behaviour.services:
            self._fail(stream, _NOT_FOUND, "unknown service")
        else:
            serving = self._behaviour.services[service]
            self._http2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
            self._http2.send_data(
                stream, b"\0" + struct.pack(">I", 2) + bytes([0x08, _SERVING if serving else _NOT_SERVING])
            )
            self._http2.send_headers(stream, [("grpc-status", str(_OK))], end_stream=True)
        self._flush()

    def _fail(self, stream: int, status: int, message: str) -> None:
        headers = [(":status", "200"), ("content-type", "application/grpc")]
        trailers = [("grpc-status", str(status)), ("grpc-message", message)]
        self._http2.send_headers(stream, headers + trailers, end_stream=True)

    def _flush(self) -> None:
        data = self._http2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _service_name(data: bytes) -> str | None:
    """The `service` of a framed HealthCheckRequest; None when it is not one."""
    message = data[5:]
    if not message:
        return ""
    # Field 1, a string shorter than 128 bytes: a tag, a length of one byte, the text.
    if len(message) < 2 or message[0] != 0x0A or len(message) != message[1] + 2:
        return None
    return message[2:].decode("utf-8", errors="replace")
