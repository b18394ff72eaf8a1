"""What a Failover object leads to at this moment: a plan, a wait with its reason, or a refusal.

A run that Regent made itself is decided anew by the very rules that started it, so that a crash between making and
committing it never acts on an old view. A run that a person made ignores cooldown, budget and suspension; it obeys who
is active, and its target has to be proved healthy unless `control.force` says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from regent.domain.failover.candidates import best, explain, judge
from regent.domain.failover.decide import decide
from regent.domain.failover.gates import clock_off
from regent.domain.failover.model import Candidate, Hold, Plan, RunType, Snapshot, Topology, TriggerKind
from regent.domain.failover.runspec import LATEST, Desired, RunSpec
from regent.domain.failover.wanted import group, group_of, wanted
from regent.domain.traffic import shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The run ends without an effect, in the terminal phase `phase`."""

    phase: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The run may become possible by itself. `phase` is Pending or Blocked."""

    phase: str
    reason: str
    message: str
    candidates: tuple[Candidate, ...] = ()
    retry_after: float = 1.0


Prepared = Plan | Wait | Refusal


def prepare(snapshot: Snapshot, run: RunSpec, *, automatic: bool) -> Prepared:
    """Work out what `run` should do now, before it has committed."""
    ended = _asked_to_end(snapshot, run)
    if ended is not None:
        return ended
    if automatic:
        return _automatic(snapshot, run)
    return _by_hand(snapshot, run)


def _asked_to_end(snapshot: Snapshot, run: RunSpec) -> Wait | Refusal | None:
    if run.desired in (Desired.CANCEL, Desired.ROLLBACK):
        message = f"spec.control.desired is {run.desired.value}; nothing had been changed"
        return Refusal(phase="Cancelled", reason="CancelledByUser", message=message)
    if run.desired is Desired.PAUSE:
        message = "spec.control.desired is Pause; set it to Run to go on"
        return Wait(phase="Paused", reason="PausedByUser", message=message, retry_after=60.0)
    if run.unsupported:
        fields = ", ".join(run.unsupported)
        return Refusal(phase="Failed", reason="UnsupportedField", message=f"this version does not support {fields}")
    if run.schedule_time is not None:
        late = snapshot.wall_time - run.schedule_time
        if late < 0:
            message = "waits for spec.scheduleTime"
            return Wait(phase="Pending", reason="Scheduled", message=message, retry_after=-late)
        if late > LATEST:
            message = "spec.scheduleTime is more than 10 minutes ago; make a new Failover"
            return Refusal(phase="Cancelled", reason="TooLate", message=message)
    return None


def _automatic(snapshot: Snapshot, run: RunSpec) -> Prepared:
    decision = decide(snapshot)
    if isinstance(decision, Plan) and decision.source == run.source:
        return decision
    if isinstance(decision, Hold) and decision.source == run.source:
        return Wait(
            phase="Blocked",
            reason=decision.reason,
            message=decision.message,
            candidates=decision.candidates,
            retry_after=decision.retry_after or 1.0,
        )
    return Refusal(phase="NotNeeded", reason="TriggerGone", message="the trigger no longer holds; nothing was changed")


def _by_hand(snapshot: Snapshot, run: RunSpec) -> Prepared:
    if not snapshot.state.adopted:
        message = "the policy has not found out what is active; see its condition Ready"
        return Wait(phase="Pending", reason="PolicyNotReady", message=message)
    if run.type is RunType.REBALANCE:
        message = (
            "Regent makes Rebalance runs itself when the wanted shares change: set spec.trafficOverride of the policy, "
            "or the weights of its regions (regent traffic set)"
        )
        return Refusal(phase="Failed", reason="NotByHand", message=message)
    carrying = shares.carrying(snapshot.state.distribution)
    shared = snapshot.policy.topology in (Topology.ACTIVE_ACTIVE, Topology.BLUE_GREEN)
    returning = shared and run.type is RunType.FAILBACK and _joins(snapshot, run.to)
    if not returning and (run.source not in carrying if shared else run.source != snapshot.state.active_region):
        active = ", ".join(carrying) if shared else snapshot.state.active_region
        message = f"spec.from is {run.source or 'empty'}, but active is {active}; make a new Failover from there"
        return Refusal(phase="Superseded", reason="FromNotActive", message=message)
    if run.to and snapshot.policy.region(run.to) is None:
        message = f"spec.to names {run.to}, which is not in spec.regions of policy {snapshot.policy.name}"
        return Refusal(phase="Failed", reason="UnknownRegion", message=message)
    return _to_chosen(snapshot, run, returning=returning)


def _joins(snapshot: Snapshot, region: str) -> bool:
    """Whether `region` gets a share beside those that carry, instead of taking over from them."""
    policy = snapshot.policy
    if policy.topology is Topology.ACTIVE_ACTIVE:
        return True
    return group_of(policy, region) == group_of(policy, snapshot.state.active_region) != ""


def _to_chosen(snapshot: Snapshot, run: RunSpec, *, returning: bool) -> Prepared:
    off = clock_off(snapshot)
    if off:
        return Wait(phase="Blocked", reason="ClockSkew", message=off, retry_after=5.0)
    view = snapshot.regions.get(run.source)
    source_down = view is None or not view.exists or view.health.down
    exclude = set() if returning else {run.source}
    candidates = judge(snapshot, exclude=exclude, desperate=source_down or returning)
    home = snapshot.state.failback_region if run.type is RunType.FAILBACK else ""
    to = run.to or home or best(candidates)
    row = next((item for item in candidates if item.region == to), None)
    if row is None or not (row.eligible or run.force or _accepted(run, row)):
        return _blocked(candidates, to, row)
    return Plan(
        type=run.type,
        trigger=TriggerKind.FAILBACK if run.type is RunType.FAILBACK else TriggerKind.MANUAL,
        source=run.source,
        to=to,
        before=dict(snapshot.state.distribution),
        after=_after(snapshot, run, to, returning=returning),
        candidates=candidates,
        reason=run.reason or "asked for by a person",
        detected=view.health.first_failure if view is not None and view.health.down else None,
    )


def _accepted(run: RunSpec, row: Candidate) -> bool:
    """Whether all that stands against the region is data that it does not have, and a person gives that up."""
    return run.accept_data_loss and set(row.reasons) == {"ReplicationLag"}


def _blocked(candidates: tuple[Candidate, ...], to: str, row: Candidate | None) -> Wait:
    if row is None:
        message = f"no region can take over ({explain(candidates)})"
        return Wait(phase="Blocked", reason="NoCandidate", message=message, candidates=candidates)
    message = (
        f"{to} cannot take over: {', '.join(row.notes or row.reasons)}. It starts as soon as that is lifted; "
        "spec.control.force skips the target's health, acceptDataLoss its lag, desired: Cancel ends the run"
    )
    return Wait(phase="Blocked", reason="TargetNotEligible", message=message, candidates=candidates)


def _after(snapshot: Snapshot, run: RunSpec, to: str, *, returning: bool) -> dict[str, int]:
    names = [entry.name for entry in snapshot.policy.regions]
    if snapshot.policy.topology not in (Topology.ACTIVE_ACTIVE, Topology.BLUE_GREEN):
        return shares.only(names, to)
    staying = [name for name in shares.carrying(snapshot.state.distribution) if returning or name != run.source]
    if snapshot.policy.topology is Topology.ACTIVE_ACTIVE:
        return shares.among(wanted(snapshot), list(dict.fromkeys([*staying, to])))
    goal = group_of(snapshot.policy, to)
    if goal != group_of(snapshot.policy, snapshot.state.active_region):
        # The other group takes over as a whole: those of it that can, and the one that was asked for.
        fit = {row.region for row in judge(snapshot, desperate=True) if row.eligible}
        staying = [name for name in group(snapshot.policy, goal) if name in fit]
    return shares.among(dict.fromkeys(names, 1.0), list(dict.fromkeys([*staying, to])))
