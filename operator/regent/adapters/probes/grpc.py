"""gRPC health probes: grpc.health.v1.Health/Check over HTTP/2.

The two messages of the protocol are one field each, so they are written and read here; framing and header compression
are h2's. The connection is our own, so that names, TLS, time-outs and resets behave as in the other probes.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from regent.adapters.probes.connect import Connector, reset_on_close
from regent.adapters.probes.http_check import host_header
from regent.adapters.probes.outcome import NoAnswerError, failure, refused
from regent.adapters.probes.parser import MalformedResponseError
from regent.adapters.probes.resolve import Addresses
from regent.adapters.probes.tls import certificate_expiry
from regent.domain.health.model import GrpcCheck, Outcome, ProbeResult, ProbeSpec

MAX_MESSAGE = 1024
"""Longest answer that is read, in bytes; a health answer has two."""
MAX_REQUESTS = 1000
"""Requests on one connection: h2 remembers every closed stream, and would grow for as long as the region is well."""

_FRAME_TYPE = 4
_SETTINGS = 4
_SERVING = 1
_STATUS_NAMES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_CODES = {"5": "NOT_FOUND: the service is not known", "12": "UNIMPLEMENTED: no health service", "16": "UNAUTHENTICATED"}


class GrpcEndpointProber:
    """Probes one gRPC endpoint (the `EndpointProber` port). SERVING is a success, every other answer a no."""

    def __init__(self, check: GrpcCheck, spec: ProbeSpec, connector: Connector) -> None:
        service = check.service.encode()
        if len(service) > 127:
            raise ValueError("gRPC service name is longer than 127 bytes")
        message = b"\x0a" + bytes((len(service),)) + service if service else b""
        self._message = b"\x00" + len(message).to_bytes(4, "big") + message
        self._headers = (
            (b":method", b"POST"),
            (b":scheme", b"https" if spec.tls else b"http"),
            (b":path", b"/grpc.health.v1.Health/Check"),
            (b":authority", host_header(spec, "").encode("latin-1")),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", b"regent-probe"),
        )
        self._connector = connector
        self._kept: _Connection | None = None
        self._closed = False

    async def probe(self, *, timeout: float, cold: bool) -> ProbeResult:
        """See the port."""
        if not cold and (kept := self._kept) is not None:
            if kept.idle:
                return await self._probe_kept(kept, timeout)
            self._drop()
        return await self._probe_fresh(timeout, keep=not cold)

    async def close(self) -> None:
        """See the port."""
        self._closed = True
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _drop(self) -> None:
        if self._kept is not None:
            self._kept.abort()
            self._kept = None

    async def _probe_kept(self, connection: _Connection, timeout: float) -> ProbeResult:
        start = time.monotonic()
        answered = connection.ask(self._headers, self._message)
        timer = connection.loop.call_later(timeout, connection.expire)
        try:
            # When this is cancelled the connection is not idle until its answer has come, and is not used before.
            problem = await answered
        finally:
            timer.cancel()
        if problem is None:
            return _verdict(connection, start, reused=True)
        self._drop()
        if connection.expired:
            return self._connector.expired(start, timeout, reused=True)
        if connection.first_byte == 0.0:
            # A server may go away from an idle connection at any time (GOAWAY, close): ask again on a new one.
            return await self._probe_fresh(timeout, keep=True)
        return failure(problem, latency=connection.first_byte - start, timeout=timeout, reused=True)

    async def _probe_fresh(self, timeout: float, *, keep: bool) -> ProbeResult:
        async def exchange(addresses: Addresses) -> ProbeResult:
            start = time.monotonic()
            _, connection, sock = await self._connector.open(_Connection, addresses, timeout=timeout)
            kept = False
            try:
                connection.sock = sock
                problem = await connection.ask(self._headers, self._message)
                if problem is not None:
                    raise problem
                if keep and not self._closed and connection.idle:
                    self._drop()
                    self._kept = connection
                    kept = True
                return _verdict(connection, start, reused=False)
            finally:
                if not kept:
                    connection.abort()

        return await self._connector.attempt(timeout, exchange)


class _Connection(asyncio.Protocol):
    """One HTTP/2 connection with one request at a time."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[Exception | None] | None = None
        self._lost = False
        self._requests = 0
        self._stream = 0
        self._greeting = b""
        self.sock: socket.socket | None = None
        self.first_byte = 0.0
        """Monotonic time of the first frame of the answer, 0.0 until it comes."""
        self.expired = False
        self.http_status = b""
        self.grpc_status = b""
        self.message = bytearray()
        self.certificate_expiry: float | None = None

    @property
    def idle(self) -> bool:
        """Another request may be sent."""
        return not self._lost and self._answered is None and self._requests < MAX_REQUESTS

    def ask(self, headers: tuple[tuple[bytes, bytes], ...], message: bytes) -> asyncio.Future[Exception | None]:
        """Send one request."""
        answered: asyncio.Future[Exception | None] = self.loop.create_future()
        self._answered = answered
        self.first_byte = 0.0
        self.http_status = self.grpc_status = b""
        self.message.clear()
        if self._lost:
            self._settle(NoAnswerError())
            return answered
        self._requests += 1
        try:
            self._stream = self._h2.get_next_available_stream_id()
            self._h2.send_headers(self._stream, headers)
            self._h2.send_data(self._stream, message, end_stream=True)
        except h2.exceptions.H2Error as error:
            self._settle(MalformedResponseError(f"HTTP/2: {error}"))
        self._flush()
        return answered

    def expire(self) -> None:
        """The time for the answer is over."""
        self.expired = True
        self._settle(TimeoutError())

    def close(self) -> None:
        """Say goodbye and close."""
        self._lost = True
        if self._transport is not None:
            self._h2.close_connection()
            self._flush()
            self._transport.close()

    def abort(self) -> None:
        """Close at once, with a reset."""
        self._lost = True
        if self.sock is not None:
            reset_on_close(self.sock)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, no check: uvloop's transports are not asyncio's by inheritance.
        self._transport = cast(asyncio.Transport, transport)
        peer: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        self.certificate_expiry = certificate_expiry(peer)
        self._h2.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            self._check_greeting(data)
            for event in self._h2.receive_data(data):
                self._on_event(event)
        except (h2.exceptions.H2Error, MalformedResponseError) as error:
            # What is not HTTP/2 is an answer too, though not to our question.
            self.first_byte = self.first_byte or time.monotonic()
            self._settle(MalformedResponseError(f"answer is not HTTP/2: {error}"))
            self.abort()
            return
        self._flush()

    def _check_greeting(self, data: bytes) -> None:
        """The first frame has to be SETTINGS. The library would wait for the rest of any other, however long it is."""
        if len(self._greeting) < _FRAME_TYPE:
            self._greeting += data[: _FRAME_TYPE - len(self._greeting)]
            if len(self._greeting) == _FRAME_TYPE and self._greeting[-1] != _SETTINGS:
                raise MalformedResponseError("the first frame is not SETTINGS")

    def eof_received(self) -> bool:
        self._end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.sock = None
        self._end(exc)

    def _end(self, error: Exception | None) -> None:
        self._lost = True
        self._settle(error or (MalformedResponseError("connection lost") if self.first_byte else NoAnswerError()))

    def _on_event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self._lost = True
            # A graceful GOAWAY still answers the streams it names.
            if (event.last_stream_id or 0) < self._stream or event.error_code != h2.errors.ErrorCodes.NO_ERROR:
                self._settle(NoAnswerError())
        if getattr(event, "stream_id", 0) != self._stream or not self._stream:
            return
        if isinstance(event, h2.events.StreamReset):
            refused_stream = event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
            if not refused_stream:
                self.first_byte = self.first_byte or time.monotonic()
            self._settle(NoAnswerError() if refused_stream else MalformedResponseError("request was reset"))
        elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self.first_byte = self.first_byte or time.monotonic()
            self._take_fields(event)
        elif isinstance(event, h2.events.DataReceived):
            self._take_data(event)
        elif isinstance(event, h2.events.StreamEnded):
            self._settle(None)

    def _take_fields(self, event: h2.events.ResponseReceived | h2.events.TrailersReceived) -> None:
        for name, value in event.headers or ():
            if name == b":status":
                self.http_status = bytes(value)
            elif name == b"grpc-status":
                self.grpc_status = bytes(value)

    def _take_data(self, event: h2.events.DataReceived) -> None:
        self.message += event.data or b""
        if len(self.message) > MAX_MESSAGE:
            self._settle(MalformedResponseError("health answer is too long"))
            self.abort()
            return
        self._h2.acknowledge_received_data(event.flow_controlled_length or 0, self._stream)

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def _settle(self, problem: Exception | None) -> None:
        answered = self._answered
        if answered is not None:
            self._answered = None
            if not answered.done():
                answered.set_result(problem)


def _verdict(connection: _Connection, start: float, *, reused: bool) -> ProbeResult:
    latency = connection.first_byte - start
    if connection.http_status != b"200":
        status = connection.http_status.decode("latin-1")
        return refused(f"HTTP status {status} instead of a gRPC answer", latency=latency, reused=reused)
    if connection.grpc_status != b"0":
        code = connection.grpc_status.decode("latin-1")
        return refused(f"gRPC status {_CODES.get(code, code or 'missing')}", latency=latency, reused=reused)
    serving = serving_status(bytes(connection.message))
    if serving != _SERVING:
        return refused(f"gRPC health is {_STATUS_NAMES.get(serving, serving)}", latency=latency, reused=reused)
    return ProbeResult(
        outcome=Outcome.SUCCESS,
        latency=latency,
        reused=reused,
        certificate_expiry_time=connection.certificate_expiry,
    )


def serving_status(framed: bytes) -> int:
    """Return the status in a framed HealthCheckResponse; 0 (UNKNOWN) when it is missing or cannot be read."""
    payload = framed[5:]
    if framed[:1] != b"\x00" or len(payload) != int.from_bytes(framed[1:5], "big"):
        return 0
    if len(payload) < 2 or payload[0] != 0x08 or payload[1] > 0x7F:
        return 0
    return payload[1]
