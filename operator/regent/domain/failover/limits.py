"""What a plan has to keep to, once it is known what would move: how many regions are left, and how much moves in a
while. The rules before that, which need only the trigger, are in `gates`.

A move that is larger than `safety.maxShift` is done in several runs where the traffic can be divided: the first one
moves what is allowed (and the active role with it), the rest follows as Rebalance runs. Where promotion steps bind the
traffic to one region it cannot be divided, and is held. Leaving a region that is Down is never divided nor delayed, but
it counts: what moves after it waits the longer.
"""

from __future__ import annotations

import dataclasses

from regent.domain.duration import format_duration
from regent.domain.failover.model import Hold, Plan, Snapshot, Topology
from regent.domain.times import rfc3339
from regent.domain.traffic import shares


def limit(snapshot: Snapshot, plan: Plan) -> Plan | Hold:
    """Return the plan, the part of it that may be done now, or the hold that says which rule stands in its way."""
    return _too_few(snapshot, plan) or _max_shift(snapshot, plan)


def _hold(plan: Plan, reason: str, message: str, *, person: bool = False, retry_after: float | None = None) -> Hold:
    return Hold(
        reason=reason,
        message=message,
        trigger=plan.trigger,
        source=plan.source,
        candidates=plan.candidates,
        action_required=person,
        retry_after=retry_after,
    )


def _too_few(snapshot: Snapshot, plan: Plan) -> Hold | None:
    least = snapshot.policy.safety.min_active_regions
    left, now = len(shares.carrying(plan.after)), len(shares.carrying(plan.before))
    if left >= least or left > now:  # more than before is a step out of what the rule forbids
        return None
    regions = "region" if left == 1 else "regions"
    message = (
        f"{plan.reason}; {left} {regions} would be left with traffic, and safety.minActiveRegions is {least}. "
        "Lower it, or start a Failover by hand"
    )
    return _hold(plan, "MinActiveRegions", message, person=True)


def _max_shift(snapshot: Snapshot, plan: Plan) -> Plan | Hold:
    rule = snapshot.policy.safety.max_shift
    leaving = {name: max(0, share - plan.after.get(name, 0)) for name, share in plan.before.items()}
    urgent = {name for name, points in leaving.items() if points and _lost(snapshot, name)}
    free = sum(points for name, points in leaving.items() if name in urgent)
    bound = sum(points for name, points in leaving.items() if name not in urgent)
    if rule.percent >= shares.FULL or bound == 0:
        return plan
    allowed = rule.percent - used(snapshot)
    if bound <= allowed:
        return plan
    text = f"safety.maxShift is {rule.percent} % per {format_duration(rule.per)}"
    if bound > rule.percent and not _divisible(snapshot, plan):
        message = (
            f"{plan.reason}; {bound} % of the traffic would move at once, because the promotion steps cannot be "
            f"divided, and {text}. Raise it, or start a Failover by hand"
        )
        return _hold(plan, "MaxShift", message, person=True)
    if allowed <= 0 or not _divisible(snapshot, plan):
        needed = 1 if _divisible(snapshot, plan) else bound
        at = _allowed_time(snapshot, needed)
        message = f"{plan.reason}; {bound} % of the traffic is to move, and {text}: it goes on at {rfc3339(at)}"
        return _hold(plan, "MaxShift", message, retry_after=max(0.05, at - snapshot.wall_time))
    return dataclasses.replace(plan, after=_part(plan, urgent, free, allowed))


def _part(plan: Plan, urgent: set[str], free: int, allowed: int) -> dict[str, int]:
    """What leaves a lost region goes whole; the rest of the allowance is what the others give."""
    calm = {name: plan.before[name] if name in urgent else plan.after.get(name, 0) for name in plan.before}
    growing = {name: share for name, share in plan.after.items() if share > plan.before.get(name, 0)}
    gains = shares.split(free + allowed, [growing[name] - plan.before.get(name, 0) for name in growing])
    part = dict(plan.before)
    for name, gain in zip(growing, gains, strict=True):
        part[name] = part.get(name, 0) + gain
    shrinking = [name for name in plan.before if calm[name] < plan.before[name]]
    losses = shares.split(allowed, [plan.before[name] - calm[name] for name in shrinking])
    for name, loss in zip(shrinking, losses, strict=True):
        part[name] -= loss
    for name in urgent:
        part[name] = plan.after.get(name, 0)
    return part


def used(snapshot: Snapshot) -> int:
    """Percent points that committed runs have moved within the last `maxShift.per`."""
    return sum(points for _, points in _moves(snapshot))


def _moves(snapshot: Snapshot) -> list[tuple[float, int]]:
    """(when it stops counting, percent points) of each run that counts now, oldest first."""
    per = snapshot.policy.safety.max_shift.per
    ends = [
        (
            snapshot.wall_time if run.completion_time is None else run.completion_time,
            shares.moved(run.before, run.after),
        )
        for run in snapshot.runs
        if run.committed
    ]
    return sorted((end + per, points) for end, points in ends if end + per > snapshot.wall_time and points)


def _allowed_time(snapshot: Snapshot, points: int) -> float:
    """When `points` more may move: as soon as enough older moves have left the window."""
    spent = used(snapshot)
    for end, moved in _moves(snapshot):
        spent -= moved
        if snapshot.policy.safety.max_shift.percent - spent >= points:
            return end
    return snapshot.wall_time


def _divisible(snapshot: Snapshot, plan: Plan) -> bool:
    shared = snapshot.policy.topology is Topology.ACTIVE_ACTIVE
    return shared or not snapshot.policy.options.promotion or plan.to == snapshot.state.active_region


def _lost(snapshot: Snapshot, region: str) -> bool:
    view = snapshot.regions.get(region)
    return view is None or not view.exists or view.health.down
