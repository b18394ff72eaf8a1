"""Connections for probes: resolve, connect, TLS, each failure told apart into theirs and ours.

Sockets are made here rather than by the event loop, because only then is it certain which error is local, and because a
failed probe's connection ends with a reset (as the kubelet does it): otherwise each leaves a port in TIME_WAIT for a
minute. The linger is zero, not one second as the kubelet's: closing a lingering socket would block the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from regent.adapters.probes.lag import LoopLag
from regent.adapters.probes.outcome import (
    LOCAL_ERRORS,
    NameNotFoundError,
    NotTriedError,
    failure,
    not_run,
    refused,
    timed_out,
)
from regent.adapters.probes.resolve import Address, Addresses, Resolver, literal
from regent.adapters.probes.tls import TlsContexts
from regent.domain.health.model import ProbeResult, ProbeSpec

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_SHUTDOWN_TIMEOUT = 1.0
_P = TypeVar("_P", bound=asyncio.Protocol)

# What connect() itself answers before a packet left: no route, so nothing is known about the region. A lost default
# route hits every region at once and would otherwise take all of them down together. From the network (ICMP) the
# same numbers come later, through SO_ERROR, and are a definite no.
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH})


class Connector:
    """Opens connections to one endpoint and runs attempts on them."""

    def __init__(
        self, spec: ProbeSpec, *, resolver: Resolver, contexts: TlsContexts, lag: LoopLag, protocol: str
    ) -> None:
        self._host = spec.host
        self._port = spec.port
        self._literal = literal(spec.host, spec.port)
        self._resolver = resolver
        self._contexts = contexts
        self._lag = lag
        self._tls = spec.tls
        self._protocol = protocol
        self._server_name = ""
        self._context: ssl.SSLContext | None = None
        if spec.tls is not None:
            self._server_name = spec.tls.server_name or spec.host.strip("[]")
            # No descriptor for the key right now is no fault of the material: it is loaded at the first probe.
            with contextlib.suppress(OSError):
                self._load_context()

    async def attempt(self, timeout: float, exchange: Callable[[Addresses], Awaitable[ProbeResult]]) -> ProbeResult:
        """Resolve, then run `exchange` for at most `timeout` seconds; never raises but CancelledError.

        The time of the name service is not the region's and not part of `timeout`.
        """
        try:
            addresses = self._literal or await self._resolver.resolve(self._host, self._port, timeout=timeout)
        except NameNotFoundError as error:
            return refused(str(error))
        except NotTriedError as error:
            return not_run(str(error))
        self._lag.start()
        start = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                return await exchange(addresses)
        except Exception as error:
            if isinstance(error, TimeoutError) and error.errno is None:  # with an errno it is the kernel's
                return self.expired(start, timeout)
            return failure(error, latency=time.monotonic() - start, timeout=timeout)

    def expired(self, start: float, timeout: float, *, reused: bool = False) -> ProbeResult:
        """Return the result of a probe that had no answer by now: a time-out, unless our own loop stood still."""
        if self._lag.excuses(start, timeout):
            return not_run("the event loop was late")
        return timed_out(timeout, f"no answer within {timeout * 1000:.0f} ms", reused=reused)

    async def open(
        self, factory: Callable[[], _P], addresses: Addresses, *, timeout: float
    ) -> tuple[asyncio.Transport, _P, socket.socket]:
        """Connect to the first of `addresses` that answers and set up `factory`'s protocol on it."""
        sock = await _connect_any(addresses, stagger=min(0.25, timeout / (2 * len(addresses))))
        try:
            loop = asyncio.get_running_loop()
            if self._tls is None:
                return *(await loop.create_connection(factory, sock=sock)), sock
            if self._context is None:
                self._load_context()
            transport, protocol = await loop.create_connection(
                factory,
                sock=sock,
                ssl=self._context,
                server_hostname=self._server_name,
                # The attempt's own time limit is the shorter one; this only bounds what a cancelled one leaves.
                ssl_handshake_timeout=max(timeout, 1.0),
                ssl_shutdown_timeout=_SHUTDOWN_TIMEOUT,
            )
            return transport, protocol, sock
        except BaseException:
            reset_on_close(sock)
            sock.close()
            raise

    def _load_context(self) -> None:
        if self._tls is not None:
            self._context = self._contexts.get(self._tls, protocol=self._protocol)


def reset_on_close(sock: socket.socket) -> None:
    """Make the close of `sock` a reset, which leaves no TIME_WAIT; harmless when it is closed already."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


async def _connect_any(addresses: Addresses, *, stagger: float) -> socket.socket:
    """Try `addresses` in order, the next one as soon as one fails or is silent for `stagger` seconds.

    When all fail, a definite no counts before a failure of our own.
    """
    if len(addresses) == 1:
        return await _connect(addresses[0])
    running: set[asyncio.Task[socket.socket]] = set()
    errors: list[BaseException] = []
    waiting = list(addresses)
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.ensure_future(_connect(waiting.pop(0))))
            done, running = await asyncio.wait(
                running, timeout=stagger if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            winner = _first(done, errors)
            if winner is not None:
                return winner
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_late)
    raise next((error for error in errors if not isinstance(error, NotTriedError)), errors[0])


def _first(done: set[asyncio.Task[socket.socket]], errors: list[BaseException]) -> socket.socket | None:
    winner: socket.socket | None = None
    for task in done:
        error = task.exception()
        if error is not None:
            errors.append(error)
        elif winner is None:
            winner = task.result()
        else:
            task.result().close()
    return winner


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    """A race that was decided while this attempt succeeded too: nobody else would close it."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connect(address: Address) -> socket.socket:
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise NotTriedError(f"no socket: {_reason(error.errno or 0)}") from error
    try:
        code = sock.connect_ex(address.sockaddr)
        if code == errno.EINPROGRESS:
            await _writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        elif code in _NO_ROUTE:
            raise NotTriedError(f"no route from here: {_reason(code)}")
        if code in LOCAL_ERRORS:
            raise NotTriedError(f"not tried: {_reason(code)}")
        if code:
            raise OSError(code, os.strerror(code))
        return sock
    except BaseException:
        reset_on_close(sock)
        sock.close()
        raise


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(sock, _wake, ready)
    try:
        await ready
    finally:
        # Before the descriptor is closed: its number may be another connection's a moment later.
        loop.remove_writer(sock)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _reason(code: int) -> str:
    return os.strerror(code).lower()
