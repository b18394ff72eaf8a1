"""BlueGreen: two groups of regions take turns; one of them serves, in equal shares.

`desired` starts a switch once the desired group has been wholly healthy for `switchAfter`. For `observe` after the
switch the new group is on trial: the first region of it that fails sends everything back to the other group, and the
latch keeps it there until `desired` changes. Outside of the trial a region that fails leaves its share to the others of
its group, and only when nobody of the group is left the other group takes over; the way back is then a failback.

The trial and the latch stand in the policy's status (`GroupState`). "Wholly healthy since" does not: what nobody
watched while Regent was away is no proof, so that wait begins anew with a new process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

from regent.domain.duration import format_duration
from regent.domain.failover import rebalance
from regent.domain.failover.active_active import carrying, failing, nobody, shift_to, take_back, takers_among
from regent.domain.failover.candidates import judge, proved
from regent.domain.failover.cooldown import Cooldown
from regent.domain.failover.gates import first_hold
from regent.domain.failover.model import (
    Decision,
    FailbackMode,
    FiredTrigger,
    GroupState,
    Hold,
    LatchKind,
    Plan,
    PolicySpec,
    PolicyState,
    RunType,
    Snapshot,
    Steady,
    TriggerKind,
    Urgency,
)
from regent.domain.failover.options import BlueGreen
from regent.domain.failover.triggers import fired
from regent.domain.failover.wanted import active_group, group, group_of
from regent.domain.times import rfc3339

FAILURES = (TriggerKind.UNREACHABLE, TriggerKind.ERROR_RATE, TriggerKind.LATENCY)
"""What counts against a group on trial. Short capacity and orders of people do not: they say nothing about it."""


def decide(snapshot: Snapshot, cooldown: Cooldown) -> Decision:
    """Decide for a BlueGreen policy: leave failing regions, switch to the desired group, take regions back, or stay."""
    listed = carrying(snapshot)
    back = _switch_back(snapshot, cooldown)
    if back is not None:
        return back
    lost, holds = failing(snapshot, listed, cooldown)
    if lost:
        return _take_out(snapshot, cooldown, lost, listed)
    if holds:
        return holds[0]
    if rebalance.override(snapshot) is None:
        switch = _switch(snapshot, cooldown)
        if isinstance(switch, Plan | Hold):
            return switch
        rest = take_back(snapshot, listed, cooldown)
        return _together(rest, switch)
    return take_back(snapshot, listed, cooldown)


def _together(rest: Plan | Hold | Steady, switch: Steady | None) -> Decision:
    if switch is None or not isinstance(rest, Steady):
        return rest
    waits = [wait for wait in (rest.retry_after, switch.retry_after) if wait is not None]
    return dataclasses.replace(
        rest,
        switch_pending=switch.switch_pending,
        failback_pending="; ".join(filter(None, (switch.failback_pending, rest.failback_pending))),
        retry_after=min(waits, default=None),
    )


def trial_until(policy: PolicySpec, state: PolicyState) -> float | None:
    """When the observation of the group that was switched to ends; None when no switch has been made to it."""
    switched, active = state.groups, group_of(policy, state.active_region)
    if policy.blue_green is None or switched.switch_time is None or switched.group != active:
        return None
    return switched.switch_time + policy.blue_green.observe


def _switch_back(snapshot: Snapshot, cooldown: Cooldown) -> Plan | Hold | None:
    """The group on trial has failed: everything goes back to the other one, if that one can take it."""
    until = trial_until(snapshot.policy, snapshot.state)
    if until is None or snapshot.wall_time >= until:
        return None
    name = active_group(snapshot)
    members = [region for region in carrying(snapshot) if region in group(snapshot.policy, name)]
    lost: list[FiredTrigger] = []
    held: Hold | None = None
    for region in members:
        trigger = next((item for item in fired(snapshot, region) if item.kind in FAILURES), None)
        if trigger is None:
            continue
        # On trial, errors are as good a reason as silence: neither cooldown nor budget may keep a bad switch in place.
        urgent = dataclasses.replace(trigger, urgency=Urgency.HIGH)
        hold = first_hold(snapshot, urgent, cooldown)
        if hold is None:
            lost.append(urgent)
        held = held or hold
    if not lost:
        return held
    candidates = judge(snapshot, exclude=members, desperate=True)
    takers = [row.region for row in candidates if row.eligible and row.region in group(snapshot.policy, _other(name))]
    if not takers:
        return None  # nobody to go back to: the rules outside of the trial find the best of what there is
    why = f"{name} is left again: it was switched to less than {_observe(snapshot)} ago"
    return shift_to(snapshot, lost, takers, candidates, ratios=_equal(snapshot, takers), why=why)


def _take_out(snapshot: Snapshot, cooldown: Cooldown, lost: list[FiredTrigger], listed: list[str]) -> Plan | Hold:
    gone = {item.region for item in lost}
    rest = [region for region in listed if region not in gone]
    orders = all(item.kind in (TriggerKind.ADMIN_STATE, TriggerKind.REGION_REMOVED) for item in lost)
    recent = cooldown.left if cooldown.active(snapshot.wall_time) and not orders else frozenset[str]()
    candidates = judge(snapshot, exclude=gone, not_again=recent, desperate=True)
    mine = group(snapshot.policy, active_group(snapshot))
    takers = takers_among(snapshot, candidates, rest)
    # The own group first; a region of it that stands by (it came back lately) is nearer than the other group.
    own = [region for region in takers if region in mine]
    takers = own or takers
    if not takers:
        return nobody(snapshot, lost, candidates)
    return shift_to(snapshot, lost, takers, candidates, ratios=_equal(snapshot, takers))


def _switch(snapshot: Snapshot, cooldown: Cooldown) -> Plan | Hold | Steady | None:
    """Follow `desired`; None when it is served already."""
    spec, current = _spec(snapshot), active_group(snapshot)
    if spec.desired == current:
        return None
    latched = _latched(snapshot, spec)
    if latched is not None:
        return latched
    failback = _is_failback(snapshot, spec)
    members = group(snapshot.policy, spec.desired)
    needed = max(spec.switch_after, snapshot.policy.failback_stabilization if failback else 0.0)
    rows = {row.region: row for row in judge(snapshot, desperate=False, fresh=False)}
    poor = [rows[region].explain() for region in members if not rows[region].eligible]
    if poor:
        return _waits(failback, f"{spec.desired} is desired and not wholly healthy: {'; '.join(poor)}")
    left = needed - _healthy_for(snapshot, members)
    if left > 0:
        message = f"{spec.desired} is desired; it has to be wholly healthy for {format_duration(needed)} first"
        return _waits(failback, message, retry_after=left)
    trigger = FiredTrigger(
        kind=TriggerKind.FAILBACK if failback else TriggerKind.MANUAL,
        urgency=Urgency.LOW if failback or _failed_lately(snapshot, spec.desired) else Urgency.HIGH,
        region=snapshot.state.active_region,
        message=f"blueGreen.desired is {spec.desired}, healthy for {format_duration(needed)}",
    )
    kind = RunType.FAILBACK if failback else RunType.SWITCHOVER
    hold = first_hold(snapshot, trigger, cooldown, run_type=kind)
    if hold is not None:
        return _waits(True, f"{hold.reason}: {hold.message}", retry_after=hold.retry_after) if failback else hold
    if not all(proved(snapshot.regions[region], now=snapshot.now) for region in members):
        return _waits(failback, f"waiting for a fresh probe of {', '.join(members)}", retry_after=0.5)
    return _switch_plan(snapshot, members, kind, trigger)


def _switch_plan(snapshot: Snapshot, members: tuple[str, ...], kind: RunType, trigger: FiredTrigger) -> Plan | Hold:
    candidates = judge(snapshot, exclude=carrying(snapshot), desperate=False)
    moving = shift_to(snapshot, [trigger], members, candidates, ratios=_equal(snapshot, members))
    if isinstance(moving, Hold):
        return moving
    if moving.shortfall:  # nothing fails, so nothing has to go halfway
        message = (
            f"{trigger.message}; {moving.shortfall}. It switches as soon as {', '.join(members)} have room for all"
        )
        return Hold(
            reason="CapacityShort",
            message=message,
            trigger=trigger.kind,
            source=trigger.region,
            candidates=candidates,
            retry_after=1.0,
        )
    return dataclasses.replace(moving, type=kind, detected=None, urgency=Urgency.LOW, to=members[0])


def _latched(snapshot: Snapshot, spec: BlueGreen) -> Steady | None:
    """What the latch says about the way to the desired group; None when it is open."""
    latch, name = snapshot.state.groups, spec.desired
    if latch.latched != name:
        return None
    if latch.latch is not LatchKind.FAILED_OVER:
        failed = f"{name} failed within {format_duration(spec.observe)} of the switch to it"
        why = failed if latch.latch is LatchKind.FAILED_IN_OBSERVE else f"a person moved the traffic away from {name}"
        message = (
            f"{why}: it is latched. Set blueGreen.desired to {_other(name)}, and to {name} again when it shall serve; "
            "or start a Failover by hand"
        )
        return Steady(switch_pending=message)
    if snapshot.policy.failback_mode is FailbackMode.AUTOMATIC:
        return None
    if snapshot.policy.failback_mode is FailbackMode.MANUAL:
        return Steady(
            failback_pending=f"{name} was left by an unplanned run; failback.mode is Manual, so a person starts it"
        )
    return Steady()


def _is_failback(snapshot: Snapshot, spec: BlueGreen) -> bool:
    return snapshot.state.groups.latched == spec.desired


def _waits(failback: bool, message: str, *, retry_after: float | None = None) -> Steady:
    if failback:
        return Steady(failback_pending=message, retry_after=retry_after)
    return Steady(switch_pending=message, retry_after=retry_after)


def _healthy_for(snapshot: Snapshot, members: Collection[str]) -> float:
    """Seconds for which every region of the group has been Healthy without a Required probe being Down."""
    spans = []
    for region in members:
        health = snapshot.regions[region].health
        probed = 0.0 if health.up_since is None else snapshot.now - health.up_since
        spans.append(min(probed, snapshot.wall_time - health.since_time))
    return min(spans, default=0.0)


def _failed_lately(snapshot: Snapshot, desired: str) -> bool:
    """Whether the last run went to the desired group and did not get there: then the cooldown is for it too."""
    ended = [run for run in snapshot.runs if run.committed and run.completion_time is not None]
    last = max(ended, key=lambda run: run.completion_time or 0.0, default=None)
    return last is not None and last.phase not in ("", "Succeeded") and group_of(snapshot.policy, last.to) == desired


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A run that has ended. `source` is the region that was active when it committed, `to` the one that is now."""

    source: str
    to: str
    trigger: TriggerKind
    automatic: bool
    start_time: float
    end_time: float


def after_run(policy: PolicySpec, before: GroupState, move: Move) -> GroupState:
    """Return what is to be remembered of a run that has ended. The trial of a group begins at the end of the switch to
    it; a run that came back to where it began (undone, or within the group) leaves everything as it was."""
    old, new = group_of(policy, move.source), group_of(policy, move.to)
    if policy.blue_green is None or old == new or not old:
        return before
    ordered = not move.automatic or move.trigger in (TriggerKind.MANUAL, TriggerKind.FAILBACK)
    if ordered:
        # A person who goes against `desired` means it: the group that was left is not switched to by itself.
        against = not move.automatic and new != policy.blue_green.desired
        return GroupState(
            group=new, switch_time=move.end_time, latched=old if against else "", latch=LatchKind.MOVED_BY_HAND
        )
    tried = before.group == old and before.switch_time is not None
    on_trial = tried and move.start_time < (before.switch_time or 0.0) + policy.blue_green.observe
    failed = on_trial and move.trigger in FAILURES
    latch = LatchKind.FAILED_IN_OBSERVE if failed else LatchKind.FAILED_OVER
    return GroupState(group=new, switch_time=None, latched=old, latch=latch)


def at_visit(policy: PolicySpec, state: PolicyState) -> GroupState:
    """Return what is still to be remembered: a change of `desired` opens the latch."""
    now = state.groups
    if policy.blue_green is not None and now.latched and now.latched != policy.blue_green.desired:
        return dataclasses.replace(now, latched="")
    return now


def describe(policy: PolicySpec, state: PolicyState, *, wall_time: float) -> str:
    """`Green serves, on trial until …`: for conditions."""
    name, until = group_of(policy, state.active_region), trial_until(policy, state)
    on_trial = f", on trial until {rfc3339(until)}" if until is not None and wall_time < until else ""
    return f"{name} serves{on_trial}"


def _spec(snapshot: Snapshot) -> BlueGreen:
    if snapshot.policy.blue_green is None:
        raise ValueError("a BlueGreen policy needs its two groups")  # the custom resource's rules see to it
    return snapshot.policy.blue_green


def _observe(snapshot: Snapshot) -> str:
    return format_duration(_spec(snapshot).observe)


def _other(name: str) -> str:
    return "Green" if name == "Blue" else "Blue"


def _equal(snapshot: Snapshot, members: Collection[str]) -> dict[str, float]:
    return {entry.name: float(entry.name in members) for entry in snapshot.policy.regions}
