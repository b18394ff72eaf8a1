"""LeaderElection: the best region serves everything, and which one that is need not matter to anybody.

A leader that fails is left as in ActivePassive, for the candidate that `ranking` elects: health, then free capacity,
then a lot that every replica draws alike. Nobody has a home, so there is no failback. With `preemption:
AfterStabilization` a region that has been better than the leader for `failback.stabilization` takes over. Better means
a better health, placement or promotion class, or at least 10 % more free capacity; a lot is no reason to move traffic.
"""

from __future__ import annotations

from regent.domain.duration import format_duration
from regent.domain.failover import rebalance
from regent.domain.failover.active_passive import leave
from regent.domain.failover.candidates import best, judge, proved
from regent.domain.failover.cooldown import Cooldown
from regent.domain.failover.gates import first_hold
from regent.domain.failover.model import (
    Decision,
    FiredTrigger,
    Plan,
    PolicyRegion,
    RunType,
    Snapshot,
    Steady,
    TriggerKind,
    Urgency,
)
from regent.domain.failover.options import Preemption
from regent.domain.failover.ranking import merit
from regent.domain.failover.triggers import fired
from regent.domain.traffic import shares

MARGIN = 10.0
"""Percent of free capacity by which a challenger has to be better. Steps alone would let two regions on either side of
a step take turns."""


def decide(snapshot: Snapshot, cooldown: Cooldown) -> Decision:
    """Decide for a LeaderElection policy: leave the leader, elect a better one, or stay."""
    triggers = fired(snapshot, snapshot.state.active_region)
    if triggers:
        return leave(snapshot, triggers, cooldown)
    settled = rebalance.single_active(snapshot, cooldown)
    if settled is not None:
        return settled
    if snapshot.policy.preemption is Preemption.NEVER or rebalance.override(snapshot) is not None:
        return Steady()
    return _preempt(snapshot, cooldown)


def challenger(snapshot: Snapshot, cooldown: Cooldown) -> str:
    """The candidate that is better than the leader now, or ""."""
    left = cooldown.left if cooldown.active(snapshot.wall_time) else frozenset[str]()
    leader = snapshot.state.active_region
    rows = judge(snapshot, exclude={leader}, not_again=left, desperate=False, fresh=False)
    found = best(rows)
    entry, current = snapshot.policy.region(found), snapshot.policy.region(leader)
    if entry is None or current is None or not _better(snapshot, entry, current):
        return ""
    return found


def _better(snapshot: Snapshot, entry: PolicyRegion, current: PolicyRegion) -> bool:
    view, leader = snapshot.regions[entry.name], snapshot.regions[current.name]
    mine, theirs = merit(view, entry)[:3], merit(leader, current)[:3]
    if mine != theirs:
        return mine < theirs
    free, used = (item.health.figures.capacity_available_percent for item in (view, leader))
    return free is not None and used is not None and free - used >= MARGIN


def _preempt(snapshot: Snapshot, cooldown: Cooldown) -> Decision:
    found, leader = challenger(snapshot, cooldown), snapshot.state.active_region
    if not found:
        return Steady()
    stabilization = snapshot.policy.failback_stabilization
    length = format_duration(stabilization)
    since = snapshot.state.challenger_time
    if found != snapshot.state.challenger or since is None:
        since = snapshot.wall_time  # the status will say so from now on: another leader of Regent counts on
    left = stabilization - (snapshot.wall_time - since)
    if left > 0:
        message = f"{found} is better than {leader}; it takes over after {length} of it"
        return Steady(switch_pending=message, challenger=found, retry_after=left)
    trigger = FiredTrigger(
        kind=TriggerKind.PREEMPTION,
        urgency=Urgency.LOW,
        region=leader,
        message=f"{found} has been better than {leader} for {length}",
    )
    hold = first_hold(snapshot, trigger, cooldown)
    if hold is not None:
        message = f"{hold.reason}: {hold.message}"
        return Steady(switch_pending=message, challenger=found, retry_after=hold.retry_after)
    if not proved(snapshot.regions[found], now=snapshot.now):
        interval = snapshot.regions[found].health.probe_interval
        return Steady(switch_pending=f"waiting for a fresh probe of {found}", challenger=found, retry_after=interval)
    return Plan(
        type=RunType.SWITCHOVER,
        trigger=TriggerKind.PREEMPTION,
        source=leader,
        to=found,
        before=dict(snapshot.state.distribution),
        after=shares.only([entry.name for entry in snapshot.policy.regions], found),
        candidates=judge(snapshot, exclude={leader}, desperate=False),
        reason=trigger.message,
    )
