"""ActivePassive: everything on one region, the rest stand by.

A failing active region is left for the best candidate; once it has been healthy for the stabilization time, traffic
returns to it when `failback.mode` says so. The latch is `PolicyState.failback_region`: set when an unplanned run leaves
home, cleared when traffic is back or a person moved it on purpose.
"""

from __future__ import annotations

import dataclasses

from regent.domain.duration import format_duration
from regent.domain.failover import capacity, rebalance
from regent.domain.failover.candidates import best, explain, judge, proved
from regent.domain.failover.cooldown import Cooldown
from regent.domain.failover.gates import first_hold
from regent.domain.failover.model import (
    Candidate,
    Decision,
    FailbackMode,
    FiredTrigger,
    Hold,
    Plan,
    RunType,
    Snapshot,
    Steady,
    TriggerKind,
    Urgency,
)
from regent.domain.failover.triggers import fired
from regent.domain.health.model import AdminState, Health
from regent.domain.traffic import shares


def decide(snapshot: Snapshot, cooldown: Cooldown) -> Decision:
    """Decide for an ActivePassive policy: leave the active region, go back home, or stay."""
    triggers = fired(snapshot, snapshot.state.active_region)
    if triggers:
        return leave(snapshot, triggers, cooldown)
    return rebalance.single_active(snapshot, cooldown) or go_home(snapshot, cooldown)


def leave(snapshot: Snapshot, triggers: tuple[FiredTrigger, ...], cooldown: Cooldown) -> Plan | Hold:
    """Find a way off the active region. When every trigger is held, the hold of the most urgent one is returned."""
    held: Hold | None = None
    for trigger in triggers:
        hold = first_hold(snapshot, trigger, cooldown)
        if hold is None:
            return _to_best(snapshot, trigger, cooldown)
        held = held or _with_candidates(snapshot, hold, cooldown)
    if held is None:
        raise ValueError("leave() needs at least one trigger")
    return held


def _candidates(snapshot: Snapshot, trigger: TriggerKind, cooldown: Cooldown, *, fresh: bool) -> tuple[Candidate, ...]:
    # A person who drains a region wants it empty even when it was entered a minute ago: orders may return anywhere.
    recent = cooldown.left if cooldown.active(snapshot.wall_time) else frozenset()
    not_again = frozenset() if trigger in (TriggerKind.ADMIN_STATE, TriggerKind.REGION_REMOVED) else recent
    desperate = trigger in (TriggerKind.UNREACHABLE, TriggerKind.REGION_REMOVED)
    return judge(
        snapshot, exclude={snapshot.state.active_region}, not_again=not_again, desperate=desperate, fresh=fresh
    )


def _with_candidates(snapshot: Snapshot, hold: Hold, cooldown: Cooldown) -> Hold:
    return dataclasses.replace(hold, candidates=_candidates(snapshot, hold.trigger, cooldown, fresh=False))


def _to_best(snapshot: Snapshot, trigger: FiredTrigger, cooldown: Cooldown) -> Plan | Hold:
    candidates = _candidates(snapshot, trigger.kind, cooldown, fresh=True)
    to = best(candidates)
    if not to:
        why = explain(candidates)
        return Hold(
            reason="AllRegionsDown" if all_down(snapshot) else "NoCandidate",
            message=f"{trigger.message}; no region can take over ({why}). The last weights stay until one can",
            trigger=trigger.kind,
            source=trigger.region,
            candidates=candidates,
            retry_after=_next_proof(snapshot),
        )
    names = [entry.name for entry in snapshot.policy.regions]
    planned = trigger.kind is TriggerKind.ADMIN_STATE
    view = snapshot.regions.get(trigger.region)
    return Plan(
        type=RunType.SWITCHOVER if planned else RunType.FAILOVER,
        trigger=trigger.kind,
        source=trigger.region,
        to=to,
        before=dict(snapshot.state.distribution),
        after=shares.only(names, to),
        candidates=candidates,
        reason=trigger.message,
        detected=view.health.first_failure if view is not None and trigger.kind is TriggerKind.UNREACHABLE else None,
        urgency=trigger.urgency,
        shortfall=capacity.short(snapshot, to, capacity.rooms(snapshot), need=shares.FULL),
    )


def all_down(snapshot: Snapshot) -> bool:
    """Whether none of several regions answers, the one that is to be left included."""
    views = [snapshot.regions.get(entry.name) for entry in snapshot.policy.regions]
    return len(views) > 1 and all(view is None or not view.exists or view.health.down for view in views)


def _next_proof(snapshot: Snapshot) -> float:
    """When the proof of some region may be younger again: nothing announces a probe that merely succeeds once more."""
    return max(0.1, min((view.health.probe_interval for view in snapshot.regions.values()), default=1.0))


def go_home(snapshot: Snapshot, cooldown: Cooldown) -> Plan | Hold | Steady:
    """Judge a return to the region that an unplanned run has left."""
    home = snapshot.state.failback_region
    if not home or home == snapshot.state.active_region or snapshot.policy.failback_mode is FailbackMode.NEVER:
        return Steady()
    view = snapshot.regions.get(home)
    if view is None or not view.exists or snapshot.policy.region(home) is None:
        return Steady(failback_pending=f"{home} no longer exists; annotate or edit the policy to make another one home")
    waited = 0.0 if view.health.up_since is None else snapshot.now - view.health.up_since
    stabilization = snapshot.policy.failback_stabilization
    serving = (
        view.admin_state is AdminState.ENABLED
        and not view.health.down
        and not view.fired
        and view.health.health in (Health.HEALTHY, Health.RECOVERING)
    )
    if not serving or view.health.up_since is None:
        return Steady(failback_pending=f"waiting for {home} to be healthy (now {view.health.health.value})")
    if waited < stabilization:
        text = format_duration(stabilization)
        message = f"{home} is back; it has to stay healthy for {text} before traffic returns"
        return Steady(failback_pending=message, retry_after=stabilization - waited)
    if snapshot.policy.failback_mode is FailbackMode.MANUAL:
        return Steady(failback_pending=f"{home} is healthy again; failback.mode is Manual, so a person starts it")
    trigger = FiredTrigger(
        kind=TriggerKind.FAILBACK,
        urgency=Urgency.LOW,
        region=snapshot.state.active_region,
        message=f"{home} has been healthy for {format_duration(stabilization)}",
    )
    hold = first_hold(snapshot, trigger, cooldown)
    if hold is not None:
        return Steady(failback_pending=f"{hold.reason}: {hold.message}", retry_after=hold.retry_after)
    if not proved(view, now=snapshot.now):
        return Steady(failback_pending=f"waiting for a fresh probe of {home}", retry_after=view.health.probe_interval)
    names = [entry.name for entry in snapshot.policy.regions]
    return Plan(
        type=RunType.FAILBACK,
        trigger=TriggerKind.FAILBACK,
        source=snapshot.state.active_region,
        to=home,
        before=dict(snapshot.state.distribution),
        after=shares.only(names, home),
        candidates=judge(snapshot, exclude={snapshot.state.active_region}, desperate=False),
        reason=trigger.message,
    )
