"""Two regions that look active: the one thing that automation must never make worse.

A data step (database, volume) that is seen active in two regions means two writers. Nothing is started by itself any
more: which side holds the right data is for a person to say.
"""

from __future__ import annotations

from regent.domain.failover.model import Snapshot


def suspected(snapshot: Snapshot) -> str:
    """Return which step is active where and what to do about it, or ""."""
    found = []
    for step in (item.name for item in snapshot.policy.options.promotion if item.holds_data):
        regions = sorted(region for region, active in snapshot.roles.items() if step in active)
        if len(regions) > 1:
            found.append(f"step {step} is active in {' and '.join(regions)}")
    if not found:
        return ""
    return (
        f"{'; '.join(found)}. No run starts by itself while this lasts. Find out which side has the data that you want "
        "to keep, demote the other one by hand, and this ends by itself"
    )


def also_active(snapshot: Snapshot, region: str) -> tuple[str, ...]:
    """Return the data steps that are active in `region` though another region holds the role."""
    if region == snapshot.state.active_region or not suspected(snapshot):
        return ()
    data = {item.name for item in snapshot.policy.options.promotion if item.holds_data}
    return tuple(sorted(snapshot.roles.get(region, frozenset()) & data))
