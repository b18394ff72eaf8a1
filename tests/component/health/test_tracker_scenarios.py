"""A minute of each fault against the tracker, the scheduler and the rules together, under fake loop time.

Each test fails when the verdict comes later than the formula allows, or at all where none may come.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from regent.domain.health.model import (
    AdminState,
    Health,
    HealthSpec,
    LoadFigures,
    Outcome,
    ProbeRole,
    ProbeSpec,
    TcpCheck,
    Thresholds,
)
from regent.domain.health.triggers import Figure
from regent.engine.health import HealthTracker
from tests.fakes.clock import LoopClock
from tests.fakes.ports import FakeMetrics
from tests.fakes.prober import HANG, NOT_RUN, REFUSED, UP, Answer, FakeProber, FakeSignals, slow

pytestmark = pytest.mark.looptime

FAST = {"interval": 0.25, "timeout": 0.2, "retry_interval": 0.05, "failure_threshold": 3, "success_threshold": 2}
DEFAULTS = {"interval": 1.0, "timeout": 2.0, "retry_interval": 0.1, "failure_threshold": 3, "success_threshold": 2}


@dataclass
class Bench:
    """A tracker with everything around it faked, and the log of what its listeners saw."""

    prober: FakeProber = field(default_factory=FakeProber)
    signals: FakeSignals = field(default_factory=FakeSignals)
    metrics: FakeMetrics = field(default_factory=FakeMetrics)
    seen: list[tuple[float, str, Health, bool]] = field(default_factory=list)
    tracker: HealthTracker = field(init=False)

    def __post_init__(self) -> None:
        self.tracker = HealthTracker(
            prober=self.prober,
            clock=LoopClock(),
            chance=random.Random(7).random,
            signals=self.signals,
            metrics=self.metrics,
        )
        self.tracker.subscribe(self._note)

    def _note(self, region: str) -> None:
        health = self.tracker.health(region)
        self.seen.append((asyncio.get_running_loop().time(), region, health.health, health.down))

    def healths(self, region: str = "eu") -> list[Health]:
        """The healths that listeners saw, without repetitions."""
        found: list[Health] = []
        for _, of, health, _ in self.seen:
            if of == region and (not found or found[-1] is not health):
                found.append(health)
        return found

    def first_down(self, region: str = "eu") -> float:
        return next(moment for moment, of, _, down in self.seen if of == region and down)


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    bench = Bench()
    task = asyncio.create_task(bench.tracker.run())
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bench.tracker.close()


def probe_of(region: str = "eu", name: str = "web", role: ProbeRole = ProbeRole.REQUIRED, **timing: float) -> ProbeSpec:
    timing = timing or FAST
    return ProbeSpec(region=region, name=name, host="192.0.2.1", port=80, check=TcpCheck(), role=role, **timing)


def region_of(*probes: ProbeSpec, region: str = "eu", **fields: object) -> HealthSpec:
    return HealthSpec(region=region, probes=probes or (probe_of(region),), **fields)


async def until(condition: Callable[[], bool], *, within: float = 120.0, step: float = 0.005) -> float:
    """Wait in fake time; return when the condition came true."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while not condition():
        assert loop.time() < end, "condition did not come true"
        await asyncio.sleep(step)
    return loop.time()


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("timing", [FAST, DEFAULTS], ids=["fast", "defaults"])
@pytest.mark.parametrize("fault", ["refused", "hang"])
@pytest.mark.parametrize("moment", [0.0, 0.3, 0.6, 0.97])
async def test_detection_keeps_to_the_formula(timing: dict[str, float], fault: str, moment: float) -> None:
    interval, retries = timing["interval"], (timing["failure_threshold"] - 1) * timing["retry_interval"]
    async with running() as bench:
        bench.tracker.configure(region_of(probe_of(**timing)))
        await asyncio.sleep(30 * interval + moment * interval)
        assert bench.tracker.health("eu").health is Health.HEALTHY
        broken = now()
        bench.prober.script = lambda _spec, _cold: REFUSED if fault == "refused" else HANG
        await until(lambda: bench.tracker.health("eu").down)
        longest = interval * 1.05 + retries + (timing["timeout"] if fault == "hang" else 0.0)
        assert now() - broken <= longest + 0.02
        health = bench.tracker.health("eu")
        assert health.health is Health.UNREACHABLE
        assert health.down_votes == 1 and health.vantages == 1
        assert health.first_failure is not None and broken <= health.first_failure <= broken + interval * 1.05
        assert health.proved_at is None and health.up_since is None


async def test_the_listener_is_called_inside_the_completing_probe() -> None:
    """The verdict is delivered in the very loop iteration in which the last failing probe ended."""
    async with running() as bench:
        bench.tracker.configure(region_of())
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY)
        bench.prober.script = lambda _spec, _cold: REFUSED
        await until(lambda: bench.tracker.health("eu").down)
        third_failure = bench.prober.times("eu")[-1] + REFUSED.latency
        assert bench.first_down() == pytest.approx(third_failure, abs=1e-6)


async def test_recovery_takes_the_threshold_and_then_the_period() -> None:
    async with running() as bench:
        bench.tracker.configure(region_of(thresholds=Thresholds(recovery_period=20)))
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY)
        bench.prober.script = lambda _spec, _cold: REFUSED
        await until(lambda: bench.tracker.health("eu").down)
        await asyncio.sleep(5)
        bench.prober.script = lambda _spec, _cold: UP
        mended = now()
        await until(lambda: bench.tracker.health("eu").health is Health.RECOVERING)
        assert now() - mended <= 0.25 * 1.05 + 0.05 + 0.02
        recovering = bench.tracker.health("eu")
        assert not recovering.down
        assert recovering.proved_at is not None, "proved at once: the period is for the shown verdict only"
        assert recovering.up_since is not None and recovering.down_since is None and recovering.first_failure is None
        since = now()
        await until(lambda: bench.tracker.health("eu").health is not Health.RECOVERING, step=0.1)
        assert 20 <= now() - since <= 22.5
        # The outage is still in the last minute's error rate; when it has left that, all is well.
        assert bench.tracker.health("eu").reason == "ErrorRateHigh"
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY, step=0.1)
        assert now() - since <= 60


async def test_a_lost_probe_during_recovery_does_not_start_it_again_but_a_down_does() -> None:
    async with running() as bench:
        bench.tracker.configure(region_of(thresholds=Thresholds(recovery_period=20)), before=Health.UNREACHABLE)
        await until(lambda: bench.tracker.health("eu").health is Health.RECOVERING)
        began = now()
        await asyncio.sleep(10)
        answers = iter([REFUSED])
        bench.prober.script = lambda _spec, _cold: next(answers, UP)
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY)
        assert 20 <= now() - began <= 22.5
        assert bench.healths() == [Health.UNKNOWN, Health.RECOVERING, Health.HEALTHY]


@pytest.mark.parametrize("lost", [REFUSED, HANG], ids=["refused", "hang"])
async def test_one_percent_lost_makes_no_transition_in_a_minute(lost: Answer) -> None:
    dice = random.Random(11)
    async with running() as bench:
        bench.prober.script = lambda _spec, _cold: lost if dice.random() < 0.01 else UP
        for number in range(25):
            bench.tracker.configure(region_of(region=f"r{number}"))
        await asyncio.sleep(60)
        for number in range(25):
            assert bench.healths(f"r{number}") in ([Health.HEALTHY], [Health.UNKNOWN, Health.HEALTHY])
        failures = sum(
            bench.metrics.counted("regent_probe_results_total", outcome=outcome.value)
            for outcome in (Outcome.REFUSED, Outcome.TIMEOUT)
        )
        assert failures > 30, "the fault was not there"


async def test_a_slow_region_is_degraded_and_is_not_probed_twice() -> None:
    async with running() as bench:
        bench.prober.script = lambda _spec, _cold: slow(1.2)
        bench.tracker.configure(region_of(probe_of(**DEFAULTS)))
        await asyncio.sleep(20)
        started = len(bench.prober.started)
        await asyncio.sleep(60)
        health = bench.tracker.health("eu")
        assert health.health is Health.DEGRADED and health.reason == "LatencyHigh"
        assert health.figures.latency_p50 == pytest.approx(1.2, abs=0.01)
        assert not health.down
        # 1.2 s per answer on a grid of 1 s: each second place is free. Hedging would double that.
        assert len(bench.prober.started) - started <= 45


async def test_one_slow_first_probe_is_no_latency() -> None:
    async with running() as bench:
        answers = iter([slow(1.5)])
        bench.prober.script = lambda _spec, _cold: next(answers, UP)
        bench.tracker.configure(region_of(probe_of(**DEFAULTS)))
        await asyncio.sleep(30)
        assert bench.healths() == [Health.UNKNOWN, Health.HEALTHY]


async def test_descriptors_exhausted_for_cold_probes_makes_no_transition() -> None:
    async with running() as bench:
        bench.tracker.configure(region_of())
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY)
        bench.prober.script = lambda _spec, cold: NOT_RUN if cold else UP
        before = len(bench.seen)
        await asyncio.sleep(60)
        assert len(bench.seen) == before
        assert bench.metrics.counted("regent_probe_results_total", outcome="NotRun") > 5


async def test_nothing_can_be_probed_any_more_gives_unknown_and_never_down() -> None:
    async with running() as bench:
        bench.tracker.configure(region_of())
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY)
        bench.prober.script = lambda _spec, _cold: NOT_RUN
        await asyncio.sleep(60)
        health = bench.tracker.health("eu")
        assert health.health is Health.UNKNOWN and health.reason == "NoVerdict"
        assert bench.healths() == [Health.UNKNOWN, Health.HEALTHY, Health.UNKNOWN]
        assert not any(down for *_, down in bench.seen)
        # It is not tried in a tight loop: eager reruns are bounded, then only places on the grid.
        assert len(bench.prober.started) < 60 / 0.25 + 20


async def test_informational_probe_down_degrades_only() -> None:
    async with running() as bench:
        bench.prober.script = lambda spec, _cold: REFUSED if spec.name == "extra" else UP
        bench.tracker.configure(region_of(probe_of(), probe_of(name="extra", role=ProbeRole.INFORMATIONAL)))
        await until(lambda: bench.tracker.health("eu").health is Health.DEGRADED)
        health = bench.tracker.health("eu")
        assert health.reason == "InformationalProbeDown" and "extra" in health.message
        assert health.proved_at is not None and not health.down


async def test_any_required_probe_down_takes_the_region_down() -> None:
    async with running() as bench:
        bench.tracker.configure(region_of(probe_of(), probe_of(name="db")))
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY)
        bench.prober.script = lambda spec, _cold: REFUSED if spec.name == "db" else UP
        await until(lambda: bench.tracker.health("eu").down)
        assert bench.tracker.health("eu").message == "0/1 vantages reach it: db: connection refused"


async def test_all_targets_are_probed_within_one_interval_of_the_start() -> None:
    async with running() as bench:
        start = now()
        for number in range(1000):
            bench.tracker.configure(region_of(probe_of(f"r{number}", **DEFAULTS), region=f"r{number}"))
        assert not bench.tracker.first_round_done("r0")
        await asyncio.sleep(1.05)
        assert {item.region for item in bench.prober.started} == {f"r{number}" for number in range(1000)}
        assert all(item.time - start <= 1.0 for item in bench.prober.started[:1000])
        assert all(bench.tracker.first_round_done(f"r{number}") for number in range(1000))
        # The hash spreads them: no tenth of the second has more than a fifth of the probes.
        tenths = [sum(1 for item in bench.prober.started if int(item.time * 10) == tenth) for tenth in range(10)]
        assert max(tenths) < 200


async def test_hanging_targets_do_not_delay_the_others() -> None:
    bench = Bench()
    bench.tracker = HealthTracker(
        prober=bench.prober,
        clock=LoopClock(),
        chance=random.Random(7).random,
        signals=bench.signals,
        metrics=bench.metrics,
        concurrency=40,
    )
    task = asyncio.create_task(bench.tracker.run())
    bench.prober.script = lambda spec, _cold: HANG if spec.region.startswith("bad") else UP
    for number in range(60):
        bench.tracker.configure(region_of(probe_of(f"bad{number}", **DEFAULTS), region=f"bad{number}"))
        bench.tracker.configure(region_of(probe_of(f"good{number}", **DEFAULTS), region=f"good{number}"))
    await asyncio.sleep(40)
    for number in range(60):
        times = bench.prober.times(f"good{number}")
        gaps = [after - before for before, after in itertools.pairwise(times)]
        # The first place on the grid lies up to one and a half intervals after the first probe.
        assert max(gaps[1:]) <= 1.06, "a healthy target waited for the hanging ones"
        assert bench.tracker.health(f"good{number}").health is Health.HEALTHY
    assert all(bench.tracker.health(f"bad{number}").down for number in range(60))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await bench.tracker.close()


async def test_cold_probes_come_each_twentieth_time() -> None:
    async with running() as bench:
        bench.tracker.configure(region_of())
        await asyncio.sleep(60)
        colds = [item.time for item in bench.prober.started if item.cold]
        assert 10 <= len(colds) <= 14
        assert all(4.5 <= after - before <= 5.5 for before, after in itertools.pairwise(colds))


async def test_reconfiguring_keeps_unchanged_probes_and_the_verdict() -> None:
    async with running() as bench:
        bench.tracker.configure(region_of(probe_of(), probe_of(name="db")))
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY)
        up_since = bench.tracker.health("eu").up_since
        # Thresholds of the region, timing of one probe, a new probe: what is known stays known.
        bench.tracker.configure(
            region_of(probe_of(), probe_of(name="db", **DEFAULTS), thresholds=Thresholds(degraded_latency=0.5))
        )
        assert bench.tracker.health("eu").health is Health.HEALTHY
        assert bench.tracker.health("eu").up_since == up_since
        assert len(bench.prober.opened) == 2 and not bench.prober.closed
        bench.tracker.configure(region_of(probe_of()))
        await asyncio.sleep(0.1)
        assert [spec.name for spec in bench.prober.closed] == ["db"]


async def test_disabled_regions_are_not_probed_and_forgotten_ones_neither() -> None:
    async with running() as bench:
        bench.tracker.configure(region_of())
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY)
        bench.tracker.configure(region_of(admin_state=AdminState.DISABLED))
        count = len(bench.prober.started)
        await asyncio.sleep(10)
        assert len(bench.prober.started) == count
        health = bench.tracker.health("eu")
        assert health.health is Health.UNKNOWN and health.reason == "Disabled" and not health.down
        assert bench.tracker.first_round_done("eu")
        bench.tracker.forget("eu")
        assert bench.tracker.health("eu").reason == "NotProbedYet"
        assert not bench.metrics.counters


async def test_a_probe_that_cannot_be_opened_gives_no_verdict() -> None:
    async with running() as bench:
        bench.prober.refuse_to_open = {"db": "the CA is not PEM"}
        problems = bench.tracker.configure(region_of(probe_of(), probe_of(name="db")))
        assert problems == {"db": "the CA is not PEM"}
        await asyncio.sleep(5)
        assert bench.tracker.health("eu").health is Health.UNKNOWN
        assert bench.tracker.health("eu").reason == "NoVerdict"


async def test_an_outage_of_the_network_here_is_suspected_before_it_is_acted_on() -> None:
    """All targets fail while the default route is gone: the very verdict already carries the suspicion."""
    async with running() as bench:
        for region in ("a", "b", "c"):
            bench.tracker.configure(region_of(region=region))
        await asyncio.sleep(5)
        bench.signals.route = False
        bench.prober.script = lambda _spec, _cold: HANG
        await asyncio.sleep(20)
        downs = [(moment, region) for moment, region, _, down in bench.seen if down]
        assert downs, "the votes are still counted"
        assert bench.tracker.observer().suspect
        unsuspected = [
            (moment, region) for moment, region, health, down in bench.seen if down and health is Health.UNREACHABLE
        ]
        # A first region may go down before most are failing; the moment that most are, nothing is shown as an outage.
        assert len(unsuspected) <= 1
        bench.signals.route = True
        bench.prober.script = lambda _spec, _cold: UP
        await asyncio.sleep(10)
        assert not bench.tracker.observer().suspect
        assert all(bench.tracker.health(region).proved_at is not None for region in ("a", "b", "c"))
        assert all(bench.tracker.health(region).figures.probe_error_rate_percent in (None, 0) for region in ("a", "b"))


async def test_other_vantages_vote_and_their_votes_expire() -> None:
    async with running() as bench:
        bench.tracker.configure(region_of(quorum=2))
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY)
        bench.prober.script = lambda _spec, _cold: REFUSED
        await asyncio.sleep(5)
        assert not bench.tracker.health("eu").down, "one of two is no quorum"
        assert bench.tracker.health("eu").reason == "QuorumNotReached"
        bench.tracker.vote("eu", vantage="us", up=False, expires=now() + 30)
        assert bench.tracker.health("eu").down
        assert bench.tracker.health("eu").down_votes == 2
        await asyncio.sleep(32)
        assert not bench.tracker.health("eu").down, "an expired vote is no vote"
        assert [view.name for view in bench.tracker.vantages("eu")] == ["operator", "us"]


async def test_asymmetric_partition_makes_no_transition() -> None:
    async with running() as bench:
        bench.tracker.configure(region_of(quorum=2))
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY)
        before = bench.healths()
        bench.prober.script = lambda _spec, _cold: HANG
        for _ in range(60):
            for vantage in ("us", "ap"):
                bench.tracker.vote("eu", vantage=vantage, up=True, expires=now() + 5)
            await asyncio.sleep(1)
        assert bench.healths() == before
        assert bench.tracker.health("eu").vantages == 3
        bench.prober.script = lambda _spec, _cold: UP
        await asyncio.sleep(4)
        assert bench.healths() == before, "nor when the cut has healed"


async def test_a_region_that_flaps_is_held_down() -> None:
    async with running() as bench:
        bench.tracker.configure(region_of(thresholds=Thresholds(recovery_period=0)))
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY)
        for _ in range(8):
            bench.prober.script = lambda _spec, _cold: REFUSED
            await asyncio.sleep(1.5)
            bench.prober.script = lambda _spec, _cold: UP
            await asyncio.sleep(1.5)
        health = bench.tracker.health("eu")
        assert health.flapping and health.down and health.reason == "Flapping"
        assert health.proved_at is None
        count = len(bench.seen)
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY, within=120, step=0.1)
        assert len(bench.seen) - count <= 3


async def test_error_rate_trigger_holds_only_for_its_duration_and_ends() -> None:
    async with running() as bench:
        bench.tracker.configure(region_of())
        await asyncio.sleep(20)
        flip = iter(range(10**9))
        bench.prober.script = lambda _spec, _cold: REFUSED if next(flip) % 2 else UP

        def held() -> bool:
            return bench.tracker.held("eu", figure=Figure.PROBE_ERROR_RATE, threshold=10, duration=10) is not None

        began = now()
        while not held():
            await asyncio.sleep(0.05)
            assert now() - began < 40
        assert now() - began >= 10
        assert not bench.tracker.health("eu").down
        bench.prober.script = lambda _spec, _cold: UP
        await asyncio.sleep(0.6)
        assert not held(), "the newest sample is good: the blip is over"


async def test_listeners_hear_of_a_trigger_that_was_asked_for_once() -> None:
    async with running() as bench:
        bench.tracker.configure(region_of(probe_of(**DEFAULTS)))
        await asyncio.sleep(30)
        assert bench.tracker.held("eu", figure=Figure.LATENCY_P95, threshold=1.0, duration=10) is None
        before = len(bench.seen)
        bench.prober.script = lambda _spec, _cold: slow(1.1)
        await until(lambda: len(bench.seen) > before, within=60)
        found = bench.tracker.held("eu", figure=Figure.LATENCY_P95, threshold=1.0, duration=10)
        assert found is not None and found.value > 1.0


async def test_load_figures_of_the_answers_make_unhealthy_and_the_capacity_trigger() -> None:
    async with running() as bench:
        bench.prober.script = lambda _spec, _cold: Answer(
            load=LoadFigures(error_rate_percent=60, capacity_available_percent=5)
        )
        bench.tracker.configure(region_of())
        await until(lambda: bench.tracker.health("eu").health is Health.UNHEALTHY)
        assert bench.tracker.held("eu", figure=Figure.CAPACITY, threshold=50, duration=5) is None
        await asyncio.sleep(5.5)
        assert bench.tracker.held("eu", figure=Figure.CAPACITY, threshold=50, duration=5) is not None
        bench.prober.script = lambda _spec, _cold: UP
        await asyncio.sleep(5)
        health = bench.tracker.health("eu")
        assert health.figures.capacity_available_percent is None, "a stale figure is no figure"
        assert health.health is Health.RECOVERING


async def test_evidence_of_a_healthy_region_is_never_stale() -> None:
    """Between two probes, and before each, the newest success is younger than the age that is allowed."""
    async with running() as bench:
        bench.tracker.configure(region_of())
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY)
        await asyncio.sleep(3)
        for _ in range(4000):
            health = bench.tracker.health("eu")
            assert health.proved_at is not None
            assert now() - health.proved_at <= health.probe_interval
            await asyncio.sleep(0.0037)


async def test_a_broken_listener_does_not_stop_the_probing(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:

        def broken(_region: str) -> None:
            raise RuntimeError("boom")

        bench.tracker._listeners.insert(0, broken)
        bench.tracker.configure(region_of())
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY)
        bench.prober.script = lambda _spec, _cold: REFUSED
        await until(lambda: any(down for *_, down in bench.seen))
        assert "Listener failed" in caplog.text


async def test_a_probe_that_raises_or_never_ends_is_not_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        bench.tracker.configure(region_of())
        await until(lambda: bench.tracker.health("eu").health is Health.HEALTHY)

        def broken(_spec: ProbeSpec, _cold: bool) -> Answer:
            raise RuntimeError("bug in an adapter")

        bench.prober.script = broken
        await asyncio.sleep(5)
        assert bench.tracker.health("eu").health is Health.HEALTHY
        assert "Probe raised" in caplog.text
        bench.prober.script = lambda _spec, _cold: UP
        await asyncio.sleep(1)
        endless = iter([Answer(hang=True)] * 1)

        async def stuck(answer: Answer, timeout: float) -> object:
            await asyncio.sleep(3600)
            raise AssertionError("never")

        target = bench.tracker._scheduler.targets("eu")[0]
        target.prober._answer = stuck  # type: ignore[attr-defined]
        assert endless is not None
        await asyncio.sleep(5)
        assert not bench.tracker.health("eu").down
        assert bench.prober.in_flight <= 4
