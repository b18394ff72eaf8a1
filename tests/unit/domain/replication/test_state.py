"""Lag and state: every combination of facts against the rules as they are written for users."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from regent.domain.replication import kinds
from regent.domain.replication.model import ObjectKey
from regent.domain.replication.state import (
    Counts,
    Digests,
    Outcomes,
    State,
    TargetFacts,
    lag,
    target_state,
    worst_state,
)

NOW, INTERVAL, LIMIT = 10_000.0, 600.0, 60.0


def facts() -> Iterator[TargetFacts]:
    counts = [
        Counts(desired=9, pending=pending, conflicted=conflicted, failed=failed)
        for pending, conflicted, failed in product((0, 2), (0, 1), (0, 1))
    ]
    ages = (None, 0.0, 2 * INTERVAL - 1, 2 * INTERVAL)
    lags = (None, 0.0, LIMIT, LIMIT + 0.001)
    for count, age, behind, digests, flags in product(counts, ages, lags, Digests, product((False, True), repeat=4)):
        paused, broken, all_failed, held = flags
        yield TargetFacts(
            now=NOW,
            paused="suspended" if paused else "",
            broken="not reachable" if broken else "",
            all_failed=all_failed,
            counts=count,
            lag=behind,
            digests=digests,
            verified_at=None if age is None else NOW - age,
            prune_blocked=held,
            verify_interval=INTERVAL,
            out_of_sync_after=LIMIT,
        )


def by_the_book(given: TargetFacts) -> set[State]:
    """Every state whose rule holds, written down from what users are told and not from the code."""
    counts, found = given.counts, set()
    if given.paused:
        found.add(State.PAUSED)
    if given.broken or given.all_failed:
        found.add(State.FAILED)
    if (
        (given.lag is not None and given.lag > 60)
        or (given.digests is Digests.DIFFERENT and counts.pending == 0)
        or counts.conflicted > 0
        or counts.failed > 0
        or given.prune_blocked
    ):
        found.add(State.OUT_OF_SYNC)
    if counts.pending > 0 and given.lag is not None and given.lag <= 60:
        found.add(State.SYNCING)
    fresh = given.verified_at is not None and NOW - given.verified_at < 1200
    if counts.pending == 0 and given.digests is Digests.EQUAL and fresh and given.lag is not None:
        found.add(State.IN_SYNC)
    return found


def test_the_first_rule_that_holds_is_the_state() -> None:
    order = [State.PAUSED, State.FAILED, State.OUT_OF_SYNC, State.SYNCING, State.IN_SYNC]
    seen = set()
    for given in facts():
        holding = by_the_book(given)
        expected = next((state for state in order if state in holding), State.UNKNOWN)
        assert target_state(given) is expected, given
        seen.add(expected)
    assert seen == set(State)


@pytest.mark.parametrize(
    ("oldest", "heard", "frozen", "expected"),
    [
        (None, None, None, None),
        (90.0, None, None, None),
        (None, 100.0, None, 0.0),
        (None, 40.0, None, 60.0),
        (70.0, 99.0, None, 30.0),
        (95.0, 50.0, None, 50.0),
        (None, 40.0, 45.0, 5.0),
        (None, 40.0, 500.0, 60.0),
        (None, 101.0, None, 0.0),
    ],
)
def test_lag(oldest: float | None, heard: float | None, frozen: float | None, expected: float | None) -> None:
    assert lag(now=100.0, oldest_pending=oldest, heard_at=heard, frozen_at=frozen) == expected


def test_a_dead_source_has_a_lag_that_grows() -> None:
    found = [lag(now=now, oldest_pending=None, heard_at=50.0) for now in (50.0, 60.0, 600.0)]
    assert found == [0.0, 10.0, 550.0]


def test_the_worst_of_the_targets() -> None:
    order = [State.IN_SYNC, State.SYNCING, State.PAUSED, State.UNKNOWN, State.OUT_OF_SYNC, State.FAILED]
    for index, state in enumerate(order):
        assert worst_state(order[: index + 1]) is state
    assert worst_state([]) is State.UNKNOWN


def object_key(name: str) -> ObjectKey:
    return ObjectKey(kinds.CONFIG_MAP, "shop", name)


def test_one_poisoned_object_does_not_make_a_target_fail() -> None:
    outcomes = Outcomes().add(object_key("good"), succeeded=True)
    for _ in range(100):
        outcomes = outcomes.add(object_key("poison"), succeeded=False)
    assert not outcomes.all_failed(desired=2)


def test_a_target_fails_when_the_last_ten_objects_did_or_all_there_are() -> None:
    outcomes = Outcomes()
    assert not outcomes.all_failed(desired=0)
    for index in range(10):
        assert not outcomes.all_failed(desired=50)
        outcomes = outcomes.add(object_key(str(index)), succeeded=False)
    assert outcomes.all_failed(desired=50)
    assert not outcomes.add(object_key("x"), succeeded=True).all_failed(desired=50)
    assert Outcomes().add(object_key("only"), succeeded=False).all_failed(desired=1)
