"""The guarded client against real servers on loopback: where it goes, what it refuses, what bounds it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable

import pytest
import uvloop

from regent.adapters.egress.client import MAX_BODY, Answer, GuardedClient
from regent.adapters.probes.resolve import Addresses, Resolver, literal, system_lookup
from regent.adapters.traffic.verification import HttpVerifier
from regent.domain.errors import ReceiverError
from regent.domain.traffic.targets import TargetSpec, VerificationSpec
from tests.fakes.certificates import Authority
from tests.fakes.receiver import Receiver, nobody
from tests.fakes.wire import Peer, WireServer, response, server_context

AUTHORITY = Authority()


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=AUTHORITY.pem)


def client(
    *,
    allow_loopback: bool = True,
    tls: ssl.SSLContext | None = None,
    lookup: Callable[[str, int], Addresses] = system_lookup,
    fresh_for: float = 0.0,
) -> GuardedClient:
    return GuardedClient(allow_loopback=allow_loopback, tls=tls, resolver=Resolver(lookup=lookup, fresh_for=fresh_for))


async def get(one: GuardedClient, url: str, *, timeout: float = 5.0) -> Answer:
    try:
        return await one.request("GET", url, timeout=timeout, headers={})
    finally:
        one.close()


def answers(*names: str) -> Callable[[str, int], Addresses]:
    """A name service that gives these addresses, one after the other, to whatever is asked."""
    calls = iter(names)

    def lookup(_host: str, port: int) -> Addresses:
        found = literal(next(calls), port)
        assert found is not None
        return found

    return lookup


async def test_an_answer_comes_back_whole() -> None:
    async with Receiver(lambda _: response(b"hello", headers="X-Region: eu\r\n")) as server:
        answer = await get(client(), f"{server.url}/a?b=c")
        assert (answer.status, answer.body, answer.headers["x-region"], answer.complete) == (200, b"hello", "eu", True)
        assert server.messages[0].head == "GET /a?b=c HTTP/1.1"
        assert server.messages[0].headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "2130706433", "0x7f000001", "[::]"],
)
async def test_loopback_is_refused_however_it_is_written(host: str) -> None:
    async with Receiver() as server:
        with pytest.raises(ReceiverError) as caught:
            await get(client(allow_loopback=False), f"http://{host}:{server.port}/")
        assert caught.value.reason == "AddressRefused"
        assert server.connections == 0


async def test_metadata_services_are_refused_even_with_the_setting() -> None:
    for host in ("169.254.169.254", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "[64:ff9b::a9fe:a9fe]"):
        with pytest.raises(ReceiverError, match="metadata service") as caught:
            await get(client(allow_loopback=True), f"http://{host}/latest/meta-data/")
        assert caught.value.reason == "AddressRefused"


async def test_the_address_that_was_checked_is_the_one_that_is_called() -> None:
    """A name that answers differently the second time: there is no second time, and the first answer is judged."""
    async with Receiver() as server:
        flipping = answers("192.0.2.1", "127.0.0.1")
        with pytest.raises(ReceiverError) as caught:  # the first address is documentation space: nobody answers
            await get(client(allow_loopback=False, lookup=flipping), f"http://evil.test:{server.port}/", timeout=0.3)
        assert caught.value.reason in ("TimedOut", "ConnectFailed")
        assert server.connections == 0
        with pytest.raises(ReceiverError) as caught:
            await get(client(allow_loopback=False, lookup=flipping), f"http://evil.test:{server.port}/")
        assert caught.value.reason == "AddressRefused"
        assert server.connections == 0


async def test_one_bad_address_of_several_is_enough() -> None:
    def both(_host: str, port: int) -> Addresses:
        good, bad = literal("192.0.2.1", port), literal("127.0.0.1", port)
        assert good is not None and bad is not None
        return (*good, *bad)

    async with Receiver() as server:
        with pytest.raises(ReceiverError) as caught:
            await get(client(allow_loopback=False, lookup=both), f"http://mixed.test:{server.port}/")
        assert caught.value.reason == "AddressRefused"
        assert server.connections == 0


async def test_host_and_server_name_stay_those_of_the_url() -> None:
    tls = server_context(AUTHORITY.issue("shop.test"))
    async with Receiver(tls=tls) as server:
        answer = await get(client(tls=trusting(), lookup=answers("127.0.0.1")), f"https://shop.test:{server.port}/hook")
        assert answer.good
        assert server.server_names == ["shop.test"]
        assert server.messages[0].headers["host"] == f"shop.test:{server.port}"


@pytest.mark.parametrize("fault", ["other name", "other authority", "expired"])
async def test_a_certificate_that_does_not_prove_the_name_ends_it(fault: str) -> None:
    import datetime

    lifetime = datetime.timedelta(days=-1 if fault == "expired" else 7)
    issued = AUTHORITY.issue("other.test" if fault == "other name" else "shop.test", lifetime=lifetime)
    context = ssl.create_default_context() if fault == "other authority" else trusting()
    async with Receiver(tls=server_context(issued)) as server:
        with pytest.raises(ReceiverError) as caught:
            await get(client(tls=context, lookup=answers("127.0.0.1")), f"https://shop.test:{server.port}/")
        assert (caught.value.reason, caught.value.retryable) == ("TlsFailed", False)
        assert server.messages == []


async def test_redirects_are_answers_not_orders() -> None:
    async with Receiver() as other:
        location = f"Location: {other.url}/\r\n"
        async with Receiver(lambda _: response(b"", status="307 Temporary Redirect", headers=location)) as server:
            answer = await get(client(), server.url)
        assert (answer.status, answer.good) == (307, False)
        assert other.connections == 0


async def test_proxies_and_credentials_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver() as proxy, Receiver() as server:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert (await get(client(), server.url)).good
        assert proxy.connections == 0
        assert "authorization" not in server.messages[0].headers


async def test_a_huge_answer_is_cut() -> None:
    async def flood(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.send(b"x" * 65_536)

    async with WireServer(flood) as server:
        answer = await get(client(), f"http://127.0.0.1:{server.port}/")
    assert (answer.status, answer.complete, len(answer.body)) == (200, False, MAX_BODY)


def test_a_connection_that_is_reset_at_once_is_an_answer_like_another() -> None:
    """On uvloop such a connection has no socket any more before it is looked at, in about every fifth case here."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        threading.Thread(target=_reset_all, args=(server,), daemon=True).start()

        async def ask() -> list[Answer | BaseException]:
            one = client()
            calls = [one.request("GET", url, timeout=5, headers={}) for _ in range(100)]
            try:
                return await asyncio.gather(*calls, return_exceptions=True)
            finally:
                one.close()

        found = uvloop.run(ask())
    assert {type(item) for item in found} == {ReceiverError}, found


def _reset_all(server: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the listener is closed when the test ends
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()


async def test_a_body_that_trickles_does_not_hold_the_call() -> None:
    async def trickle(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await peer.send(b"x")
            await asyncio.sleep(0.02)

    async with WireServer(trickle) as server:
        start = time.monotonic()
        with pytest.raises(ReceiverError) as caught:
            await get(client(), f"http://127.0.0.1:{server.port}/", timeout=0.3)
        assert caught.value.reason == "TimedOut"
        assert time.monotonic() - start < 3


async def test_compressed_answers_stay_compressed() -> None:
    async with Receiver(lambda _: response(b"\x1f\x8b", headers="Content-Encoding: gzip\r\n")) as server:
        assert (await get(client(), server.url)).body == b"\x1f\x8b"
        assert server.messages[0].headers["accept-encoding"] == "identity"


async def test_each_failure_has_its_reason() -> None:
    async def reset(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async def nonsense(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"SSH-2.0-OpenSSH\r\n\r\n")

    async def silent(peer: Peer) -> None:
        await peer.request()
        await asyncio.Event().wait()

    found = {}
    for name, handler in {"reset": reset, "nonsense": nonsense, "silent": silent}.items():
        async with WireServer(handler) as server:
            with pytest.raises(ReceiverError) as caught:
                await get(client(), f"http://127.0.0.1:{server.port}/", timeout=0.3)
            found[name] = (caught.value.reason, caught.value.retryable)
    with nobody() as url, pytest.raises(ReceiverError) as caught:
        await get(client(), url)
    found["nobody"] = (caught.value.reason, caught.value.retryable)
    with pytest.raises(ReceiverError) as caught:
        await get(client(), "http://no-such-name.invalid/")
    found["name"] = (caught.value.reason, caught.value.retryable)
    assert found == {
        "reset": ("BadAnswer", True), "nonsense": ("BadAnswer", True), "silent": ("TimedOut", True),
        "nobody": ("ConnectFailed", True), "name": ("NameNotFound", True),
    }  # fmt: skip


@pytest.mark.parametrize(
    "url", ["ftp://shop.test/", "file:///etc/passwd", "http://", "//shop.test/", "http://user:pw@shop.test/", ""]
)  # fmt: skip
async def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ReceiverError) as caught:
        await get(client(), url)
    assert caught.value.reason == "InvalidURL"


async def test_what_is_said_holds_neither_path_nor_query() -> None:
    with nobody() as url, pytest.raises(ReceiverError) as caught:
        await get(client(), f"{url}/services/T0KEN?sig=S3CRET")
    assert "T0KEN" not in str(caught.value) and "S3CRET" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


@pytest.mark.parametrize(
    ("region", "status", "said"),
    [("eu", "200 OK", ""), ("us", "200 OK", "answered by us, expected eu"), ("eu", "503 Busy", "answered 503")],
)
async def test_verification_goes_the_same_way(region: str, status: str, said: str) -> None:
    async with Receiver(lambda _: response(b"", status=status, headers=f"X-Region: {region}\r\n")) as gateway:
        check = VerificationSpec(url=f"{gateway.url}/", host="shop.example.com", region_header="X-Region", successes=1)
        target = TargetSpec(kind="HTTPRoute", name="shop", regions_by_service={}, verification=check)
        open_client, guarded = client(), client(allow_loopback=False)
        assert await HttpVerifier(open_client).check(target, expected=frozenset({"eu"})) == said
        assert gateway.messages[0].headers["host"] == "shop.example.com"
        assert "egress.allowLoopback" in await HttpVerifier(guarded).check(target, expected=frozenset({"eu"}))
        assert gateway.connections == 1
        open_client.close()
        guarded.close()
