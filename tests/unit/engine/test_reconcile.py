"""Workers: what an outcome does to the key, and that one broken object never stops the others."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from regent.domain.errors import ConflictError, InvalidError, LeadershipLostError, UnavailableError
from regent.engine.queue import Key, KeyedQueue
from regent.engine.reconcile import Workers
from regent.engine.resources import FAILOVERS, REGIONS
from tests.fakes.clock import LoopClock
from tests.fakes.ports import FakeMetrics

pytestmark = pytest.mark.looptime

A, B = Key(REGIONS, "", "a"), Key(REGIONS, "", "b")


class Script:
    """A reconciler that does what it is told, in order, and notes when it was called."""

    def __init__(self) -> None:
        self.visits: list[tuple[str, float]] = []
        self.outcomes: dict[str, list[float | Exception | None]] = {}
        self.wait: Callable[[], float] = lambda: 0.0

    async def reconcile(self, key: Key) -> float | None:
        self.visits.append((key.name, asyncio.get_running_loop().time()))
        await asyncio.sleep(self.wait())
        left = self.outcomes.get(key.name, [])
        outcome = left.pop(0) if left else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def gaps(self, name: str) -> list[float]:
        times = [time for visited, time in self.visits if visited == name]
        return [round(later - sooner, 3) for sooner, later in itertools.pairwise(times)]


class Bench:
    def __init__(self, count: int = 2) -> None:
        self.queue = KeyedQueue(jitter=lambda: 0.0)
        self.script = Script()
        self.metrics = FakeMetrics()
        self.workers = Workers(self.queue, {REGIONS: self.script}, clock=LoopClock(), metrics=self.metrics, count=count)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.workers.run())
        try:
            yield task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, LeadershipLostError):
                await task


async def test_nothing_is_visited_before_the_workers_run_and_everything_after() -> None:
    bench = Bench()
    for _ in range(5):
        bench.queue.add(A)
    bench.queue.add(B)
    await asyncio.sleep(100)
    assert bench.script.visits == []
    async with bench.running():
        await asyncio.sleep(1)
    assert sorted(name for name, _ in bench.script.visits) == ["a", "b"]


async def test_comes_back_when_the_reconciler_says() -> None:
    bench = Bench()
    bench.script.outcomes["a"] = [30.0, None]
    bench.queue.add(A)
    async with bench.running():
        await asyncio.sleep(100)
    assert bench.script.gaps("a") == [pytest.approx(30, abs=0.01)]


async def test_a_conflict_is_retried_at_once_but_a_fight_is_not() -> None:
    bench = Bench()
    bench.script.outcomes["a"] = [ConflictError("x")] * 6
    bench.queue.add(A)
    async with bench.running():
        await asyncio.sleep(60)
    gaps = bench.script.gaps("a")
    assert gaps[:3] == [0, 0, 0]
    assert all(gap > 0.1 for gap in gaps[3:])
    assert len(gaps) == 6


async def test_unavailable_backs_off_and_honours_retry_after() -> None:
    bench = Bench()
    bench.script.outcomes["a"] = [UnavailableError("x"), UnavailableError("x"), UnavailableError("x", retry_after=9)]
    bench.queue.add(A)
    async with bench.running():
        await asyncio.sleep(60)
    assert bench.script.gaps("a") == pytest.approx([0.05, 0.1, 9], abs=0.01)
    assert bench.queue.failures(A) == 0, "a success ends the series"


async def test_a_bug_is_logged_with_a_traceback_counted_and_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(count=1)
    bench.script.outcomes["a"] = [ZeroDivisionError("boom")] * 1000
    bench.queue.add(A)
    bench.queue.add(B)
    async with bench.running():
        await asyncio.sleep(10)
    assert [name for name, _ in bench.script.visits].count("b") == 1
    assert bench.metrics.counted("regent_reconcile_total", kind="Region", result="error") >= 3
    assert "ZeroDivisionError" in caplog.text
    assert caplog.records[0].__dict__["object"] == "Region/a"


async def test_an_invalid_write_does_not_hammer_the_server() -> None:
    bench = Bench()
    bench.script.outcomes["a"] = [InvalidError("x")] * 1000
    bench.queue.add(A)
    async with bench.running():
        await asyncio.sleep(300)
    assert len(bench.script.visits) < 25


async def test_losing_the_lease_ends_the_workers() -> None:
    bench = Bench()
    bench.script.outcomes["a"] = [LeadershipLostError("gone")]
    bench.queue.add(A)
    with pytest.raises(LeadershipLostError):
        await asyncio.wait_for(bench.workers.run(), 10)
    assert not bench.workers.running


async def test_a_visit_that_hangs_is_seen_and_does_not_block_other_workers() -> None:
    bench = Bench()
    bench.script.wait = lambda: 10_000 if bench.script.visits[-1][0] == "a" else 0
    bench.queue.add(A)
    async with bench.running():
        await asyncio.sleep(50)
        bench.queue.add(B)
        await asyncio.sleep(50)
        seconds, key = bench.workers.longest()
    assert (key, seconds) == (A, pytest.approx(100, abs=0.1))
    assert bench.script.visits[-1][0] == "b"


async def test_a_key_without_reconciler_is_dropped() -> None:
    bench = Bench()
    bench.queue.add(Key(FAILOVERS, "shop", "x"))
    async with bench.running():
        await asyncio.sleep(1)
    assert len(bench.queue) == bench.queue.in_flight == 0
