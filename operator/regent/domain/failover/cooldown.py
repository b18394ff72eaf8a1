"""Cooldown and budget, worked out from the runs that were made.

A cooldown starts at the end of every committed run. It blocks Medium and Low triggers and failback, and an automatic
return to a region that was left within it. It doubles with each automatic run in a row (at most one hour), and a row is
broken by twice its length without an automatic run. Nothing is remembered apart from the run objects: a new leader
comes to the same cooldown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from regent.domain.failover.model import RunRecord, RunType

LONGEST = 3600.0


@dataclass(frozen=True, slots=True)
class Cooldown:
    """The cooldown in force. `until_time` is 0 when none was ever started."""

    until_time: float = 0.0
    length: float = 0.0
    left: frozenset[str] = frozenset()
    """Regions left within it: no automatic return to them."""

    def active(self, wall_time: float) -> bool:
        """Whether it still runs at `wall_time`."""
        return wall_time < self.until_time


def current(runs: Iterable[RunRecord], *, base: float, acknowledged_time: float = 0.0) -> Cooldown:
    """Return the cooldown that the ended committed runs lead to.

    Args:
        runs: runs of the policy in any order.
        base: length of a first cooldown in seconds (`spec.safety.cooldown`); 0 turns it off.
        acknowledged_time: end of the last run that a person has acknowledged; runs up to then count no more.
    """
    ended = sorted(
        (run for run in runs if run.committed and run.completion_time is not None),
        key=lambda run: (run.completion_time, run.name),
    )
    cooldown = Cooldown()
    for run in ended:
        end = run.completion_time or 0.0
        if base <= 0 or end <= acknowledged_time:
            continue
        in_a_row = run.automatic and cooldown.length > 0 and end - _start(cooldown) <= 2 * cooldown.length
        length = min(cooldown.length * 2, max(LONGEST, base)) if in_a_row else base
        kept = cooldown.left if cooldown.active(end) else frozenset()
        # A share that a person set to nothing says nothing about the region: it may take over at any time.
        left = frozenset[str]() if run.type is RunType.REBALANCE else run.left
        cooldown = Cooldown(until_time=end + length, length=length, left=kept | left)
    return cooldown


def _start(cooldown: Cooldown) -> float:
    return cooldown.until_time - cooldown.length


def spent(runs: Iterable[RunRecord], *, since_time: float) -> int:
    """Committed automatic runs that ended at `since_time` or later: what counts against the failover budget.

    A Rebalance follows an order of a person (shares, an override, the rest of a divided move) and does not count.
    """
    return sum(1 for run in runs if counts(run) and (run.completion_time or 0.0) >= since_time)


def renewed_time(runs: Iterable[RunRecord], *, failovers: int, per: float) -> float | None:
    """When a spent budget of `failovers` within `per` seconds allows a run again; None: never, it allows none."""
    if failovers < 1:
        return None
    ends = sorted(run.completion_time or 0.0 for run in runs if counts(run))
    # The run that has to leave the while is the last but so many as the budget allows.
    return ends[-failovers] + per if len(ends) >= failovers else None


def counts(run: RunRecord) -> bool:
    """Whether the run is one of those that the failover budget limits."""
    over = run.committed and run.completion_time is not None
    return over and run.automatic and run.type is not RunType.REBALANCE
