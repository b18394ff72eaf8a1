"""The failover decision: `decide(snapshot) -> Plan | Hold | Steady`.

Start reading here. The decision is a pure function: triggers (`triggers`), rules that hold it back (`gates`,
`cooldown`), candidates (`candidates`) and shares (`traffic.shares`) are the four things that it puts together. What is
decided is executed by `engine.runs`; what is held is shown by `engine.policy_status`.
"""

from __future__ import annotations

import dataclasses

from regent.domain.failover import active_active, active_passive
from regent.domain.failover.candidates import judge
from regent.domain.failover.cooldown import Cooldown, current
from regent.domain.failover.model import Candidate, Decision, Hold, Snapshot, Steady, Topology


def decide(snapshot: Snapshot) -> Decision:
    """Decide what is to be done about one policy now.

    Nothing is decided before it is known what is active (`adoption`) nor while a committed run holds the policy.
    """
    if not snapshot.state.adopted or snapshot.state.operation is not None:
        return Steady(candidates=shown_candidates(snapshot))
    cooldown = cooldown_of(snapshot)
    if snapshot.policy.topology is Topology.ACTIVE_ACTIVE:
        decision = active_active.decide(snapshot, cooldown)
    else:
        decision = active_passive.decide(snapshot, cooldown)
    if isinstance(decision, Hold | Steady) and not decision.candidates:
        decision = dataclasses.replace(decision, candidates=shown_candidates(snapshot))
    return decision


def shown_candidates(snapshot: Snapshot) -> tuple[Candidate, ...]:
    """The candidates as the status shows them while nothing happens."""
    carrying = set() if snapshot.policy.topology is Topology.ACTIVE_ACTIVE else {snapshot.state.active_region}
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
