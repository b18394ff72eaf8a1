"""/healthz fails for each part that stands still, and for nothing that a restart would not cure."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from regent.adapters.kubernetes.lease import LeaseElector
from regent.domain.errors import LeadershipLostError, UnavailableError
from regent.domain.health.model import HealthSpec, ProbeResult, ProbeSpec, TcpCheck
from regent.engine.health import HealthTracker
from regent.engine.queue import Key, KeyedQueue
from regent.engine.reconcile import Workers
from regent.engine.resources import LEASES, REGIONS
from regent.engine.resync import Resync, Watched
from regent.engine.store import Store
from regent.server import liveness
from tests.fakes.clock import LoopClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.ports import FakeMetrics
from tests.fakes.prober import HANG, NOT_RUN, UP, FakeEndpointProber, FakeProber, FakeSignals

pytestmark = pytest.mark.looptime


@contextlib.asynccontextmanager
async def going(part: Awaitable[None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a part; cancel the task to let it stand still."""
    task = asyncio.ensure_future(part)
    try:
        yield task  # type: ignore[misc]
    finally:
        await halt(task)


async def halt(task: Any) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, LeadershipLostError):
        await task


async def never(*_: Any, **__: Any) -> Any:
    """Like a request whose answer is lost and whose time-out does not work."""
    await asyncio.Event().wait()


class Heart:
    lag = 0.0


def test_the_event_loop() -> None:
    heart = Heart()
    check = liveness.event_loop(heart)
    assert check() == ""
    heart.lag = 2.5
    assert check() == "late by 2.5s"


async def test_the_resync() -> None:
    cluster = FakeCluster()
    part = Resync(
        cluster, Store([REGIONS]), clock=LoopClock(), metrics=FakeMetrics(), watched=[Watched(REGIONS)], interval=60
    )
    check = liveness.resync(part, interval=60)
    async with going(part.run()):
        await asyncio.sleep(1000)
        assert check() == ""
        cluster.list = never  # type: ignore[method-assign]
        await asyncio.sleep(120)
        assert check() == ""
        await asyncio.sleep(121)
        assert "has not been listed for" in check()


class Visit:
    def __init__(self) -> None:
        self.stuck = False

    async def reconcile(self, key: Key) -> float | None:
        if self.stuck:
            await never()
        return 1.0


async def test_the_workers() -> None:
    visit, queue = Visit(), KeyedQueue(jitter=lambda: 0.0)
    part = Workers(queue, {REGIONS: visit}, clock=LoopClock(), metrics=FakeMetrics(), count=2)
    check = liveness.workers(part, stuck_after=300)
    queue.add(Key(REGIONS, "", "eu"))
    async with going(part.run()):
        await asyncio.sleep(1000)
        assert check() == ""
        visit.stuck = True
        await asyncio.sleep(299)
        assert check() == ""
        await asyncio.sleep(3)
        assert check().startswith("Region/eu has been visited for 30")


class Health:
    """A tracker with ten regions whose probes do as the script says."""

    def __init__(self, *, regions: int = 10, concurrency: int = 1024, **timing: float) -> None:
        self.prober = FakeProber()
        self.tracker = HealthTracker(
            prober=self.prober, clock=LoopClock(), chance=lambda: 0.5, signals=FakeSignals(), metrics=FakeMetrics(),
            concurrency=concurrency,
        )  # fmt: skip
        for number in range(regions):
            name = f"r{number}"
            spec = ProbeSpec(region=name, name="web", host="192.0.2.1", port=80, check=TcpCheck(), **timing)
            self.tracker.configure(HealthSpec(region=name, probes=(spec,)))
        self.health, self.probes = liveness.health(self.tracker), liveness.probes(self.tracker)

    def checks(self) -> tuple[str, str]:
        return self.health(), self.probes()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        async with going(self.tracker.run()) as task:
            yield task
        await self.tracker.close()


async def test_the_tracker_goes_round() -> None:
    bench = Health()
    async with bench.running() as task:
        await asyncio.sleep(30)
        assert bench.checks() == ("", "")
        await halt(task)
        await asyncio.sleep(4)
        assert bench.health() == ""
        await asyncio.sleep(2)
        assert bench.health() == "regions have not been looked at for 6s"
        assert bench.probes() == "", "probes have timers of their own and go on"


async def test_a_tracker_that_nobody_started() -> None:
    bench = Health()
    await asyncio.sleep(6)
    assert bench.health()
    await bench.tracker.close()


async def test_probes_that_are_not_started_any_more() -> None:
    bench = Health()
    async with bench.running():
        await asyncio.sleep(20)
        for target in bench.tracker._scheduler.all_targets():
            assert target.slot_timer is not None
            target.slot_timer.cancel()  # the fault: the timers are lost
        await asyncio.sleep(5)
        assert bench.probes() == "", "within the time that a probe may take"
        await asyncio.sleep(20)
        assert bench.probes() == "10 of 10 targets are not probed, among them r0/web"
        assert bench.health() == ""


async def test_probes_that_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def deaf(self: FakeEndpointProber, *, timeout: float, cold: bool) -> ProbeResult:
        while True:  # the fault: neither its time-out nor being cancelled ends it
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
                return ProbeResult(outcome=UP.outcome)

    release = asyncio.Event()
    bench = Health()
    async with bench.running():
        await asyncio.sleep(10)
        monkeypatch.setattr(FakeEndpointProber, "probe", deaf)
        await asyncio.sleep(30)
        assert bench.probes().startswith("10 of 10")
        release.set()
        await asyncio.sleep(5)
        assert bench.probes() == ""


async def test_one_probe_that_stands_still_does_not_cost_the_others_their_failover() -> None:
    bench = Health()
    async with bench.running():
        await asyncio.sleep(10)
        target = next(iter(bench.tracker._scheduler.all_targets()))
        assert target.slot_timer is not None
        target.slot_timer.cancel()
        await asyncio.sleep(40)
        assert bench.tracker.unprobed() == (["r0/web"], 10)
        assert bench.probes() == ""


@pytest.mark.parametrize("answer", [HANG, NOT_RUN], ids=["hang", "cannot run"])
async def test_regions_that_do_not_answer_are_no_fault_of_ours(answer: Any) -> None:
    bench = Health(regions=3)
    bench.prober.script = lambda _spec, _cold: answer
    async with bench.running():
        for _ in range(90):
            await asyncio.sleep(1)
            assert bench.checks() == ("", "")


async def test_targets_that_wait_for_room_are_no_fault_of_ours() -> None:
    bench = Health(regions=20, concurrency=2, interval=1.0, timeout=5.0)
    bench.prober.script = lambda _spec, _cold: HANG
    async with bench.running():
        for _ in range(90):
            await asyncio.sleep(1)
            assert bench.checks() == ("", "")


async def test_nothing_to_probe_is_well() -> None:
    bench = Health(regions=0)
    async with bench.running():
        await asyncio.sleep(30)
        assert bench.checks() == ("", "")


def elector(cluster: FakeCluster, identity: str) -> LeaseElector:
    return LeaseElector(
        cluster, namespace="regent-system", name="regent", identity=identity, clock=LoopClock(), metrics=FakeMetrics(),
        jitter=lambda: 0.0,
    )  # fmt: skip


@pytest.mark.parametrize("leads", [True, False], ids=["leader", "standby"])
async def test_an_elector_that_stands_still(leads: bool) -> None:
    cluster = FakeCluster()
    other, part = elector(cluster, "other"), elector(cluster, "ours")
    check, ready = liveness.lease(part), liveness.lease_seen(part)
    async with contextlib.AsyncExitStack() as stack:
        if not leads:
            await stack.enter_async_context(going(other.run()))
            await asyncio.wait_for(other.elected(), 5)
        task = await stack.enter_async_context(going(part.run()))
        await asyncio.sleep(120)
        assert part.leading is leads
        assert (check(), ready()) == ("", "")
        await halt(task)  # the fault: the elector does not go on
        await asyncio.sleep(4)
        assert (check(), ready()) == ("", ""), "within the time that a slow API server may take"
        await asyncio.sleep(7)
        assert check().startswith("the lease has not been tried for 1")
        assert ready().startswith("the lease has not been seen for 1")


async def test_a_standby_hub_competes_for_nothing_and_is_alive_when_it_begins_to() -> None:
    cluster, electing = FakeCluster(), False
    part = elector(cluster, "ours")
    check = liveness.lease(part, competing=lambda: electing)
    await asyncio.sleep(3600)
    assert check() == ""
    electing = True
    async with going(part.run()):
        await asyncio.sleep(0.1)
        assert check() == "", "it has just begun"
    await asyncio.sleep(60)
    assert check(), "it has ended"


async def test_a_leader_whose_watch_over_itself_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster()
    part = elector(cluster, "ours")
    check = liveness.lease(part)
    async with going(part.run()):
        await asyncio.wait_for(part.elected(), 5)
        monkeypatch.setattr(LeaseElector, "leading", True)
        part._valid_until = float("inf")  # the fault: it believes for ever
        cluster.fail("replace", UnavailableError("away"), resource=LEASES, times=10_000)
        await asyncio.sleep(4)
        assert check() == ""
        await asyncio.sleep(2)
        assert check().startswith("leading, and the lease has not been renewed for")


async def test_a_standby_without_an_api_server_is_alive_and_not_ready() -> None:
    cluster = FakeCluster()
    other, part = elector(cluster, "other"), elector(cluster, "ours")
    check, ready = liveness.lease(part), liveness.lease_seen(part)
    async with going(other.run()) as leader, going(part.run()):
        await asyncio.sleep(30)
        await halt(leader)
        for verb in ("get", "replace", "create"):
            cluster.fail(verb, UnavailableError("away"), resource=LEASES, times=10_000)
        await asyncio.sleep(300)
        assert check() == ""
        assert ready().startswith("the lease has not been seen for 30")
