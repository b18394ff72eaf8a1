"""ActiveActive: every eligible region carries its share; a lost region's share goes to the others in proportion.

No region gets more than it has room for; what does not fit stays where it is and is reported. One run is made per
change of the set of regions. When nobody is left to take over, the last good distribution stays (fail open): sending
traffic to a region that may answer is better than sending it nowhere. `blue_green` shares the second half of this
module, for the regions of the group that serves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from regent.domain.duration import format_duration
from regent.domain.failover import capacity
from regent.domain.failover.active_passive import all_down
from regent.domain.failover.candidates import explain, judge, proved
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
from regent.domain.failover.rebalance import override
from regent.domain.failover.triggers import fired
from regent.domain.failover.wanted import wanted
from regent.domain.health.model import AdminState, Health
from regent.domain.traffic import shares

LEAST_MOVE = 5
"""Percent points that must have become movable before a region that had to keep a part for want of room is taken up
again: free capacity is a figure that moves all the time, and each move is a run."""


TOGETHER = 1.0
"""Seconds: regions that are regained within this time of the first share a run. A second run would wait for the
cooldown of the first. Regions that are lost never wait for each other: clients are failing."""


def decide(snapshot: Snapshot, cooldown: Cooldown) -> Decision:
    """Decide for an ActiveActive policy: take regions out, take them back, follow the spec, or stay."""
    listed = carrying(snapshot)
    lost, holds = failing(snapshot, listed, cooldown)
    if lost:
        return _take_out(snapshot, cooldown, lost, listed)
    if holds:
        return holds[0]
    return take_back(snapshot, listed, cooldown)


def carrying(snapshot: Snapshot) -> list[str]:
    """The regions of the policy that carry traffic."""
    found = shares.carrying(snapshot.state.distribution)
    return [name for name in found if snapshot.policy.region(name) is not None]


def failing(snapshot: Snapshot, names: Sequence[str], cooldown: Cooldown) -> tuple[list[FiredTrigger], list[Hold]]:
    """The trigger for which each of `names` is to be left now, and the holds of those that have to stay."""
    lost: list[FiredTrigger] = []
    holds: list[Hold] = []
    for name in names:
        for trigger in fired(snapshot, name):
            hold = first_hold(snapshot, trigger, cooldown)
            if hold is None:
                lost.append(trigger)
                break
            holds.append(hold)
    return lost, holds


def _take_out(snapshot: Snapshot, cooldown: Cooldown, lost: list[FiredTrigger], listed: list[str]) -> Plan | Hold:
    gone = {item.region for item in lost}
    rest = [name for name in listed if name not in gone]
    orders = all(item.kind in (TriggerKind.ADMIN_STATE, TriggerKind.REGION_REMOVED) for item in lost)
    recent = cooldown.left if cooldown.active(snapshot.wall_time) and not orders else frozenset[str]()
    candidates = judge(snapshot, exclude=gone, not_again=recent, desperate=True)
    takers = takers_among(snapshot, candidates, rest)
    if not takers:
        return nobody(snapshot, lost, candidates)
    return shift_to(snapshot, lost, takers, candidates)


def takers_among(snapshot: Snapshot, candidates: Sequence[Candidate], rest: Collection[str]) -> list[str]:
    """Who takes the share of lost regions: the others that carry, else those that stand by.

    A region that already carries traffic keeps carrying while it is merely unproved; but something moves only when at
    least one region of the rest is proved to serve.
    """
    if any(proved(snapshot.regions[name], now=snapshot.now) for name in rest):
        return list(rest)
    return [row.region for row in candidates if row.eligible and row.region not in rest]


def nobody(snapshot: Snapshot, lost: Sequence[FiredTrigger], candidates: tuple[Candidate, ...]) -> Hold:
    """No region can take over: the last shares stay."""
    why = explain(candidates)
    return Hold(
        reason="AllRegionsDown" if all_down(snapshot) else "NoCandidate",
        message=f"{lost[0].message}; no region can take over ({why}). The last weights stay until one can",
        trigger=lost[0].kind,
        source=lost[0].region,
        candidates=candidates,
        retry_after=1.0,
    )


def shift_to(
    snapshot: Snapshot,
    lost: Sequence[FiredTrigger],
    takers: Collection[str],
    candidates: tuple[Candidate, ...],
    *,
    ratios: dict[str, float] | None = None,
    why: str = "",
) -> Plan | Hold:
    """Plan that `takers` carry the traffic, as far as they have room for it."""
    gone = {item.region for item in lost}
    before = snapshot.state.distribution
    ideal = apportion(snapshot, ratios or wanted(snapshot), takers)
    if not ideal:
        return nobody(snapshot, lost, candidates)
    after = fitted(snapshot, ideal)
    stays = {name: share for name, share in after.items() if share > ideal.get(name, 0) and name not in takers}
    shortfall = f"{shares.describe(stays)} cannot be moved: the others have no room for it" if stays else ""
    planned = all(item.kind is TriggerKind.ADMIN_STATE for item in lost)
    moved = shares.moved(before, after)
    if stays and moved < min(LEAST_MOVE, sum(before.get(name, 0) for name in gone)):
        message = f"{lost[0].message}; {shortfall}. It moves as soon as {', '.join(takers)} have free capacity"
        return Hold(
            reason="CapacityShort",
            message=message,
            trigger=lost[0].kind,
            source=lost[0].region,
            candidates=candidates,
            retry_after=1.0,
        )
    failures = [view.health.first_failure for name in gone if (view := snapshot.regions.get(name)) is not None]
    return Plan(
        type=RunType.SWITCHOVER if planned else RunType.FAILOVER,
        trigger=lost[0].kind,
        source=lost[0].region,
        to=head(snapshot, after, takers),
        before=dict(snapshot.state.distribution),
        after=after,
        candidates=candidates,
        reason="; ".join([*(item.message for item in lost), *([why] if why else [])]),
        detected=min((moment for moment in failures if moment is not None), default=None),
        urgency=min((item.urgency for item in lost), key=lambda urgency: urgency.value),
        shortfall=shortfall,
    )


def apportion(snapshot: Snapshot, ratios: Mapping[str, float], takers: Collection[str]) -> dict[str, int]:
    """The shares of `takers` in these ratios; {} when nobody is left who may have more than now.

    A region that may not be sent more (it is Down and a rule holds the run that would leave it, or it may not serve
    here any more) keeps at most what it has, and a suspended one keeps exactly that.
    """
    before = {name: snapshot.state.distribution.get(name, 0) for name in takers}
    fixed = {name: before[name] for name in takers if snapshot.regions[name].suspended}
    while True:
        free = [name for name in ratios if name in takers and name not in fixed]  # in the order of the spec
        rest = shares.FULL - sum(fixed.values())
        if not free or rest <= 0:
            return {}
        parts = shares.among({name: ratios[name] for name in free}, free, whole=rest)
        over = [name for name in free if parts[name] > before[name] and not may_grow(snapshot, name)]
        if not over:
            return {name: {**parts, **fixed}.get(name, 0) for name in ratios}
        fixed |= {name: before[name] for name in over}


def may_grow(snapshot: Snapshot, region: str) -> bool:
    """Whether a region may be sent more traffic than it carries."""
    view = snapshot.regions.get(region)
    if view is None or not view.exists or view.admin_state is not AdminState.ENABLED:
        return False
    return not view.health.down and not view.placement_denied and not view.suspended


def head(snapshot: Snapshot, after: dict[str, int], takers: Collection[str]) -> str:
    """The region that a plan names as its goal: the active one if it stays, else the one with the greatest share."""
    active = snapshot.state.active_region
    if active and after.get(active, 0) > 0 and active in takers:
        return active
    return max((name for name in after if name in takers), key=lambda name: after[name])


def take_back(snapshot: Snapshot, carriers: list[str], cooldown: Cooldown) -> Plan | Hold | Steady:
    """Give regions their share back once they have been healthy for long enough, and follow the wanted ratios."""
    back: list[str] = []
    pending: list[str] = []
    waits: list[float] = []
    stable = 0.0
    """Seconds for which the first of `back` could have had its share."""
    aside = _put_aside(snapshot)
    for entry in snapshot.policy.regions:
        view = snapshot.regions.get(entry.name)
        if entry.name in carriers or view is None or not view.exists or wanted(snapshot)[entry.name] == 0:
            continue
        serving = (
            view.admin_state is AdminState.ENABLED
            and not view.health.down
            and not view.fired
            and not view.placement_denied
            and not view.suspended
            and view.health.health in (Health.HEALTHY, Health.RECOVERING, Health.DEGRADED)
            and view.health.up_since is not None
        )
        if not serving or view.health.up_since is None:
            pending.append(f"waiting for {entry.name} to be healthy ({_why_not(snapshot, entry.name)})")
            continue
        free_to_come = entry.name not in snapshot.state.distribution or entry.name in aside
        left = 0.0 if free_to_come else snapshot.policy.failback_stabilization - (snapshot.now - view.health.up_since)
        ordered = free_to_come or override(snapshot) is not None
        if left > 0:
            stabilization = format_duration(snapshot.policy.failback_stabilization)
            pending.append(f"{entry.name} is back; it has to stay healthy for {stabilization} before it gets traffic")
            waits.append(left)
        elif snapshot.policy.failback_mode is FailbackMode.AUTOMATIC or ordered:
            back.append(entry.name)
            stable = max(stable, -left)
        elif snapshot.policy.failback_mode is FailbackMode.MANUAL:
            pending.append(f"{entry.name} is healthy again; failback.mode is Manual, so a person starts it")
    if back and waits and min(waits) + stable <= TOGETHER:
        return Steady(failback_pending="; ".join(pending), retry_after=min(waits))
    if back:
        return _with_back(snapshot, carriers, back, cooldown, ordered=all(name in aside for name in back))
    return _rest(snapshot, carriers, cooldown) or Steady(
        failback_pending="; ".join(pending), retry_after=min(waits, default=None)
    )


def _why_not(snapshot: Snapshot, region: str) -> str:
    view = snapshot.regions[region]
    if view.placement_denied:
        return f"PlacementDenied: {view.placement_denied}"
    if view.suspended:
        return "spec.suspend of the Region is true"
    return f"now {view.health.health.value}"


def _put_aside(snapshot: Snapshot) -> set[str]:
    """Regions without a share because a person wanted it so, not because they failed."""
    found: dict[str, bool] = {}
    ended = (run for run in snapshot.runs if run.committed and run.completion_time is not None)
    for run in sorted(ended, key=lambda run: run.completion_time or 0.0):
        by_hand = run.type is RunType.REBALANCE and run.trigger is TriggerKind.MANUAL
        found.update(dict.fromkeys(run.left, by_hand))
    return {name for name, by_hand in found.items() if by_hand}


def _with_back(
    snapshot: Snapshot, carriers: list[str], back: list[str], cooldown: Cooldown, *, ordered: bool
) -> Plan | Hold | Steady:
    by_hand = ordered or override(snapshot) is not None
    length = format_duration(snapshot.policy.failback_stabilization)
    trigger = FiredTrigger(
        kind=TriggerKind.MANUAL if by_hand else TriggerKind.FAILBACK,
        urgency=Urgency.HIGH if by_hand else Urgency.LOW,
        region=back[0],
        message=f"{', '.join(back)} shall have a share again" if by_hand else f"{', '.join(back)} healthy for {length}",
    )
    hold = first_hold(snapshot, trigger, cooldown)
    if hold is not None:
        return Steady(failback_pending=f"{hold.reason}: {hold.message}", retry_after=hold.retry_after)
    if not all(proved(snapshot.regions[name], now=snapshot.now) for name in back):
        return Steady(failback_pending=f"waiting for a fresh probe of {', '.join(back)}", retry_after=0.5)
    after = fitted(snapshot, apportion(snapshot, wanted(snapshot), [*carriers, *back]))
    if not any(after.get(name, 0) for name in back):
        rows = {row.region: row for row in judge(snapshot, desperate=False)}
        why = "; ".join(rows[name].explain() if rows[name].reasons else f"{name}: CapacityShort" for name in back)
        return Steady(failback_pending=f"there is no room for a share yet ({why})", retry_after=1.0)
    kind = RunType.REBALANCE if by_hand else RunType.FAILBACK
    # In BlueGreen a region that joins its group does not become the active one by it.
    to = head(snapshot, after, list(after)) if snapshot.state.active_region else back[0]
    return _plan(snapshot, kind, trigger.kind, to=to, after=after, reason=trigger.message)


def _rest(snapshot: Snapshot, carriers: list[str], cooldown: Cooldown) -> Plan | Hold | None:
    """Follow the ratios that are wanted now among the regions that carry; None when they do."""
    ideal = apportion(snapshot, wanted(snapshot), carriers)
    if not ideal:
        return None
    after = dict(ideal) if override(snapshot) is not None else fitted(snapshot, ideal)
    before = dict(snapshot.state.distribution)
    extra = [name for name in before if before[name] and name not in after]
    if not extra and all(before.get(name, 0) == share for name, share in after.items()) and set(before) >= set(after):
        return None
    if ideal != after and shares.moved(before, after) < LEAST_MOVE:
        return None
    reason = "the wanted shares changed"
    trigger = FiredTrigger(kind=TriggerKind.MANUAL, urgency=Urgency.HIGH, region=carriers[0], message=reason)
    hold = first_hold(snapshot, trigger, cooldown)
    if hold is not None:
        return None if hold.reason in ("Suspended", "SuspendedGlobally", "UnsupportedField") else hold
    to = head(snapshot, after, [name for name in carriers if after.get(name, 0) > 0])
    return _plan(snapshot, RunType.REBALANCE, TriggerKind.MANUAL, to=to, after=after, reason=reason)


def fitted(snapshot: Snapshot, ideal: dict[str, int]) -> dict[str, int]:
    """`ideal` as far as the regions have room for it, over the regions of the policy and those that keep a part."""
    after = shares.fit(ideal, snapshot.state.distribution, capacity.rooms(snapshot))
    return {name: share for name, share in after.items() if share > 0 or snapshot.policy.region(name) is not None}


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
