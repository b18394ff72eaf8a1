"""gRPC health probes against grpclib's server, which is another implementation of the protocol."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from grpclib.health.check import ServiceStatus
from grpclib.health.service import Health
from grpclib.server import Server

from regent.adapters.probes import grpc
from regent.domain.health.model import GrpcCheck, Outcome, TlsOptions
from tests.fakes.certificates import Authority
from tests.fakes.probing import opened, probe_once, spec_for
from tests.fakes.wire import Peer, WireServer, answering, response, server_context, until, unused_port

AUTHORITY = Authority()
SERVER = AUTHORITY.issue("127.0.0.1")


class Cart:
    """A service whose health is set by the test."""

    async def __aenter__(self) -> None: ...

    def __mapping__(self) -> dict[str, object]:
        return {"/shop.v1.Cart/Get": None}


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, ServiceStatus]]:
    cart, status = Cart(), ServiceStatus()
    status.set(True)
    port = unused_port()
    server = Server([Health({cart: [status]})])
    await server.start("127.0.0.1", port, ssl=tls)
    try:
        yield port, status
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0)


@pytest.mark.parametrize("service", ["", "shop.v1.Cart"])
async def test_serving_and_not_serving(service: str) -> None:
    async with serving() as (port, status), opened("http1", spec_for(port, GrpcCheck(service=service))) as endpoint:
        results = [await endpoint.probe(timeout=2, cold=cold) for cold in (False, False, True)]
        assert [(r.outcome, r.reused) for r in results] == [
            (Outcome.SUCCESS, False),
            (Outcome.SUCCESS, True),
            (Outcome.SUCCESS, False),
        ]
        assert all(0 < result.latency < 2 for result in results)
        status.set(False)
        for cold in (False, True):
            result = await endpoint.probe(timeout=2, cold=cold)
            assert (result.outcome, result.detail) == (Outcome.REFUSED, "gRPC health is NOT_SERVING")
        status.set(True)
        assert (await endpoint.probe(timeout=2, cold=False)).outcome is Outcome.SUCCESS


async def test_unknown_service_is_refused() -> None:
    async with serving() as (port, _):
        result = await probe_once("http1", spec_for(port, GrpcCheck(service="shop.v1.Basket")))
    assert result.outcome is Outcome.REFUSED
    assert "NOT_FOUND" in result.detail


async def test_server_without_health_service_is_refused() -> None:
    port = unused_port()
    server = Server([])
    await server.start("127.0.0.1", port)
    result = await probe_once("http1", spec_for(port, GrpcCheck()))
    server.close()
    await server.wait_closed()
    assert result.outcome is Outcome.REFUSED
    assert "UNIMPLEMENTED" in result.detail


async def test_tls() -> None:
    context = server_context(SERVER)
    context.set_alpn_protocols(["h2"])
    trusted = TlsOptions(ca_pem=AUTHORITY.pem)
    async with serving(context) as (port, _):
        result = await probe_once("http1", spec_for(port, GrpcCheck(), tls=trusted))
        assert result.outcome is Outcome.SUCCESS, result
        assert result.certificate_expiry_time == SERVER.not_after
        result = await probe_once("http1", spec_for(port, GrpcCheck(), tls=replace(trusted, ca_pem="")))
        assert result.outcome is Outcome.REFUSED
        assert result.detail.startswith("TLS:")


async def test_server_that_speaks_http1_is_refused() -> None:
    async with WireServer(answering(response())) as server:
        result = await probe_once("http1", spec_for(server.port, GrpcCheck()))
    assert result.outcome is Outcome.REFUSED


async def test_silence_is_a_timeout() -> None:
    async def handler(peer: Peer) -> None:
        await peer.reader.read()
        await peer.reader.read()

    async with WireServer(handler) as server:
        result = await probe_once("http1", spec_for(server.port, GrpcCheck()), timeout=0.15)
    assert result.outcome is Outcome.TIMEOUT


async def test_nobody_listens() -> None:
    result = await probe_once("http1", spec_for(unused_port(), GrpcCheck()))
    assert result.outcome is Outcome.REFUSED


async def test_connection_closed_between_probes_is_no_failure() -> None:
    """A proxy in front closes everything that is idle; grpclib itself never would."""
    async with serving() as (port, _):

        async def relay(peer: Peer) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)

            async def back() -> None:
                while data := await reader.read(65536):
                    await peer.send(data)

            task = asyncio.create_task(back())
            try:
                while data := await peer.reader.read(65536):
                    writer.write(data)
            finally:
                # Before anything is waited for: the end of the test cancels that too.
                writer.close()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        async with WireServer(relay) as proxy, opened("http1", spec_for(proxy.port, GrpcCheck())) as endpoint:
            for number in (1, 2, 3, 4):
                assert (await endpoint.probe(timeout=2, cold=False)).outcome is Outcome.SUCCESS
                assert proxy.connections == number
                proxy.reset_all()
                if number % 2:
                    await until(lambda: proxy.open_connections == 0)


async def test_connection_is_renewed_before_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc, "MAX_REQUESTS", 5)
    async with serving() as (port, _), opened("http1", spec_for(port, GrpcCheck())) as endpoint:
        reused = [(await endpoint.probe(timeout=2, cold=False)).reused for _ in range(11)]
    assert [index for index, value in enumerate(reused) if not value] == [0, 5, 10]


def test_service_name_is_bounded() -> None:
    with pytest.raises(ValueError, match="127"):
        grpc.GrpcEndpointProber(GrpcCheck(service="x" * 128), spec_for(1), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("framed", "status"),
    [
        (b"\x00\x00\x00\x00\x02\x08\x01", 1),
        (b"\x00\x00\x00\x00\x02\x08\x02", 2),
        (b"\x00\x00\x00\x00\x00", 0),
        (b"\x01\x00\x00\x00\x02\x08\x01", 0),
        (b"\x00\x00\x00\x00\x03\x08\x01", 0),
        (b"\x00\x00\x00\x00\x02\x10\x01", 0),
        (b"", 0),
    ],
)
def test_health_message(framed: bytes, status: int) -> None:
    assert grpc.serving_status(framed) == status
