"""In which order candidates are preferred. Every replica comes to the same order from the same snapshot.

Figures are bucketed before they are compared: a continuous figure would make every later criterion dead.
"""

from __future__ import annotations

import hashlib

from regent.domain.failover.model import HEALTH_RANK, PolicyRegion, Promotion, RegionView, Snapshot, Topology

PROMOTION_RANK = {Promotion.PREFER: 0, Promotion.NEUTRAL: 1, Promotion.PREFER_NOT: 2, Promotion.NEVER: 3}

LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
LAG_BUCKETS = (1.0, 10.0)
"""Seconds; a lag above the last one is within the gate, or the region would be no candidate."""

Key = tuple[float, ...]


def rank(snapshot: Snapshot, entry: PolicyRegion, *, order: int, lag: float | None) -> Key:
    """Return the key to sort a candidate by; smaller is better.

    Args:
        snapshot: the world.
        entry: the region as the policy lists it.
        order: its place in the policy's list.
        lag: seconds that its data is behind; None where nothing replicates.
    """
    view = snapshot.regions.get(entry.name)
    if snapshot.policy.topology is Topology.LEADER_ELECTION:
        drawn = tie_break(snapshot.policy.uid, snapshot.state.epoch, entry.name)
        return (*merit(view, entry), float(drawn))
    if view is None:
        return (9, 9, 9, 0, 9, 9, 0, 99, order)
    return (
        HEALTH_RANK.get(view.health.health, 9),
        float(not view.placement_preferred),
        PROMOTION_RANK[entry.promotion],
        -view.priority,
        view.tier,
        sum(lag > bound for bound in LAG_BUCKETS) if lag is not None else 0,
        -free_step(view),
        sum((view.health.figures.latency_p50 or 0.0) > bound for bound in LATENCY_BUCKETS),
        order,
    )


def merit(view: RegionView | None, entry: PolicyRegion) -> Key:
    """What a leader is elected by: health, placement and promotion class, free capacity in steps of 10 %."""
    if view is None:
        return (9, 9, 9, 0)
    return (
        HEALTH_RANK.get(view.health.health, 9),
        float(not view.placement_preferred),
        PROMOTION_RANK[entry.promotion],
        -free_step(view),
    )


def free_step(view: RegionView) -> float:
    """Free capacity in whole steps of 10 %; a region that does not say is taken to be free."""
    free = view.health.figures.capacity_available_percent
    return 10.0 if free is None else free // 10


def tie_break(uid: str, epoch: int, region: str) -> int:
    """Draw a lot that is the same on every replica and another one in each epoch, so that no region always wins."""
    digest = hashlib.sha256(f"{uid}/{epoch}/{region}".encode()).digest()
    return int.from_bytes(digest[:6], "big")  # 48 bits: exact as a float
