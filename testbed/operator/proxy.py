"""A reverse proxy between one replica and the API server that names every write and can spoil what passes.

The replica's kubeconfig points here; its token goes on to the API server, so its rights are its own. A callback is
asked before a write is forwarded and again after the API server has answered but before the replica hears of it: those
are the two moments at which a crash leaves different traces. `faults` says which writes are refused, which answers are
lost, and what becomes of the events of watches.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import ClientSession, ClientTimeout, StreamReader, TCPConnector, web

from testbed.controlplane.certificates import CertificateAuthority
from testbed.controlplane.kubeconfig import Access
from testbed.operator.faults import Faults, NoFaults, Trouble, Write

_PATH = re.compile(
    r"^/(?:api/(?P<core>[^/]+)|apis/(?P<group>[^/]+)/[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<resource>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[^/]+))?$"
)
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_NOT_PASSED = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
_START_TIMEOUT = 10.0


class Moment(Enum):
    """When a write is looked at."""

    BEFORE = "before"  # the API server has not seen it
    AFTER = "after"  # it is done, and the replica does not know


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said to a write, and to whom (its User-Agent), whether or not that one heard it."""

    write: Write
    status: int
    agent: str


class Hold:
    """One request that stays on its way: it is caught before it reaches the API server, and goes on when it may."""

    def __init__(self, header: str, value: str) -> None:
        self._header = (header, value)
        self._once = threading.Lock()
        self._may_go = threading.Event()
        self.agent = ""
        """User-Agent of who sent it, once it is caught."""
        self.caught = threading.Event()
        """Set when the request has arrived."""
        self.answered = threading.Event()
        """Set when the API server has answered it."""

    def release(self) -> None:
        """Let it go on."""
        self._may_go.set()

    def catches(self, headers: Mapping[str, str]) -> bool:
        """Whether it is this request; True only once."""
        name, value = self._header
        if headers.get(name) != value or not self._once.acquire(blocking=False):
            return False
        self.agent = headers.get("User-Agent", "")
        return True

    async def wait(self) -> None:
        """Keep the request until it may go on."""
        self.caught.set()
        await asyncio.to_thread(self._may_go.wait)


Look = Callable[[Write, Moment], None]


class DropError(Exception):
    """Raised by a callback: the write goes no further, and its sender hears nothing good."""


class ApiProxy:
    """Context manager: listens on a free port of 127.0.0.1; `kubeconfig` leads through it.

    Args:
        kubeconfig: a kubeconfig that signs in by token.
        look: called in the proxy's thread with every write that counts, before and after it. It may end the replica,
            and raise DropError before a write that is not to reach the API server.
        counts: whether a write counts; Leases and events never do.
        faults: what goes wrong; may be exchanged at any time.
    """

    def __init__(
        self,
        kubeconfig: Path,
        *,
        look: Look | None = None,
        counts: Callable[[Write], bool] = lambda _: True,
        faults: Faults | None = None,
    ) -> None:
        self.writes: list[Write] = []
        self.answers: list[Answer] = []
        self._access = Access.read(kubeconfig)
        if self._access.token is None:
            raise ValueError("the proxy passes tokens on; a client certificate cannot be passed")
        self.look: Look = look or (lambda _write, _moment: None)
        self._counts = counts
        self.faults: Faults = faults or NoFaults()
        self.ahead = 0.0
        """By how many seconds the API server's clock seems to be ahead, as its answers tell."""
        self.hold: Hold | None = None
        """The request to catch; may be set at any time."""
        self.ahead = 0.0
        """Seconds by which the API server's clock seems to be ahead: it tells the time with every answer."""
        self._stack = ExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.kubeconfig = Path()
        self.port = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regent-proxy-")))
            self._start(directory)
            self._stack = stack.pop_all()
        return self

    def _start(self, directory: Path) -> None:
        authority = CertificateAuthority(common_name="regent testbed proxy")
        certificate, key = authority.server(names=["localhost"], addresses=["127.0.0.1"]).write(directory, "proxy")
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(certificate, key)
        self._thread = threading.Thread(target=self._main, args=(server,), name="api-proxy", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_TIMEOUT) or self._failure is not None:
            raise RuntimeError("the proxy did not start") from self._failure
        access = Access(
            server=f"https://127.0.0.1:{self.port}", authority=authority.certificate, token=self._access.token
        )
        self.kubeconfig = access.write(directory / "kubeconfig.yaml", name="proxy")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stopped is not None:
            with suppress(RuntimeError):  # its loop has ended already
                self._loop.call_soon_threadsafe(self._stopped.set)
        if self._thread is not None:
            self._thread.join()
        self._stack.close()

    def _main(self, tls: ssl.SSLContext) -> None:
        try:
            asyncio.run(self._serve(tls))
        except BaseException as error:  # the thread that waits for us raises it
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self, tls: ssl.SSLContext) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        upstream = ssl.create_default_context(cadata=self._access.authority.decode())
        connector = TCPConnector(ssl=upstream, limit=0)
        async with ClientSession(connector=connector, timeout=ClientTimeout(total=None), auto_decompress=False) as out:
            self._out = out
            runner = web.AppRunner(
                _application(self._pass_on), access_log=None, handle_signals=False, shutdown_timeout=0.1
            )
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
                await site.start()
                self.port = runner.addresses[0][1]
                self._ready.set()
                await self._stopped.wait()
            finally:
                await runner.cleanup()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        write, hold = self._note(request, body), self.hold
        if hold is not None and hold.catches(request.headers):
            await hold.wait()
        else:
            hold = None
        try:
            if write is not None:
                self.look(write, Moment.BEFORE)
        except DropError as error:
            return web.Response(status=503, text=str(error))
        trouble = self.faults.write(write) if write is not None else None
        if trouble is not None and trouble is not Trouble.LOST:
            return _refusal(trouble)
        headers = [(key, value) for key, value in request.headers.items() if key.lower() not in _NOT_PASSED]
        url = f"{self._access.server}{request.rel_url.raw_path_qs}"
        async with self._out.request(request.method, url, headers=headers, data=body or None) as answer:
            passed = {key: value for key, value in answer.headers.items() if key.lower() not in _NOT_PASSED}
            if self.ahead:
                passed["Date"] = formatdate(time.time() + self.ahead, usegmt=True)
            if write is not None:
                content = await answer.read()
                self.answers.append(Answer(write, answer.status, request.headers.get("User-Agent", "")))
                if hold is not None:
                    hold.answered.set()
                self.look(write, Moment.AFTER)
                if trouble is Trouble.LOST and request.transport is not None:
                    request.transport.abort()
                return web.Response(status=answer.status, headers=passed, body=content)
            response = web.StreamResponse(status=answer.status, headers=passed)
            with suppress(ConnectionResetError):  # the replica has died in the middle of it
                await response.prepare(request)
                if request.query.get("watch") in ("true", "1") and answer.status == 200:
                    await self._pass_on_events(request.path, answer.content, response)
                else:
                    async for chunk in answer.content.iter_any():
                        await response.write(chunk)
                await response.write_eof()
            return response

    async def _pass_on_events(self, path: str, source: StreamReader, sink: web.StreamResponse) -> None:
        match = _PATH.match(path)
        resource = match["resource"] if match is not None else ""
        stale: list[bytes] = []
        async for line in _lines(source):
            # A bookmark is no event, and a change that is gone cannot be told once more: nobody would ever hear again.
            if b'"type":"BOOKMARK"' in line[:32] or b'"type":"ERROR"' in line[:32]:
                await sink.write(line)
                continue
            delivery = self.faults.event(resource)
            await asyncio.sleep(delivery.delay)
            deleted = b'"type":"DELETED"' in line[:32]
            if deleted:
                stale.clear()
            for text in [*[line] * delivery.copies, *stale]:
                await sink.write(text)
            stale = [line] if delivery.again and not deleted else []

    def _note(self, request: web.Request, body: bytes) -> Write | None:
        match = _PATH.match(request.path)
        if request.method not in _WRITES or match is None:
            return None
        resource = match["resource"] + (f"/{match['subresource']}" if match["subresource"] else "")
        if resource in {"leases", "events"}:
            return None
        name = match["name"] or _name_in(body)
        write = Write(len(self.writes) + 1, request.method, resource, match["namespace"] or "", name)
        if not self._counts(write):
            return None
        self.writes.append(write)
        return write


def _application(handler: Any) -> web.Application:
    application = web.Application(client_max_size=16 * 1024 * 1024)
    application.router.add_route("*", "/{path:.*}", handler)
    return application


def _name_in(body: bytes) -> str:
    """The name in a created object, without decoding all of it."""
    found = re.search(rb'"name"\s*:\s*"([^"]+)"', body)
    return found[1].decode() if found else ""


def _refusal(trouble: Trouble) -> web.Response:
    """A refusal as the API server writes it."""
    code = int(trouble.value)
    reason = {409: "Conflict", 429: "TooManyRequests", 500: "InternalError"}[code]
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
    message = f"the testbed's proxy says {code}"
    return web.json_response(
        {**body, "message": message}, status=code, headers={"Retry-After": "1"} if code == 429 else {}
    )


async def _lines(source: StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream, each with its end; of any length."""
    rest = b""
    async for chunk in source.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest
