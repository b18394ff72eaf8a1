"""Concurrency that adapts to what the API server takes."""

from __future__ import annotations

from regent.domain.replication.pacing import LONGEST_PAUSE, Concurrency


def test_a_busy_server_halves_what_is_under_way_once_a_second() -> None:
    pace = Concurrency(limit=16.0, grown_at=0.0).busy(10.0)
    assert pace.allowed == 8
    assert pace.busy(10.5).allowed == 8, "one overload is answered many times"
    assert pace.busy(11.0).allowed == 4
    for second in range(20):
        pace = pace.busy(20.0 + second)
    assert pace.allowed == 1


def test_one_more_for_each_clean_second_up_to_the_maximum() -> None:
    pace = Concurrency(limit=2.0, maximum=5, grown_at=0.0, untried=False)
    seen = []
    for tenth in range(1, 81):
        pace = pace.clean(tenth / 10)
        seen.append(pace.allowed)
    assert seen[8:40:10] == [2, 3, 4, 5]
    assert max(seen) == 5


def test_it_doubles_until_the_server_is_busy_for_the_first_time() -> None:
    pace, seen = Concurrency(), []
    for second in range(1, 5):
        pace = pace.clean(float(second))
        seen.append(pace.allowed)
    assert seen == [16, 32, 32, 32]
    pace = pace.busy(10.0)
    assert pace.allowed == 16
    assert pace.clean(11.0).allowed == 17, "what it takes is known by now"


def test_retry_after_is_heeded_and_bounded() -> None:
    pace = Concurrency().busy(10.0, retry_after=30.0)
    assert pace.paused_until == 40.0
    assert pace.clean(39.0) == pace
    assert pace.clean(40.0).allowed == pace.allowed + 1
    assert Concurrency().busy(0.0, retry_after=1e9).paused_until == LONGEST_PAUSE
