"""What the tracker keeps of one region: votes, figures, the verdict and what it rests on.

`RegionWatch.judge` gathers the evidence from the probes' targets and asks the pure rules (`domain.health.region`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from regent.domain.health import triggers
from regent.domain.health.model import (
    AdminState,
    EndpointState,
    Figures,
    Health,
    HealthSpec,
    ProbeRole,
    RegionHealth,
)
from regent.domain.health.region import Evidence, Judgement, Vote, judge
from regent.domain.health.suspicion import ObserverHealth
from regent.domain.health.triggers import Figure
from regent.domain.health.window import MINIMUM_SAMPLES, SPAN, Window
from regent.engine.probing import JITTER
from regent.engine.probing_target import Target

OPERATOR = "operator"
"""Name of the vantage that is this process."""

LEASE_FLOOR = 10.0
"""A vantage's verdict stays valid for three rounds of its probes, at least so many seconds."""

FRESH_PERIODS = 3
"""A reported figure is used while it is younger than so many intervals of the probe that brought it."""

WARM = 1 / 3
"""Share of a full window's samples from which its error rate is looked at."""

LATENCY_SAMPLES = 3
"""Samples behind a latency that is shown or judged, where the interval allows so many."""

BAD = (Health.UNREACHABLE, Health.UNHEALTHY)


@dataclass(frozen=True, slots=True, kw_only=True)
class VantageView:
    """What one vantage sees, as the status shows it."""

    name: str
    health: Health
    message: str
    last_change_time: float | None
    """Wall time."""


@dataclass(slots=True)
class _ForeignVote:
    vote: Vote
    expires: float
    last_change_time: float


@dataclass(slots=True)
class AskedWatch:
    """A trigger's watch, kept while somebody asks for it."""

    watch: triggers.Watch
    asked_at: float
    held: triggers.Held | None = None


@dataclass(slots=True, eq=False)
class RegionWatch:
    """One region as the tracker sees it."""

    spec: HealthSpec
    targets: list[Target] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    """Probes that cannot be run as they are specified: why, by name."""
    judgement: Judgement = field(
        default_factory=lambda: Judgement(
            health=Health.UNKNOWN, reason="NotProbedYet", message="no probe has answered yet"
        )
    )
    figures: Figures = field(default_factory=Figures)
    since_time: float = 0.0
    down_since: float | None = None
    troubled: bool = False
    good_since: float | None = None
    flapping: bool = False
    own_vote: Vote = field(default_factory=lambda: Vote(vantage=OPERATOR, up=None))
    own_change_time: float | None = None
    foreign: dict[str, _ForeignVote] = field(default_factory=dict)
    watches: dict[tuple[Figure, float, float], AskedWatch] = field(default_factory=dict)
    certificate_shown: float | None = None
    """The certificate expiry that is exported as a metric."""
    shown: object = None
    """What the listeners were last told of."""

    def required(self) -> list[Target]:
        """Return the targets whose failure takes the region down."""
        return [target for target in self.targets if target.spec.role is ProbeRole.REQUIRED]

    def judged(self) -> list[Target]:
        """Return the targets that the region's figures come from: the Required ones, or all when none is."""
        return self.required() or self.targets

    def judge(self, now: float, *, wall: float, observer: ObserverHealth) -> bool:
        """Judge anew; return whether the health or its reason changed."""
        self._cast_own_vote(now, wall)
        self.flapping = any(target.endpoint.flapping(now) for target in self.required())
        evidence = self._evidence(now, observer)
        judgement = judge(evidence)
        if judgement.health in BAD:
            self.troubled, self.good_since = True, None
        elif self.troubled and judgement.health is not Health.UNKNOWN:
            # Begin to count at the first good verdict; the pure rule is asked again with what has passed since then.
            self.good_since = now if self.good_since is None else self.good_since
            self.troubled = judgement.health is Health.RECOVERING
        if judgement.down and not self.judgement.down:
            self.down_since = now
        elif not judgement.down:
            self.down_since = None
        changed = (judgement.health, judgement.reason) != (self.judgement.health, self.judgement.reason)
        if judgement.health is not self.judgement.health or not self.since_time:
            self.since_time = wall
        self.judgement = judgement
        return changed

    def measure(self, now: float, *, observer: ObserverHealth) -> None:
        """Compute the figures anew. Costs a sort per probe, so the tracker does it every two seconds."""
        if observer.suspect or self._outvoted(now):
            # What a vantage sees that is cut off tells about the vantage. Kept, it would degrade the region for a
            # minute after the cut has healed.
            for target in self.targets:
                target.window = Window()
        medians, tails, failures, samples, expected = [], [], 0, 0, 0.0
        for target in self.judged():
            target.window.expire(now)
            p50, p95 = target.window.percentile(0.5, 0.95)
            if p50 is not None and p95 is not None and target.window.samples >= _enough(target):
                medians.append(p50)
                tails.append(p95)
            failures += target.window.failures
            samples += target.window.samples
            expected += SPAN / target.spec.interval
        # Twenty samples of a window that has only begun to fill are a matter of luck: with 1 % of probes lost, one
        # region in a few hundred would look degraded for a moment after each start.
        enough = samples >= max(MINIMUM_SAMPLES, expected * WARM)
        of_probes = 100.0 * failures / samples if enough else None
        load = self._reported(now, error_rate=True)
        self.figures = Figures(
            # The slowest of several probes: a mean of a TCP and an HTTP probe would hide the HTTP one.
            latency_p50=max(medians, default=None),
            latency_p95=max(tails, default=None),
            error_rate_percent=of_probes if load is None else load,
            load_error_rate_percent=load,
            probe_error_rate_percent=of_probes,
            capacity_available_percent=self._reported(now, error_rate=False),
            samples=samples,
        )

    def health(self, *, observer: ObserverHealth) -> RegionHealth:
        """Assemble what failover decisions see."""
        deciding = self.judged()
        endpoints = [target.endpoint for target in deciding]
        steady = bool(endpoints) and all(item.up_since is not None for item in endpoints)
        return RegionHealth(
            region=self.spec.region,
            health=self.judgement.health,
            reason=self.judgement.reason,
            message=self.judgement.message,
            since_time=self.since_time,
            down=self.judgement.down,
            down_since=self.down_since,
            first_failure=min(
                (item.first_failure for item in endpoints if item.first_failure is not None), default=None
            ),
            down_votes=self.judgement.down_votes,
            vantages=self.judgement.vantages,
            proved_at=min((item.proved_at for item in endpoints if item.proved_at is not None), default=None)
            if self.proved()
            else None,
            probe_interval=max((evidence_age(target) for target in deciding), default=1.0),
            up_since=max((item.up_since for item in endpoints if item.up_since is not None), default=None)
            if steady
            else None,
            figures=self.figures,
            flapping=self.flapping,
            suspect_observer=observer.suspect,
        )

    def proved(self) -> bool:
        """Tell whether every deciding probe is Up, with no doubt pending."""
        for target in self.judged():
            if target.endpoint.state is not EndpointState.UP or not target.endpoint.up:
                return False
        return bool(self.targets)

    def certificate_expiry(self) -> float | None:
        """Return when the first of the region's certificates ends; None when none was seen."""
        times = [target.certificate_expiry_time for target in self.targets]
        return min((time for time in times if time is not None), default=None)

    def hear(self, vote: Vote, *, expires: float, wall: float) -> None:
        """Take the vote of another vantage, valid until the monotonic time `expires`."""
        known = self.foreign.get(vote.vantage)
        changed = known is None or known.vote.up is not vote.up
        self.foreign[vote.vantage] = _ForeignVote(
            vote, expires, wall if changed or known is None else known.last_change_time
        )

    def views(self, now: float) -> tuple[VantageView, ...]:
        """Return what each vantage sees, this process first."""
        own = VantageView(
            name=OPERATOR,
            health=_shown(self.own_vote.up),
            message=self.own_vote.detail,
            last_change_time=self.own_change_time,
        )
        others = [
            VantageView(
                name=name,
                health=_shown(item.vote.up if item.expires > now else None),
                message=item.vote.detail if item.expires > now else "its last verdict has expired",
                last_change_time=item.last_change_time,
            )
            for name, item in sorted(self.foreign.items())
        ]
        return (own, *others)

    def measured(self, now: float, watch: triggers.Watch) -> triggers.Evidence:
        """Return the evidence for one trigger."""
        since = now - watch.duration
        if watch.figure is Figure.PROBE_ERROR_RATE:
            return self._probe_errors(since)
        if watch.figure is Figure.LATENCY_P95:
            return self._latency(since, watch.threshold)
        return self._load(now, since, watch)

    def _outvoted(self, now: float) -> bool:
        """Tell whether this process alone is cut off: it says Down, another vantage reaches the region, no quorum."""
        others_reach = any(item.vote.up for item in self.foreign.values() if item.expires > now)
        return self.own_vote.up is False and others_reach and not self.judgement.down

    def _cast_own_vote(self, now: float, wall: float) -> None:
        up, detail = self._own_verdict(now)
        if up is not self.own_vote.up or self.own_change_time is None:
            self.own_change_time = wall
        if up is not self.own_vote.up or detail != self.own_vote.detail:
            self.own_vote = Vote(vantage=OPERATOR, up=up, detail=detail)

    def _own_verdict(self, now: float) -> tuple[bool | None, str]:
        required = self.required()
        valid = [
            target
            for target in self.judged()
            if target.endpoint.answered_at is not None and now - target.endpoint.answered_at < _lease(target)
        ]
        if not required and not self.spec.unresolved:
            return (True if valid else None), ""
        downs = [target for target in valid if target.endpoint.up is False]
        if downs and required:
            return False, "; ".join(f"{target.spec.name}: {target.down_detail or 'no answer'}" for target in downs[:3])
        if len(valid) < len(required) or self.spec.unresolved or self.problems.keys() & self._required_names():
            return None, "not every required probe has a verdict"
        return (True if all(target.endpoint.up for target in valid) else None), ""

    def _required_names(self) -> set[str]:
        return {probe.name for probe in self.spec.probes if probe.role is ProbeRole.REQUIRED}

    def _evidence(self, now: float, observer: ObserverHealth) -> Evidence:
        votes = [self.own_vote, *(item.vote for item in self.foreign.values() if item.expires > now)]
        return Evidence(
            votes=tuple(votes),
            quorum=self.spec.quorum,
            admin_state=self.spec.admin_state,
            figures=self.figures,
            thresholds=self.spec.thresholds,
            informational_down=tuple(
                target.spec.name
                for target in self.targets
                if target.spec.role is ProbeRole.INFORMATIONAL and target.endpoint.up is False
            ),
            observer_suspect=observer.message if observer.suspect else "",
            flapping=self.flapping,
            ever_answered=any(target.endpoint.answered_at is not None for target in self.targets),
            troubled=self.troubled,
            good_for=0.0 if self.good_since is None else now - self.good_since,
        )

    def _reported(self, now: float, *, error_rate: bool) -> float | None:
        """Return the worst fresh figure that the probes' answers carried."""
        found = [
            value
            for target in self.targets
            for value in [
                (target.error_rates if error_rate else target.capacities).fresh(
                    now, within=FRESH_PERIODS * target.spec.interval
                )
            ]
            if value is not None
        ]
        return (max if error_rate else min)(found, default=None)

    def _probe_errors(self, since: float) -> triggers.Evidence:
        newest = max((item for target in self.judged() if (item := target.window.newest())), default=None)
        return triggers.Evidence(
            value=self.figures.probe_error_rate_percent,
            samples=self.figures.samples,
            bad=sum(target.window.bad_since(since) for target in self.judged()),
            newest_bad=newest is not None and newest[1],
        )

    def _latency(self, since: float, over: float) -> triggers.Evidence:
        slowest = max(self.judged(), key=lambda target: target.window.percentile(0.95)[0] or 0.0, default=None)
        if slowest is None:
            return triggers.Evidence(value=None)
        newest = slowest.window.newest(over=over)
        return triggers.Evidence(
            value=slowest.window.percentile(0.95)[0],
            samples=slowest.window.samples,
            bad=slowest.window.bad_since(since, over=over),
            newest_bad=newest is not None and newest[1],
        )

    def _load(self, now: float, since: float, watch: triggers.Watch) -> triggers.Evidence:
        error_rate = watch.figure is Figure.LOAD_ERROR_RATE
        value = self._reported(now, error_rate=error_rate)
        bad = sum(
            (target.error_rates if error_rate else target.capacities).count(
                since, lambda figure: watch.figure.past(figure, watch.threshold)
            )
            for target in self.targets
        )
        return triggers.Evidence(
            value=value, bad=bad, newest_bad=value is not None and watch.figure.past(value, watch.threshold)
        )


def evidence_age(target: Target) -> float:
    """Return how old the newest answer of a target may get while all is well, in seconds.

    One interval would not do: with jitter, a healthy target's evidence would be stale for a moment before each probe.
    An answer that is late is stale.
    """
    return (1 + 2 * JITTER) * target.spec.interval + (target.late_after(cold=False) or target.spec.retry_interval)


def is_silenced(watch: RegionWatch) -> bool:
    """Tell whether nobody probes the region on purpose."""
    return watch.spec.admin_state is AdminState.DISABLED


def _enough(target: Target) -> int:
    """Return how many samples a latency needs: the first probe connects, so alone it would look slow."""
    return min(LATENCY_SAMPLES, int(SPAN / target.spec.interval))


def _lease(target: Target) -> float:
    return max(LEASE_FLOOR, FRESH_PERIODS * (target.spec.interval + target.spec.timeout))


def _shown(up: bool | None) -> Health:
    return {True: Health.HEALTHY, False: Health.UNREACHABLE, None: Health.UNKNOWN}[up]
