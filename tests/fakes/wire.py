"""A real server on loopback whose every byte the test decides."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from weakref import WeakSet

from tests.fakes.certificates import Issued


class Peer:
    """One accepted connection, as the handler sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        """1 for the first connection of the server."""

    async def request(self) -> bytes:
        """Read the head of the next request; IncompleteReadError when the client is done."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def requests(self) -> AsyncIterator[bytes]:
        """Yield requests until the client closes."""
        while True:
            try:
                yield await self.request()
            except (asyncio.IncompleteReadError, ConnectionError):
                return

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Close with a RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Handler = Callable[[Peer], Awaitable[None]]


class WireServer:
    """Listens on 127.0.0.1 and runs `handler` for each connection, which is closed when it returns."""

    def __init__(self, handler: Handler, *, tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._tls = tls
        self._peers: dict[asyncio.Task[None], Peer] = {}
        self._writers: WeakSet[asyncio.StreamWriter] = WeakSet()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.connections = 0
        self.server_names: list[str | None] = []

    async def __aenter__(self) -> WireServer:
        if self._tls is not None:
            self._tls.sni_callback = lambda _obj, name, _ctx: self.server_names.append(name)
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=self._tls, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        loop = asyncio.get_running_loop()
        if isinstance(loop, asyncio.SelectorEventLoop):
            # A connection that was accepted in this very round would find the server closed, and CPython then leaves
            # its transport open: no more is accepted, and those that were get their round.
            for listener in self._server.sockets:
                loop.remove_reader(listener.fileno())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        self._server.close()
        for task in list(self._peers):
            task.cancel()
        await asyncio.gather(*self._peers, return_exceptions=True)
        # Some rounds, so that what was accepted in the last moment is seen and closed too, and the transports' own
        # closing callbacks have run before the loop ends.
        for _ in range(5):
            await asyncio.sleep(0)
            for writer in self._writers:
                writer.transport.abort()

    @property
    def open_connections(self) -> int:
        return len(self._peers)

    def close_idle(self) -> None:
        """Close every connection from this side, as a server does with idle ones."""
        for peer in self._peers.values():
            peer.writer.close()

    def reset_all(self) -> None:
        for peer in self._peers.values():
            peer.reset()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        peer = self._peers[task] = Peer(reader, writer, self.connections)
        try:
            await self._handler(peer)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            del self._peers[task]
            writer.close()


def response(body: bytes = b"ok", *, status: str = "200 OK", headers: str = "") -> bytes:
    """An ordinary answer with a length."""
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def answering(*answers: bytes) -> Handler:
    """Answer each request of a connection with the next of `answers`, the last one for ever."""

    async def handler(peer: Peer) -> None:
        number = 0
        async for _ in peer.requests():
            await peer.send(answers[min(number, len(answers) - 1)])
            number += 1

    return handler


def server_context(issued: Issued, *, client_ca: str = "") -> ssl.SSLContext:
    """A server's TLS context; with `client_ca` it requires a client certificate signed by it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "server.pem"
        file.write_text(issued.certificate + issued.key)
        context.load_cert_chain(file)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca)
    return context


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one system call, no objects


def client_descriptors(server_ports: set[int]) -> int:
    """Open descriptors of this process without the accepted ends of its own servers."""
    accepted = 0
    for entry in Path("/proc/self/fd").iterdir():
        # The listing's own descriptor is in the list and gone by now.
        with contextlib.suppress(OSError):
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as sock:
                accepted += sock.family == socket.AF_INET and sock.getsockname()[1] in server_ports
    return open_descriptors() - accepted


async def until(condition: Callable[[], bool], *, seconds: float = 5.0) -> None:
    """Wait for `condition`, which must come true within `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is the peer's or the kernel's
            await asyncio.sleep(0.002)


def unused_port() -> int:
    """A port nobody listens on."""
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
