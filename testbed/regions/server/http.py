"""A small HTTP/1.1 server whose connections misbehave on command.

It is an `asyncio.Protocol` instead of a framework because the faults are about the connection itself: when the first
byte of an answer leaves, when an idle connection is closed, and that a request can be swallowed without a byte.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from testbed.regions.server.behaviour import Answers, Behaviour, later

_MAX_REQUEST = 64 * 1024
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class HttpConnection(asyncio.Protocol):
    """One client connection; requests are answered one after the other."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._buffer = b""
        self._answering = False
        self._idle: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        self._behaviour.connections_accepted += 1
        self._behaviour.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._stop_idle_clock()
        self._behaviour.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._stop_idle_clock()
        self._buffer += data
        if len(self._buffer) > _MAX_REQUEST:
            self._close()
            return
        self._answer_next()

    def close_if_idle(self) -> None:
        if not self._answering:
            self._close()

    def say_goodbye(self) -> None:
        """HTTP/1.1 has no such frame; closing is all that it can say."""
        self.close_if_idle()

    def _answer_next(self) -> None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if self._answering or not found:
            return
        request_line, _, header_block = head.decode("latin-1").partition("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in header_block.split("\r\n"))
        }
        length = headers.get("content-length", "0")
        parts = request_line.split(" ")
        if len(parts) != 3 or not length.isdigit():
            self._send(400, "text/plain", b"bad request\n", keep=False, head_only=False)
            return
        if len(rest) < int(length):
            return
        self._buffer = rest[int(length) :]
        method, path, version = parts
        keep = headers.get("connection", "").lower() != "close" and version == "HTTP/1.1"
        self._answering = True
        answers = self._behaviour.answers(path)
        later(answers.delay, lambda: self._answer(path, answers, keep=keep, head_only=method == "HEAD"))

    def _answer(self, path: str, answers: Answers, *, keep: bool, head_only: bool) -> None:
        self._answering = False
        if answers.next_is_hang_up():
            self._close()
            return
        status = 500 if answers.next_is_error() else answers.status
        if status == 200:
            kind, body = self._behaviour.body(path, answers)
        else:
            kind, body = "text/plain", f"{status} from {self._behaviour.region}\n".encode()
        self._send(status, kind, body, keep=keep, head_only=head_only)
        if keep:
            self._start_idle_clock()
            self._answer_next()

    def _send(self, status: int, kind: str, body: bytes, *, keep: bool, head_only: bool) -> None:
        if self._transport is None:
            return
        reason = _REASONS.get(status, "Status")
        head = (
            f"HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
            f"x-region: {self._behaviour.region}\r\nconnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        self._transport.write(head.encode("latin-1") + (b"" if head_only else body))
        if not keep:
            self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _start_idle_clock(self) -> None:
        self._stop_idle_clock()
        if self._behaviour.idle_close is not None and not self._buffer:
            self._idle = asyncio.get_running_loop().call_later(self._behaviour.idle_close, self._close)

    def _stop_idle_clock(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


class TcpConnection(asyncio.Protocol):
    """A port that accepts, counts, and keeps the connection until the client goes."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._behaviour.connections_accepted += 1
        self._behaviour.requests["tcp"] += 1
