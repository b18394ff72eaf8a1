"""The proxy before the API server: what it refuses, loses, holds back, repeats and leaves out. Over real TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ServerDisconnectedError, TCPConnector, web

from testbed.controlplane.certificates import CertificateAuthority
from testbed.controlplane.kubeconfig import Access
from testbed.operator import ApiProxy, Delivery, Hold, NoFaults, OneTrouble, Storm, Trouble, Write

ROUTE = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/shop"
WATCH = "/apis/regent.dev/v1alpha1/failovers?watch=true"


class Server:
    """What stands for an API server: counts writes, and tells four events to whoever watches."""

    def __init__(self) -> None:
        self.writes = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            self.writes += 1
            return web.json_response({"token": request.headers["Authorization"]})
        response = web.StreamResponse()
        await response.prepare(request)
        for number, kind in enumerate(("ADDED", "MODIFIED", "BOOKMARK", "DELETED"), start=1):
            line = json.dumps({"type": kind, "object": {"number": number}}, separators=(",", ":")) + "\n"
            # In pieces that are no lines: so does a network.
            for piece in (line[:9], line[9:]):
                await response.write(piece.encode())
        return response


class Parts:
    """Server, proxy and client."""

    def __init__(self, server: Server, proxy: ApiProxy, client: ClientSession) -> None:
        self.server, self.proxy, self.client = server, proxy, client
        self.url = f"https://127.0.0.1:{proxy.port}"

    async def write(self) -> tuple[int, dict[str, Any]]:
        # No PUT: a client may send that again by itself when the answer is lost.
        async with self.client.patch(self.url + ROUTE, json={}, headers={"Authorization": "Bearer t"}) as answer:
            return answer.status, await answer.json()

    async def events(self) -> list[int]:
        async with self.client.get(self.url + WATCH, headers={"Authorization": "Bearer t"}) as answer:
            return [json.loads(line)["object"]["number"] for line in (await answer.read()).splitlines()]


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    authority = CertificateAuthority(common_name="test")
    certificate, key = authority.server(names=["localhost"], addresses=["127.0.0.1"]).write(tmp_path, "server")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    server, application = Server(), web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    address = f"https://127.0.0.1:{runner.addresses[0][1]}"
    access = Access(server=address, authority=authority.certificate, token="t")
    with ExitStack() as stack:
        path = access.write(tmp_path / "kubeconfig", name="test")
        proxy = await asyncio.to_thread(stack.enter_context, ApiProxy(path))
        inside = Access.read(proxy.kubeconfig)
        connector = TCPConnector(ssl=ssl.create_default_context(cadata=inside.authority.decode()))
        async with ClientSession(connector=connector) as client:
            yield Parts(server, proxy, client)
        await asyncio.to_thread(stack.close)
    await runner.cleanup()


def every(write: Write) -> bool:
    return write.resource == "httproutes"


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Trouble.CONFLICT, "Conflict"),
        (Trouble.THROTTLED, "TooManyRequests"),
        (Trouble.BROKEN, "InternalError"),
    ],
)
async def test_a_write_is_refused_and_never_arrives(parts: Parts, trouble: Trouble, reason: str) -> None:
    parts.proxy.faults = OneTrouble(trouble, number=2, counts=every)
    assert (await parts.write())[0] == 200
    status, body = await parts.write()
    assert (str(status), body["reason"], body["kind"]) == (trouble.value, reason, "Status")
    assert (await parts.write())[0] == 200
    assert parts.server.writes == 2


async def test_an_answer_is_lost_after_the_write_was_done(parts: Parts) -> None:
    parts.proxy.faults = OneTrouble(Trouble.LOST, number=1, counts=every)
    with pytest.raises((ServerDisconnectedError, ConnectionError)):
        await parts.write()
    assert parts.server.writes == 1
    assert (await parts.write())[1] == {"token": "Bearer t"}
    assert [answer.status for answer in parts.proxy.answers] == [200, 200]


async def test_a_request_stays_on_its_way_until_it_may_go(parts: Parts) -> None:
    hold = parts.proxy.hold = Hold("Authorization", "Bearer t")
    late = asyncio.create_task(parts.write())
    assert await asyncio.to_thread(hold.caught.wait, 10)
    assert parts.server.writes == 0
    assert (await parts.write())[0] == 200, "only one is held"
    assert not hold.answered.is_set()
    hold.release()
    assert (await late)[0] == 200
    assert hold.answered.is_set()
    assert parts.server.writes == 2


class Deliveries(NoFaults):
    """Events as the test says, one after the other."""

    def __init__(self, *deliveries: Delivery) -> None:
        self._deliveries = list(deliveries)

    def event(self, resource: str) -> Delivery:
        assert resource == "failovers"
        return self._deliveries.pop(0)


@pytest.mark.parametrize(
    ("deliveries", "told"),
    [
        ((Delivery(), Delivery(), Delivery()), [1, 2, 3, 4]),
        ((Delivery(copies=0), Delivery(), Delivery()), [2, 3, 4]),
        ((Delivery(copies=2), Delivery(delay=0.01), Delivery()), [1, 1, 2, 3, 4]),
        ((Delivery(again=True), Delivery(), Delivery()), [1, 2, 1, 3, 4]),
        # What was deleted is not told once more: no API server does that.
        ((Delivery(), Delivery(again=True), Delivery()), [1, 2, 3, 4]),
    ],
    ids=["all", "dropped", "twice", "again", "deleted"],
)
async def test_a_watch_tells_as_it_is_told_to(parts: Parts, deliveries: tuple[Delivery, ...], told: list[int]) -> None:
    parts.proxy.faults = Deliveries(*deliveries)
    assert await parts.events() == told


def test_a_storm_can_be_had_again_and_ends() -> None:
    write = Write(1, "PUT", "httproutes", "shop", "shop")
    one, other = Storm(5), Storm(5)
    assert [one.write(write) for _ in range(200)] == [other.write(write) for _ in range(200)]
    assert [one.event("failovers") for _ in range(200)] == [other.event("failovers") for _ in range(200)]
    assert set(one.troubles) == {"409", "429", "500", "lost", "dropped", "repeated"}
    worst = Storm(5, trouble=1.0)
    assert [worst.write(write) is None for _ in range(8)] == [False, False, False, True] * 2
