"""Keeps the health of every region: the vantage "operator", and the votes of others beside it.

Results come in from `engine.probing` by a function call, the pure rules judge, and listeners are called before the call
returns: a failing probe reaches the failover decision without a queue or a round trip in between. What only time
changes (figures, leases, the end of recovery) is looked at every two seconds, a slice of the regions at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from regent.domain.health.flapping import DEFAULT_LIMIT
from regent.domain.health.model import (
    AdminState,
    EndpointState,
    Health,
    HealthSpec,
    Outcome,
    ProbeResult,
    RegionHealth,
)
from regent.domain.health.region import Vote
from regent.domain.health.suspicion import ObserverHealth
from regent.domain.health.triggers import Figure, Held, Watch
from regent.engine.local_health import TICK, ControlSignals, LocalHealth, LoopMonitor
from regent.engine.ports import Clock, Metrics, Prober
from regent.engine.probing import ProbeScheduler
from regent.engine.probing_target import Target
from regent.engine.region_watch import BAD, AskedWatch, RegionWatch, VantageView

log = logging.getLogger("regent.health")

SLICES = 40
"""Ticks in which every region is looked at once: about two seconds. A look costs a fifth of a probe."""

SECOND = 20
"""Ticks in a second."""

FORGET_WATCH = 300.0
"""Seconds after which a trigger that nobody asks for is no longer watched."""

JUST_NOW = 10.0
"""Targets that began to fail within so many seconds fail at once; those that were down before do not count."""


class HealthTracker:
    """Health of the configured regions. Everything happens on the event loop that `configure` is called on.

    Args:
        chance: returns a number in [0, 1); spreads the probes.
        signals: what tells whether this machine is in trouble.
        concurrency: most probes at once.
        flap_limit: changes of verdict in quick succession after which an endpoint is held Down.
    """

    def __init__(
        self,
        *,
        prober: Prober,
        clock: Clock,
        chance: Callable[[], float],
        signals: ControlSignals,
        metrics: Metrics,
        concurrency: int = 1024,
        flap_limit: float = DEFAULT_LIMIT,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._monitor = LoopMonitor()
        self._local = LocalHealth(monitor=self._monitor, signals=signals, targets=self._failing)
        self._scheduler = ProbeScheduler(
            prober=prober,
            clock=clock,
            chance=chance,
            sink=self,
            monitor=self._monitor,
            timeout_factor=lambda: self._local.observer.timeout_factor,
            concurrency=concurrency,
            flap_limit=flap_limit,
        )
        self._regions: dict[str, RegionWatch] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._swept_at = clock.monotonic()

    def configure(self, spec: HealthSpec, *, before: Health = Health.UNKNOWN) -> dict[str, str]:
        """Probe and judge a region by this spec from now on; unchanged probes keep their state.

        Args:
            spec: resolved; a region that is Disabled is not probed.
            before: the health that was shown before this process began to look. A region that was in trouble then
                goes through its recovery period, though nobody here has seen the trouble.

        Returns:
            Why a probe cannot be run as it is specified, by the probe's name. Such a probe has no verdict, so a region
            whose Required probe it is has none either.
        """
        watch = self._regions.get(spec.region)
        if watch is None:
            troubled = before in (*BAD, Health.RECOVERING)
            watch = self._regions[spec.region] = RegionWatch(spec=spec, troubled=troubled)
        elif watch.spec == spec:
            return dict(watch.problems)
        watch.spec = spec
        probes = () if spec.admin_state is AdminState.DISABLED else spec.probes
        watch.problems = self._scheduler.configure(spec.region, probes)
        watch.targets = self._scheduler.targets(spec.region)
        self._judge(watch)
        return dict(watch.problems)

    def forget(self, region: str) -> None:
        """Stop probing a region that is gone."""
        if self._regions.pop(region, None) is not None:
            self._scheduler.configure(region, ())
            self._metrics.forget(region=region)
            self._tell(region)

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with a region's name at once when its verdict, its Down, or whether it is proved changes, or
        when a trigger that was asked for begins or ends to hold."""
        self._listeners.append(listener)

    def health(self, region: str) -> RegionHealth:
        """Return what is known of a region now; Unknown for one that was never configured."""
        watch = self._regions.get(region)
        return RegionHealth(region=region) if watch is None else watch.health(observer=self._local.observer)

    def vantages(self, region: str) -> tuple[VantageView, ...]:
        """Return what each vantage sees of a region."""
        watch = self._regions.get(region)
        return () if watch is None else watch.views(self._clock.monotonic())

    def certificate_expiry(self, region: str) -> float | None:
        """Return the wall time at which the first of the region's certificates expires; None when none was seen."""
        watch = self._regions.get(region)
        return None if watch is None else watch.certificate_expiry()

    def observer(self) -> ObserverHealth:
        """Return how far this process trusts its own probes."""
        return self._local.observer

    def first_round_done(self, region: str) -> bool:
        """Tell whether every probe of the region has been answered once since it was configured."""
        watch = self._regions.get(region)
        if watch is None:
            return False
        return all(target.endpoint.answered_at is not None for target in watch.targets)

    def idle(self) -> float:
        """Return for how many seconds `run` has not done what is due each second."""
        return self._clock.monotonic() - self._swept_at

    def unprobed(self) -> tuple[list[str], int]:
        """Return the targets ("region/probe") that are not probed any more though they should be, and how many there
        are in all."""
        stuck = self._scheduler.overdue(self._clock.monotonic())
        return [f"{target.spec.region}/{target.spec.name}" for target in stuck], sum(
            1 for _ in self._scheduler.all_targets()
        )

    def held(self, region: str, *, figure: Figure, threshold: float, duration: float) -> Held | None:
        """Return the trigger when it holds: see `domain.health.triggers`.

        The figure is watched from the first call on, and listeners hear when it begins or ends to hold; after five
        minutes without a call it is no longer watched.
        """
        region_watch = self._regions.get(region)
        if region_watch is None:
            return None
        now = self._clock.monotonic()
        key = (figure, threshold, duration)
        asked = region_watch.watches.get(key)
        if asked is None:
            watch = Watch(figure=figure, threshold=threshold, duration=duration)
            asked = region_watch.watches[key] = AskedWatch(watch, now)
        asked.asked_at = now
        asked.held = asked.watch.look(now, region_watch.measured(now, asked.watch))
        return asked.held

    def vote(self, region: str, *, vantage: str, up: bool | None, expires: float, detail: str = "") -> None:
        """Take the verdict of another vantage, valid until the monotonic time `expires`."""
        watch = self._regions.get(region)
        if watch is not None:
            watch.hear(Vote(vantage=vantage, up=up, detail=detail), expires=expires, wall=self._clock.wall())
            self._judge(watch)

    def probed(self, target: Target, result: ProbeResult, *, scheduled: bool, changed: bool) -> None:
        """Take in a probe's end; called by the scheduler."""
        watch = self._regions.get(target.spec.region)
        if watch is None:
            return
        if changed and target.endpoint.state is EndpointState.DOWN:
            self._local.look_at_failure(self._clock.monotonic())
        # A verdict that had expired (nothing could be probed for a while) is valid again without any change of state.
        if changed or watch.own_vote.up is None:
            self._judge(watch)
        if scheduled and result.outcome is not Outcome.NOT_RUN:
            self._metrics.observe("regent_probe_duration_seconds", result.latency, region=target.spec.region)

    async def run(self) -> None:
        """Look at what only time changes, until cancelled; the supervisor runs this."""
        tick = 0
        while True:
            self._monitor.expect(self._clock.monotonic())
            await asyncio.sleep(TICK)
            now = self._clock.monotonic()
            self._monitor.ticked(now)
            tick = (tick + 1) % SLICES
            if tick % SECOND == 0:
                self._each_second(now)
            for watch in list(self._regions.values())[tick::SLICES]:
                self._look(watch, now)

    async def close(self) -> None:
        """Stop probing."""
        await self._scheduler.close()

    def _each_second(self, now: float) -> None:
        self._scheduler.sweep(now)
        self._swept_at = now
        was = self._local.observer
        if self._local.look(now):
            observer = self._local.observer
            self._metrics.gauge("regent_observer_score", observer.score)
            if observer.suspect is not was.suspect:
                log.warning("Observer %s itself: %s", "suspects" if observer.suspect else "trusts", observer.message)
                for watch in list(self._regions.values()):
                    self._judge(watch)

    def _look(self, watch: RegionWatch, now: float) -> None:
        watch.measure(now, observer=self._local.observer)
        for target in watch.targets:
            target.endpoint.settle(now)
            self._report(target)
        self._report_certificate(watch)
        self._judge(watch)
        for key, asked in list(watch.watches.items()):
            if now - asked.asked_at > FORGET_WATCH:
                del watch.watches[key]
                continue
            before = asked.held
            asked.held = asked.watch.look(now, watch.measured(now, asked.watch))
            if (before is None) is not (asked.held is None):
                self._tell(watch.spec.region)

    def _report_certificate(self, watch: RegionWatch) -> None:
        expiry = watch.certificate_expiry()
        if expiry is not None and expiry != watch.certificate_shown:
            watch.certificate_shown = expiry
            self._metrics.gauge("regent_region_certificate_expiry_time_seconds", expiry, region=watch.spec.region)

    def _judge(self, watch: RegionWatch) -> None:
        now, observer = self._clock.monotonic(), self._local.observer
        before = watch.judgement.health
        changed = watch.judge(now, wall=self._clock.wall(), observer=observer)
        verdict = watch.judgement
        shown = (verdict.health, verdict.reason, verdict.down, watch.proved(), observer.suspect)
        if shown == watch.shown:
            return
        watch.shown = shown
        self._tell(watch.spec.region)
        if changed:
            self._record(watch.health(observer=observer), before)

    def _record(self, health: RegionHealth, before: Health) -> None:
        for value in Health:
            self._metrics.gauge(
                "regent_region_health", float(value is health.health), region=health.region, health=value.value
            )
        if health.health is not before:
            log.info(
                "Region is %s, was %s: %s",
                health.health.value,
                before.value,
                health.message,
                extra={"object": f"Region/{health.region}", "reason": health.reason},
            )

    def _report(self, target: Target) -> None:
        """Bring the counts of results to the metrics, in one go and not with each probe: that is cheaper."""
        if target.successes:
            self._count(target, Outcome.SUCCESS, target.successes)
            target.successes = 0
        for outcome, count in target.failures.items():
            self._count(target, outcome, count)
        target.failures.clear()

    def _count(self, target: Target, outcome: Outcome, count: int) -> None:
        labels = {"region": target.spec.region, "probe": target.spec.name, "outcome": outcome.value}
        self._metrics.count("regent_probe_results_total", count, **labels)

    def _tell(self, region: str) -> None:
        for listener in self._listeners:
            try:
                listener(region)
            except Exception:
                # A broken listener must not stop the probing, nor keep the news from the others.
                log.exception("Listener failed", extra={"object": f"Region/{region}"})

    def _failing(self, now: float) -> tuple[int, int]:
        """Return how many targets began to fail just now, and how many there are that were not down before."""
        failing = targets = 0
        for target in self._scheduler.all_targets():
            since = target.endpoint.first_failure
            if since is None:
                targets += 1
            elif now - since <= JUST_NOW:
                targets += 1
                failing += 1
        return failing, targets
