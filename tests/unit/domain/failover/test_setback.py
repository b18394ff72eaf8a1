"""Which way a run takes from a step that cannot be done: every rule of the table, and which of two comes first."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from regent.domain.failover.options import OnFailure
from regent.domain.failover.setback import Point, Setback, Way, turn

BASE: dict[str, Any] = {
    "point": Point.FREE,
    "source_works": False,
    "attempt": 1,
    "max_attempts": 3,
    "next_region": "ap",
    "on_failure": OnFailure.ROLL_BACK,
}
TRAFFIC, DATA = {"point": Point.TRAFFIC}, {"point": Point.DATA}
LOSS, ASKED, WORKS = {"accept_data_loss": True}, {"requested": True}, {"source_works": True}
PAUSE = {"on_failure": OnFailure.PAUSE}


@pytest.mark.parametrize(
    ("case", "way", "reason"),
    [
        ({}, Way.NEXT, "NextCandidate"),
        ({"next_region": ""}, Way.RESTORE, "NoCandidateLeft"),
        ({"attempt": 3}, Way.RESTORE, "NoCandidateLeft"),
        ({"attempt": 2}, Way.NEXT, "NextCandidate"),
        ({"max_attempts": 1}, Way.RESTORE, "NoCandidateLeft"),
        (WORKS, Way.RESTORE, "StepFailed"),
        (WORKS | PAUSE, Way.WAIT, "RollbackPause"),
        (PAUSE, Way.NEXT, "NextCandidate"),  # the old side is gone: there is nothing to wait for
        (ASKED, Way.RESTORE, "RequestedByUser"),
        (ASKED | WORKS | PAUSE, Way.RESTORE, "RequestedByUser"),
        (DATA, Way.WAIT, "PastData"),
        (DATA | ASKED, Way.WAIT, "PastData"),
        (DATA | WORKS, Way.WAIT, "PastData"),
        (DATA | LOSS, Way.NEXT, "NextCandidate"),
        (DATA | LOSS | WORKS, Way.RESTORE, "StepFailed"),
        (DATA | LOSS | ASKED, Way.RESTORE, "RequestedByUser"),
        (TRAFFIC, Way.WAIT, "PastTraffic"),
        (TRAFFIC | ASKED | LOSS | WORKS, Way.WAIT, "PastTraffic"),
    ],
)
def test_the_way_from_a_setback(case: dict[str, Any], way: Way, reason: str) -> None:
    chosen = turn(Setback(**{**BASE, **case}))
    assert (chosen.way, chosen.reason) == (way, reason)
    assert chosen.message


def test_past_the_traffic_point_nothing_goes_back_and_before_the_data_point_nobody_waits_for_consent() -> None:
    flags = [False, True]
    for works, loss, asked, pause, attempt in itertools.product(flags, flags, flags, OnFailure, (1, 3)):
        facts = {"source_works": works, "accept_data_loss": loss, "requested": asked, "on_failure": pause}
        facts["attempt"] = attempt
        assert turn(Setback(**{**BASE, **facts, **TRAFFIC})).way is Way.WAIT
        free = turn(Setback(**{**BASE, **facts}))
        assert free.reason != "PastData"
        assert (free.way is Way.WAIT) is (works and not asked and pause is OnFailure.PAUSE)
