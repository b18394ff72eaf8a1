"""What the remembered positions of a primary say about a lag and about a loss."""

from __future__ import annotations

import pytest

from regent.adapters.promotion.patroni_positions import KEPT, Loss, Positions, Track, estimate_loss, lag
from regent.adapters.promotion.patroni_state import Seen


def primary(position: int) -> Seen:
    return Seen(recovering=False, position=position, timeline=1, identifier="7")


def track(*samples: tuple[float, int]) -> Track:
    made = Track()
    for time, position in samples:
        made.note(primary(position), asked=time)
    return made


def test_the_lag_is_how_long_ago_the_primary_was_where_the_standby_is() -> None:
    source = track((10, 1000), (11, 2000), (12, 3000))
    assert lag(source, position=3000, streaming=True) == 0
    assert lag(source, position=2999, streaming=True) == 1
    assert lag(source, position=1000, streaming=True) == 2
    assert lag(source, position=999, streaming=True) is None  # before everything that is known
    assert lag(Track(), position=5, streaming=True) is None


def test_a_standby_that_does_not_stream_has_no_known_lag_unless_its_source_is_gone() -> None:
    source = track((10, 1000), (11, 2000))
    assert lag(source, position=2000, streaming=False) is None
    source.failed = 12.0
    assert lag(source, position=2000, streaming=False) == 0
    assert lag(source, position=1500, streaming=False) == 1
    source.note(primary(2500), asked=13)
    assert lag(source, position=2500, streaming=False) is None


def test_a_loss_is_bounded_by_the_last_look_that_the_standby_has_all_of() -> None:
    source = track((10, 1000), (11, 2000), (12, 3000))
    assert estimate_loss(source, position=3000, now=12.5) == Loss(seconds=0.5, known_bytes=0)
    assert estimate_loss(source, position=2500, now=14.0) == Loss(seconds=3.0, known_bytes=500)
    assert estimate_loss(source, position=9000, now=14.0) == Loss(seconds=2.0, known_bytes=0)
    assert estimate_loss(source, position=10, now=14.0) == Loss(seconds=None, known_bytes=2990)
    assert estimate_loss(Track(), position=10, now=14.0) == Loss(seconds=None, known_bytes=None)


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        # Rounded up: what is told is never less than what may be lost.
        (Loss(seconds=0.51, known_bytes=7), "at most the writes of the last 0.6 s; 7 bytes of WAL"),
        (Loss(seconds=None, known_bytes=7), "unknown: 7 bytes of WAL"),
        (Loss(seconds=None, known_bytes=None), "unknown: the old primary was never seen"),
    ],
)
def test_a_loss_is_told_to_people(loss: Loss, text: str) -> None:
    assert str(loss).startswith(text)


def test_only_looks_at_a_primary_are_samples_and_only_so_many() -> None:
    made = Track(failed=1.0)
    made.note(Seen(recovering=True, position=5, identifier="7"), asked=2.0)
    made.note(Seen(recovering=None), asked=3.0)
    assert made.last is None and made.failed is None and made.identifier == "7"
    for number in range(2 * KEPT):
        made.note(primary(number), asked=10.0 + number)
    made.note(primary(10**6), asked=10.0 + 2 * KEPT - 1 + 0.01)  # too close to the one before
    assert len(made.samples) == KEPT
    assert made.last is not None and made.last.position == 2 * KEPT - 1


def test_tracks_outlive_the_driver_that_asked_for_them() -> None:
    positions = Positions()
    positions.of("shop/shop/u/db")["eu"] = track((10, 1000))
    assert positions.of("shop/shop/u/db")["eu"].last is not None
    assert positions.of("shop/shop/v/db") == {}
