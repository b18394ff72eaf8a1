"""Properties of the endpoint's machine over arbitrary histories of overlapping probes."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from regent.domain.health.endpoint import Endpoint
from regent.domain.health.model import EndpointState, Outcome

FAILURES = (Outcome.REFUSED, Outcome.TIMEOUT)
outcomes = st.sampled_from(list(Outcome))
thresholds = st.integers(min_value=1, max_value=5)


@dataclass(frozen=True)
class Past:
    """Probes in the order of their starts with the order in which they end."""

    outcomes: tuple[Outcome, ...]
    ends: tuple[int, ...]


@st.composite
def pasts(draw: st.DrawFn, width: int = 4) -> Past:
    """A history in which at most `width` probes are out at once."""
    results = tuple(draw(st.lists(outcomes, max_size=40)))
    ends: list[int] = []
    out: list[int] = []
    for number in range(len(results)):
        out.append(number)
        while out and (len(out) >= width or draw(st.booleans())):
            ends.append(out.pop(draw(st.integers(0, len(out) - 1))))
    while out:
        ends.append(out.pop(draw(st.integers(0, len(out) - 1))))
    return Past(results, tuple(ends))


def endpoint(failures: int = 3, successes: int = 2) -> Endpoint:
    return Endpoint(failure_threshold=failures, success_threshold=successes, flap_limit=1e9)


def play(machine: Endpoint, past: Past) -> list[tuple[EndpointState, bool | None]]:
    """Run a history; return the states after each end. A probe starts before the first end that needs it."""
    tickets: dict[int, int] = {}
    states = []
    started = 0
    for position, number in enumerate(past.ends):
        while started <= number:
            tickets[started] = machine.begin(started * 0.01)
            started += 1
        machine.finish(tickets[number], past.outcomes[number], now=10.0 + position)
        states.append((machine.state, machine.up))
    return states


def in_order(past: Past) -> Past:
    return Past(past.outcomes, tuple(range(len(past.outcomes))))


@given(pasts(), thresholds, thresholds)
def test_the_order_of_completion_does_not_matter(past: Past, failures: int, successes: int) -> None:
    one, other = endpoint(failures, successes), endpoint(failures, successes)
    play(one, past)
    play(other, in_order(past))
    assert (one.state, one.up, one.first_failure) == (other.state, other.up, other.first_failure)


@given(pasts(), thresholds)
def test_down_only_after_the_threshold_of_failures_in_a_row(past: Past, failures: int) -> None:
    machine = endpoint(failures)
    was_down = False
    ended: set[int] = set()
    for number, (state, up) in zip(past.ends, play(machine, past), strict=True):
        ended.add(number)
        down = up is False
        if down and not was_down:
            run = longest = 0
            for index, outcome in enumerate(past.outcomes):
                if index not in ended:
                    run = 0  # still out: it could be a success, so it must not be counted across
                elif outcome in FAILURES:
                    run += 1
                elif outcome is Outcome.SUCCESS:
                    run = 0
                longest = max(longest, run)
            assert longest >= failures
            # Results that were held back may come out together, and bring the first success with them.
            assert state in (EndpointState.DOWN, EndpointState.RISING)
        was_down = down


@given(st.lists(st.sampled_from([Outcome.SUCCESS, Outcome.SUCCESS, Outcome.REFUSED, Outcome.TIMEOUT]), max_size=60))
def test_one_lost_probe_is_never_down(results: list[Outcome]) -> None:
    """Whatever is lost: as long as no two losses touch, a threshold of two is never reached."""
    kept: list[Outcome] = []
    for outcome in results:
        lonely = outcome in FAILURES and kept and kept[-1] in FAILURES
        kept.append(Outcome.SUCCESS if lonely else outcome)
    machine = endpoint(failures=2)
    states = play(machine, in_order(Past(tuple(kept), ())))
    assert all(up is not False for _, up in states)


@given(pasts(), st.data(), thresholds, thresholds)
def test_probes_that_did_not_run_change_nothing(past: Past, data: st.DataObject, failures: int, successes: int) -> None:
    with_gaps: list[Outcome] = []
    for outcome in past.outcomes:
        with_gaps += [Outcome.NOT_RUN] * data.draw(st.integers(0, 2))
        with_gaps.append(outcome)
    one, other = endpoint(failures, successes), endpoint(failures, successes)
    play(one, in_order(past))
    play(other, in_order(Past(tuple(with_gaps), ())))
    assert (one.state, one.up) == (other.state, other.up)


@example(
    # Two probes that hang from before an answer, and a failure after it.
    Past(
        (*[Outcome.SUCCESS] * 4, Outcome.REFUSED, Outcome.SUCCESS, Outcome.SUCCESS),
        (0, 3, 4, 1, 2, 5, 6),
    ),
    2,
    1,
)
@given(pasts(), thresholds, thresholds)
def test_invariants(past: Past, failures: int, successes: int) -> None:
    machine = endpoint(failures, successes)
    tickets: dict[int, int] = {}
    started = 0
    for position, number in enumerate(past.ends):
        while started <= number:
            tickets[started] = machine.begin(started * 0.01)
            started += 1
        machine.finish(tickets[number], past.outcomes[number], now=10.0 + position)
        assert (machine.up is False) == (machine.down_since is not None)
        assert (machine.up is True) == (machine.up_since is not None)
        assert machine.proved_at is None or machine.up
        if machine.state is EndpointState.UP:
            assert machine.first_failure is None
        if machine.state in (EndpointState.SUSPECT, EndpointState.DOWN):
            assert machine.first_failure is not None
        if machine.state in (EndpointState.DOWN, EndpointState.RISING):
            assert machine.up is False
        # At most the threshold is asked for at once, so an episode cannot become a flood.
        if machine.needs_retry(late=True):
            assert machine.pending < max(failures, 1)


@given(pasts())
@settings(max_examples=50)
def test_only_differences_of_times_matter(past: Past) -> None:
    """A machine that is a day older behaves alike: nothing looks at the absolute time."""
    one, other = endpoint(), endpoint()
    states = play(one, past)
    tickets: dict[int, int] = {}
    started = 0
    shifted = []
    for position, number in enumerate(past.ends):
        while started <= number:
            tickets[started] = other.begin(86_400.0 + started * 0.01)
            started += 1
        other.finish(tickets[number], past.outcomes[number], now=86_410.0 + position)
        shifted.append((other.state, other.up))
    assert states == shifted
