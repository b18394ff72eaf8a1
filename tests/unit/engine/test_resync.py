"""The resync: fills, prunes, retries, and copes with kinds that the cluster does not serve (yet)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from regent.domain.errors import NotFoundError, UnavailableError
from regent.engine.resources import HTTP_ROUTES, REGIONS
from regent.engine.resync import ABSENT, Resync, Watched
from regent.engine.store import Store
from tests.fakes.clock import LoopClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.ports import FakeMetrics

pytestmark = pytest.mark.looptime

WATCHED = (Watched(REGIONS), Watched(HTTP_ROUTES, optional=True))


def region(name: str, version: int = 0) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "uid": f"uid-{name}"}
    return {"metadata": {**metadata, "resourceVersion": str(version)} if version else metadata, "spec": {}}


class Bench:
    def __init__(self) -> None:
        self.cluster, self.metrics, self.clock = FakeCluster(), FakeMetrics(), LoopClock()
        self.store = Store(watch.resource for watch in WATCHED)
        self.resync = Resync(
            self.cluster, self.store, clock=self.clock, metrics=self.metrics, watched=WATCHED, interval=300
        )

    def unserved(self, resource: Any = HTTP_ROUTES, times: int = 10_000) -> None:
        self.cluster.fail("list", NotFoundError("no such kind", status=404), resource=resource, times=times)

    def names(self) -> set[str]:
        return {obj["metadata"]["name"] for obj in self.store.list(REGIONS)}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.resync.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_fills_the_store_before_it_says_synced() -> None:
    bench = Bench()
    bench.cluster.put(REGIONS, region("a"))
    assert not bench.store.synced()
    async with bench.running():
        await asyncio.wait_for(bench.store.wait_synced(), 1)
        assert bench.names() == {"a"}


async def test_prunes_what_the_watch_did_not_report_and_counts_it() -> None:
    bench = Bench()
    bench.cluster.put(REGIONS, region("a"))
    async with bench.running():
        await bench.store.wait_synced()
        await bench.cluster.delete(REGIONS, "", "a", uid="uid-a")
        await asyncio.sleep(299)
        assert bench.names() == {"a"}
        await asyncio.sleep(2)
        assert bench.names() == set()
    assert bench.metrics.counted("regent_resync_repaired_total", kind="Region") == 1


async def test_a_request_lists_at_once_and_many_are_one() -> None:
    bench = Bench()
    async with bench.running():
        await bench.store.wait_synced()
        await asyncio.sleep(1)
        bench.cluster.put(REGIONS, region("b"))
        before = len(bench.cluster.calls)
        for _ in range(20):
            bench.resync.request()
        await asyncio.sleep(0.1)
        assert bench.names() == {"b"}
        assert len(bench.cluster.calls) - before == len(WATCHED)


async def test_a_request_during_a_list_asks_for_another() -> None:
    bench = Bench()
    gate = asyncio.Event()
    real = bench.cluster.list

    async def slow(*arguments: Any, **options: Any) -> Any:
        found = await real(*arguments, **options)
        await gate.wait()
        return found

    bench.cluster.list = slow  # type: ignore[method-assign]
    async with bench.running():
        await asyncio.sleep(1)
        bench.cluster.put(REGIONS, region("made-since"))
        bench.resync.request()
        gate.set()
        await asyncio.sleep(1)
        assert bench.names() == {"made-since"}


async def test_an_api_server_that_is_away_is_asked_again_and_the_store_stays() -> None:
    bench = Bench()
    bench.cluster.put(REGIONS, region("a"))
    async with bench.running():
        await bench.store.wait_synced()
        bench.cluster.fail("list", UnavailableError("down"), times=1000)
        await asyncio.sleep(900)
        assert bench.names() == {"a"}
        assert bench.resync.age() > 890, "which /healthz looks at"
        bench.cluster._faults.clear()
        await asyncio.sleep(16)
        assert bench.resync.age() < 16


async def test_a_missing_optional_kind_holds_nothing_up_and_is_found_when_installed() -> None:
    bench = Bench()
    heard: list[frozenset[Any]] = []
    bench.resync.subscribe(lambda: heard.append(bench.resync.served()))
    bench.unserved()
    async with bench.running():
        await asyncio.wait_for(bench.store.wait_synced(), 1)
        await asyncio.wait_for(bench.resync.looked_around(), 1)
        assert bench.resync.served() == {REGIONS}
        bench.cluster._faults.clear()
        await asyncio.sleep(ABSENT + 1)
        assert bench.resync.served() == {REGIONS, HTTP_ROUTES}
    assert heard[-1] == {REGIONS, HTTP_ROUTES}


async def test_a_missing_kind_of_our_own_is_waited_for() -> None:
    bench = Bench()
    bench.unserved(REGIONS)
    async with bench.running():
        await asyncio.sleep(100)
        assert not bench.store.synced()
        bench.cluster._faults.clear()
        await asyncio.wait_for(bench.store.wait_synced(), ABSENT + 1)


async def test_a_kind_that_is_not_served_for_a_moment_loses_no_objects() -> None:
    """An API server that has just started may not know its custom resources yet."""
    bench = Bench()
    bench.cluster.put(REGIONS, region("a"))
    async with bench.running():
        await bench.store.wait_synced()
        bench.unserved(REGIONS, times=2)
        bench.resync.request()
        await asyncio.sleep(1)
        assert bench.names() == {"a"}


async def test_what_the_watch_brings_while_the_list_is_under_way_is_kept() -> None:
    bench = Bench()
    real = bench.cluster.list

    async def overtaken(resource: Any, *arguments: Any, **options: Any) -> Any:
        found = await real(resource, *arguments, **options)
        if resource == REGIONS:
            bench.store.observe(REGIONS, region("made-since", version=9_999))
        return found

    bench.cluster.list = overtaken  # type: ignore[method-assign]
    async with bench.running():
        await bench.store.wait_synced()
        assert bench.names() == {"made-since"}
