"""Whether the regions can do without one of them."""

from __future__ import annotations

from regent.domain.capacity import RegionCapacity, losses


def region(name: str, total: float | None = 100, free: float | None = 50, *, serving: bool = True) -> RegionCapacity:
    return RegionCapacity(region=name, total=total, free_percent=free, serving=serving)


def test_what_fits_and_what_does_not() -> None:
    big, small = losses([region("big", 300, 10), region("small", 100, 40)])
    assert (big.load, big.free_elsewhere, big.short) == (270, 40, 230)
    assert (small.load, small.free_elsewhere, small.short) == (60, 30, 30)
    even, _, _ = losses([region("a"), region("b"), region("c")])
    assert (even.load, even.free_elsewhere, even.short) == (50, 100, 0)


def test_a_region_that_serves_nothing_neither_loses_nor_helps() -> None:
    (only,) = losses([region("a"), region("drained", 1_000, 100, serving=False)])
    assert (only.region, only.free_elsewhere, only.short) == ("a", 0, 50)


def test_a_region_without_a_figure_counts_as_having_nothing_free() -> None:
    first, second, unknown = losses([region("a"), region("b", 100, 80), region("c", None, 80)])
    assert (first.free_elsewhere, first.unknown) == (80, ("c",))
    assert second.unknown == ("c",)
    assert (unknown.load, unknown.short) == (None, None)


def test_nothing_is_known_where_nothing_is_said() -> None:
    first, _ = losses([region("a"), region("b", 100, None)])
    assert (first.free_elsewhere, first.short, first.unknown) == (None, None, ("b",))
