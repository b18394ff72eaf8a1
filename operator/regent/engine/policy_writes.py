"""The three edits of a policy's status that a run makes: number, commit, release. Pure, from object to new status."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from regent.domain.conditions import Condition, merge
from regent.domain.failover.model import Plan, PolicySpec, RunType, Topology, TriggerKind
from regent.domain.traffic import shares
from regent.engine.ports import Object
from regent.engine.records import is_automatic, policy_state, status_of, write_shares

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
    return {
        "activeRegion": "" if shared else active,
        "activeRegions": carrying,
        "active": ",".join(carrying) if shared else active,
        "distribution": write_shares(distribution),
    }


def commit_status(policy: Object, spec: PolicySpec, run: Object, plan: Plan, *, now: str) -> dict[str, Any]:
    """Epoch + 1, the operation, and the active region: nothing has to be promoted, so it changes here."""
    status = _status(policy)
    state = policy_state(policy)
    status["epoch"] = state.epoch + 1
    status["operation"] = {"uid": run["metadata"]["uid"], "name": run["metadata"]["name"], "to": plan.to}
    status["phase"] = "FailingOver"
    status["failbackRegion"] = _home_after(state.failback_region, plan, automatic=is_automatic(run))
    if spec.topology is not Topology.ACTIVE_ACTIVE:
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


def _home_after(home: str, plan: Plan, *, automatic: bool) -> str:
    """Where a failback would go after the run. A move that a person plans makes a new home; a forced one keeps it."""
    if plan.to == home or (plan.type is RunType.SWITCHOVER and not automatic) or plan.type is RunType.FAILBACK:
        return ""
    if plan.trigger is TriggerKind.REGION_REMOVED:
        return "" if home == plan.source else home
    return home or plan.source


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
    if after:
        status.update(active_fields(spec, str(status.get("activeRegion") or ""), after))
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


def summary(source: str, to: str, milliseconds: int | None, phase: str) -> str:
    """`eu-west-1→eu-central-1 0.8s`, with the phase when it did not succeed."""
    move = f"{source}→{to}" if source and source != to else to
    took = f" {milliseconds / 1000:.1f}s" if milliseconds is not None else ""
    return f"{move}{took}{'' if phase == 'Succeeded' else ' ' + phase}"
