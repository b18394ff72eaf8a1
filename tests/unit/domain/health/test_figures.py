"""Windows, series, lateness, triggers on figures, flap damping, thresholds that cannot be reached."""

from __future__ import annotations

import sys

import pytest

from regent.domain.health.flapping import FlapDamper
from regent.domain.health.lateness import Lateness
from regent.domain.health.model import HealthSpec, HttpCheck, ProbeRole, ProbeSpec, TcpCheck, Thresholds
from regent.domain.health.thresholds import unreachable_thresholds
from regent.domain.health.triggers import Evidence, Figure, Watch
from regent.domain.health.window import CAPACITY, Series, Window


def filled(count: int, *, every: float = 1.0, failing: int = 0, latency: float = 0.01) -> Window:
    window = Window()
    for number in range(count):
        window.add(number * every, latency=latency, failed=number < failing)
    return window


class TestWindow:
    def test_no_error_rate_below_twenty_samples(self) -> None:
        assert filled(19, failing=19).error_rate_percent() is None
        assert filled(20, failing=5).error_rate_percent() == 25.0

    def test_samples_leave_after_a_minute(self) -> None:
        window = filled(60, failing=10)
        assert (window.samples, window.failures) == (60, 10)
        window.expire(69.0)
        assert (window.samples, window.failures) == (50, 0)
        window.expire(200.0)
        assert (window.samples, window.failures) == (0, 0)
        assert window.percentile(0.5) == (None,)
        assert window.newest() is None

    def test_percentiles_are_exact_and_a_time_out_counts_with_its_length(self) -> None:
        window = Window()
        for number in range(1, 101):
            window.add(number * 0.1, latency=number / 100, failed=number > 98)
        assert window.percentile(0.5, 0.95, 1.0, 0.0) == pytest.approx((0.5, 0.95, 1.0, 0.01))

    def test_a_refusal_is_a_failure_without_a_latency(self) -> None:
        window = filled(10, latency=0.2)
        for number in range(10):
            window.add(10.0 + number, latency=None, failed=True)
        assert window.failures == 10
        assert window.percentile(0.5) == pytest.approx((0.2,))
        assert window.newest() == (19.0, True)
        assert window.bad_since(15.0) == 5

    def test_bad_samples_are_failed_or_slow_ones(self) -> None:
        window = Window()
        window.add(1.0, latency=0.5, failed=False)
        window.add(2.0, latency=2.0, failed=False)
        window.add(3.0, latency=0.2, failed=True)
        assert window.bad_since(0.0) == 1
        assert window.bad_since(0.0, over=1.0) == 2
        assert window.bad_since(2.5, over=1.0) == 1

    def test_memory_is_bounded_whatever_comes(self) -> None:
        window = Window()
        for number in range(100_000):
            window.add(number * 0.001, latency=0.01, failed=number % 2 == 0)
        assert window.samples <= CAPACITY
        assert sum(sys.getsizeof(getattr(window, name)) for name in ("_times", "_latencies")) < 40_000

    def test_four_a_second_for_a_minute_is_three_kilobytes(self) -> None:
        window = Window()
        for number in range(4 * 600):
            window.add(number * 0.25, latency=0.01, failed=False)
        assert window.samples == 240
        assert sum(sys.getsizeof(getattr(window, name)) for name in ("_times", "_latencies")) < 7_000


class TestSeries:
    def test_a_figure_is_fresh_for_a_while(self) -> None:
        series = Series()
        assert series.fresh(0.0, within=3.0) is None
        series.add(10.0, 42.0)
        assert series.fresh(12.9, within=3.0) == 42.0
        assert series.fresh(13.0, within=3.0) is None

    def test_counts_bad_figures_and_forgets_old_ones(self) -> None:
        series = Series()
        for moment in range(100):
            series.add(float(moment), float(moment % 2))
        assert len(series) == 60
        assert series.count(90.0, lambda value: value > 0) == 5


class TestLateness:
    def test_unknown_before_the_first_answer(self) -> None:
        assert Lateness().bound() is None

    def test_steady_latencies_give_a_tight_bound_and_one_outlier_does_not_ruin_it(self) -> None:
        lateness = Lateness()
        for _ in range(100):
            lateness.add(0.1)
        assert lateness.bound() == pytest.approx(0.1, abs=0.01)
        lateness.add(1.0)
        assert lateness.bound() > 0.5  # type: ignore[operator]
        for _ in range(30):
            lateness.add(0.1)
        assert lateness.bound() < 0.2  # type: ignore[operator]


class TestWatch:
    def watch(self, figure: Figure = Figure.PROBE_ERROR_RATE) -> Watch:
        return Watch(figure=figure, threshold=10.0, duration=10.0)

    def bad(self, **fields: object) -> Evidence:
        return Evidence(**{"value": 50.0, "samples": 60, "bad": 5, "newest_bad": True, **fields})  # type: ignore[arg-type]

    def test_holds_only_after_the_whole_duration(self) -> None:
        watch = self.watch()
        assert watch.look(100.0, self.bad()) is None
        assert watch.look(109.9, self.bad()) is None
        held = watch.look(110.0, self.bad())
        assert held is not None and (held.since, held.value, held.bad) == (100.0, 50.0, 5)

    @pytest.mark.parametrize("value", [10.0, None])
    def test_one_look_below_or_without_a_figure_starts_it_anew(self, value: float | None) -> None:
        watch = self.watch()
        watch.look(100.0, self.bad())
        watch.look(105.0, self.bad(value=value))
        assert watch.look(110.0, self.bad()) is None
        assert watch.look(120.0, self.bad()) is not None

    @pytest.mark.parametrize("fields", [{"bad": 2}, {"newest_bad": False}, {"samples": 19}])
    def test_does_not_fire_without(self, fields: dict[str, object]) -> None:
        watch = self.watch()
        watch.look(100.0, self.bad())
        assert watch.look(111.0, self.bad(**fields)) is None

    def test_a_good_newest_sample_only_pauses_it(self) -> None:
        watch = self.watch()
        watch.look(100.0, self.bad())
        assert watch.look(111.0, self.bad(newest_bad=False)) is None
        assert watch.look(111.5, self.bad()) is not None

    def test_reported_figures_need_no_twenty_samples(self) -> None:
        watch = self.watch(Figure.LOAD_ERROR_RATE)
        watch.look(100.0, self.bad(samples=0))
        assert watch.look(110.0, self.bad(samples=0)) is not None

    def test_capacity_is_past_its_threshold_below_it(self) -> None:
        watch = self.watch(Figure.CAPACITY)
        watch.look(100.0, self.bad(value=9.0))
        assert watch.look(110.0, self.bad(value=9.0)) is not None
        assert watch.look(111.0, self.bad(value=10.0)) is None


class TestFlapDamper:
    def test_the_penalty_halves_each_minute(self) -> None:
        damper = FlapDamper(limit=3.0)
        for _ in range(3):
            damper.turned(0.0)
        assert damper.penalty(60.0) == pytest.approx(1.5)
        assert not damper.held(0.0)

    def test_held_from_above_the_limit_down_to_half_of_it(self) -> None:
        damper = FlapDamper(limit=3.0)
        for _ in range(4):
            damper.turned(0.0)
        assert damper.held(0.0)
        assert damper.held(60.0), "2.0 is below the limit and above its half"
        assert not damper.held(85.0)
        assert not damper.held(85.1)


def probe(name: str = "web", **fields: object) -> ProbeSpec:
    return ProbeSpec(**{"region": "eu", "name": name, "host": "h", "port": 80, "check": TcpCheck(), **fields})  # type: ignore[arg-type]


class TestThresholds:
    def test_the_defaults_can_be_reached(self) -> None:
        assert unreachable_thresholds(HealthSpec(region="eu", probes=(probe(),))) == ()

    @pytest.mark.parametrize(("timeout", "warned"), [(0.9, True), (1.0, True), (1.001, False)])
    def test_a_latency_that_is_a_failure_before_it_is_slow(self, timeout: float, warned: bool) -> None:
        found = unreachable_thresholds(HealthSpec(region="eu", probes=(probe(timeout=timeout),)))
        assert bool(found) is warned

    def test_the_longest_timeout_of_the_required_probes_counts(self) -> None:
        extra = probe("extra", timeout=10.0, role=ProbeRole.INFORMATIONAL)
        limits = Thresholds(degraded_latency=2.0)
        assert unreachable_thresholds(HealthSpec(region="eu", probes=(probe(), extra), thresholds=limits))
        assert not unreachable_thresholds(
            HealthSpec(region="eu", probes=(probe(), probe("db", timeout=3.0)), thresholds=limits)
        )

    def test_too_few_samples_for_an_error_rate(self) -> None:
        assert "error rate" in unreachable_thresholds(HealthSpec(region="eu", probes=(probe(interval=5.0),)))[0]
        assert not unreachable_thresholds(HealthSpec(region="eu", probes=(probe(interval=3.0),)))
        told = probe(interval=5.0, check=HttpCheck(error_rate_path=".errors"))
        assert not unreachable_thresholds(HealthSpec(region="eu", probes=(told,)))

    def test_a_region_without_probes_has_none(self) -> None:
        assert unreachable_thresholds(HealthSpec(region="eu")) == ()
