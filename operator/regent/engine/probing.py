"""Runs every probe of every region on one event loop: when each starts, what its answer counts for, what comes next.

There is no task per target: a timer per target starts a task per probe. Scheduled probes keep to a grid (phase = hash
of region and probe), so a thousand targets spread evenly and keep their places. An episode leaves the grid: after a
failure, or as soon as an answer is late, further probes start one retry interval apart, each on a connection of its
own, until the endpoint's machine (`domain.health.endpoint`) has its verdict. Hence the worst-case detection with
interval T, time-out t, retry interval f and threshold k: refused T + (k-1)f, hang T + t + (k-1)f, plus 5 % of T.

What this process does to itself never counts against a region: a time-out that ran while the event loop stood still is
a probe that could not run, and is run again at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from regent.domain.health.endpoint import Endpoint
from regent.domain.health.flapping import DEFAULT_LIMIT
from regent.domain.health.model import EndpointState, LoadFigures, Outcome, ProbeResult, ProbeSpec
from regent.engine.local_health import LoopMonitor
from regent.engine.ports import Clock, Prober
from regent.engine.probing_lanes import Lane, Lanes
from regent.engine.probing_target import Run, Target

log = logging.getLogger("regent.probing")

JITTER = 0.025
"""Each probe starts within this share of the interval around its place on the grid, so two are 0.95-1.05 apart."""

FIRST_ROUND = 2.0
"""Seconds within which all targets are probed once, however long their intervals are."""

STARVED = 0.5
"""A time-out counts for nothing when the loop stood still for this share of it, in however many pieces."""

LONGEST_TIMEOUT = 60.0
"""Cap on time-outs that local health has stretched, in seconds."""

OVERDUE = 2.0
"""Seconds after its time-out at which a probe that has not ended is cancelled: a guard against a stuck adapter."""

GRACE = 5.0
"""Seconds beyond all that can be foreseen after which a target counts as not probed any more."""

UNKNOWN_LATENCY = 0.25
"""Seconds after which a probe leaves the fast lane while nothing is known of its endpoint's latency."""

EAGER_RERUNS = 3
"""How often in a row a probe that could not run is tried again at once; then it waits for its next place."""


class ProbeSink(Protocol):
    """Is told of every probe, synchronously, when it ends."""

    def probed(self, target: Target, result: ProbeResult, *, scheduled: bool, changed: bool) -> None:
        """Take note; `changed` says that the endpoint's state or vote changed."""
        ...


class ProbeScheduler:
    """Probes what it is configured to probe until it is closed.

    Args:
        chance: returns a number in [0, 1); spreads the starts.
        timeout_factor: by what time-outs are multiplied now (local health), 1 to 8.
        concurrency: most probes at once, half of them for endpoints that are slow or failing.
    """

    def __init__(
        self,
        *,
        prober: Prober,
        clock: Clock,
        chance: Callable[[], float],
        sink: ProbeSink,
        monitor: LoopMonitor,
        timeout_factor: Callable[[], int] = lambda: 1,
        concurrency: int = 1024,
        flap_limit: float = DEFAULT_LIMIT,
    ) -> None:
        self._prober = prober
        self._clock = clock
        self._chance = chance
        self._sink = sink
        self._monitor = monitor
        self._timeout_factor = timeout_factor
        self._flap_limit = flap_limit
        self._concurrency = max(1, concurrency // 2)
        self._lanes = Lanes(fast=self._concurrency, slow=self._concurrency)
        self._targets: dict[str, dict[str, Target]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def targets(self, region: str) -> list[Target]:
        """Return the targets of a region in the order of its spec."""
        return list(self._targets.get(region, {}).values())

    def all_targets(self) -> Iterable[Target]:
        """Return every target."""
        return (target for targets in self._targets.values() for target in targets.values())

    def configure(self, region: str, specs: Iterable[ProbeSpec]) -> dict[str, str]:
        """Probe exactly these from now on; probes that did not change keep their state.

        A probe of which only the timing, the thresholds or the role changed keeps its connection and its verdict.

        Returns:
            A message for each probe, by name, that cannot be run as it is specified.
        """
        old = self._targets.pop(region, {})
        new: dict[str, Target] = {}
        problems: dict[str, str] = {}
        for spec in specs:
            known = old.get(spec.name)
            if known is not None and known.spec == spec:
                new[spec.name] = old.pop(spec.name)
            elif known is not None and _same_endpoint(known.spec, spec):
                new[spec.name] = self._adjust(old.pop(spec.name), spec)
            else:
                try:
                    new[spec.name] = self._open(spec)
                except ValueError as error:
                    problems[spec.name] = str(error)
        for gone in old.values():
            self._close(gone)
        if new:
            self._targets[region] = new
        return problems

    def sweep(self, now: float) -> None:
        """Cancel probes that outlived their time-out by far; called about once a second."""
        for target in self.all_targets():
            for run in target.runs.values():
                if now > run.started + run.timeout + OVERDUE and run.task is not None:
                    run.task.cancel()

    def overdue(self, now: float) -> list[Target]:
        """Return the targets of which a probe should have ended long ago, even if all had to wait for room."""
        targets = list(self.all_targets())
        longest = max((self._timeout(target.spec) for target in targets), default=0.0) + OVERDUE
        # Each target has at most an episode's probes out, and a lane takes so many at a time.
        episode = max((target.spec.failure_threshold for target in targets), default=0) + 1
        wait = longest * (1 + episode * len(targets) // self._concurrency)
        return [target for target in targets if now - target.ended_at > 2 * target.spec.interval + wait + GRACE]

    async def close(self) -> None:
        """Stop all probes and close their connections."""
        for region in list(self._targets):
            self.configure(region, ())
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    def _open(self, spec: ProbeSpec) -> Target:
        endpoint = Endpoint(
            failure_threshold=spec.failure_threshold,
            success_threshold=spec.success_threshold,
            flap_limit=self._flap_limit,
        )
        target = Target(spec=spec, prober=self._prober.open(spec), endpoint=endpoint)
        target.ended_at = self._clock.monotonic()
        # The first probe connects anyway; the cold ones that follow are spread like the starts.
        target.countdown = int(target.hash * target.cold_every)
        self._arm(target, self._clock.monotonic() + target.hash * min(spec.interval, FIRST_ROUND))
        return target

    def _adjust(self, target: Target, spec: ProbeSpec) -> Target:
        target.spec = spec
        target.ended_at = self._clock.monotonic()
        target.endpoint.failure_threshold = spec.failure_threshold
        target.endpoint.success_threshold = spec.success_threshold
        self._arm(target, self._clock.monotonic() + target.hash * min(spec.interval, FIRST_ROUND))
        return target

    def _close(self, target: Target) -> None:
        target.closed = True
        for timer in (target.slot_timer, target.retry_timer):
            if timer is not None:
                timer.cancel()
        for run in target.runs.values():
            if run.task is not None:
                run.task.cancel()
        closing = asyncio.get_running_loop().create_task(_close_prober(target))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _arm(self, target: Target, slot: float) -> None:
        """Set the timer for the next scheduled probe, whose place on the grid is `slot`."""
        if target.slot_timer is not None:
            target.slot_timer.cancel()
        target.slot = slot
        due = slot if not target.last_start else slot + (2 * self._chance() - 1) * JITTER * target.spec.interval
        loop = asyncio.get_running_loop()
        target.slot_timer = loop.call_later(max(0.0, due - self._clock.monotonic()), self._on_slot, target)

    def _on_slot(self, target: Target) -> None:
        self._arm(target, self._next_slot(target))
        # An episode, or a probe that is still out: it gives the answer that this one would.
        if not target.runs and not target.queued and target.retry_timer is None:
            self._start(target, scheduled=True)

    def _next_slot(self, target: Target) -> float:
        """Return the next place on the target's grid, skipping those that a late loop has missed."""
        interval = target.spec.interval
        # Half an interval ahead at least: the first round leaves its grid, and jitter may run before a place.
        earliest = max(self._clock.monotonic(), target.slot) + interval / 2
        phase = target.hash * interval
        return phase + interval * -((phase - earliest) // interval)

    def _start(self, target: Target, *, scheduled: bool) -> None:
        failing = target.endpoint.state in (EndpointState.SUSPECT, EndpointState.DOWN, EndpointState.RISING)
        lane = Lane.SLOW if failing or not scheduled else Lane.FAST
        if not self._lanes.room(lane):
            target.queued = True
            self._lanes.wait(lane, lambda: self._go(target, lane, scheduled=scheduled))
        elif not self._go(target, lane, scheduled=scheduled):
            self._lanes.leave(lane)

    def _go(self, target: Target, lane: Lane, *, scheduled: bool) -> bool:
        target.queued = False
        # Asked again, because the probe may have waited for room: the episode may have ended meanwhile.
        if target.closed or not (scheduled or self._wanted(target)):
            return False
        now = self._clock.monotonic()
        # The one kept-alive connection cannot be shared, and re-probes must not depend on one that may be broken.
        cold = not scheduled or target.hot_busy
        if scheduled:
            target.countdown -= 1
            if target.countdown < 0:
                target.countdown = target.cold_every - 1
                cold = True
        run = Run(
            target=target,
            ticket=target.endpoint.begin(now),
            started=now,
            timeout=self._timeout(target.spec),
            cold=cold,
            scheduled=scheduled,
            stalls=self._monitor.stalled(now),
            lane=lane,
        )
        target.last_start = now
        target.runs[run.ticket] = run
        loop = asyncio.get_running_loop()
        patience = target.late_after(cold=cold)
        wait = max(target.spec.retry_interval, UNKNOWN_LATENCY) if patience is None else patience
        if wait < run.timeout:
            run.late_timer = loop.call_later(wait, self._on_late, run, patience is not None)
        run.task = loop.create_task(self._probe(run))
        # The next one of an episode follows at its own time, whether this one has been answered by then or not.
        self._plan(target)
        return True

    def _on_late(self, run: Run, known: bool) -> None:
        if self._monitor.recovering(self._clock.monotonic()):
            # Every probe looks late to a loop that stood still. Let the answers be read first.
            delay = run.target.spec.retry_interval
            run.late_timer = asyncio.get_running_loop().call_later(delay, self._on_late, run, known)
            return
        run.late_timer = None
        if run.lane is Lane.FAST:
            run.lane = Lane.SLOW
            self._lanes.fall_behind()
        run.late = known
        self._plan(run.target)

    async def _probe(self, run: Run) -> None:
        try:
            result = await run.target.prober.probe(timeout=run.timeout, cold=run.cold)
        except asyncio.CancelledError:
            self._finish(run, ProbeResult(outcome=Outcome.NOT_RUN, detail="cancelled"))
            raise
        except Exception:
            # The port promises not to raise. One broken probe must not end, nor look like an outage.
            log.exception("Probe raised", extra={"object": f"Region/{run.target.spec.region}"})
            result = ProbeResult(outcome=Outcome.NOT_RUN, detail="internal error, see the log")
        self._finish(run, result)

    def _finish(self, run: Run, result: ProbeResult) -> None:
        target, now = run.target, self._clock.monotonic()
        if run.late_timer is not None:
            run.late_timer.cancel()
        self._lanes.leave(run.lane)
        del target.runs[run.ticket]
        target.ended_at = now
        if target.closed:
            return
        stalled = self._stalled(run, now)
        if stalled and result.outcome is Outcome.TIMEOUT:
            result = replace(result, outcome=Outcome.NOT_RUN, detail=f"the event loop stood still: {result.detail}")
        changed = target.endpoint.finish(run.ticket, result.outcome, now=now)
        _note(target, run, result, now, stalled=stalled)
        # The verdict is acted on before anything else is planned: this call is the way to a failover decision.
        self._sink.probed(target, result, scheduled=run.scheduled, changed=changed)
        if not target.closed:
            self._plan(target)

    def _stalled(self, run: Run, now: float) -> bool:
        """Tell whether the event loop took the probe's time: the answer may lie unread in the socket.

        A refusal needs no such excuse: it is an answer, and it was read.
        """
        lost = self._monitor.stalled(now) - run.stalls
        return lost >= STARVED * run.timeout or (lost > 0 and self._monitor.recovering(now))

    def _timeout(self, spec: ProbeSpec) -> float:
        return min(spec.timeout * self._timeout_factor(), max(LONGEST_TIMEOUT, spec.timeout))

    @staticmethod
    def _wanted(target: Target) -> bool:
        return target.endpoint.needs_retry(late=any(run.late for run in target.runs.values()))

    def _plan(self, target: Target) -> None:
        """Set or cancel the timer of the next re-probe."""
        if target.queued:
            return  # planned again when there is room
        wanted = self._wanted(target)
        # A scheduled probe that could not run is made up for, or one blocked loop would cost an interval of detection.
        rerun = not wanted and not target.runs and 0 < target.not_run <= EAGER_RERUNS
        if not (wanted or rerun):
            if target.retry_timer is not None:
                target.retry_timer.cancel()
                target.retry_timer = None
            return
        if target.retry_timer is None:
            due = target.last_start + target.spec.retry_interval
            delay = max(0.0, due - self._clock.monotonic())
            target.retry_timer = asyncio.get_running_loop().call_later(delay, self._on_retry, target, rerun)

    def _on_retry(self, target: Target, rerun: bool) -> None:
        target.retry_timer = None
        self._start(target, scheduled=rerun)


def _note(target: Target, run: Run, result: ProbeResult, now: float, *, stalled: bool) -> None:
    """Keep what the result tells beside the verdict: samples, latency, load, certificate."""
    failed = result.outcome is not Outcome.SUCCESS
    if not failed:
        target.successes += 1
    else:
        target.failures[result.outcome] += 1
    if result.outcome is Outcome.NOT_RUN:
        target.not_run += 1
        return
    target.not_run = 0
    if failed and target.endpoint.state is EndpointState.DOWN:
        target.down_detail = target.down_detail or result.detail or result.outcome.value
    elif not failed and target.endpoint.state is EndpointState.UP:
        target.down_detail = ""
    # The latency of an answer that waited for our own loop says nothing about the endpoint.
    if not stalled:
        if not failed:
            (target.hot_latency if result.reused else target.cold_latency).add(result.latency)
        if run.scheduled:
            latency = None if result.outcome is Outcome.REFUSED else result.latency
            target.window.add(now, latency=latency, failed=failed)
    if result.load is not None:
        _note_load(target, result.load, now)
    if result.certificate_expiry_time is not None:
        target.certificate_expiry_time = result.certificate_expiry_time


def _note_load(target: Target, load: LoadFigures, now: float) -> None:
    if load.error_rate_percent is not None:
        target.error_rates.add(now, load.error_rate_percent)
    if load.capacity_available_percent is not None:
        target.capacities.add(now, load.capacity_available_percent)


def _same_endpoint(one: ProbeSpec, other: ProbeSpec) -> bool:
    """Tell whether two specs ask the same question of the same place."""
    return (one.region, one.name, one.host, one.port, one.check, one.tls) == (
        other.region,
        other.name,
        other.host,
        other.port,
        other.check,
        other.tls,
    )


async def _close_prober(target: Target) -> None:
    # After the probes have ended: closing a connection under a probe would look like an error of the region.
    await asyncio.gather(*(run.task for run in list(target.runs.values()) if run.task), return_exceptions=True)
    await target.prober.close()
