"""The edits of a policy's status that a run makes, from commit to release. Pure: from object to new status."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from regent.domain.conditions import Condition, merge
from regent.domain.failover import blue_green
from regent.domain.failover.model import Plan, PolicySpec, PolicyState, RunType, Topology, TriggerKind
from regent.domain.traffic import shares
from regent.engine.ports import Object
from regent.engine.records import (
    automatic_number,
    enum_of,
    is_automatic,
    policy_state,
    read_shares,
    status_of,
    time_of,
    write_groups,
    write_shares,
)

REJOIN_ANNOTATION = "regent.dev/rejoin"
"""On a policy: the region whose isolated writes may be dropped, `@`, and the epoch in which that was said."""

TALLIES = {
    "Succeeded": "succeeded",
    "Failed": "failed",
    "RolledBack": "rolledBack",
    "Cancelled": "cancelled",
    "NotNeeded": "notNeeded",
    "Superseded": "superseded",
}


def _status(policy: Object) -> dict[str, Any]:
    return copy.deepcopy(dict(status_of(policy)))


def raise_run_number(policy: Object, number: int) -> dict[str, Any]:
    """Take a number for an automatic run; never lower than one that was taken."""
    status = _status(policy)
    status["runNumber"] = max(number, int(status.get("runNumber") or 0))
    return status


def active_fields(spec: PolicySpec, active: str, distribution: Mapping[str, int]) -> dict[str, Any]:
    """The fields that say what is active."""
    carrying = shares.carrying(distribution)
    shared = spec.topology is Topology.ACTIVE_ACTIVE
    listed = shared or spec.topology is Topology.BLUE_GREEN
    return {
        "activeRegion": "" if shared else active,
        "activeRegions": carrying,
        "active": ",".join(carrying) if listed else active,
        "distribution": write_shares(distribution),
    }


def commit_status(
    policy: Object, spec: PolicySpec, run: Object, plan: Plan, *, promotes: bool, now: str
) -> dict[str, Any]:
    """Epoch + 1 and the operation; where nothing has to be promoted, the active region changes here too."""
    status = _status(policy)
    state = policy_state(policy)
    status["epoch"] = state.epoch + 1
    status["runNumber"] = max(state.run_number, automatic_number(run))
    status["operation"] = {
        "uid": run["metadata"]["uid"],
        "name": run["metadata"]["name"],
        "from": state.active_region,
        "to": plan.to,
    }
    status["phase"] = "FailingOver"
    if spec.topology is not Topology.ACTIVE_ACTIVE and not promotes:
        status["activeRegion"] = plan.to
        status["active"] = plan.to
    message = f"{run['metadata']['name']}: {shares.describe(plan.before)} → {shares.describe(plan.after)}"
    status["conditions"] = merge(
        status.get("conditions") or [],
        [Condition("Progressing", "True", plan.trigger.value, message)],
        now=now,
        generation=spec.generation,
    )
    return status


def promoted_status(policy: Object, to: str) -> dict[str, Any]:
    """The new region is active: its promotion was seen."""
    status = _status(policy)
    status["activeRegion"] = to
    status["active"] = to
    return status


def turned_back_status(policy: Object, spec: PolicySpec, source: str) -> dict[str, Any]:
    """Epoch + 1 for an undo, so that writes of the attempt come too late; the region of before is the active one."""
    status = _status(policy)
    status["epoch"] = policy_state(policy).epoch + 1
    if spec.topology is not Topology.ACTIVE_ACTIVE:
        before = (status.get("operation") or {}).get("from") or source
        status["activeRegion"] = before
        status["active"] = before
    return status


def next_attempt_status(policy: Object, spec: PolicySpec, to: str, *, promotes: bool) -> dict[str, Any]:
    """Epoch + 1 for the next candidate."""
    status = _status(policy)
    status["epoch"] = policy_state(policy).epoch + 1
    status["operation"] = {**status["operation"], "to": to}
    if spec.topology is not Topology.ACTIVE_ACTIVE and not promotes:
        status["activeRegion"] = to
        status["active"] = to
    return status


def _home_after(spec: PolicySpec, state: PolicyState, run: Object) -> str:
    """Where a failback would go after the run. A move that a person plans makes a new home; a forced one keeps it."""
    if spec.topology in (Topology.LEADER_ELECTION, Topology.BLUE_GREEN):
        return ""  # any leader is as good as another, and groups have a latch of their own
    asked, ended, home = run.get("spec") or {}, status_of(run), state.failback_region
    source, to = str(asked.get("from") or ""), str((ended.get("plan") or {}).get("chosen") or "")
    kind, trigger = asked.get("type"), ended.get("trigger")
    planned = kind == RunType.SWITCHOVER.value and not is_automatic(run)
    if to == home or planned or kind == RunType.FAILBACK.value:
        return ""
    if spec.topology is Topology.ACTIVE_PASSIVE and state.operation is not None and state.operation.source == to:
        return home  # only shares moved
    if trigger == TriggerKind.REGION_REMOVED.value:
        return "" if home == source else home
    return home or source


def _groups_after(spec: PolicySpec, state: PolicyState, run: Object, *, now: str) -> dict[str, Any]:
    ended = status_of(run)
    move = blue_green.Move(
        source=state.operation.source if state.operation is not None else "",
        to=state.active_region,
        trigger=enum_of(TriggerKind, ended.get("trigger"), TriggerKind.MANUAL),
        automatic=is_automatic(run),
        start_time=time_of(ended.get("startTime")) or 0.0,
        end_time=time_of(ended.get("completionTime")) or time_of(now) or 0.0,
    )
    return write_groups(blue_green.after_run(spec, state.groups, move))


def release_status(
    policy: Object, spec: PolicySpec, run: Object, after: Mapping[str, int], *, now: str
) -> dict[str, Any]:
    """Free the policy of an ended run, and record the run. A no-op when the policy does not hold the run any more."""
    status = _status(policy)
    state = policy_state(policy)
    if state.operation is None or state.operation.uid != run["metadata"]["uid"]:
        return status
    status.pop("operation")
    ended = status_of(run)
    phase = str(ended.get("phase") or "Failed")
    if after and (
        status.get("replicationSource") or any(step["name"].startswith("Promote/") for step in ended.get("steps") or ())
    ):
        status["replicationSource"] = str(status.get("activeRegion") or "")
    active = str(status.get("activeRegion") or "")
    if not ended.get("epoch") and (ended.get("plan") or {}).get("before"):
        # Its commit came through after it had been given up (a late write): nothing of it was done.
        active = str((run.get("spec") or {}).get("from") or active)
        status["epoch"] = state.epoch + 1
    if after:
        status.update(active_fields(spec, active, after))
    elif active and not read_shares(status.get("distribution")).get(active):
        # Overtaken after the active region had turned: the targets follow the region, and this says so.
        names = [entry.name for entry in spec.regions]
        status.update(active_fields(spec, active, shares.only(names, active)))
    if after and phase != "RolledBack" and dict(after) != read_shares((ended.get("plan") or {}).get("before")):
        status["failbackRegion"] = _home_after(spec, state, run)
    if spec.topology is Topology.BLUE_GREEN:
        status["blueGreen"] = _groups_after(spec, state, run, now=now)
    if rejoin := _to_rejoin(status, ended, after):
        status["rejoin"] = rejoin
    tally = TALLIES.get(phase)
    if tally:
        totals = status.setdefault("totals", {})
        totals[tally] = int(totals.get(tally) or 0) + 1
    plan = ended.get("plan") or {}
    source, chosen = str((run.get("spec") or {}).get("from") or ""), str(plan.get("chosen") or "")
    status["lastFailover"] = {
        "name": run["metadata"]["name"],
        "from": source,
        "to": chosen,
        "reason": str(ended.get("trigger") or "Manual"),
        "startTime": ended.get("startTime"),
        "completionTime": ended.get("completionTime"),
        "result": phase,
        "summary": summary(source, chosen, ended.get("durationMilliseconds"), phase),
    }
    status["conditions"] = merge(
        status.get("conditions") or [],
        [Condition("Progressing", "False", phase, f"{run['metadata']['name']} has ended")],
        now=now,
        generation=spec.generation,
    )
    return status


def _promoted(run_status: Mapping[str, Any]) -> bool:
    """Whether the run moved roles, not only traffic."""
    return any(str(step["name"]).startswith("Promote/") for step in run_status.get("steps") or ())


def _to_rejoin(status: Mapping[str, Any], ended: Mapping[str, Any], after: Mapping[str, int]) -> list[dict[str, Any]]:
    """Regions that a run has left without proof that they stopped, the ones from before included."""
    rows = [dict(row) for row in status.get("rejoin") or () if not after.get(str(row.get("region")))]
    fenced: Mapping[str, Any] = next((item for item in ended.get("conditions") or () if item["type"] == "Fenced"), {})
    if not _promoted(ended) or fenced.get("reason") == "Demoted":
        return rows
    before = read_shares((ended.get("plan") or {}).get("before"))
    known = {row["region"] for row in rows}
    left = [name for name, share in before.items() if share and not after.get(name) and name not in known]
    return rows + [{"region": name, "message": "left without proof that it stopped"} for name in left]


def summary(source: str, to: str, milliseconds: int | None, phase: str) -> str:
    """`eu-west-1→eu-central-1 0.8s`, with the phase when it did not succeed."""
    move = f"{source}→{to}" if source and source != to else to
    took = f" {milliseconds / 1000:.1f}s" if milliseconds is not None else ""
    return f"{move}{took}{'' if phase == 'Succeeded' else ' ' + phase}"
