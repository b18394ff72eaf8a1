"""The six rules in their order, over all combinations of what they depend on."""

from __future__ import annotations

import itertools

import pytest

from regent.domain.health.model import AdminState, Figures, Health, Thresholds
from regent.domain.health.region import Evidence, Vote, judge

UP = Vote(vantage="a", up=True)
DOWN = Vote(vantage="a", up=False, detail="web: connection refused")
NONE = Vote(vantage="a", up=None)


def votes(ups: int, downs: int, nones: int = 0) -> tuple[Vote, ...]:
    kinds = [True] * ups + [False] * downs + [None] * nones
    return tuple(Vote(vantage=f"v{number}", up=up) for number, up in enumerate(kinds))


def model(evidence: Evidence) -> Health:
    """The rules once more, written as the prose has them and in another way than the code."""
    ups = sum(vote.up is True for vote in evidence.votes)
    downs = sum(vote.up is False for vote in evidence.votes)
    error, free = evidence.figures.error_rate_percent, evidence.figures.capacity_available_percent
    latency = evidence.figures.latency_p50
    rules = [
        (
            Health.UNKNOWN,
            evidence.admin_state is AdminState.DISABLED or bool(evidence.observer_suspect) or ups + downs == 0,
        ),
        (Health.UNREACHABLE, downs >= evidence.quorum and downs >= ups),
        (
            Health.UNHEALTHY,
            ((error or 0) > 50 and (100 if free is None else free) < 20)
            or evidence.report in (Health.UNREACHABLE, Health.UNHEALTHY),
        ),
        (Health.RECOVERING, evidence.troubled and evidence.good_for < 120),
        (
            Health.DEGRADED,
            (error or 0) > 10
            or (100 if free is None else free) < 50
            or (latency or 0) > 1
            or bool(evidence.informational_down)
            or evidence.report is Health.DEGRADED
            or (downs > 0 and ups == 0),
        ),
        (Health.HEALTHY, True),
    ]
    return next(health for health, holds in rules if holds)


def test_all_combinations_give_the_first_rule_that_holds() -> None:
    seen = set()
    for (
        ups,
        downs,
        quorum,
        suspect,
        error,
        free,
        latency,
        informational,
        troubled,
        good_for,
        report,
    ) in itertools.product(
        (0, 1, 2),
        (0, 1, 2),
        (1, 2),
        ("", "the default route is gone"),
        (None, 5, 11, 51),
        (None, 60, 49, 19),
        (None, 0.5, 1.5),
        ((), ("extra",)),
        (False, True),
        (0.0, 119.9, 120.0),
        (None, Health.HEALTHY, Health.DEGRADED, Health.UNHEALTHY),
    ):
        evidence = Evidence(
            votes=votes(ups, downs, 1),
            quorum=quorum,
            observer_suspect=suspect,
            figures=Figures(error_rate_percent=error, capacity_available_percent=free, latency_p50=latency),
            informational_down=informational,
            troubled=troubled,
            good_for=good_for,
            report=report,
        )
        found = judge(evidence)
        assert found.health is model(evidence), evidence
        assert found.reason and found.message
        seen.add(found.health)
    assert seen == set(Health)


@pytest.mark.parametrize(
    ("ups", "downs", "quorum", "down"),
    [
        (0, 1, 1, True), (1, 0, 1, False), (1, 1, 1, True), (2, 1, 1, False), (0, 1, 2, False), (0, 2, 2, True),
        (1, 2, 2, True), (2, 2, 2, True), (3, 2, 2, False), (0, 0, 1, False), (0, 3, 4, False),
    ],
)  # fmt: skip
def test_quorum(ups: int, downs: int, quorum: int, down: bool) -> None:
    found = judge(Evidence(votes=votes(ups, downs), quorum=quorum))
    assert found.down is down
    assert (found.down_votes, found.vantages) == (downs, ups + downs)


def test_an_expired_or_undecided_vantage_is_no_vote() -> None:
    assert not judge(Evidence(votes=(NONE, NONE))).down
    assert judge(Evidence(votes=(DOWN, NONE))).down
    assert judge(Evidence(votes=(DOWN, NONE))).vantages == 1


def test_the_votes_are_told_even_while_the_observer_doubts() -> None:
    found = judge(Evidence(votes=(DOWN,), observer_suspect="the event loop is late"))
    assert found.health is Health.UNKNOWN and found.reason == "ObserverSuspect"
    assert found.down and found.down_votes == 1
    assert "event loop" in found.message


def test_a_disabled_region_is_unknown_and_never_down() -> None:
    found = judge(Evidence(votes=(DOWN,), admin_state=AdminState.DISABLED))
    assert (found.health, found.reason, found.down) == (Health.UNKNOWN, "Disabled", False)


def test_a_drained_region_is_judged_as_any_other() -> None:
    assert judge(Evidence(votes=(DOWN,), admin_state=AdminState.DRAINED)).health is Health.UNREACHABLE


@pytest.mark.parametrize("value", [10, 50])
def test_a_figure_at_its_threshold_is_not_past_it(value: float) -> None:
    figures = Figures(error_rate_percent=10, capacity_available_percent=50, latency_p50=1.0)
    assert judge(Evidence(votes=(UP,), figures=figures)).health is Health.HEALTHY
    worse = Figures(error_rate_percent=50, capacity_available_percent=20)
    assert judge(Evidence(votes=(UP,), figures=worse)).health is Health.DEGRADED
    assert value


def test_thresholds_come_from_the_spec() -> None:
    limits = Thresholds(degraded_latency=0.2, recovery_period=5)
    slow = Figures(latency_p50=0.3)
    assert judge(Evidence(votes=(UP,), figures=slow, thresholds=limits)).reason == "LatencyHigh"
    assert judge(Evidence(votes=(UP,), thresholds=limits, troubled=True, good_for=4.9)).health is Health.RECOVERING
    assert judge(Evidence(votes=(UP,), thresholds=limits, troubled=True, good_for=5)).health is Health.HEALTHY


def test_a_recovery_period_of_nothing_is_over_at_once() -> None:
    limits = Thresholds(recovery_period=0)
    assert judge(Evidence(votes=(UP,), thresholds=limits, troubled=True)).health is Health.HEALTHY


@pytest.mark.parametrize(
    ("evidence", "reason", "message"),
    [
        (Evidence(votes=(UP,)), "ProbesSucceed", "1/1 vantages reach it"),
        (Evidence(votes=(DOWN,)), "ProbesFail", "0/1 vantages reach it: web: connection refused"),
        (Evidence(votes=(DOWN,), flapping=True), "Flapping",
         "it goes up and down too often to be trusted; held Down: web: connection refused"),
        (Evidence(votes=(UP,), troubled=True), "RecoveryPeriod",
         "answers again; Healthy after 120s of continuous success"),
        (Evidence(votes=(UP,), figures=Figures(error_rate_percent=12.3, latency_p50=2.0)), "ErrorRateHigh",
         "error rate is over 10%; median latency is over 1s"),
        (Evidence(ever_answered=False), "NotProbedYet", "no probe has answered yet"),
        (Evidence(votes=(DOWN,), quorum=2), "QuorumNotReached", "0/1 vantages reach it, and a verdict needs 2"),
    ],
)  # fmt: skip
def test_messages_are_for_people_and_carry_no_live_figures(evidence: Evidence, reason: str, message: str) -> None:
    found = judge(evidence)
    assert (found.reason, found.message) == (reason, message)
