"""Where the histories of two databases part: timelines and their ends, as Patroni tells them.

PostgreSQL, pg_rewind and Patroni compare timelines by their numbers. Two sides that were both promoted from the same
one have timelines of the same number and of different content: each of the three takes them for one. What tells them
apart is who was promoted. Patroni keeps the history of its cluster (`/history`) in its configuration store and writes
it only while the cluster is a primary (`ha.py` `update_cluster_history`), so that what it says is about promotions of
its own: the last line ends the timeline from which the cluster was promoted last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from regent.adapters.promotion.patroni_positions import Track
from regent.adapters.promotion.patroni_state import Seen
from regent.domain.errors import PromotionProblemError, UnavailableError

History = Sequence[tuple[int, int]]
"""Past timelines: number, and the position (bytes of WAL) at which each ends."""


@dataclass(frozen=True, slots=True)
class Fork:
    """Where the histories of two primaries part: up to `position` (bytes of WAL), on `timeline`, they are one."""

    timeline: int
    position: int


def fork_of(
    own: Seen, own_history: Sequence[tuple[int, int]], active: Seen, history: Sequence[tuple[int, int]]
) -> Fork | None:
    """Return where the history of a primary parts from the `active` one's; None when it is not known.

    Histories are the ends of past timelines, as Patroni tells them. The current timeline of a primary is never shared
    with another primary, even where both have the same number: each took the next one when it was promoted. What is
    missing in a history makes the point too low, never too high.
    """
    ends = {timeline: end for timeline, end in history if active.timeline is None or timeline < active.timeline}
    own_ends = {timeline: end for timeline, end in own_history if own.timeline is None or timeline < own.timeline}
    found: Fork | None = None
    for timeline, end in sorted(ends.items()):
        mine = own.position if timeline == own.timeline else own_ends.get(timeline)
        found = Fork(timeline, end if mine is None else min(mine, end))
        if mine != end or timeline == own.timeline:
            break
    return found


def promoted_itself(own: Seen, fork: Fork) -> bool:
    """Whether a primary was promoted since its history parted from another one's."""
    return own.timeline is None or own.timeline > fork.timeline


def own_timeline(history: History) -> int | None:
    """The timeline that a cluster took when it was promoted last, by what its own Patroni says; None: it never was."""
    return max(timeline for timeline, _ in history) + 1 if history else None


def parted(standby: Seen, own: History, *, timeline: int, ends: History | None) -> Fork | None:
    """Return where a standby has left the history of a primary, when it is still on a timeline that it took itself and
    that the primary does not share; None when there is no sign of that.

    Args:
        standby: is in recovery.
        own: what its own Patroni says of promotions.
        timeline: the primary's.
        ends: of the timelines before that one; None: not known.
    """
    taken = own_timeline(own)
    # A standby that was rewound or made anew is on another timeline. What Patroni tells of a standby may be too low.
    if taken is None or standby.timeline != taken:
        return None
    theirs = dict(ends or ())
    mine = dict(own)[taken - 1]
    if timeline > taken:
        # The primary was on a timeline of that number, too. It was the same one if both left the one before it at the
        # same place; then PostgreSQL tells them apart by itself, for the numbers differ now.
        end = theirs.get(taken - 1)
        return None if end is None or end == mine else Fork(taken - 1, min(end, mine))
    if timeline < taken:
        return Fork(timeline, dict(own).get(timeline, mine))
    # A primary begins its timeline itself: one of the same number is not the standby's.
    return Fork(taken - 1, min(theirs.get(taken - 1, mine), mine))


class Histories:
    """Asks for histories, and remembers those of primaries: a primary that is gone cannot be asked.

    `ask` returns the history of a region's cluster, and raises UnavailableError.
    """

    def __init__(self, ask: Callable[[str], Awaitable[list[tuple[int, int]]]], tracks: dict[str, Track]) -> None:
        self._ask = ask
        self._tracks = tracks

    async def fork(self, region: str, seen: Seen, active: str, promoted: Seen) -> Fork:
        """Where a primary parted from the `active` one.

        Raises:
            UnavailableError: one of the two cannot be asked, or cannot tell yet.
        """
        history = await self._ask(active)
        fork = fork_of(seen, await self._ask(region), promoted, history)
        if fork is None or own_timeline(history) != promoted.timeline:
            # Patroni writes its history a moment after the promotion. Without its last line the two seem to have parted
            # one promotion earlier, and a database that only has to follow would be said to need making anew.
            raise UnavailableError(f"Patroni of {active} does not tell yet where its timeline began")
        return fork

    async def left(self, region: str, seen: Seen, active: str) -> Fork | None:
        """Where the standby of `region` left the history of the primary that was seen last in `active`; None when there
        is no sign of it, or nobody can be asked."""
        track = self._tracks.get(active)
        if track is None or track.last is None or track.last.timeline is None:
            return None
        timeline = track.last.timeline
        if timeline != track.history_of and track.failed is None:
            await self._remember(active, track, timeline)
        try:
            own = await self._ask(region)
        except UnavailableError:
            return None
        known = track.history if track.history_of == timeline else None
        return parted(seen, own, timeline=timeline, ends=known)

    async def _remember(self, region: str, track: Track, timeline: int) -> None:
        try:
            history = await self._ask(region)
        except UnavailableError:
            return
        # Patroni writes its history a moment after the promotion.
        if timeline == 1 or own_timeline(history) == timeline:
            track.history_of, track.history = timeline, tuple(history)


def never_follows(region: str, seen: Seen, active: str, fork: Fork | None) -> str:
    """Say that a standby has another history than a primary; without `fork`: since it is ahead of it."""
    if fork is None:
        # A primary sends only what it has written: no standby of it is ever ahead.
        return (
            f"{region} has WAL that {active} never wrote, so it does not follow it. Let its Patroni follow {active} "
            "(pg_rewind drops what it has more), or make it anew"
        )
    return (
        f"{region} was promoted to its timeline {seen.timeline} itself, and left the history of {active} at position "
        f"{fork.position} of timeline {fork.timeline}: it can never follow. {remedy(active)}"
    )


def remedy(active: str) -> str:
    """What a person can do about a database that cannot follow."""
    return (
        f"Save what you need of it, then make it anew as a standby of {active}: stop Patroni there, "
        "remove its data directory, `patronictl remove` its cluster, start it with bootstrap.dcs.standby_cluster"
    )


def rebuild(seen: Seen, active: str, what: str) -> PromotionProblemError:
    """The problem that a primary has which promoted itself beside `active`."""
    return PromotionProblemError(
        "PromotedItself",
        f"{what}. It promoted itself since; pg_rewind cannot tell its timeline {seen.timeline} from the other one. "
        f"{remedy(active)}",
    )
