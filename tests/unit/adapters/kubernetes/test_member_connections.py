"""Connections to member clusters while their kubeconfigs change: against a small server that streams a watch."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from regent.adapters.kubernetes.copying import CopyingCluster, View
from regent.adapters.kubernetes.member import MemberClusterPool
from regent.domain.errors import UnavailableError
from regent.engine.resources import CONFIG_MAPS
from testbed.controlplane.certificates import CertificateAuthority
from testbed.controlplane.kubeconfig import Access
from tests.fakes.clock import LoopClock
from tests.fakes.ports import FakeMetrics

EVENT = b'{"type":"ADDED","object":{"metadata":{"name":"one","resourceVersion":"1"}}}\n'


@dataclass
class Server:
    """Answers everything with a name, and a watch with one event and silence."""

    directory: Path
    authority: CertificateAuthority = field(default_factory=lambda: CertificateAuthority(common_name="test"))
    tokens: list[str] = field(default_factory=list)
    port: int = 0

    def kubeconfig(self, token: str) -> str:
        access = Access(server=f"https://127.0.0.1:{self.port}", authority=self.authority.certificate, token=token)
        return access.write(self.directory / "kubeconfig", name="test").read_text(encoding="utf-8")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.tokens.append(request.headers["Authorization"].removeprefix("Bearer "))
        if "watch" not in request.query:
            return web.json_response({"metadata": {"name": "one", "uid": "u"}})
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(EVENT)
        await asyncio.Event().wait()
        return response


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Server]:
    server = Server(directory)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*server.authority.server(names=[], addresses=["127.0.0.1"]).write(directory, "server"))
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        await runner.cleanup()


async def test_renewed_credentials_are_used_and_watches_go_on(tmp_path: Path) -> None:
    """Fails when a new token is not sent, or ends what is under way; or when another server is taken for the same."""
    async with serving(tmp_path) as server:
        pool = MemberClusterPool(clock=LoopClock(), metrics=FakeMetrics(), make=CopyingCluster, pool=0)
        cluster = await pool.client("eu", server.kubeconfig("first"))
        assert isinstance(cluster, CopyingCluster)
        stream = cluster.watch(View(CONFIG_MAPS, "shop"), version="1", silence=60, lasts=60)
        assert [(await anext(stream)).kind for _ in range(2)] == ["OPENED", "ADDED"]
        ending = asyncio.ensure_future(anext(stream))
        assert await pool.client("eu", server.kubeconfig("second")) is cluster
        await cluster.get(CONFIG_MAPS, "shop", "one")
        assert server.tokens == ["first", "second"]
        assert not ending.done()

        server.port += 1
        other = await pool.client("eu", server.kubeconfig("second"))
        assert other is not cluster
        async with asyncio.timeout(20):
            # Else it would go on telling of a cluster that is not the region's any more.
            with pytest.raises(UnavailableError, match="closed"):
                await ending
        await pool.close()
