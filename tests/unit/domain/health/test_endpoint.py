"""Every transition of the endpoint's machine, the votes, and what it asks for next."""

from __future__ import annotations

import pytest

from regent.domain.health.endpoint import Endpoint
from regent.domain.health.model import EndpointState, Outcome

S, R, T, N = Outcome.SUCCESS, Outcome.REFUSED, Outcome.TIMEOUT, Outcome.NOT_RUN


class Driver:
    """Runs probes one after another, 0.1 s apart."""

    def __init__(self, *, failures: int = 3, successes: int = 2, flap_limit: float = 10.0) -> None:
        self.endpoint = Endpoint(failure_threshold=failures, success_threshold=successes, flap_limit=flap_limit)
        self.now = 0.0

    def probe(self, *outcomes: Outcome) -> EndpointState:
        for outcome in outcomes:
            self.now += 0.1
            ticket = self.endpoint.begin(self.now)
            self.endpoint.finish(ticket, outcome, now=self.now + 0.01)
        return self.endpoint.state


PATHS = {
    EndpointState.UNKNOWN: (),
    EndpointState.UP: (S,),
    EndpointState.SUSPECT: (S, R),
    EndpointState.DOWN: (S, R, R, R),
    EndpointState.RISING: (S, R, R, R, S),
}

TRANSITIONS = [
    (EndpointState.UNKNOWN, S, EndpointState.UP),
    (EndpointState.UNKNOWN, R, EndpointState.SUSPECT),
    (EndpointState.UNKNOWN, T, EndpointState.SUSPECT),
    (EndpointState.UP, S, EndpointState.UP),
    (EndpointState.UP, R, EndpointState.SUSPECT),
    (EndpointState.UP, T, EndpointState.SUSPECT),
    (EndpointState.SUSPECT, S, EndpointState.UP),
    (EndpointState.SUSPECT, R, EndpointState.SUSPECT),
    (EndpointState.SUSPECT, T, EndpointState.SUSPECT),
    (EndpointState.DOWN, S, EndpointState.RISING),
    (EndpointState.DOWN, R, EndpointState.DOWN),
    (EndpointState.DOWN, T, EndpointState.DOWN),
    (EndpointState.RISING, S, EndpointState.UP),
    (EndpointState.RISING, R, EndpointState.DOWN),
    (EndpointState.RISING, T, EndpointState.DOWN),
    *((state, N, state) for state in EndpointState),
]


@pytest.mark.parametrize(("start", "outcome", "end"), TRANSITIONS, ids=lambda value: value.value)
def test_transition(start: EndpointState, outcome: Outcome, end: EndpointState) -> None:
    driver = Driver()
    assert driver.probe(*PATHS[start]) is start
    assert driver.probe(outcome) is end


def test_the_table_has_every_state_and_outcome() -> None:
    assert {(start, outcome) for start, outcome, _ in TRANSITIONS} == {
        (state, outcome) for state in EndpointState for outcome in Outcome
    }


@pytest.mark.parametrize("threshold", [1, 2, 3, 20])
def test_exactly_the_threshold_of_failures_makes_down(threshold: int) -> None:
    driver = Driver(failures=threshold)
    driver.probe(S, *[R] * (threshold - 1))
    assert driver.endpoint.state is not EndpointState.DOWN
    assert driver.probe(T) is EndpointState.DOWN


@pytest.mark.parametrize("threshold", [1, 2, 20])
def test_exactly_the_threshold_of_successes_makes_up(threshold: int) -> None:
    driver = Driver(successes=threshold)
    driver.probe(S, R, R, R, *[S] * (threshold - 1))
    assert driver.endpoint.state is not EndpointState.UP
    assert driver.probe(S) is EndpointState.UP


def test_a_success_in_between_starts_the_count_anew() -> None:
    assert Driver().probe(S, R, R, S, R, R) is EndpointState.SUSPECT
    assert Driver().probe(S, R, R, R, S, R, S) is EndpointState.RISING


def test_votes_follow_verdicts_and_not_suspicions() -> None:
    driver = Driver()
    votes = []
    for outcome in (N, R, S, R, R, R, S, S):
        driver.probe(outcome)
        votes.append(driver.endpoint.up)
    assert votes == [None, None, True, True, True, False, False, True]


def test_times_of_an_outage() -> None:
    driver = Driver()
    driver.probe(S, S)
    endpoint = driver.endpoint
    assert endpoint.up_since == pytest.approx(0.11)
    assert endpoint.proved_at == pytest.approx(0.21)
    driver.probe(R)
    assert endpoint.first_failure == pytest.approx(0.3)
    assert endpoint.up_since == pytest.approx(0.11), "a suspicion is no break"
    driver.probe(R, R)
    assert endpoint.first_failure == pytest.approx(0.3), "the start of the first failed probe"
    assert endpoint.down_since == pytest.approx(0.51)
    assert endpoint.up_since is None and endpoint.proved_at is None
    driver.probe(R)
    assert endpoint.down_since == pytest.approx(0.51)
    driver.probe(S)
    assert endpoint.proved_at is None, "rising is not proved"
    driver.probe(S)
    assert endpoint.up_since == pytest.approx(0.81)
    assert endpoint.proved_at == pytest.approx(0.81)
    assert endpoint.down_since is None and endpoint.first_failure is None


def test_a_suspicion_that_clears_leaves_no_first_failure() -> None:
    driver = Driver()
    driver.probe(S, R, S)
    assert driver.endpoint.first_failure is None


def test_overlapping_probes_count_in_the_order_of_their_starts() -> None:
    endpoint = Driver().endpoint
    first, second, third, fourth = (endpoint.begin(moment) for moment in (0.0, 0.1, 0.2, 0.3))
    endpoint.finish(first, S, now=0.31)
    endpoint.finish(fourth, R, now=0.32)
    endpoint.finish(third, R, now=0.33)
    assert endpoint.state is EndpointState.UP, "the second is still out: it may be a success"
    endpoint.finish(second, R, now=0.34)
    assert endpoint.state is EndpointState.DOWN
    assert endpoint.first_failure == 0.1
    assert endpoint.down_since == 0.34


def test_one_probe_that_hangs_while_later_ones_succeed_is_never_even_a_suspicion() -> None:
    driver = Driver()
    driver.probe(S)
    endpoint = driver.endpoint
    hanging, next_one = endpoint.begin(1.0), endpoint.begin(1.1)
    assert endpoint.finish(next_one, S, now=1.11) is False
    assert endpoint.proved_at == 1.11, "the success proves at once, held back or not"
    assert endpoint.finish(hanging, T, now=3.0) is False
    assert endpoint.state is EndpointState.UP


def test_unknown_and_repeated_tickets_are_ignored() -> None:
    endpoint = Driver().endpoint
    ticket = endpoint.begin(0.0)
    assert endpoint.finish(ticket, S, now=0.1)
    assert not endpoint.finish(ticket, R, now=0.2)
    assert not endpoint.finish(99, R, now=0.2)
    assert endpoint.state is EndpointState.UP
    assert endpoint.pending == 0


class TestNeedsRetry:
    def test_not_while_all_is_well(self) -> None:
        driver = Driver()
        assert not driver.endpoint.needs_retry(late=False)
        driver.probe(S)
        assert not driver.endpoint.needs_retry(late=False)

    def test_while_suspect_up_to_the_threshold_with_those_that_are_out(self) -> None:
        driver = Driver()
        driver.probe(S, R)
        endpoint = driver.endpoint
        assert endpoint.needs_retry(late=False)
        endpoint.begin(1.0)
        assert endpoint.needs_retry(late=False), "the next does not wait for the one before"
        endpoint.begin(1.1)
        assert not endpoint.needs_retry(late=False), "three in all decide it"

    def test_when_an_answer_is_late_before_anything_has_failed(self) -> None:
        driver = Driver()
        driver.probe(S)
        endpoint = driver.endpoint
        endpoint.begin(1.0)
        assert not endpoint.needs_retry(late=False)
        for moment in (1.1, 1.2):
            assert endpoint.needs_retry(late=True)
            endpoint.begin(moment)
        assert not endpoint.needs_retry(late=True), "no more than the threshold at once"

    def test_a_later_success_ends_the_doubt(self) -> None:
        driver = Driver()
        driver.probe(S)
        endpoint = driver.endpoint
        endpoint.begin(1.0)
        second = endpoint.begin(1.1)
        endpoint.finish(second, S, now=1.15)
        assert not endpoint.needs_retry(late=True)

    def test_a_later_failure_goes_on(self) -> None:
        driver = Driver()
        driver.probe(S)
        endpoint = driver.endpoint
        endpoint.begin(1.0)
        second = endpoint.begin(1.1)
        endpoint.finish(second, R, now=1.15)
        assert endpoint.needs_retry(late=False)

    def test_probes_that_did_not_run_make_room(self) -> None:
        driver = Driver()
        driver.probe(S, R)
        endpoint = driver.endpoint
        tickets = [endpoint.begin(1.0), endpoint.begin(1.1)]
        assert not endpoint.needs_retry(late=False)
        endpoint.finish(tickets[1], N, now=1.15)
        assert endpoint.needs_retry(late=False)

    def test_never_while_down_and_one_at_a_time_while_rising(self) -> None:
        driver = Driver()
        driver.probe(S, R, R, R)
        assert not driver.endpoint.needs_retry(late=True)
        driver.probe(S)
        assert driver.endpoint.needs_retry(late=False)
        driver.endpoint.begin(9.0)
        assert not driver.endpoint.needs_retry(late=True)


class TestFlapping:
    def test_the_way_up_is_held_above_the_limit_and_the_way_down_never(self) -> None:
        driver = Driver(flap_limit=3.0)
        driver.probe(S, R, R, R, S, S)
        assert driver.endpoint.up, "two changes are below the limit"
        driver.probe(R, R, R)
        assert driver.endpoint.up is False, "Down is shown at once"
        driver.probe(S, S)
        assert driver.endpoint.state is EndpointState.UP
        assert driver.endpoint.up is False
        assert driver.endpoint.flapping(driver.now)
        assert driver.endpoint.proved_at is None

    def test_it_ends_by_the_passing_of_time_alone(self) -> None:
        driver = Driver(flap_limit=3.0)
        driver.probe(S, R, R, R, S, S, R, R, R, S, S)
        assert not driver.endpoint.settle(driver.now + 59)
        assert driver.endpoint.settle(driver.now + 90)
        assert driver.endpoint.up is True
        assert driver.endpoint.up_since == driver.now + 90
        assert not driver.endpoint.flapping(driver.now + 90)

    def test_successes_while_held_do_not_add_to_the_penalty(self) -> None:
        driver = Driver(flap_limit=3.0)
        driver.probe(S, R, R, R, S, S, R, R, R, S, S)
        held = driver.now
        driver.probe(*[S] * 500)
        assert driver.endpoint.settle(held + 90)

    def test_going_down_while_held_keeps_the_time_of_the_fall(self) -> None:
        driver = Driver(flap_limit=3.0)
        driver.probe(S, R, R, R, S, S, R, R, R)
        fell = driver.endpoint.down_since
        driver.probe(S, S, R, R, R)
        assert driver.endpoint.down_since == fell
        assert not driver.endpoint.flapping(driver.now), "it is down, not held"
