"""Turns: how many at a time, in which order, and that none is lost."""

from __future__ import annotations

import asyncio

import pytest

from regent.engine.pace import PATIENCE, STAND_BACK, Pace
from regent.engine.queue import Key
from regent.engine.resources import FAILOVER_POLICIES

pytestmark = pytest.mark.looptime

A, B, C, D = (Key(FAILOVER_POLICIES, "n", name) for name in "abcd")


async def test_turns_are_limited_and_come_in_the_order_in_which_they_were_asked_for() -> None:
    woken: list[Key] = []
    pace = Pace(at_once=2, wake=woken.append)
    assert [pace.enter(key) for key in (A, B, C, D, C)] == [True, True, False, False, False]
    pace.leave(B)
    assert woken == [C]
    assert pace.enter(C)
    pace.leave(A)
    pace.leave(C)
    assert woken == [C, D]
    assert pace.enter(D)


async def test_a_turn_that_lasts_is_given_to_the_next() -> None:
    woken: list[Key] = []
    pace = Pace(at_once=1, wake=woken.append)
    assert pace.enter(A)
    assert not pace.enter(B)
    await asyncio.sleep(PATIENCE + 0.01)
    assert woken == [B]
    assert pace.enter(B)
    pace.leave(A)  # its turn is over already: this is not B's
    assert not pace.enter(C)


async def test_whoever_has_a_turn_keeps_it() -> None:
    pace = Pace(at_once=1, wake=lambda key: None)
    assert pace.enter(A)
    assert pace.enter(A)
    pace.leave(A)
    pace.leave(A)
    assert pace.enter(B)


async def test_what_moves_no_traffic_stands_back_while_others_wait_and_not_for_ever() -> None:
    pace = Pace(at_once=1, wake=lambda key: None)
    assert pace.stand_back(D) is None
    assert pace.enter(A)
    assert pace.stand_back(D) is None, "nobody waits"
    assert not pace.enter(B)
    assert pace.stand_back(D) is not None
    for _ in range(int(STAND_BACK / 0.25) + 1):
        await asyncio.sleep(0.25)
        pace.enter(A)  # turns that last are taken over; somebody always waits
        pace.enter(B)
        pace.enter(C)
    assert pace.crowded
    assert pace.stand_back(D) is None, "it has stood back long enough"
    assert pace.stand_back(C) is not None, "another one has not"


async def test_one_who_waits_and_went_away_keeps_nobody_back() -> None:
    pace = Pace(at_once=1, wake=lambda key: None)
    pace.enter(A)
    pace.enter(B)
    pace.enter(C)
    pace.leave(A)  # wakes B, which does not want its turn any more: C is left waiting, with nobody inside
    assert not pace.crowded
    assert pace.stand_back(D) is None
