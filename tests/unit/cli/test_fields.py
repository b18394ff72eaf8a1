"""Single values: paths, ages, and nothing that could reach the terminal as a command."""

from __future__ import annotations

import pytest

from regent.cli.fields import age, milliseconds, printable, span, text_at, value_at

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (12_660, "3h31m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (691_200, "8d"),
        (100_000_000, "1157d"),
    ],
)
def test_spans_read_as_in_kubectl(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_age_of_nothing_and_of_the_future() -> None:
    assert age(None, NOW) == "-"
    assert age("2099-01-01T00:00:00Z", NOW) == "0s"


def test_paths() -> None:
    obj = {"spec": {"cost": {"multiplier": "1.1"}, "priority": 0}}
    assert value_at(obj, ".spec.cost.multiplier") == "1.1"
    assert value_at(obj, ".spec.cost.multiplier.more") is None
    assert text_at(obj, ".spec.priority") == "0"
    assert text_at(None, ".spec.priority") == "-"


def test_escape_sequences_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[31mred\x07\nnext\u202e") == "a�[31mred� next�"


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0, "0 ms"), (999, "999 ms"), (1_250, "1.2 s")])
def test_milliseconds(value: int | None, text: str) -> None:
    assert milliseconds(value) == text
