"""Policies and runs as their statuses record them: dicts of the API to domain values and back.

Only what Regent wrote itself is read here, and it is read leniently: a status that a person edited or an older version
wrote must never stop the operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from regent.domain.failover.model import (
    GroupState,
    LatchKind,
    Operation,
    PolicyState,
    RunRecord,
    RunType,
    TriggerKind,
)
from regent.domain.times import parse_rfc3339, rfc3339

ACKNOWLEDGE_ANNOTATION = "regent.dev/acknowledge"
MANAGED_BY_LABEL = "regent.dev/managed-by"
TRIGGER_ANNOTATION = "regent.dev/trigger"
POLICY_LABEL = "regent.dev/failover-policy"
DIGITS = 12
"""Digits of a run's number that are believed: what is longer was made up by somebody."""
DRILL_TIME_ANNOTATION = "regent.dev/drill-time"
"""On a Drill that a schedule made: the time of the schedule that it is for."""

TERMINAL = frozenset({"Succeeded", "Failed", "RolledBack", "Cancelled", "NotNeeded", "Superseded"})
"""Phases in which a run is over."""

E = TypeVar("E", RunType, TriggerKind, LatchKind)


def status_of(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object's status, {} when it has none."""
    return obj.get("status") or {}


def annotations_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """The object's annotations, {} when it has none."""
    return obj["metadata"].get("annotations") or {}


def read_shares(items: Iterable[Mapping[str, Any]] | None) -> dict[str, int]:
    """A list of `{region, weightPercent}` as a distribution."""
    return {str(item["region"]): int(item.get("weightPercent") or 0) for item in items or ()}


def write_shares(distribution: Mapping[str, int]) -> list[dict[str, Any]]:
    """A distribution as the API's list."""
    return [{"region": region, "weightPercent": share} for region, share in distribution.items()]


def policy_state(policy: Mapping[str, Any]) -> PolicyState:
    """What the policy's status records."""
    status = status_of(policy)
    operation = status.get("operation")
    challenger = status.get("challenger") or {}
    acknowledged = annotations_of(policy).get(ACKNOWLEDGE_ANNOTATION, "")
    return PolicyState(
        active_region=str(status.get("activeRegion") or ""),
        distribution=read_shares(status.get("distribution")),
        epoch=int(status.get("epoch") or 0),
        run_number=int(status.get("runNumber") or 0),
        operation=Operation(
            uid=operation["uid"],
            name=operation["name"],
            to=operation.get("to", ""),
            source=operation.get("from", ""),
        )
        if operation
        else None,
        failback_region=str(status.get("failbackRegion") or ""),
        acknowledged_epoch=int(acknowledged) if acknowledged.isascii() and acknowledged.isdigit() else 0,
        groups=read_groups(status.get("blueGreen") or {}),
        challenger=str(challenger.get("region") or ""),
        challenger_time=time_of(challenger.get("sinceTime")),
    )


def read_groups(row: Mapping[str, Any]) -> GroupState:
    """`status.blueGreen` as the domain knows it."""
    return GroupState(
        group=str(row.get("group") or ""),
        switch_time=time_of(row.get("switchTime")),
        latched=str(row.get("latchedGroup") or ""),
        latch=enum_of(LatchKind, row.get("latchReason"), LatchKind.FAILED_IN_OBSERVE),
    )


def write_groups(groups: GroupState) -> dict[str, Any]:
    """What is remembered of the two groups as the API's object; {} when there is nothing."""
    row: dict[str, Any] = {"group": groups.group} if groups.group else {}
    if groups.switch_time is not None:
        row["switchTime"] = rfc3339(groups.switch_time)
    if groups.latched:
        row |= {"latchedGroup": groups.latched, "latchReason": groups.latch.value}
    return row


def is_automatic(run: Mapping[str, Any]) -> bool:
    """Whether Regent made the run. A person who claims it by the label only gets the stricter rules."""
    return (run["metadata"].get("labels") or {}).get(MANAGED_BY_LABEL) == "regent"


def automatic_number(run: Mapping[str, Any]) -> int:
    """The number in the name of an automatic run; 0 for runs of people, and for drills."""
    number = str(run["metadata"]["name"]).rpartition("-")[2]
    return int(number) if is_automatic(run) and number.isdecimal() and len(number) <= DIGITS else 0


def is_over(run: Mapping[str, Any]) -> bool:
    """Whether the run has ended."""
    return status_of(run).get("phase") in TERMINAL


def under_way(run: Mapping[str, Any]) -> bool:
    """Whether Regent is on its way with this run, so that it makes no other one. A rehearsal holds up nothing."""
    rehearsal = (run.get("spec") or {}).get("type") == RunType.DRILL.value
    return is_automatic(run) and not is_over(run) and not rehearsal


def run_record(run: Mapping[str, Any]) -> RunRecord:
    """A run as cooldown and budget count it."""
    status = status_of(run)
    plan = status.get("plan") or {}
    before, after = read_shares(plan.get("before")), read_shares(plan.get("after"))
    kind = enum_of(RunType, (run.get("spec") or {}).get("type"), RunType.FAILOVER)
    drill = kind is RunType.DRILL
    return RunRecord(
        name=run["metadata"]["name"],
        type=kind,
        trigger=enum_of(TriggerKind, status.get("trigger"), TriggerKind.MANUAL),
        committed=bool(status.get("epoch")),
        automatic=is_automatic(run),
        left=_left(status, before, after),
        completion_time=time_of(status.get("completionTime")),
        phase=str(status.get("phase") or ""),
        source=str((run.get("spec") or {}).get("from") or ""),
        to=str(plan.get("chosen") or ""),
        before=before,
        after=before if status.get("phase") == "RolledBack" else after,
        message=_ending(status) if drill else "",
        scheduled_time=time_of(annotations_of(run).get(DRILL_TIME_ANNOTATION)) if drill else None,
    )


def _ending(status: Mapping[str, Any]) -> str:
    conditions = status.get("conditions") or ()
    return next((str(item.get("message", "")) for item in conditions if item.get("type") == "Complete"), "")


def _left(status: Mapping[str, Any], before: Mapping[str, int], after: Mapping[str, int]) -> frozenset[str]:
    """Regions to which no automatic run returns within the cooldown: those that it left, and those that failed it."""
    tried = frozenset(str(item.get("region")) for item in status.get("attempts") or ())
    if status.get("phase") == "RolledBack":
        return tried
    return tried | {name for name, share in before.items() if share > 0 and after.get(name, 0) == 0}


def time_of(text: object) -> float | None:
    """A time of the API in seconds since the epoch; None when it is absent or unreadable."""
    try:
        return parse_rfc3339(str(text)) if text else None
    except ValueError:
        return None


def enum_of(kind: type[E], value: object, default: E) -> E:
    """The member of `kind` with this value; `default` for anything else."""
    return next((member for member in kind if member.value == value), default)
