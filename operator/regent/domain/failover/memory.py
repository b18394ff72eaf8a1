"""Which ended runs the rules still need: the objects of runs are the only memory of cooldown, budget and maxShift.

`spec.historyLimit` says how many runs people want to see; a run that a rule still counts stays beyond that limit, or a
short history would quietly switch the rule off. A run may be forgotten when everything that the rules read of the past
is the same without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from regent.domain.failover.capacity import SETTLE
from regent.domain.failover.cooldown import Cooldown, counts, current
from regent.domain.failover.model import PolicySpec, RunRecord, Topology
from regent.domain.failover.runspec import LATEST
from regent.domain.traffic import shares


@dataclass(frozen=True, slots=True)
class _Memory:
    """All that any rule reads of the past at one moment, and of which it goes on from there."""

    cooldown: Cooldown
    budget: tuple[float, ...]
    """Ends of the newest runs on the budget that are within its span; older ones than it allows change nothing."""
    moved: tuple[tuple[float, int], ...]
    """(end, percent points) of what maxShift counts."""
    lately: tuple[str, ...]
    """Runs whose traffic free capacity may not show yet, where shares are fitted to it."""
    last: str
    """The last committed run: its epoch is the highest, and it says how shares came about."""
    rehearsed: str
    """The last drill by schedule, as long as its time would come again without it."""


def forgettable(runs: Sequence[RunRecord], policy: PolicySpec, *, limit: int, wall_time: float) -> list[str]:
    """Return the names of runs that may be deleted, oldest first; the newest `limit` are never among them.

    Args:
        runs: all ended runs of the policy, in any order.
        policy: whose rules count.
        limit: how many ended runs people want to keep, at least 1; older ones stay where a rule needs them.
        wall_time: now, seconds since the epoch.
    """
    ended = sorted(runs, key=_by_end)
    kept = list(ended)
    needed = _memory(kept, policy, wall_time)
    gone: list[str] = []
    for run in ended[:-limit]:
        without = [other for other in kept if other is not run]
        if _memory(without, policy, wall_time) == needed:
            kept = without
            gone.append(run.name)
    return gone


def _by_end(run: RunRecord) -> tuple[float, str]:
    return run.completion_time or 0.0, run.name


def _memory(ended: Sequence[RunRecord], policy: PolicySpec, wall_time: float) -> _Memory:
    safety = policy.safety
    committed = [run for run in ended if run.committed]
    cooldown = current(committed, base=safety.cooldown)
    if wall_time - (cooldown.until_time - cooldown.length) > 2 * cooldown.length:
        cooldown = Cooldown()  # long over: the next one does not follow from it
    elif not cooldown.active(wall_time):
        cooldown = dataclasses.replace(cooldown, left=frozenset())
    ends = [_by_end(run)[0] for run in committed if counts(run)]
    spent = sorted(end for end in ends if end >= wall_time - safety.budget_per)
    shared = policy.topology in (Topology.ACTIVE_ACTIVE, Topology.BLUE_GREEN)
    limited = safety.max_shift.percent < shares.FULL
    moved = tuple(
        (_by_end(run)[0], shares.moved(run.before, run.after))
        for run in committed
        if limited and _by_end(run)[0] + safety.max_shift.per > wall_time
    )
    rehearsed = [run.name for run in ended if (run.scheduled_time or 0.0) + LATEST > wall_time]
    return _Memory(
        cooldown=cooldown,
        budget=tuple(spent[-safety.budget_failovers :]) if safety.budget_failovers > 0 else tuple(spent[-1:]),
        moved=tuple((end, points) for end, points in moved if points),
        lately=tuple(run.name for run in committed if shared and _by_end(run)[0] > wall_time - SETTLE),
        last=committed[-1].name if committed else "",
        rehearsed=rehearsed[-1] if rehearsed else "",
    )
