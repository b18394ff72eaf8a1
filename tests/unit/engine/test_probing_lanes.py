"""Lanes: caps, order, and that what hangs makes room in the fast lane."""

from __future__ import annotations

from regent.engine.probing_lanes import Lane, Lanes


def test_room_up_to_the_cap_of_each_lane() -> None:
    lanes = Lanes(fast=2, slow=1)
    assert [lanes.room(Lane.FAST) for _ in range(3)] == [True, True, False]
    assert [lanes.room(Lane.SLOW) for _ in range(2)] == [True, False]


def test_those_that_wait_start_in_order_and_none_overtakes() -> None:
    lanes, started = Lanes(fast=1, slow=1), []
    assert lanes.room(Lane.FAST)
    for name in "ab":
        assert not lanes.room(Lane.FAST)
        lanes.wait(Lane.FAST, lambda name=name: not started.append(name))  # type: ignore[misc]
    lanes.leave(Lane.FAST)
    assert started == ["a"]
    assert not lanes.room(Lane.FAST), "b waits for longer"
    lanes.leave(Lane.FAST)
    assert started == ["a", "b"]


def test_a_probe_that_is_no_longer_wanted_takes_no_place() -> None:
    lanes, started = Lanes(fast=1, slow=1), []
    assert lanes.room(Lane.FAST)
    lanes.wait(Lane.FAST, lambda: False)
    lanes.wait(Lane.FAST, lambda: not started.append("b"))
    lanes.leave(Lane.FAST)
    assert started == ["b"]
    assert lanes.busy(Lane.FAST) == 1


def test_falling_behind_makes_room_in_the_fast_lane_even_when_the_slow_one_is_full() -> None:
    lanes, started = Lanes(fast=1, slow=1), []
    assert lanes.room(Lane.FAST)
    assert lanes.room(Lane.SLOW)
    lanes.wait(Lane.FAST, lambda: not started.append("healthy"))
    lanes.fall_behind()
    assert started == ["healthy"]
    assert lanes.busy(Lane.SLOW) == 2
    lanes.leave(Lane.SLOW)
    assert not lanes.room(Lane.SLOW), "the overflow has to drain first"
