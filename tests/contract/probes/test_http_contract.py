"""What a probe over HTTP answers, the same from both adapters: against real servers on loopback."""

from __future__ import annotations

import asyncio

import pytest

from regent.domain.health.model import LoadFigures, Outcome
from tests.fakes.probing import opened, probe_once, spec_for
from tests.fakes.wire import Peer, WireServer, answering, response, until, unused_port

pytestmark = pytest.mark.parametrize("adapter", ["http1", "httpx"])

S, R, T, N = Outcome.SUCCESS, Outcome.REFUSED, Outcome.TIMEOUT, Outcome.NOT_RUN


@pytest.mark.parametrize(
    ("status", "expected", "outcome"),
    [
        ("200 OK", ((200, 299),), S),
        ("204 No Content", ((200, 299),), S),
        ("299 Odd", ((200, 299),), S),
        ("199 Odd", ((200, 299),), None),
        ("300 Multiple Choices", ((200, 299),), R),
        ("302 Found", ((200, 299),), R),
        ("302 Found", ((200, 200), (302, 302)), S),
        ("404 Not Found", ((200, 399),), R),
        ("503 Service Unavailable", ((200, 299),), R),
        ("503 Service Unavailable", ((200, 299), (503, 503)), S),
        ("200", ((200, 299),), S),
    ],
)
async def test_status(
    adapter: str, status: str, expected: tuple[tuple[int, int], ...], outcome: Outcome | None
) -> None:
    body = b"" if status[:3] in ("199", "204") else b"ok"
    async with WireServer(answering(response(body, status=status))) as server:
        timeout = 2.0 if outcome else 0.15
        result = await probe_once(adapter, spec_for(server.port, expected_statuses=expected), timeout=timeout)
    # An interim answer (1xx) is no answer yet: without a final one that is silence.
    assert result.outcome is (outcome or T)
    if result.outcome is R:
        assert result.detail == f"HTTP status {status[:3]}"
    if result.outcome is S:
        assert 0 < result.latency < 2.0


async def test_redirect_is_an_answer_and_not_followed(adapter: str) -> None:
    seen: list[bytes] = []

    async def handler(peer: Peer) -> None:
        async for request in peer.requests():
            seen.append(request.split(b"\r\n")[0])
            await peer.send(response(b"", status="301 Moved", headers="Location: /elsewhere\r\n"))

    async with WireServer(handler) as server:
        result = await probe_once(adapter, spec_for(server.port, path="/healthz"))
    assert result.outcome is R
    assert seen == [b"GET /healthz HTTP/1.1"]


async def test_request_as_asked_for(adapter: str) -> None:
    seen: list[bytes] = []

    async def handler(peer: Peer) -> None:
        async for request in peer.requests():
            seen.append(request)
            await peer.send(response())

    async with WireServer(handler) as server:
        spec = spec_for(
            server.port,
            path="/a b/ü?x=1&y=%20#end",
            host="127.0.0.1",
            headers=(("X-Probe", "regent"), ("Host", "shop")),
        )
        assert (await probe_once(adapter, spec)).outcome is S
        assert (await probe_once(adapter, spec_for(server.port))).outcome is S
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "GET /a%20b/%C3%BC?x=1&y=%20 HTTP/1.1"
    assert [line for line in lines if line.lower().startswith("host:")] == ["Host: shop"]
    assert "X-Probe: regent" in lines
    assert "Accept-Encoding: identity" in lines
    assert f"Host: 127.0.0.1:{server.port}" in seen[1].decode().split("\r\n")


@pytest.mark.parametrize(
    ("body", "outcome"), [(b"all is well", S), (b"all is lost", R), (b"", R), ("alles gut – ü".encode(), R)]
)
async def test_body_text(adapter: str, body: bytes, outcome: Outcome) -> None:
    async with WireServer(answering(response(body))) as server:
        result = await probe_once(adapter, spec_for(server.port, body_contains="is well"))
    assert result.outcome is outcome
    if outcome is R:
        assert "body" in result.detail


@pytest.mark.parametrize(
    ("body", "load"),
    [
        (
            b'{"load": {"errors": 12.5}, "pools": [{"free": "70"}]}',
            LoadFigures(error_rate_percent=12.5, capacity_available_percent=70),
        ),
        (b'{"load": {"errors": 0}}', LoadFigures(error_rate_percent=0)),
        (b'{"load": {"errors": -1}, "pools": [{"free": 101}]}', None),
        (b'{"load": {"errors": NaN}, "pools": [{"free": "inf"}]}', None),
        (b'{"load": {"errors": true}, "pools": []}', None),
        (b'{"load": {"errors": 1' + b"0" * 400 + b"}}", None),
        (b"not json", None),
        (b"[" * 50_000, None),
        (b"", None),
    ],
)
async def test_load_figures(adapter: str, body: bytes, load: LoadFigures | None) -> None:
    async with WireServer(answering(response(body))) as server:
        spec = spec_for(server.port, error_rate_path=".load.errors", capacity_path="$.pools[0]['free']")
        result = await probe_once(adapter, spec)
    assert result.outcome is S
    assert result.load == load


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nis w\r\n3;ext=1\r\nell\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + response(b"is well"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nis well",
        b"HTTP/1.1 200 OK\nContent-Length: 7\n\nis well",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 7\r\n\r\nis well",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7, 7\r\n\r\nis well",
    ],
    ids=["chunked", "interim", "http10", "linefeeds", "folded", "same-length-twice"],
)
async def test_framing(adapter: str, answer: bytes) -> None:
    async with (
        WireServer(answering(answer)) as server,
        opened(adapter, spec_for(server.port, body_contains="is well")) as endpoint,
    ):
        for cold in (False, False, True):
            result = await endpoint.probe(timeout=2, cold=cold)
            assert result.outcome is S, result


async def test_body_until_close(adapter: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nall ")
        await peer.send(b"is well")

    async with (
        WireServer(handler) as server,
        opened(adapter, spec_for(server.port, body_contains="is well")) as endpoint,
    ):
        for _ in range(2):
            result = await endpoint.probe(timeout=2, cold=False)
            assert result.outcome is S, result
            assert not result.reused
        assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x50",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nis well",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nis well\r\n",
        b"HTTP/1.1 200 OK\r\nContent-L",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000 + b"\r\n\r\n",
    ],
    ids=["ssh", "tls-alert", "http2", "status", "header", "two-lengths", "negative", "coding", "chunk", "cut-body",
         "cut-chunks", "cut-head", "nothing", "many-headers", "long-header"],
)  # fmt: skip
async def test_broken_answers_are_refused(adapter: str, answer: bytes) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)

    async with WireServer(handler) as server:
        result = await probe_once(adapter, spec_for(server.port, body_contains="is well"))
    assert result.outcome is R
    assert result.detail


async def test_huge_body_is_read_only_as_far_as_needed(adapter: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\nis well")
        while True:
            await peer.send(b"x" * 65536)

    async with WireServer(handler) as server:
        assert (await probe_once(adapter, spec_for(server.port))).outcome is S
        assert (await probe_once(adapter, spec_for(server.port, body_contains="is well"))).outcome is S
        assert (await probe_once(adapter, spec_for(server.port, body_contains="lost"))).outcome is R


async def test_head_decides_when_no_text_is_expected(adapter: str) -> None:
    async def handler(peer: Peer) -> None:
        async for _ in peer.requests():
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nis")

    async with WireServer(handler) as server:
        async with opened(adapter, spec_for(server.port)) as endpoint:
            for number in (1, 2, 3):
                result = await endpoint.probe(timeout=2, cold=False)
                # The body never ends, so each probe needs a new connection; none is refused for it.
                assert (result.outcome, result.reused, server.connections) == (S, False, number)
        result = await probe_once(adapter, spec_for(server.port, body_contains="is"), timeout=0.15)
        assert result.outcome is T


async def test_connection_refused(adapter: str) -> None:
    result = await probe_once(adapter, spec_for(unused_port()))
    assert result.outcome is R
    assert "refused" in result.detail


async def test_reset_in_the_middle(adapter: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-")
        peer.reset()

    async with WireServer(handler) as server:
        result = await probe_once(adapter, spec_for(server.port))
    assert result.outcome is R


async def test_silence_is_a_timeout_of_its_full_length(adapter: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.reader.read()

    async with WireServer(handler) as server:
        result = await probe_once(adapter, spec_for(server.port), timeout=0.15)
    assert result.outcome is T
    assert result.latency == 0.15
    assert "150 ms" in result.detail


async def test_slow_head_is_a_timeout(adapter: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        for byte in response():
            await peer.send(bytes((byte,)))
            await asyncio.sleep(0.02)

    async with WireServer(handler) as server:
        result = await probe_once(adapter, spec_for(server.port), timeout=0.2)
    assert result.outcome is T


async def test_silence_on_a_kept_connection_is_a_timeout(adapter: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(response())
        await peer.reader.read()

    async with WireServer(handler) as server, opened(adapter, spec_for(server.port)) as endpoint:
        assert (await endpoint.probe(timeout=2, cold=False)).outcome is S
        result = await endpoint.probe(timeout=0.5, cold=False)
        assert result.outcome is T
        assert (await endpoint.probe(timeout=2, cold=False)).outcome is S
        assert server.connections == 2


async def test_connection_is_kept_and_a_cold_probe_has_its_own(adapter: str) -> None:
    async with (
        WireServer(answering(response(b"x" * 2000))) as server,
        opened(adapter, spec_for(server.port, body_contains="x")) as endpoint,
    ):
        results = [await endpoint.probe(timeout=2, cold=False) for _ in range(5)]
        assert [result.reused for result in results] == [False, True, True, True, True]
        assert server.connections == 1
        assert not (await endpoint.probe(timeout=2, cold=True)).reused
        assert server.connections == 2
        assert (await endpoint.probe(timeout=2, cold=False)).reused
        assert server.connections == 2


async def test_connection_close_is_obeyed(adapter: str) -> None:
    async with (
        WireServer(answering(response(headers="Connection: close\r\n"))) as server,
        opened(adapter, spec_for(server.port, body_contains="ok")) as endpoint,
    ):
        for number in (1, 2, 3):
            result = await endpoint.probe(timeout=2, cold=False)
            assert (result.outcome, result.reused, server.connections) == (S, False, number)


async def test_idle_close_by_the_server_is_no_failure(adapter: str) -> None:
    async with WireServer(answering(response())) as server, opened(adapter, spec_for(server.port)) as endpoint:
        for number in range(1, 6):
            assert (await endpoint.probe(timeout=2, cold=False)).outcome is S
            assert server.connections == number
            server.close_idle()
            if number % 2:  # once at the same moment, once when both ends know of it
                await until(lambda: server.open_connections == 0)


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_close_that_crosses_the_request_is_retried_and_not_counted(adapter: str, ending: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(response())
        await peer.request()  # the second request is read and the connection ends without a byte
        if ending == "reset":
            peer.reset()

    async with WireServer(handler) as server, opened(adapter, spec_for(server.port)) as endpoint:
        for number in range(1, 5):
            result = await endpoint.probe(timeout=2, cold=False)
            assert result.outcome is S, result
            assert server.connections == number
            assert not result.reused


async def test_retry_that_fails_too_counts(adapter: str) -> None:
    async def handler(peer: Peer) -> None:
        if peer.number == 1:
            await peer.request()
            await peer.send(response())
        await peer.request()

    async with WireServer(handler) as server, opened(adapter, spec_for(server.port)) as endpoint:
        assert (await endpoint.probe(timeout=2, cold=False)).outcome is S
        result = await endpoint.probe(timeout=2, cold=False)
        assert result.outcome is R
        assert server.connections == 2


async def test_failure_in_the_middle_of_an_answer_on_a_kept_connection_counts(adapter: str) -> None:
    async with (
        WireServer(answering(response(), b"HTTP/1.1 garbage\r\n\r\n")) as server,
        opened(adapter, spec_for(server.port)) as endpoint,
    ):
        assert (await endpoint.probe(timeout=2, cold=False)).outcome is S
        assert (await endpoint.probe(timeout=2, cold=False)).outcome is R
        assert server.connections == 1


async def test_bad_status_keeps_the_connection(adapter: str) -> None:
    answers = response(), response(status="503 Service Unavailable"), response()
    async with (
        WireServer(answering(*answers)) as server,
        opened(adapter, spec_for(server.port, body_contains="ok")) as endpoint,
    ):
        outcomes = [(await endpoint.probe(timeout=2, cold=False)).outcome for _ in range(3)]
        assert outcomes == [S, R, S]
        assert server.connections == 1


async def test_cold_probes_overlap(adapter: str) -> None:
    release = asyncio.Event()

    async def handler(peer: Peer) -> None:
        async for _ in peer.requests():
            await release.wait()
            await peer.send(response())

    async with WireServer(handler) as server, opened(adapter, spec_for(server.port)) as endpoint:
        hot = asyncio.create_task(endpoint.probe(timeout=5, cold=False))
        cold = [asyncio.create_task(endpoint.probe(timeout=5, cold=True)) for _ in range(3)]
        await until(lambda: server.connections == 4)
        release.set()
        assert [result.outcome for result in await asyncio.gather(hot, *cold)] == [S] * 4


async def test_slow_endpoint_does_not_hold_up_others(adapter: str) -> None:
    async def silent(peer: Peer) -> None:
        await peer.reader.read()

    async with WireServer(silent) as slow, WireServer(answering(response())) as quick:  # noqa: SIM117
        async with opened(adapter, spec_for(slow.port)) as first, opened(adapter, spec_for(quick.port)) as second:
            waiting = asyncio.create_task(first.probe(timeout=30, cold=False))
            await until(lambda: slow.connections == 1)
            for _ in range(3):
                assert (await second.probe(timeout=2, cold=False)).outcome is S
            assert not waiting.done()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await until(lambda: slow.connections == 1)


async def test_cancelled_probe_leaves_the_endpoint_usable(adapter: str) -> None:
    async def handler(peer: Peer) -> None:
        async for _ in peer.requests():
            if peer.number == 2:
                await peer.send(response())
            else:
                await peer.send(b"")

    async with WireServer(handler) as server, opened(adapter, spec_for(server.port)) as endpoint:
        task = asyncio.create_task(endpoint.probe(timeout=30, cold=False))
        await until(lambda: server.connections == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await endpoint.probe(timeout=2, cold=False)).outcome is S


@pytest.mark.parametrize("late", [False, True], ids=["in-between", "after-the-next"])
async def test_answer_to_a_cancelled_probe_is_not_the_next_ones(adapter: str, late: bool) -> None:
    release, seen, sent = asyncio.Event(), [], []

    async def handler(peer: Peer) -> None:
        async for request in peer.requests():
            seen.append(request)
            if len(seen) == 2:
                await release.wait()
                await peer.send(response(status="503 Late"))
                sent.append(True)
            else:
                await peer.send(response())

    async with WireServer(handler) as server, opened(adapter, spec_for(server.port)) as endpoint:
        assert (await endpoint.probe(timeout=2, cold=False)).outcome is S
        task = asyncio.create_task(endpoint.probe(timeout=30, cold=False))
        await until(lambda: len(seen) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if not late:
            release.set()
            await until(lambda: bool(sent) or server.open_connections == 0)
        assert (await endpoint.probe(timeout=2, cold=False)).outcome is S
        release.set()
        assert (await endpoint.probe(timeout=2, cold=False)).outcome is S


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "healthz"},
        {"error_rate_path": "errors"},
        {"capacity_path": ".a[*]"},
        {"headers": (("Bad Name", "x"),)},
        {"headers": (("X-Probe", "a\r\nHost: b"),)},
        {"headers": (("Connection", "upgrade"),)},
        {"host": "a\r\nb"},
    ],
)
async def test_unusable_checks_are_refused_when_opened(adapter: str, fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"path|JSONPath|header|host"):
        await probe_once(adapter, spec_for(1, **fields))
