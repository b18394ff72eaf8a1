"""How much more each region can take, in percent points of the policy's traffic.

The load of one percent point is worked out from the regions that carry traffic now: what they use, by what they carry.
All of a region's load is taken for the policy's own, which errs on the careful side. A figure that nobody gives never
holds anything back. Figures follow traffic with a delay: what was moved to a region lately is taken off its room.
"""

from __future__ import annotations

from collections.abc import Mapping

from regent.domain.failover.model import Snapshot
from regent.domain.traffic import shares

SETTLE = 30.0
"""Seconds after a run for which free capacity may not show yet what the run has moved."""


def rooms(snapshot: Snapshot) -> dict[str, int | None]:
    """Return by region how many percent points it can take on top of its share; None: not known, so not limited."""
    sized = any(view.capacity_total is not None for view in snapshot.regions.values())
    load = carried = 0.0
    for name in shares.carrying(snapshot.state.distribution):
        whole, free = _size(snapshot, name, sized=sized), _free(snapshot, name)
        if whole is not None and free is not None:
            load += whole * (100.0 - free) / 100.0
            carried += snapshot.state.distribution[name]
    point = load / carried if carried else 0.0
    found: dict[str, int | None] = {}
    for name in snapshot.regions:
        whole, free = _size(snapshot, name, sized=sized), _free(snapshot, name)
        known = point > 0 and whole is not None and free is not None
        # A hair's breadth below a whole point is that point: 0.29 * 100 is 28.999… in binary.
        room = int((whole or 0.0) * (free or 0.0) / 100.0 / point + 1e-6) if known else None
        found[name] = None if room is None else max(0, room - _lately(snapshot, name))
    return found


def _lately(snapshot: Snapshot, region: str) -> int:
    """Percent points that runs have brought to the region within SETTLE."""
    since = snapshot.wall_time - SETTLE
    gains = (
        run.after.get(region, 0) - run.before.get(region, 0)
        for run in snapshot.runs
        if run.committed and (run.completion_time is None or run.completion_time > since)
    )
    return sum(max(0, gain) for gain in gains)


def short(snapshot: Snapshot, region: str, found: Mapping[str, int | None], *, need: int) -> str:
    """Say why `region` cannot take its share up to `need` percent; "" when it can, or when that is not known."""
    room = found.get(region)
    if room is None:
        return ""
    missing = max(0, need - snapshot.state.distribution.get(region, 0))
    if room >= missing:
        return ""
    # In steps of ten: a figure that changed with each report would be written with each report.
    return f"it has room for about {room // 10 * 10} % of the traffic and would get {missing} %"


def _size(snapshot: Snapshot, region: str, *, sized: bool) -> float | None:
    view = snapshot.regions.get(region)
    if view is None or not view.exists:
        return None
    return view.capacity_total if sized else 1.0


def _free(snapshot: Snapshot, region: str) -> float | None:
    view = snapshot.regions.get(region)
    return None if view is None else view.health.figures.capacity_available_percent
