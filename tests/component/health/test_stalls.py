"""Time-outs that ran while this process stood still, under fake loop time with a clock that jumps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from regent.domain.health.model import EndpointState, Health, HealthSpec, Outcome, ProbeSpec, TcpCheck
from regent.engine.health import HealthTracker
from tests.fakes.ports import FakeMetrics
from tests.fakes.prober import UP, Answer, FakeProber, FakeSignals

pytestmark = pytest.mark.looptime

TIMED_OUT = Answer(outcome=Outcome.TIMEOUT, latency=0.02, detail="no answer in 0.2s")


class JumpingClock:
    """Follows the loop, and jumps ahead when the loop is said to have stood still."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._wall_step = 0.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self._ahead

    def wall(self) -> float:
        return 1_790_000_000.0 + self.monotonic() + self._wall_step

    def stall(self, seconds: float) -> None:
        self._ahead += seconds

    def step_wall(self, seconds: float) -> None:
        self._wall_step += seconds


class Stalling:
    """Forty endpoints at four probes a second, and what was seen of them."""

    def __init__(self) -> None:
        self.clock = JumpingClock()
        self.prober = FakeProber()
        self.metrics = FakeMetrics()
        self.tracker = HealthTracker(
            prober=self.prober,
            clock=self.clock,
            chance=random.Random(1).random,
            signals=FakeSignals(),
            metrics=self.metrics,
        )
        self.told: list[str] = []
        for number in range(40):
            spec = ProbeSpec(
                region=f"r{number}", name="web", host="h", port=1, check=TcpCheck(),
                interval=0.25, timeout=0.2, retry_interval=0.05,
            )  # fmt: skip
            self.tracker.configure(HealthSpec(region=f"r{number}", probes=(spec,)))

    def states(self) -> set[EndpointState]:
        return {target.endpoint.state for target in self.tracker._scheduler.all_targets()}

    def lost(self, outcome: Outcome) -> float:
        return self.metrics.counted("regent_probe_results_total", outcome=outcome.value)


@asynccontextmanager
async def stalling() -> AsyncIterator[Stalling]:
    world = Stalling()
    task = asyncio.create_task(world.tracker.run())
    await asyncio.sleep(4)
    assert world.states() == {EndpointState.UP}
    world.tracker.subscribe(world.told.append)
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await world.tracker.close()


@pytest.mark.parametrize("seconds", [0.3, 0.5, 5.0])
async def test_time_outs_of_a_stall_are_excused_and_made_up_for(seconds: float) -> None:
    async with stalling() as world:
        for _ in range(10):
            world.prober.script = lambda _spec, _cold: TIMED_OUT
            await asyncio.sleep(0.01)  # some probes are out now
            world.clock.stall(seconds)
            world.prober.script = lambda _spec, _cold: UP
            await asyncio.sleep(0.73)
            assert world.states() == {EndpointState.UP}
        await asyncio.sleep(3)
        assert world.lost(Outcome.NOT_RUN) > 10, "no probe was hit"
        assert world.lost(Outcome.TIMEOUT) == 0
        assert world.told == []


async def test_without_a_stall_the_same_time_outs_count() -> None:
    async with stalling() as world:
        world.prober.script = lambda _spec, _cold: TIMED_OUT
        await asyncio.sleep(1)
        assert world.states() == {EndpointState.DOWN}
        assert world.lost(Outcome.NOT_RUN) == 0


async def test_an_outage_is_found_right_after_a_stall() -> None:
    async with stalling() as world:
        world.prober.script = lambda _spec, _cold: TIMED_OUT
        world.clock.stall(0.5)
        await asyncio.sleep(1.0)
        assert world.states() == {EndpointState.DOWN}


async def test_a_refusal_during_a_stall_counts() -> None:
    """It is an answer, and it was read."""
    async with stalling() as world:
        world.prober.script = lambda _spec, _cold: Answer(outcome=Outcome.REFUSED, latency=0.02)
        await asyncio.sleep(0.01)
        world.clock.stall(0.3)
        await asyncio.sleep(1.0)
        assert world.states() == {EndpointState.DOWN}


async def test_a_loop_that_is_always_late_stretches_time_outs() -> None:
    async with stalling() as world:
        for _ in range(60):
            await asyncio.sleep(0.2)
            world.clock.stall(0.15)
        assert world.tracker.observer().score > 0
        assert max(item.timeout for item in world.prober.started[-20:]) > 0.2


@pytest.mark.parametrize("step", [3600.0, -3600.0])
async def test_a_step_of_the_wall_clock_changes_nothing(step: float) -> None:
    async with stalling() as world:
        world.clock.step_wall(step)
        await asyncio.sleep(30)
        assert world.told == []
        assert all(world.tracker.health(f"r{number}").health is Health.HEALTHY for number in range(40))


async def test_after_a_stop_of_minutes_the_verdicts_are_old_and_never_down() -> None:
    """Whoever slept for longer than a verdict is valid does not know what is, until the next probes have answered."""
    async with stalling() as world:
        world.clock.stall(120)
        await asyncio.sleep(1)
        assert all(world.tracker.health(f"r{number}").health is Health.HEALTHY for number in range(40))
        assert not any(world.tracker.health(f"r{number}").down for number in range(40))
        assert world.lost(Outcome.TIMEOUT) == 0
