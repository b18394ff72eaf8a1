"""How figures are shown, and when they are rewritten."""

from __future__ import annotations

import pytest

from regent.domain.health.model import Figures
from regent.engine.region_status import (
    STEADY,
    SteadyFigures,
    quantised_milliseconds,
    quantised_percent,
    shown_figures,
)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, 1), (0.0004, 1), (0.001, 1), (0.0011, 2), (0.002, 2), (0.003, 5), (0.005, 5), (0.009, 10), (0.01, 10),
     (0.0101, 20), (0.1, 100), (0.2, 200), (0.21, 500), (1.0, 1000), (1.5, 2000), (30.0, 50_000)],
)  # fmt: skip
def test_latencies_in_steps_of_one_two_five(seconds: float, shown: int) -> None:
    assert quantised_milliseconds(seconds) == shown


@pytest.mark.parametrize(
    ("percent", "shown"), [(0, 0), (2.4, 0), (2.6, 5), (53.3, 55), (99, 100), (100, 100), (120, 100)]
)
def test_percentages_in_steps_of_five(percent: float, shown: int) -> None:
    assert quantised_percent(percent) == shown


def test_a_figure_that_nobody_gives_is_left_out() -> None:
    assert shown_figures(Figures()) == {}
    assert shown_figures(Figures(capacity_available_percent=70)) == {"capacityAvailablePercent": 70}


def figures(milliseconds: float, error: float = 0.0) -> Figures:
    return Figures(latency_p50=milliseconds / 1000, error_rate_percent=error)


SHOWN = {"latencyMilliseconds": 10, "errorRatePercent": 0}


class TestSteadyFigures:
    def test_the_first_figure_is_shown_at_once(self) -> None:
        assert SteadyFigures().choose({}, figures(9), now=0.0) == SHOWN

    @pytest.mark.parametrize("milliseconds", [4.1, 9, 10, 12.4])
    def test_what_hovers_around_the_step_is_never_rewritten(self, milliseconds: float) -> None:
        steady = SteadyFigures()
        for minute in range(60):
            assert steady.choose(SHOWN, figures(milliseconds), now=minute * 60.0) == SHOWN

    def test_what_differs_for_five_minutes_is(self) -> None:
        steady = SteadyFigures()
        for now in (0.0, 100.0, STEADY - 0.1):
            assert steady.choose(SHOWN, figures(45), now=now) == SHOWN
        assert steady.choose(SHOWN, figures(45), now=STEADY) == {"latencyMilliseconds": 50, "errorRatePercent": 0}

    def test_one_look_at_the_old_step_starts_the_five_minutes_anew(self) -> None:
        steady = SteadyFigures()
        steady.choose(SHOWN, figures(45), now=0.0)
        steady.choose(SHOWN, figures(9), now=200.0)
        assert steady.choose(SHOWN, figures(45), now=STEADY + 1) == SHOWN

    def test_steps_below_five_milliseconds_are_the_same(self) -> None:
        steady = SteadyFigures()
        shown = {"latencyMilliseconds": 1, "errorRatePercent": 0}
        for minute in range(10):
            assert steady.choose(shown, figures(4.9), now=minute * 60.0) == shown

    def test_a_figure_that_is_gone_stays_as_it_was_shown(self) -> None:
        steady = SteadyFigures()
        assert steady.choose(SHOWN, Figures(latency_p50=0.009), now=0.0) == SHOWN

    def test_percentages_move_by_a_whole_step(self) -> None:
        steady = SteadyFigures()
        assert steady.choose(SHOWN, figures(9, 4.9), now=0.0) == SHOWN
        assert steady.choose(SHOWN, figures(9, 4.9), now=STEADY) == SHOWN
        steady.choose(SHOWN, figures(9, 5.0), now=1000.0)
        assert steady.choose(SHOWN, figures(9, 5.0), now=1000.0 + STEADY)["errorRatePercent"] == 5
