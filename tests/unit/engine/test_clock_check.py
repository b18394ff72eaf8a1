from __future__ import annotations

import logging

import pytest

from regent.engine.clock_check import ClockCheck
from tests.fakes.ports import FakeMetrics


def test_a_clock_that_is_off_is_said_once_and_its_return_too(caplog: pytest.LogCaptureFixture) -> None:
    offsets = iter([None, 0.9, 2.9, 3.1, 40.0, -40.0, 1.0])
    metrics = FakeMetrics()
    check = ClockCheck(offset=lambda: next(offsets), limit=2.0, metrics=metrics)
    with caplog.at_level(logging.INFO, "regent.clock"):
        for _ in range(7):
            check.look()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "3s off" in caplog.records[0].getMessage()
    assert metrics.gauges["regent_clock_offset_seconds", frozenset()] == 1.0


def test_what_is_wrong_with_the_clock_is_said_without_the_seconds() -> None:
    offsets = iter([40.0, 41.0, 0.0])
    check = ClockCheck(offset=lambda: next(offsets), limit=2.0, metrics=FakeMetrics())
    assert check.problem() == ""
    check.look()
    said = check.problem()
    assert "failover.maxClockSkew (2s)" in said
    check.look()
    assert check.problem() == said
    check.look()
    assert check.problem() == ""
