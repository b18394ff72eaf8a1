"""Durations as the custom resources write them: Gateway API durations such as `250ms`, `2s` or `1m30s`.

A duration is one to four pairs of a whole number (at most five digits) and a unit, without a sign and
without fractions. The API keeps them as text; everything that computes uses seconds as a float.
"""

from __future__ import annotations

import math
import re

_SHAPE = re.compile(r"(?:[0-9]{1,5}(?:h|ms|m|s)){1,4}", re.ASCII)
_PAIR = re.compile(r"([0-9]{1,5})(h|ms|m|s)", re.ASCII)
_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_LARGEST_NUMBER = 99_999


def parse_duration(text: str) -> float:
    """Give the length of a duration in seconds.

    Raises:
        ValueError: The text is no duration; the message says what to write instead.
    """
    if not _SHAPE.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a duration: write numbers with units, such as 250ms, 2s or 1m30s")
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in _PAIR.findall(text)) / 1_000


def format_duration(seconds: float) -> str:
    """Write seconds as a duration of at most four pairs, rounded to the millisecond.

    The result parses back to the same number of milliseconds: `90.5` gives `1m30s500ms`, `0` gives `0s`.

    Raises:
        ValueError: The number is negative, not finite, or longer than 99,999 hours.
    """
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"a duration cannot be {seconds}: it is a finite number of seconds, zero or more")
    rest = round(seconds * 1_000)
    pairs: list[str] = []
    for unit, length in _MILLISECONDS.items():
        number, rest = divmod(rest, length)
        if number > _LARGEST_NUMBER:
            raise ValueError(f"a duration cannot be longer than {_LARGEST_NUMBER} hours")
        if number:
            pairs.append(f"{number}{unit}")
    return "".join(pairs) or "0s"
