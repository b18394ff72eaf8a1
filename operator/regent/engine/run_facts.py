"""Failover objects as records to be counted, and what was counted as a JSON value.

Neighbours: `domain.failover.analytics` counts; the command line and the REST API show the same document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from regent.domain.conditions import find
from regent.domain.failover.analytics import (
    Analytics,
    Origin,
    Outcome,
    RunFacts,
    Spread,
    StepTime,
    Tally,
)
from regent.domain.failover.analytics_trend import PolicyTrend
from regent.domain.failover.model import RunType, TriggerKind
from regent.domain.failover.options import TransitionType
from regent.domain.times import rfc3339
from regent.engine.policy_writes import TALLIES
from regent.engine.ports import Object
from regent.engine.records import is_automatic, read_shares, status_of, time_of, write_shares

E = TypeVar("E", RunType, TriggerKind, TransitionType, Outcome)


def run_facts(run: Mapping[str, Any], *, policy: Mapping[str, Any] | None = None) -> RunFacts:
    """Read one run. `policy`, where it still exists, says how traffic moves when the run does not."""
    spec, status = run.get("spec") or {}, status_of(run)
    plan = status.get("plan") or {}
    trigger = _enum(TriggerKind, status.get("trigger"), TriggerKind.MANUAL)
    milliseconds = status.get("durationMilliseconds")
    return RunFacts(
        policy=f"{run['metadata'].get('namespace', '')}/{(spec.get('policyRef') or {}).get('name', '')}",
        name=str(run["metadata"]["name"]),
        type=_enum(RunType, spec.get("type"), RunType.FAILOVER),
        transition=_transition(spec, plan, policy, trigger),
        trigger=trigger,
        origin=_origin(run, spec, trigger),
        outcome=_enum(Outcome, status.get("phase"), Outcome.UNFINISHED),
        committed=bool(status.get("epoch")),
        dry_run=bool(spec.get("dryRun")),
        message=_ending(status),
        source=str(spec.get("from") or ""),
        to=str(plan.get("chosen") or spec.get("to") or ""),
        before=read_shares(plan.get("before")),
        after=read_shares(plan.get("after")),
        attempts=_attempts(status),
        start_time=time_of(status.get("startTime")),
        completion_time=time_of(status.get("completionTime")),
        duration=None if milliseconds is None else float(milliseconds) / 1_000,
        steps=tuple(filter(None, map(_step, status.get("steps") or ()))),
    )


def totals_of(policies: Iterable[Mapping[str, Any]]) -> dict[str, dict[Outcome, int]]:
    """Read how many runs of each policy ended how, pruned ones included."""
    found = {}
    for policy in policies:
        metadata, totals = policy["metadata"], status_of(policy).get("totals") or {}
        key = f"{metadata.get('namespace', '')}/{metadata['name']}"
        found[key] = {Outcome(phase): int(totals.get(name) or 0) for phase, name in TALLIES.items()}
    return found


def _transition(
    spec: Mapping[str, Any], plan: Mapping[str, Any], policy: Mapping[str, Any] | None, trigger: TriggerKind
) -> TransitionType:
    if trigger is TriggerKind.UNREACHABLE:
        return TransitionType.IMMEDIATE  # whatever was asked for: nobody drains a region that does not answer
    given = plan.get("transition") or (spec.get("transition") or {}).get("type")
    own = (((policy or {}).get("spec") or {}).get("transition") or {}).get("type")
    return _enum(TransitionType, given or own, TransitionType.IMMEDIATE)


def _origin(run: Mapping[str, Any], spec: Mapping[str, Any], trigger: TriggerKind) -> Origin:
    if spec.get("scheduleTime") or trigger is TriggerKind.SCHEDULE:
        return Origin.SCHEDULED
    return Origin.AUTOMATIC if is_automatic(run) else Origin.MANUAL


def _attempts(status: Mapping[str, Any]) -> int:
    journaled = [_attempt(step) for step in status.get("steps") or ()]
    return max([1, len(status.get("attempts") or ()), *journaled])


def _attempt(step: Mapping[str, Any]) -> int:
    return int(step.get("attempt") or 1)


def _step(step: Mapping[str, Any]) -> StepTime | None:
    start, end = time_of(step.get("startTime")), time_of(step.get("completionTime"))
    if start is None or end is None or step.get("state") == "Skipped":
        return None
    return StepTime(name=str(step.get("name")), attempt=_attempt(step), seconds=max(0.0, end - start))


def _enum(kind: type[E], value: object, default: E) -> E:
    return next((member for member in kind if member.value == value), default)


def analytics_document(found: Analytics) -> dict[str, Any]:
    """Write the analytics as a JSON value. Durations are whole milliseconds, times RFC 3339."""
    recovery = found.recovery
    return {
        "runs": _tally(found.total),
        "prunedRuns": _tally(found.pruned),
        "strategies": [{"strategy": kind.value, **_tally(counts)} for kind, counts in found.transitions.items()],
        "origins": [{"origin": kind.value, **_tally(counts)} for kind, counts in found.origins.items()],
        "cascades": _tally(found.cascades),
        "triggers": [{"trigger": kind.value, **_tally(counts)} for kind, counts in found.triggers.items()],
        "duration": _spread(found.duration),
        "steps": [{"step": name, **(_spread(times) or {})} for name, times in found.steps.items()],
        "regions": [
            {"region": row.region, "left": row.left, "entered": row.entered, "faults": row.faults}
            for row in found.regions
        ],
        "recovery": {
            "rolledBack": recovery.rolled_back,
            "notRolledBack": recovery.not_rolled_back,
            "failbacks": _tally(recovery.failbacks),
            "away": _spread(recovery.away),
            "stillAway": recovery.still_away,
        },
        "drills": {
            **_tally(found.drills.counts),
            "last": [_drill(row) for row in found.drills.last],
        },
        "traffic": [_trend(trend) for trend in found.trends],
        "trafficByRegion": [
            {
                "region": row.region,
                "averagePercent": round(row.average, 1),
                "nowPercent": round(row.now, 1),
                "trend": row.direction.value,
            }
            for row in found.shares
        ],
    }


def _drill(run: RunFacts) -> dict[str, Any]:
    ended = {} if run.completion_time is None else {"completionTime": rfc3339(run.completion_time)}
    return {"policy": run.policy, "name": run.name, "result": run.outcome.value, "message": run.message, **ended}


def _ending(status: Mapping[str, Any]) -> str:
    return str((find(status.get("conditions") or (), "Complete") or {}).get("message", ""))


def _tally(counts: Tally) -> dict[str, Any]:
    percent = counts.success_percent
    ended = {name: counts[Outcome(phase)] for phase, name in TALLIES.items()}
    rate = None if percent is None else round(percent, 1)
    return {"runs": counts.runs, **ended, "unfinished": counts[Outcome.UNFINISHED], "successPercent": rate}


def _spread(times: Spread | None) -> dict[str, int] | None:
    if times is None:
        return None
    return {
        "count": times.count,
        "medianMilliseconds": round(times.median * 1_000),
        "p95Milliseconds": round(times.p95 * 1_000),
        "longestMilliseconds": round(times.longest * 1_000),
    }


def _trend(trend: PolicyTrend) -> dict[str, Any]:
    return {
        "policy": trend.policy,
        "averagePercent": [
            {"region": region, "percent": round(share, 1)} for region, share in sorted(trend.average.items())
        ],
        "points": [
            {"time": rfc3339(point.time), "run": point.run, "distribution": write_shares(point.shares)}
            for point in trend.points
        ],
    }


def runs_of_policies(runs: Iterable[Object], policies: Iterable[Object]) -> list[RunFacts]:
    """Read runs of any policies, each with its own policy at hand."""
    known = {(obj["metadata"].get("namespace", ""), obj["metadata"]["name"]): obj for obj in policies}
    return [
        run_facts(
            run,
            policy=known.get(
                (
                    run["metadata"].get("namespace", ""),
                    str(((run.get("spec") or {}).get("policyRef") or {}).get("name", "")),
                )
            ),
        )
        for run in runs
    ]
