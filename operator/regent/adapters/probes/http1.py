"""HTTP probes on a small client of our own: the path in use.

A general HTTP client costs several times the CPU time that the whole operator may use for a probe. This one does
what a probe needs: prebuilt request bytes on a kept connection, one future and one timer per probe, the verdict at the
end of the head unless the body matters. `httpx_prober` is the other adapter of the same port; the contract tests hold
this one to its verdicts.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import cast

from regent.adapters.probes.connect import Connector, reset_on_close
from regent.adapters.probes.http_check import CompiledHttpCheck
from regent.adapters.probes.outcome import NoAnswerError, failure
from regent.adapters.probes.parser import MalformedResponseError, ResponseParser
from regent.adapters.probes.resolve import Addresses
from regent.adapters.probes.tls import certificate_expiry
from regent.domain.health.model import ProbeResult


class Http1EndpointProber:
    """Probes one HTTP endpoint with GET (the `EndpointProber` port). Redirects are answers, not followed."""

    def __init__(self, check: CompiledHttpCheck, connector: Connector) -> None:
        self._check = check
        self._connector = connector
        self._hot_request = check.request(keep_alive=True)
        self._cold_request = check.request(keep_alive=False)
        self._kept: _Connection | None = None
        self._closed = False

    async def probe(self, *, timeout: float, cold: bool) -> ProbeResult:
        """See the port. A kept connection that turns out dead before any byte of an answer is retried afresh."""
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
        answered = connection.ask(self._hot_request)
        timer = connection.loop.call_later(timeout, connection.expire)
        try:
            # When this is cancelled the connection is not idle until its answer has come, and is not used before.
            problem = await answered
        finally:
            timer.cancel()
        if problem is None:
            return self._verdict(connection, start, reused=True)
        self._drop()
        if isinstance(problem, TimeoutError) and connection.expired:
            return self._connector.expired(start, timeout, reused=True)
        if connection.first_byte == 0.0:
            # Closing an idle connection is a server's right, and it can cross our request: only a connection
            # of its own can tell. The attempt that failed is not counted, nor is its time.
            return await self._probe_fresh(timeout, keep=True)
        return failure(problem, latency=connection.first_byte - start, timeout=timeout, reused=True)

    async def _probe_fresh(self, timeout: float, *, keep: bool) -> ProbeResult:
        async def exchange(addresses: Addresses) -> ProbeResult:
            start = time.monotonic()
            _, connection, sock = await self._connector.open(self._connection, addresses, timeout=timeout)
            kept = False
            try:
                connection.sock = sock
                problem = await connection.ask(self._hot_request if keep else self._cold_request)
                if problem is not None:
                    raise problem
                if keep and not self._closed and connection.keepable:
                    self._drop()
                    self._kept = connection
                    kept = True
                return self._verdict(connection, start, reused=False)
            finally:
                if not kept:
                    connection.abort()

        return await self._connector.attempt(timeout, exchange)

    def _connection(self) -> _Connection:
        return _Connection(wants_body=self._check.wants_body)

    def _verdict(self, connection: _Connection, start: float, *, reused: bool) -> ProbeResult:
        parser = connection.parser
        latency = connection.first_byte - start
        return self._check.judge(
            parser.status, parser.body, latency=latency, reused=reused, expiry=connection.certificate_expiry
        )


class _Connection(asyncio.Protocol):
    """One connection: one request at a time, answered by a future whose result is None or what went wrong."""

    __slots__ = (
        "_answered",
        "_lost",
        "_transport",
        "_wants_body",
        "certificate_expiry",
        "expired",
        "first_byte",
        "loop",
        "parser",
        "sock",
    )

    def __init__(self, *, wants_body: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self._wants_body = wants_body
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[Exception | None] | None = None
        self._lost = False
        self.sock: socket.socket | None = None
        self.parser = ResponseParser(want_body=wants_body)
        self.first_byte = 0.0
        """Monotonic time of the first byte of the answer, 0.0 until it comes."""
        self.expired = False
        self.certificate_expiry: float | None = None

    @property
    def keepable(self) -> bool:
        """The peer has said nothing yet that rules out another request."""
        return not self._lost and self.parser.keep_alive

    @property
    def idle(self) -> bool:
        """The answer before is read to its end and another request may be sent."""
        return not self._lost and self.parser.complete and self.parser.keep_alive

    def ask(self, request: bytes) -> asyncio.Future[Exception | None]:
        """Send `request`."""
        answered: asyncio.Future[Exception | None] = self.loop.create_future()
        self._answered = answered
        self.parser = ResponseParser(want_body=self._wants_body)
        self.first_byte = 0.0
        if self._lost or self._transport is None:
            self._settle(NoAnswerError())
        else:
            self._transport.write(request)
        return answered

    def expire(self) -> None:
        """The time for the answer is over."""
        self.expired = True
        self._settle(TimeoutError())

    def close(self) -> None:
        """Close in order; for a connection whose last answer was good."""
        self._lost = True
        if self._transport is not None:
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

    def data_received(self, data: bytes) -> None:
        parser = self.parser
        if self.first_byte == 0.0:
            self.first_byte = time.monotonic()
        if self._answered is None and parser.complete:
            # Nobody asked (a server's parting 408, say): the connection is of no more use.
            self.abort()
            return
        try:
            parser.feed(data)
        except MalformedResponseError as error:
            self._fail(error)
            return
        if parser.complete:
            self._settle(None)
            if not parser.keep_alive:
                self.abort()
        elif parser.status and not self._wants_body:
            # The head decides. What is left of the body is read and dropped while nobody waits.
            self._settle(None)

    def eof_received(self) -> bool:
        self._lost = True
        if self.parser.complete:
            self._settle(NoAnswerError())
            return False
        try:
            self.parser.eof()
        except MalformedResponseError as error:
            self._settle(error if self.first_byte else NoAnswerError())
        else:
            self._settle(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._transport = None
        self.sock = None
        self._settle(exc or (NoAnswerError() if not self.first_byte else MalformedResponseError("connection lost")))

    def _fail(self, error: Exception) -> None:
        self._settle(error)
        self.abort()

    def _settle(self, problem: Exception | None) -> None:
        answered = self._answered
        if answered is not None:
            self._answered = None
            if not answered.done():
                answered.set_result(problem)
