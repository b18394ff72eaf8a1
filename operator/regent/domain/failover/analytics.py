"""What the runs of policies say when they are counted: success, triggers, durations, traffic over time, recovery.

Pure. `engine.run_facts` makes the records from Failover objects; the command line and the REST API show the result.
Dry runs never moved anything and do not count; neither do drills, which are counted apart. A run counts for or against
success when it ended as Succeeded, Failed or RolledBack; one that was cancelled, superseded or found to be needless is
counted, but proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from regent.domain.failover.analytics_trend import Move, PolicyTrend, RegionTrend, region_trends, trend_of
from regent.domain.failover.model import RunType, TriggerKind
from regent.domain.failover.options import TransitionType

K = TypeVar("K", bound=Enum)

FAULTS = frozenset({TriggerKind.UNREACHABLE, TriggerKind.ERROR_RATE, TriggerKind.LATENCY, TriggerKind.CAPACITY})
"""Triggers that say something about the region that was left, unlike orders of people."""


class Outcome(Enum):
    """How a run ended; the values are the API's phases. UNFINISHED stands for all phases before the end."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ROLLED_BACK = "RolledBack"
    CANCELLED = "Cancelled"
    NOT_NEEDED = "NotNeeded"
    SUPERSEDED = "Superseded"
    UNFINISHED = "Unfinished"


class Origin(Enum):
    """Who started a run."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"
    SCHEDULED = "Scheduled"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """How long one step of one attempt took, in seconds; steps that were skipped or are not over have no time."""

    name: str
    attempt: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """One run, as its Failover object tells it. Times are seconds since the epoch, None where they are not known."""

    policy: str
    """`namespace/name`."""
    name: str
    type: RunType = RunType.FAILOVER
    transition: TransitionType = TransitionType.IMMEDIATE
    trigger: TriggerKind = TriggerKind.MANUAL
    origin: Origin = Origin.MANUAL
    outcome: Outcome = Outcome.SUCCEEDED
    committed: bool = True
    """It held the policy at some time; only such runs are in the policy's totals."""
    dry_run: bool = False
    source: str = ""
    to: str = ""
    before: Mapping[str, int] = field(default_factory=dict)
    after: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 1
    """Candidates that were tried."""
    start_time: float | None = None
    completion_time: float | None = None
    duration: float | None = None
    """Seconds from detection (or the start) to the end."""
    steps: tuple[StepTime, ...] = ()
    message: str = ""
    """How it ended, in words."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many runs ended how."""

    counts: Mapping[Outcome, int] = field(default_factory=dict)

    @property
    def runs(self) -> int:
        """All runs that were counted."""
        return sum(self.counts.values())

    @property
    def success_percent(self) -> float | None:
        """Succeeded runs among those that ended as Succeeded, Failed or RolledBack; None when there are none."""
        judged = sum(self[kind] for kind in (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.ROLLED_BACK))
        return 100 * self[Outcome.SUCCEEDED] / judged if judged else None

    def __getitem__(self, outcome: Outcome) -> int:
        """The number of runs that ended like this."""
        return self.counts.get(outcome, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Durations in seconds. The percentile is a value that was measured (nearest rank), never an interpolation."""

    count: int
    median: float
    p95: float
    longest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionCount:
    """What happened to a region: runs that left it, that made it active, and faults that started a run away from it."""

    region: str
    left: int
    entered: int
    faults: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What went well after something had gone wrong."""

    rolled_back: int
    not_rolled_back: int
    """Runs that failed and stayed where they were."""
    failbacks: Tally
    away: Spread | None
    """Time from the end of a run that a fault started to the end of the failback that undid it."""
    still_away: int
    """Such runs that no failback has undone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drills:
    """Rehearsals: they move nothing, so they say nothing of the success of failovers."""

    counts: Tally
    last: tuple[RunFacts, ...] = ()
    """The newest one of each policy that has ended, by policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Analytics:
    """Everything that is counted."""

    total: Tally
    """All runs, with those that were pruned."""
    pruned: Tally
    """Runs whose objects are gone: only how they ended is known. They are in `total` and nowhere else."""
    transitions: Mapping[TransitionType, Tally]
    origins: Mapping[Origin, Tally]
    cascades: Tally
    """Runs that tried more than one candidate."""
    triggers: Mapping[TriggerKind, Tally]
    duration: Spread | None
    """Of runs that succeeded."""
    steps: Mapping[str, Spread]
    """By name of the step, in the order in which steps first appeared."""
    regions: tuple[RegionCount, ...]
    recovery: Recovery
    drills: Drills
    trends: tuple[PolicyTrend, ...]
    shares: tuple[RegionTrend, ...]
    """By region, over all policies."""


def analyse(runs: Iterable[RunFacts], *, totals: Mapping[str, Mapping[Outcome, int]], until: float) -> Analytics:
    """Count the runs.

    Args:
        runs: of any policies, in any order; dry runs are left out.
        totals: how many committed runs of each policy (`namespace/name`) ended how, as the policy's status counts
            them. What exceeds the runs given is taken to have been pruned. {}: nothing is known of pruned runs.
        until: now, in seconds since the epoch; traffic is weighed up to then.
    """
    real = sorted((run for run in runs if not run.dry_run), key=_by_time)
    counted = [run for run in real if run.type is not RunType.DRILL]
    pruned = _pruned(counted, totals)
    seen = tally(counted)
    trends = _trends(counted, until)
    return Analytics(
        total=Tally({kind: seen[kind] + pruned[kind] for kind in Outcome if seen[kind] + pruned[kind]}),
        pruned=pruned,
        transitions=_by(counted, lambda run: run.transition),
        origins=_by(counted, lambda run: run.origin),
        cascades=tally([run for run in counted if run.attempts > 1]),
        triggers=_by(counted, lambda run: run.trigger),
        duration=spread(
            [run.duration for run in counted if run.outcome is Outcome.SUCCEEDED and run.duration is not None]
        ),
        steps=_steps(counted),
        regions=_regions(counted),
        recovery=_recovery(counted),
        drills=_drills([run for run in real if run.type is RunType.DRILL]),
        trends=trends,
        shares=region_trends(trends),
    )


def tally(runs: Iterable[RunFacts]) -> Tally:
    """Count how runs ended."""
    counts: dict[Outcome, int] = {}
    for run in runs:
        counts[run.outcome] = counts.get(run.outcome, 0) + 1
    return Tally(counts)


def spread(values: Sequence[float]) -> Spread | None:
    """Give median, 95th percentile and maximum; None for nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return Spread(count=len(ordered), median=_rank(ordered, 50), p95=_rank(ordered, 95), longest=ordered[-1])


def _rank(ordered: Sequence[float], percent: int) -> float:
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _by_time(run: RunFacts) -> tuple[float, float, str]:
    return (run.completion_time or math.inf, run.start_time or math.inf, run.name)


def _by(runs: Iterable[RunFacts], key: Callable[[RunFacts], K]) -> dict[K, Tally]:
    groups: dict[K, list[RunFacts]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    found = {kind: tally(group) for kind, group in groups.items()}
    return dict(sorted(found.items(), key=lambda item: (-item[1].runs, str(item[0].value))))


def _pruned(runs: Iterable[RunFacts], totals: Mapping[str, Mapping[Outcome, int]]) -> Tally:
    seen: dict[tuple[str, Outcome], int] = {}
    for run in runs:
        if run.committed:
            seen[run.policy, run.outcome] = seen.get((run.policy, run.outcome), 0) + 1
    counts: dict[Outcome, int] = {}
    for policy, ended in totals.items():
        for outcome, number in ended.items():
            # A run that has just ended may not be in the totals yet: that makes no negative number of pruned ones.
            gone = max(0, number - seen.get((policy, outcome), 0))
            if gone:
                counts[outcome] = counts.get(outcome, 0) + gone
    return Tally(counts)


def _steps(runs: Iterable[RunFacts]) -> dict[str, Spread]:
    times: dict[str, list[float]] = {}
    for run in runs:
        for step in run.steps:
            times.setdefault(step.name, []).append(step.seconds)
    return {name: found for name, values in times.items() if (found := spread(values)) is not None}


def _regions(runs: Sequence[RunFacts]) -> tuple[RegionCount, ...]:
    left: dict[str, int] = {}
    entered: dict[str, int] = {}
    faults: dict[str, int] = {}
    for run in runs:
        if run.trigger in FAULTS and run.source:
            faults[run.source] = faults.get(run.source, 0) + 1
        if run.outcome is not Outcome.SUCCEEDED:
            continue
        for name in {*run.before, *run.after}:
            had, has = run.before.get(name, 0) > 0, run.after.get(name, 0) > 0
            if had and not has:
                left[name] = left.get(name, 0) + 1
            if has and not had:
                entered[name] = entered.get(name, 0) + 1
    names = sorted({*left, *entered, *faults})
    return tuple(
        RegionCount(region=name, left=left.get(name, 0), entered=entered.get(name, 0), faults=faults.get(name, 0))
        for name in names
    )


def _recovery(runs: Sequence[RunFacts]) -> Recovery:
    away: dict[tuple[str, str], float] = {}
    returned: list[float] = []
    for run in runs:
        if run.outcome is not Outcome.SUCCEEDED or run.completion_time is None:
            continue
        since = away.pop((run.policy, run.to), None)
        if since is not None and run.type is RunType.FAILBACK:
            returned.append(run.completion_time - since)
        if run.type is RunType.FAILOVER and run.trigger in FAULTS:
            # The last run that left a region counts: traffic was back before it, even if that run was pruned.
            away[run.policy, run.source] = run.completion_time
    return Recovery(
        rolled_back=sum(run.outcome is Outcome.ROLLED_BACK for run in runs),
        not_rolled_back=sum(run.outcome is Outcome.FAILED and run.committed for run in runs),
        failbacks=tally([run for run in runs if run.type is RunType.FAILBACK]),
        away=spread(returned),
        still_away=len(away),
    )


def _drills(runs: Sequence[RunFacts]) -> Drills:
    newest = {run.policy: run for run in runs if run.completion_time is not None}
    return Drills(counts=tally(runs), last=tuple(newest[policy] for policy in sorted(newest)))


def _trends(runs: Sequence[RunFacts], until: float) -> tuple[PolicyTrend, ...]:
    moves: dict[str, list[Move]] = {}
    for run in runs:
        # Only a run that succeeded is known to have left the shares of its plan; a rolled back one left them as before.
        if run.outcome is not Outcome.SUCCEEDED or not run.after or run.completion_time is None:
            continue
        start = run.completion_time if run.start_time is None else run.start_time
        move = Move(
            run=run.name, start_time=start, completion_time=run.completion_time, before=run.before, after=run.after
        )
        moves.setdefault(run.policy, []).append(move)
    return tuple(trend_of(policy, found, until=until) for policy, found in sorted(moves.items()))
