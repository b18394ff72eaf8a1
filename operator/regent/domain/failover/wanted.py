"""In which ratios the regions of a topology that shares traffic are to carry it."""

from __future__ import annotations

from regent.domain.failover.model import PolicySpec, Snapshot, Topology
from regent.domain.failover.rebalance import override


def wanted(snapshot: Snapshot) -> dict[str, float]:
    """The ratios by region: an override in force, the spec's weights, or equal shares (of the active group)."""
    names = [entry.name for entry in snapshot.policy.regions]
    asked = override(snapshot)
    if asked is not None:
        return {name: float(asked.distribution.get(name, 0)) for name in names}
    if snapshot.policy.topology is Topology.BLUE_GREEN:
        members = group(snapshot.policy, active_group(snapshot))
        return {name: float(name in members) for name in names}
    ratios = {
        entry.name: 1.0 if entry.weight_percent is None else float(entry.weight_percent)
        for entry in snapshot.policy.regions
    }
    return ratios if any(ratios.values()) else dict.fromkeys(ratios, 1.0)


def group(policy: PolicySpec, name: str) -> tuple[str, ...]:
    """The regions of the group Blue or Green."""
    if policy.blue_green is None:
        return ()
    return policy.blue_green.blue if name == "Blue" else policy.blue_green.green


def group_of(policy: PolicySpec, region: str) -> str:
    """The group that `region` is in; "" when it is in none."""
    return next((name for name in ("Blue", "Green") if region in group(policy, name)), "")


def active_group(snapshot: Snapshot) -> str:
    """The group that serves: that of the active region, else the desired one."""
    found = group_of(snapshot.policy, snapshot.state.active_region)
    return found or (snapshot.policy.blue_green.desired if snapshot.policy.blue_green is not None else "")
