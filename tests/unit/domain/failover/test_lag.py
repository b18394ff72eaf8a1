"""How a lag is written: in the steps by which candidates are ranked, so that it is not rewritten with every look."""

from __future__ import annotations

import pytest

from regent.domain.failover.lag import Lag


@pytest.mark.parametrize(
    ("seconds", "limit", "shown"),
    [
        (0.0, 30.0, "≤1s"),
        (1.0, 30.0, "≤1s"),
        (1.01, 30.0, "≤10s"),
        (10.5, 30.0, "≤30s"),
        (31.0, 30.0, ">30s"),
        (3.0, 5.0, "≤5s"),
        (7.0, 5.0, ">5s"),
        (0.9, 0.5, ">500ms"),
        (0.2, 0.5, "≤500ms"),
        (None, 30.0, "unknown"),
    ],
)
def test_the_step(seconds: float | None, limit: float, shown: str) -> None:
    assert Lag(seconds, "").step(limit) == shown
