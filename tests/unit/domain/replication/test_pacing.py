"""Concurrency that adapts, tokens that are lent, back-off that neither loops nor gives up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regent.domain.replication.pacing import (
    BACKOFF_BASE,
    BACKOFF_CAP,
    PERMANENT_BACKOFF,
    Backoff,
    Concurrency,
    TokenBucket,
)


def test_a_busy_server_halves_what_is_under_way_once_a_second() -> None:
    pace = Concurrency(limit=16.0, grown_at=0.0).busy(10.0)
    assert pace.allowed == 8
    assert pace.busy(10.5).allowed == 8, "one overload is answered many times"
    assert pace.busy(11.0).allowed == 4
    for second in range(20):
        pace = pace.busy(20.0 + second)
    assert pace.allowed == 1


def test_one_more_for_each_clean_second_up_to_the_maximum() -> None:
    pace = Concurrency(limit=2.0, maximum=5, grown_at=0.0)
    seen = []
    for tenth in range(1, 81):
        pace = pace.clean(tenth / 10)
        seen.append(pace.allowed)
    assert seen[8:40:10] == [2, 3, 4, 5]
    assert max(seen) == 5


def test_retry_after_is_heeded_and_bounded() -> None:
    pace = Concurrency().busy(10.0, retry_after=30.0)
    assert pace.paused_until == 40.0
    assert pace.clean(39.0) == pace
    assert pace.clean(40.0).allowed == pace.allowed + 1
    assert Concurrency().busy(0.0, retry_after=1e9).paused_until == BACKOFF_CAP


@given(
    waits=st.lists(st.floats(0, 2, allow_nan=False), min_size=1, max_size=60),
    rate=st.floats(1, 100),
    burst=st.integers(1, 50),
)
def test_no_window_has_more_than_the_burst_and_the_rate(waits: list[float], rate: float, burst: int) -> None:
    now, bucket, sent = 0.0, TokenBucket.full(rate=rate, burst=burst, now=0.0), []
    for wait in waits:
        now += wait
        bucket, delay = bucket.take(now)
        sent.append(now + delay)
    assert sent == sorted(sent), "nobody is passed over"
    for start in range(len(sent)):
        for end in range(start, len(sent)):
            assert end - start + 1 <= burst + rate * (sent[end] - sent[start]) + 1 + 1e-6


def test_back_off_doubles_to_its_cap_and_never_ends() -> None:
    backoff, waits = Backoff(), []
    for _ in range(40):
        backoff = backoff.failed(0.0, lot=1.0)
        waits.append(backoff.until)
    assert waits[:4] == [BACKOFF_BASE * factor for factor in (1, 2, 4, 8)]
    assert waits[-1] == BACKOFF_CAP
    assert backoff.failures == 40


@given(lot=st.floats(-1, 2, allow_nan=False), failures=st.integers(0, 60), retry_after=st.floats(0, 1e6))
def test_a_wait_is_between_half_of_it_and_all_of_it(lot: float, failures: int, retry_after: float) -> None:
    full = min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(failures, 30))
    asked = min(retry_after, BACKOFF_CAP)
    until = Backoff(failures=failures).failed(100.0, lot=lot, retry_after=retry_after).until - 100.0
    assert max(full / 2, asked) - 1e-6 <= until <= max(full, asked) + 1e-6


def test_other_content_is_tried_at_once() -> None:
    refused = Backoff().failed(100.0, lot=1.0, content_hash="bad", permanent=True)
    assert not refused.due(100.0 + PERMANENT_BACKOFF - 1, content_hash="bad")
    assert refused.due(100.0 + PERMANENT_BACKOFF, content_hash="bad")
    assert refused.due(100.0, content_hash="good")
    assert not refused.due(100.0)
