"""Where two databases' histories part, by what their Patronis tell: timelines of one number may be two."""

from __future__ import annotations

import pytest

from regent.adapters.promotion.patroni_distance import Distance
from regent.adapters.promotion.patroni_history import Fork, Histories, fork_of, parted, promoted_itself
from regent.adapters.promotion.patroni_positions import Track
from regent.adapters.promotion.patroni_state import Seen
from regent.domain.errors import UnavailableError
from tests.fakes.clock import FakeClock


@pytest.mark.parametrize(
    ("own", "own_history", "active", "history", "common"),
    [
        # Cut off on timeline 1 while the other was promoted at 100.
        ((1, 160), [], (2, 500), [(1, 100)], 100),
        # It died before it had sent all, or had nothing more than the other.
        ((1, 100), [], (2, 500), [(1, 100)], 100),
        ((1, 90), [], (2, 500), [(1, 100)], 90),
        # It died and promoted itself: both have a timeline 2, and neither is the other's.
        ((2, 700), [(1, 130)], (2, 500), [(1, 100)], 100),
        ((2, 700), [(1, 100)], (2, 500), [(1, 100)], 100),
        # Older promotions that both know.
        ((2, 300), [(1, 100)], (3, 500), [(1, 100), (2, 250)], 250),
        ((5, 900), [(1, 100), (2, 260)], (3, 500), [(1, 100), (2, 250)], 250),
        # Its own history is not told yet: too low rather than too high.
        ((3, 900), [], (3, 500), [(1, 100), (2, 250)], 100),
        ((1, 160), [], (1, 500), [], None),
        ((1, 160), [], (2, 500), [], None),
    ],
)
def test_two_primaries_share_their_history_up_to_a_point(
    own: tuple[int, int],
    own_history: list[tuple[int, int]],
    active: tuple[int, int],
    history: list[tuple[int, int]],
    common: int | None,
) -> None:
    sides = [Seen(recovering=False, timeline=timeline, position=position) for timeline, position in (own, active)]
    fork = fork_of(sides[0], own_history, sides[1], history)
    assert (fork.position if fork is not None else None) == common


@pytest.mark.parametrize(
    ("own", "own_history", "promoted"),
    [
        (2, [(1, 100)], False),  # it went on as it was: pg_rewind finds the fork in the new primary's history
        (3, [(1, 100), (2, 260)], True),  # it died and promoted itself: both call different things timeline 3
        (3, [(1, 100), (2, 250)], True),  # even at the very same position
        (4, [(1, 100), (2, 250), (3, 300)], True),
    ],
)
def test_a_primary_that_promoted_itself_since_the_fork_is_known_by_its_timeline(
    own: int, own_history: list[tuple[int, int]], promoted: bool
) -> None:
    sides = [Seen(recovering=False, timeline=number, position=900) for number in (own, 3)]
    fork = fork_of(sides[0], own_history, sides[1], [(1, 100), (2, 250)])
    assert fork is not None and fork.timeline == 2
    assert promoted_itself(sides[0], fork) is promoted


def standby(timeline: int | None, position: int = 5000, **fields: object) -> Seen:
    return Seen(recovering=True, position=position, timeline=timeline, streaming=True, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("own", "on", "timeline", "ends", "fork"),
    [
        # Never promoted: whatever its timeline, it has it from somebody else.
        ([], 1, 2, [(1, 100)], None),
        # Both were promoted from timeline 1: each has a timeline 2 of its own.
        ([(1, 100)], 2, 2, [(1, 120)], Fork(1, 100)),
        ([(1, 120)], 2, 2, [(1, 100)], Fork(1, 100)),
        ([(1, 100)], 2, 2, [(1, 100)], Fork(1, 100)),
        ([(1, 100)], 2, 2, None, Fork(1, 100)),
        # And it was promoted beyond a primary that was not.
        ([(1, 100), (2, 200)], 3, 1, [], Fork(1, 100)),
        ([(1, 100), (2, 200)], 3, 2, [(1, 100)], Fork(2, 200)),
        # The primary went on from another timeline 2.
        ([(1, 100)], 2, 3, [(1, 120), (2, 300)], Fork(1, 100)),
        # Its own, handed over: a planned switchover and back.
        ([(1, 100)], 2, 3, [(1, 100), (2, 300)], None),
        # Made anew, rewound, or on a timeline that it followed: it is where it was sent.
        ([(1, 100), (2, 200)], 2, 2, [(1, 120)], None),
        ([(1, 100)], 3, 3, [(1, 100), (2, 300)], None),
        # Not known.
        ([(1, 100)], None, 2, [(1, 120)], None),
        ([(1, 100)], 2, 3, None, None),
        ([(1, 100)], 2, 3, [(2, 300)], None),
    ],
)
def test_a_standby_that_took_its_timeline_itself_has_left_a_primary_that_does_not_share_it(
    own: list[tuple[int, int]], on: int | None, timeline: int, ends: list[tuple[int, int]] | None, fork: Fork | None
) -> None:
    assert parted(standby(on), own, timeline=timeline, ends=ends) == fork


class Pair:
    """A primary `us` and a standby `eu`, asked as the driver asks."""

    def __init__(self, *, own: list[tuple[int, int]], primary: list[tuple[int, int]]) -> None:
        self.clock = FakeClock()
        self.tracks: dict[str, Track] = {"eu": Track(), "us": Track()}
        self.histories: dict[str, list[tuple[int, int]] | None] = {"eu": own, "us": primary}
        self.primary: Seen | None = None
        self.distance = Distance(self._look, Histories(self._ask, self.tracks), self.tracks, self.clock)

    async def _ask(self, region: str) -> list[tuple[int, int]]:
        found = self.histories[region]
        if found is None:
            raise UnavailableError("gone")
        return found

    async def _look(self, region: str, *, timeout: float) -> Seen | UnavailableError:
        track = self.tracks[region]
        if self.primary is None:
            track.failed = self.clock.monotonic()
            return UnavailableError("gone")
        track.note(self.primary, asked=self.clock.monotonic())
        return self.primary

    async def seen(self, position: int, timeline: int = 2) -> None:
        self.primary = Seen(recovering=False, position=position, timeline=timeline)
        await self._look("us", timeout=1)

    async def of(self, seen: Seen) -> tuple[float | None, str, str]:
        return await self.distance.of("eu", seen, ["eu", "us"])


async def test_a_candidate_that_was_promoted_from_the_same_timeline_never_follows() -> None:
    pair = Pair(own=[(1, 1000)], primary=[(1, 1200)])
    await pair.seen(1300)
    lag, _, diverged = await pair.of(standby(2, 1250))
    assert lag is None
    assert "left the history of us at position 1000 of timeline 1: it can never follow" in diverged
    assert "remove its data directory" in diverged


async def test_what_it_wrote_itself_is_no_part_of_what_the_dead_primary_had() -> None:
    # Beyond position 1000 nothing is a copy of the primary's, though the standby's own WAL reaches further.
    pair = Pair(own=[(1, 1000)], primary=[])
    for position in (900, 1050, 1200):
        await pair.seen(position, timeline=1)
        pair.clock.advance(10)
    pair.primary = None
    lag, _, diverged = await pair.of(standby(2, 1500))
    assert (lag, diverged) == (20, "")
    loss = await pair.distance.loss("us", "eu", standby(2, 1500))
    assert (loss.seconds, loss.known_bytes) == (30, 200)


async def test_a_standby_ahead_of_its_living_primary_is_none_of_it() -> None:
    pair = Pair(own=[], primary=[])
    await pair.seen(1000, timeline=1)
    assert (await pair.of(standby(1, 1000)))[::2] == (0, "")
    assert "WAL that us never wrote" in (await pair.of(standby(1, 1001)))[2]
    # It has written since it was asked last: the standby is no further than it.
    assert pair.primary is not None
    pair.clock.advance(0.5)
    pair.primary = Seen(recovering=False, position=1100, timeline=1)
    assert (await pair.of(standby(1, 1050)))[2] == ""
    # And when it is gone nobody can say whether it had.
    pair.primary = None
    pair.clock.advance(10)
    assert (await pair.of(standby(1, 1200)))[::2] == (0, "")


async def test_of_a_primary_that_was_never_seen_the_last_transaction_is_told_and_counts_for_nothing() -> None:
    pair = Pair(own=[], primary=[])
    pair.tracks.clear()
    pair.tracks["us"] = Track()
    lag, doubt, _ = await pair.of(standby(1, replayed_time=1_789_819_261.5))
    assert (lag, doubt) == (
        None,
        "its primary was never seen; the last transaction that was replayed is of 2026-09-19T12:01:00Z, by its "
        "primary's clock",
    )
    loss = await pair.distance.loss("us", "eu", standby(1, replayed_time=1_789_819_261.5))
    assert (loss.seconds, loss.known_bytes) == (None, None)
    assert str(loss) == (
        "unknown: the old primary was never seen; the last transaction that was replayed is of 2026-09-19T12:01:01Z, "
        "by its primary's clock"
    )


async def test_a_history_that_lacks_the_last_promotion_says_nothing_yet() -> None:
    """Fails when a primary that was cut off, and has only to follow, is said to need making anew."""
    told: dict[str, list[tuple[int, int]]] = {"eu": [(1, 100), (2, 200)], "us": [(1, 100), (2, 200)]}

    async def ask(region: str) -> list[tuple[int, int]]:
        return told[region]

    histories = Histories(ask, {"eu": Track(), "us": Track()})
    cut, promoted = (Seen(recovering=False, timeline=number, position=900) for number in (3, 4))
    with pytest.raises(UnavailableError, match="does not tell yet"):
        await histories.fork("eu", cut, "us", promoted)
    told["us"] = [(1, 100), (2, 200), (3, 800)]
    fork = await histories.fork("eu", cut, "us", promoted)
    assert fork == Fork(3, 800)
    assert not promoted_itself(cut, fork)
