"""The monitor of the event loop, and the observer's score from its signals."""

from __future__ import annotations

import pytest

from regent.engine.local_health import AFTERMATH, TICK, LocalHealth, LoopMonitor
from tests.fakes.prober import FakeSignals


class TestLoopMonitor:
    def test_ordinary_delays_are_no_stalls(self) -> None:
        monitor = LoopMonitor()
        monitor.expect(0.0)
        monitor.ticked(TICK + 0.004)
        assert monitor.stalled(TICK + 0.004) == 0.0

    def test_stalls_add_up_and_the_worst_is_kept_until_reset(self) -> None:
        monitor, now = LoopMonitor(), 0.0
        for lag in (0.02, 0.3, 0.01):
            monitor.expect(now)
            now += TICK + lag
            monitor.ticked(now)
        assert monitor.stalled(now) == pytest.approx(0.33)
        assert monitor.worst(now) == pytest.approx(0.3)
        monitor.reset()
        assert monitor.worst(now) == 0.0
        assert monitor.stalled(now) == pytest.approx(0.33)

    def test_a_stall_counts_before_its_tick_has_come(self) -> None:
        monitor = LoopMonitor()
        monitor.expect(0.0)
        assert monitor.stalled(TICK + 0.5) == pytest.approx(0.5)
        assert monitor.recovering(TICK + 0.5)
        monitor.ticked(TICK + 0.5)
        assert monitor.stalled(TICK + 0.5) == pytest.approx(0.5), "and not twice"

    def test_the_aftermath_of_a_long_stall_passes(self) -> None:
        monitor = LoopMonitor()
        monitor.expect(0.0)
        monitor.ticked(1.0)
        monitor.expect(1.0)
        assert monitor.recovering(1.0 + AFTERMATH * 0.9)
        assert not monitor.recovering(1.0 + AFTERMATH)

    def test_without_ticks_nothing_is_claimed(self) -> None:
        assert LoopMonitor().stalled(1e9) == 0.0


class TestLocalHealth:
    def local(self, signals: FakeSignals, failing: int = 0) -> tuple[LocalHealth, LoopMonitor]:
        monitor = LoopMonitor()
        return LocalHealth(monitor=monitor, signals=signals, targets=lambda _now: (failing, 4)), monitor

    def test_a_lag_is_seen_once_and_forgotten(self) -> None:
        local, monitor = self.local(FakeSignals())
        monitor.expect(0.0)
        monitor.ticked(0.3)
        assert local.look(1.0)
        assert local.observer.score == 1
        assert local.look(2.0)
        assert local.observer.score == 0
        assert not local.look(3.0)

    def test_a_route_that_never_was_cannot_be_lost(self) -> None:
        signals = FakeSignals(route=False)
        local, _ = self.local(signals)
        local.look(1.0)
        assert local.observer.score == 0

    @pytest.mark.parametrize(("route", "score"), [(False, 1), (None, 0), (True, 0)])
    def test_a_route_that_was_there_at_the_start(self, route: bool | None, score: int) -> None:
        signals = FakeSignals()
        local, _ = self.local(signals)
        signals.route = route
        local.look(1.0)
        assert local.observer.score == score

    def test_silence_of_the_api_server_counts_from_its_last_answer(self) -> None:
        local, _ = self.local(FakeSignals(contact=lambda: 10.0))
        local.look(12.9)
        assert local.observer.score == 0
        local.look(13.1)
        assert local.observer.score == 1

    def test_a_failure_while_a_signal_is_bad_and_most_fail_is_suspect_at_once(self) -> None:
        signals = FakeSignals()
        local, _ = self.local(signals, failing=3)
        local.look_at_failure(1.0)
        assert not local.observer.suspect, "no bad signal: the regions are to blame"
        signals.route = False
        local.look_at_failure(1.1)
        assert local.observer.suspect

    def test_a_failure_of_a_few_does_not_even_raise_the_score(self) -> None:
        signals = FakeSignals()
        local, _ = self.local(signals, failing=1)
        signals.route = False
        local.look_at_failure(1.0)
        assert local.observer.score == 0
