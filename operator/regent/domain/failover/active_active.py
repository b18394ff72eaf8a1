"""ActiveActive: every eligible region carries its share; a lost region's share goes to the others in proportion.

One run is made per change of the set of regions. When nobody is left to take over, the last good distribution stays
(fail open): sending traffic to a region that may answer is better than sending it nowhere.
"""

from __future__ import annotations

from regent.domain.duration import format_duration
from regent.domain.failover.candidates import judge, proved
from regent.domain.failover.cooldown import Cooldown
from regent.domain.failover.gates import first_hold
from regent.domain.failover.model import (
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


def wanted(snapshot: Snapshot) -> dict[str, float]:
    """The ratios that the spec asks for: its weights, or 1 each when it gives none."""
    ratios = {
        entry.name: 1.0 if entry.weight_percent is None else float(entry.weight_percent)
        for entry in snapshot.policy.regions
    }
    return ratios if any(ratios.values()) else dict.fromkeys(ratios, 1.0)


def decide(snapshot: Snapshot, cooldown: Cooldown) -> Decision:
    """Decide for an ActiveActive policy: take regions out, take them back, follow the spec, or stay."""
    carrying = shares.carrying(snapshot.state.distribution)
    listed = [name for name in carrying if snapshot.policy.region(name) is not None]
    holds: list[Hold] = []
    lost: list[FiredTrigger] = []
    for name in listed:
        for trigger in fired(snapshot, name):
            hold = first_hold(snapshot, trigger, cooldown)
            if hold is None:
                lost.append(trigger)
                break
            holds.append(hold)
    if lost:
        return _take_out(snapshot, lost, [name for name in listed if name not in {item.region for item in lost}])
    if holds:
        return holds[0]
    return _take_back(snapshot, listed, cooldown)


def _take_out(snapshot: Snapshot, lost: list[FiredTrigger], rest: list[str]) -> Plan | Hold:
    gone = {item.region for item in lost}
    candidates = judge(snapshot, exclude=gone, desperate=True)
    # A region that already carries traffic keeps carrying while it is merely unproved; but something moves only when
    # at least one region of the rest is proved to serve.
    standby = [row.region for row in candidates if row.eligible and row.region not in rest]
    anyone = any(proved(snapshot.regions[name], now=snapshot.now) for name in rest)
    takers = rest if anyone else standby
    if not takers:
        why = "; ".join(f"{row.region}: {', '.join(row.reasons)}" for row in candidates) or "the policy lists no other"
        return Hold(
            reason="AllRegionsDown" if not rest or not anyone else "NoCandidate",
            message=f"{lost[0].message}; no region can take over ({why}). The last weights stay",
            trigger=lost[0].kind,
            source=lost[0].region,
            candidates=candidates,
            retry_after=1.0,
        )
    if len(takers) < snapshot.policy.safety.min_active_regions:
        return Hold(
            reason="MinActiveRegions",
            message=f"{len(takers)} regions would be left, and safety.minActiveRegions is "
            f"{snapshot.policy.safety.min_active_regions}. Lower it, or start a Failover by hand",
            trigger=lost[0].kind,
            source=lost[0].region,
            candidates=candidates,
            action_required=True,
        )
    after = shares.among(wanted(snapshot), takers)
    planned = all(item.kind is TriggerKind.ADMIN_STATE for item in lost)
    failures = [view.health.first_failure for name in gone if (view := snapshot.regions.get(name)) is not None]
    return Plan(
        type=RunType.SWITCHOVER if planned else RunType.FAILOVER,
        trigger=lost[0].kind,
        source=lost[0].region,
        to=max(after, key=lambda name: after[name]),
        before=dict(snapshot.state.distribution),
        after=after,
        candidates=candidates,
        reason="; ".join(item.message for item in lost),
        detected=min((moment for moment in failures if moment is not None), default=None),
    )


def _take_back(snapshot: Snapshot, carrying: list[str], cooldown: Cooldown) -> Plan | Steady:
    back: list[str] = []
    pending: list[str] = []
    waits: list[float] = []
    for entry in snapshot.policy.regions:
        view = snapshot.regions.get(entry.name)
        if entry.name in carrying or view is None or not view.exists or wanted(snapshot)[entry.name] == 0:
            continue
        serving = (
            view.admin_state is AdminState.ENABLED
            and not view.health.down
            and not view.fired
            and view.health.health in (Health.HEALTHY, Health.RECOVERING, Health.DEGRADED)
            and view.health.up_since is not None
        )
        if not serving or view.health.up_since is None:
            pending.append(f"waiting for {entry.name} to be healthy (now {view.health.health.value})")
            continue
        never_left = entry.name not in snapshot.state.distribution
        left = 0.0 if never_left else snapshot.policy.failback_stabilization - (snapshot.now - view.health.up_since)
        if left > 0:
            stabilization = format_duration(snapshot.policy.failback_stabilization)
            pending.append(f"{entry.name} is back; it has to stay healthy for {stabilization} before it gets traffic")
            waits.append(left)
        elif snapshot.policy.failback_mode is FailbackMode.AUTOMATIC or never_left:
            back.append(entry.name)
        elif snapshot.policy.failback_mode is FailbackMode.MANUAL:
            pending.append(f"{entry.name} is healthy again; failback.mode is Manual, so a person starts it")
    if back:
        return _with_back(snapshot, carrying, back, cooldown)
    rebalance = shares.among(wanted(snapshot), carrying)
    if rebalance and rebalance != dict(snapshot.state.distribution) and not _at_rest(snapshot):
        reason = "the shares in spec.regions changed"
        return _plan(snapshot, RunType.REBALANCE, TriggerKind.MANUAL, to=carrying[0], after=rebalance, reason=reason)
    return Steady(failback_pending="; ".join(pending), retry_after=min(waits, default=None))


def _with_back(snapshot: Snapshot, carrying: list[str], back: list[str], cooldown: Cooldown) -> Plan | Steady:
    trigger = FiredTrigger(
        kind=TriggerKind.FAILBACK,
        urgency=Urgency.LOW,
        region=back[0],
        message=f"{', '.join(back)} healthy for {format_duration(snapshot.policy.failback_stabilization)}",
    )
    hold = first_hold(snapshot, trigger, cooldown)
    if hold is not None:
        return Steady(failback_pending=f"{hold.reason}: {hold.message}", retry_after=hold.retry_after)
    if not all(proved(snapshot.regions[name], now=snapshot.now) for name in back):
        return Steady(failback_pending=f"waiting for a fresh probe of {', '.join(back)}", retry_after=0.5)
    after = shares.among(wanted(snapshot), [*carrying, *back])
    return _plan(snapshot, RunType.FAILBACK, TriggerKind.FAILBACK, to=back[0], after=after, reason=trigger.message)


def _plan(
    snapshot: Snapshot, kind: RunType, trigger: TriggerKind, *, to: str, after: dict[str, int], reason: str
) -> Plan:
    before = dict(snapshot.state.distribution)
    shrinking = [name for name in before if before[name] > after.get(name, 0)]
    return Plan(
        type=kind,
        trigger=trigger,
        source=shrinking[0] if shrinking else "",
        to=to,
        before=before,
        after=after,
        candidates=judge(snapshot, desperate=False, fresh=False),
        reason=reason,
    )


def _at_rest(snapshot: Snapshot) -> bool:
    return snapshot.policy.suspend or snapshot.suspend_all or bool(snapshot.policy.unsupported)
