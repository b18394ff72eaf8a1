"""Durations parse and format as the API writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regent.domain.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("2s", 2.0),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("0s", 0.0),
        ("1m1m", 120.0),
        ("99999h", 359_996_400.0),
        ("1h2m3s4ms", 3723.004),
        ("4ms3s", 3.004),
    ],
)
def test_durations_parse_to_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "s",
        "1.5s",
        "-1s",
        "+1s",
        "1d",
        "1S",
        " 1s",
        "1s ",
        "1s\n",
        "100000s",
        "1h1m1s1ms1h",
        "١s",
        "1 s",
        "1us",
    ],
)
def test_anything_else_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(ValueError, match="write numbers with units, such as 250ms, 2s or 1m30s"):
        parse_duration(text)


def test_a_refusal_does_not_repeat_a_long_text() -> None:
    with pytest.raises(ValueError, match="is not a duration") as refusal:
        parse_duration("x" * 10_000)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "250ms"), (90.5, "1m30s500ms"), (3600, "1h"), (86_400, "24h"), (0.0004, "0s"), (0.9996, "1s")],
)
def test_seconds_format_to_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 100_000 * 3600])
def test_what_is_no_duration_is_not_formatted(seconds: float) -> None:
    with pytest.raises(ValueError, match="a duration cannot be"):
        format_duration(seconds)


@given(st.integers(min_value=0, max_value=99_999 * 3_600_000))
def test_formatting_and_parsing_agree(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds
