"""The failover decision: `decide(snapshot) -> Plan | Hold | Steady`.

Start reading here. The decision is a pure function: triggers (`triggers`), rules that hold it back (`gates`,
`cooldown`), candidates (`candidates`) and shares (`traffic.shares`) are the four things that it puts together, one
module for each topology; `limits` has the last word on a plan. What is decided is executed by `engine.runs`; what is
held is shown by `engine.policy_status`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from regent.domain.failover import active_active, active_passive, blue_green, leader_election, rebalance
from regent.domain.failover.candidates import judge
from regent.domain.failover.cooldown import Cooldown, current
from regent.domain.failover.limits import limit
from regent.domain.failover.model import Candidate, Decision, Plan, Snapshot, Steady, Topology
from regent.domain.traffic import shares

BY_TOPOLOGY: Mapping[Topology, Callable[[Snapshot, Cooldown], Decision]] = {
    Topology.ACTIVE_PASSIVE: active_passive.decide,
    Topology.ACTIVE_ACTIVE: active_active.decide,
    Topology.LEADER_ELECTION: leader_election.decide,
    Topology.BLUE_GREEN: blue_green.decide,
}


def decide(snapshot: Snapshot) -> Decision:
    """Decide what is to be done about one policy now.

    Nothing is decided before it is known what is active (`adoption`) nor while a committed run holds the policy.
    """
    if not snapshot.state.adopted or snapshot.state.operation is not None:
        return Steady(candidates=shown_candidates(snapshot))
    decision = BY_TOPOLOGY[snapshot.policy.topology](snapshot, cooldown_of(snapshot))
    if isinstance(decision, Plan):
        decision = limit(snapshot, decision)
    if isinstance(decision, Plan):
        return decision
    # Nothing announces the end of an override.
    waits = [wait for wait in (decision.retry_after, rebalance.expires_in(snapshot)) if wait is not None]
    candidates = decision.candidates or shown_candidates(snapshot)
    return dataclasses.replace(decision, candidates=candidates, retry_after=min(waits, default=None))


def shown_candidates(snapshot: Snapshot) -> tuple[Candidate, ...]:
    """The candidates as the status shows them while nothing happens."""
    carrying = {snapshot.state.active_region}
    if snapshot.policy.topology is Topology.ACTIVE_ACTIVE:
        carrying = set()
    elif snapshot.policy.topology is Topology.BLUE_GREEN:
        carrying = set(shares.carrying(snapshot.state.distribution))
    return judge(snapshot, exclude=carrying, not_again=not_again(snapshot), desperate=False, fresh=False)


def cooldown_of(snapshot: Snapshot) -> Cooldown:
    """The cooldown in force for the snapshot's policy, acknowledgement respected."""
    acknowledged = 0.0
    if snapshot.state.acknowledged_epoch >= snapshot.state.epoch > 0:
        acknowledged = max((run.completion_time or 0.0 for run in snapshot.runs), default=0.0)
    return current(snapshot.runs, base=snapshot.policy.safety.cooldown, acknowledged_time=acknowledged)


def not_again(snapshot: Snapshot) -> frozenset[str]:
    """Regions to which no automatic run returns at this moment."""
    cooldown = cooldown_of(snapshot)
    return cooldown.left if cooldown.active(snapshot.wall_time) else frozenset()
