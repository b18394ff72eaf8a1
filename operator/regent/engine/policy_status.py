"""What a policy shows: phase, candidates, targets and conditions, as a pure function of what was found out.

The conditions are the contract, the phase is for people. `Ready` says whether there is something to fix in the spec or
its surroundings; an outage leaves it True. Texts hold no figure that changes by itself, or every visit would write.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regent.domain.conditions import Condition, find, merge
from regent.domain.failover import blue_green, rebalance, windows
from regent.domain.failover.candidates import explain
from regent.domain.failover.cooldown import Cooldown
from regent.domain.failover.decide import cooldown_of
from regent.domain.failover.model import (
    Candidate,
    Decision,
    FailbackMode,
    Hold,
    PolicySpec,
    RunType,
    Snapshot,
    Steady,
    Topology,
)
from regent.domain.failover.wanted import group
from regent.domain.times import rfc3339, rfc3339_micro
from regent.domain.traffic import shares
from regent.engine.alignment import TargetReport
from regent.engine.policy_warnings import budget, never_fires, split_brain, suspended
from regent.engine.ports import Object
from regent.engine.records import policy_state, status_of, time_of, write_groups
from regent.engine.run_objects import candidate_rows

TARGET_PROBLEMS = frozenset(
    {
        "TargetNotFound",
        "BackendNotFound",
        "MappingIncomplete",
        "RuleNotCovered",
        "TargetConflict",
        "TargetClusterInvalid",
        "TargetRefused",
        "WebhookProblem",
        "WebhookRefused",
        "FencedOff",
    }
)
DOUBTS = frozenset({"ProberSuspect", "Panic", "QuorumMissing", "StartupGrace"})
"""Holds that mean "not sure yet" rather than "not allowed"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What one visit of a policy found out."""

    snapshot: Snapshot
    decision: Decision
    reports: Sequence[TargetReport] = ()
    problem: Condition | None = None
    """Why the policy is not Ready, when that is not a target's fault."""
    action: str = ""
    """What a run waits for that a person can do."""
    receivers: Condition | None = None
    """What is wrong with the endpoints that the policy names: not Ready, and in nobody's way."""


def compose(policy: Object, spec: PolicySpec, findings: Findings, *, now: str) -> dict[str, Any]:
    """Return the status that the policy should show."""
    status = copy.deepcopy(dict(status_of(policy)))
    snapshot = findings.snapshot
    cooldown = cooldown_of(snapshot)
    status["observedGeneration"] = spec.generation
    status["phase"] = phase(policy, findings, cooldown)
    status["effective"] = {"fencing": spec.options.fencing.value, "failbackMode": spec.failback_mode.value}
    candidates = findings.decision.candidates
    status["candidates"] = candidate_rows(candidates)
    if findings.reports or not spec.regions:
        status["targets"] = [_target_row(report) for report in findings.reports]
    elif not findings.problem:
        status["targets"] = []
    if cooldown.active(snapshot.wall_time):
        status["cooldownUntil"] = rfc3339(cooldown.until_time)
    else:
        status.pop("cooldownUntil", None)
    _remember(status, policy, spec, findings)
    _note_drill(status, snapshot)
    _note_hold(status, findings, now=now)
    wanted = conditions(findings, cooldown)
    status["conditions"] = merge(status.get("conditions") or [], wanted, now=now, generation=spec.generation)
    status["failoverReady"] = next(item.status for item in wanted if item.type == "FailoverReady")
    return status


def _note_hold(status: dict[str, Any], findings: Findings, *, now: str) -> None:
    """Since when the same rule has stood in the way. Comes before the conditions are merged: they show what was."""
    reason = findings.decision.reason if isinstance(findings.decision, Hold) else ""
    if not reason or reason in DOUBTS:
        status.pop("heldSince", None)
        return
    shown = find(status.get("conditions") or (), "Progressing") or {}
    if shown.get("reason") != reason or not status.get("heldSince"):
        status["heldSince"] = now


def _note_drill(status: dict[str, Any], snapshot: Snapshot) -> None:
    """How the last drill ended; its object may be pruned."""
    ended = [run for run in snapshot.runs if run.type is RunType.DRILL and run.completion_time is not None]
    if not ended:
        return
    last = max(ended, key=lambda run: (run.completion_time or 0.0, run.name))
    known = time_of((status.get("lastDrill") or {}).get("completionTime"))
    if last.completion_time is not None and (known is None or last.completion_time >= known):
        row = {"name": last.name, "to": last.to, "completionTime": rfc3339(last.completion_time)}
        status["lastDrill"] = {**row, "result": last.phase, "message": last.message}


def _remember(status: dict[str, Any], policy: Object, spec: PolicySpec, findings: Findings) -> None:
    """What the next decisions need to know and nothing else tells: the latch of a group, the better leader."""
    state = policy_state(policy)
    groups = write_groups(blue_green.at_visit(spec, state)) if spec.topology is Topology.BLUE_GREEN else {}
    if groups:
        status["blueGreen"] = groups
    else:
        status.pop("blueGreen", None)
    decision = findings.decision
    found = decision.challenger if isinstance(decision, Steady) else ""
    if not found and (isinstance(decision, Steady) or spec.topology is not Topology.LEADER_ELECTION):
        status.pop("challenger", None)
    elif found and found != state.challenger:
        # To the microsecond: cut to the second, it would have been better for up to a second longer than it was.
        status["challenger"] = {"region": found, "sinceTime": rfc3339_micro(findings.snapshot.wall_time)}


def _target_row(report: TargetReport) -> dict[str, Any]:
    row = {"target": report.ref, "epoch": report.epoch, "verification": report.verification}
    return {**row, "message": report.message} if report.message else row


def phase(policy: Object, findings: Findings, cooldown: Cooldown) -> str:
    """The one word for people."""
    snapshot, decision = findings.snapshot, findings.decision
    if snapshot.policy.suspend or snapshot.suspend_all:
        return "Suspended"
    if policy_state(policy).operation is not None:
        return "FailingOver"
    if findings.problem is not None and findings.problem.status == "False":
        return "Blocked"
    if isinstance(decision, Hold):
        return "Suspect" if decision.reason in DOUBTS else "Blocked"
    if isinstance(decision, Steady) and decision.failback_pending:
        return "Recovering" if not cooldown.active(snapshot.wall_time) else "Cooldown"
    if cooldown.active(snapshot.wall_time):
        return "Cooldown"
    return "Steady" if snapshot.state.adopted else "Unknown"


def conditions(findings: Findings, cooldown: Cooldown) -> list[Condition]:
    """Every condition of a policy, each with its reason."""
    snapshot, decision = findings.snapshot, findings.decision
    return [
        _ready(findings),
        _failover_ready(decision.candidates, snapshot),
        _active_healthy(snapshot),
        Condition("ActionRequired", "True", "RunWaits", findings.action)
        if findings.action
        else _action_required(snapshot, decision),
        *_progressing(snapshot, decision),
        _verified(findings.reports),
        split_brain(snapshot),
        _failback_pending(decision),
        suspended(snapshot),
        budget(snapshot),
        Condition("CooldownActive", "True", "Running", f"until {rfc3339(cooldown.until_time)}")
        if cooldown.active(snapshot.wall_time)
        else Condition("CooldownActive", "False", "Over", ""),
    ]


def _ready(findings: Findings) -> Condition:
    if findings.problem is not None:
        return findings.problem
    policy = findings.snapshot.policy
    if policy.unsupported:
        fields = ", ".join(policy.unsupported)
        return Condition("Ready", "False", "UnsupportedField", f"this version does not support {fields}; remove it")
    missing = [entry.name for entry in policy.regions if not findings.snapshot.regions[entry.name].exists]
    if missing:
        message = f"no Region named {', '.join(missing)}: create it, or remove it from spec.regions"
        return Condition("Ready", "False", "RegionNotFound", message)
    denied = [view for view in findings.snapshot.regions.values() if view.placement_denied and policy.region(view.name)]
    if denied:
        message = "; ".join(f"{view.name}: {view.placement_denied}" for view in denied)
        return Condition("Ready", "False", "PlacementDenied", f"{message}; remove it from spec.regions")
    wrong = [text for item in policy.safety.windows if (text := windows.problem(item.start, item.time_zone))]
    if wrong:
        return Condition("Ready", "False", "InvalidWindow", f"safety.windows: {wrong[0]}")
    late = rebalance.too_long(findings.snapshot)
    if late:
        return Condition("Ready", "False", "OverrideTooLong", late)
    mute = never_fires(findings.snapshot)
    if mute:
        return Condition("Ready", "False", "TriggerCannotFire", mute)
    drills = policy.options.drills
    if drills is not None and (text := windows.problem(drills.schedule, drills.time_zone)):
        return Condition("Ready", "False", "InvalidSchedule", f"drills: {text}")
    bad = [report for report in findings.reports if report.reason in TARGET_PROBLEMS]
    if bad:
        return Condition("Ready", "False", bad[0].reason, "; ".join(report.message for report in bad))
    if findings.receivers is not None:
        return findings.receivers
    return Condition("Ready", "True", "Reconciled", "")


def _failover_ready(candidates: Sequence[Candidate], snapshot: Snapshot) -> Condition:
    eligible = [row.region for row in candidates if row.eligible]
    if snapshot.policy.topology is Topology.ACTIVE_ACTIVE and len(eligible) < 2:  # the one left has nobody behind it
        eligible = []
    if snapshot.policy.topology is Topology.BLUE_GREEN and not eligible:
        carrying = shares.carrying(snapshot.state.distribution)
        serving = [name for name in carrying if snapshot.regions[name].health.proved_at is not None]
        eligible = serving[1:]  # one region of the group has the others behind it
    if eligible:
        return Condition("FailoverReady", "True", "CandidateReady", f"{eligible[0]} would take over")
    return Condition("FailoverReady", "False", "NoCandidate", explain(candidates))


def _active_healthy(snapshot: Snapshot) -> Condition:
    names = shares.carrying(snapshot.state.distribution)
    if not names:
        return Condition("ActiveRegionHealthy", "Unknown", "NotAdopted", "it is not known yet what is active")
    views = [snapshot.regions[name] for name in names]
    down = [view.name for view in views if not view.exists or view.health.down]
    if down:
        return Condition("ActiveRegionHealthy", "False", "Unreachable", f"{', '.join(down)} does not answer")
    unsure = [view.name for view in views if view.health.proved_at is None]
    if unsure:
        return Condition("ActiveRegionHealthy", "Unknown", "NotProved", f"no proof yet of {', '.join(unsure)}")
    poor = [f"{view.name} is {view.health.health.value}" for view in views if view.health.health.value != "Healthy"]
    return Condition("ActiveRegionHealthy", "True", "Serving", ", ".join(poor))


def _action_required(snapshot: Snapshot, decision: Decision) -> Condition:
    if isinstance(decision, Hold) and decision.action_required:
        best = next((row.region for row in decision.candidates if row.eligible), "")
        hint = f". Run: {command(snapshot.policy, decision.source, best)}" if best else ""
        return Condition("ActionRequired", "True", decision.reason, f"{decision.message}{hint}")
    pending = isinstance(decision, Steady) and snapshot.policy.failback_mode is FailbackMode.MANUAL
    if pending and isinstance(decision, Steady) and "a person starts it" in decision.failback_pending:
        home = snapshot.state.failback_region or _latched_region(snapshot)
        active = snapshot.state.active_region
        hint = f". Run: {command(snapshot.policy, active, home, kind='Failback')}" if home and active else ""
        return Condition("ActionRequired", "False", "FailbackPossible", f"{decision.failback_pending}{hint}")
    return Condition("ActionRequired", "False", "NothingToDo", "")


def _latched_region(snapshot: Snapshot) -> str:
    """BlueGreen: where a failback by hand would go."""
    members = group(snapshot.policy, snapshot.state.groups.latched) if snapshot.state.groups.latched else ()
    return next(iter(members), "")


def command(policy: PolicySpec, source: str, to: str, *, kind: str = "Failover") -> str:
    """The command that a person can paste to start the run."""
    body = {
        "apiVersion": "regent.dev/v1alpha1",
        "kind": "Failover",
        "metadata": {"generateName": f"{policy.name}-", "namespace": policy.namespace},
        "spec": {"policyRef": {"name": policy.name}, "type": kind, "from": source, "to": to},
    }
    return f"echo '{json.dumps(body, separators=(',', ':'))}' | kubectl create -f -"


def _progressing(snapshot: Snapshot, decision: Decision) -> list[Condition]:
    if snapshot.state.operation is not None:
        return []  # the run keeps this condition while it holds the policy
    if isinstance(decision, Hold):
        return [Condition("Progressing", "False", decision.reason, decision.message)]
    if isinstance(decision, Steady) and decision.switch_pending:
        return [Condition("Progressing", "False", "SwitchPending", decision.switch_pending)]
    return [Condition("Progressing", "False", "Steady", "")]


def _verified(reports: Sequence[TargetReport]) -> Condition:
    if not reports:
        return Condition("TrafficVerified", "Unknown", "NoTargets", "the policy has no targets")
    failed = [r for r in reports if r.verification in ("Failed", "Conflict")]
    if failed:
        message = "; ".join(f"{report.ref}: {report.message}" for report in failed)
        return Condition("TrafficVerified", "False", failed[0].reason or "Failed", message)
    waiting = [r for r in reports if r.verification == "Pending"]
    if waiting:
        message = "; ".join(f"{report.ref}: {report.message}" for report in waiting)
        return Condition("TrafficVerified", "Unknown", "Pending", message)
    accepted = [r.ref for r in reports if r.verification == "AcceptedOnly"]
    if accepted:
        text = f"{', '.join(accepted)} accepted the weights; add verification to prove that requests arrive"
        return Condition("TrafficVerified", "Unknown", "AcceptedOnly", text)
    return Condition("TrafficVerified", "True", "Verified", "requests through the data plane arrive as decided")


def _failback_pending(decision: Decision) -> Condition:
    if isinstance(decision, Steady) and decision.failback_pending:
        return Condition("FailbackPending", "True", "Waiting", decision.failback_pending)
    return Condition("FailbackPending", "False", "AtHome", "")
