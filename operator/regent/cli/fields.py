"""Reading objects as the API server serves them, and writing single values for people.

Objects are plain dicts here: the command line shows what is there, also when it was written by another version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regent.domain.times import parse_rfc3339

EMPTY = "-"
"""What stands in a cell that has no value."""

_AGE_STEPS = (
    (120, 1, "s", 0, ""),
    (600, 60, "m", 1, "s"),
    (10_800, 60, "m", 0, ""),
    (28_800, 3_600, "h", 60, "m"),
    (172_800, 3_600, "h", 0, ""),
    (691_200, 86_400, "d", 3_600, "h"),
)
"""Below so many seconds: the unit and its mark, then the smaller unit (0: none) and its mark."""


def value_at(obj: Any, path: str) -> Any:
    """Give the value at a dotted path such as `.spec.cost.multiplier`, or None when it or a parent is absent."""
    for key in path.strip(".").split("."):
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(key)
    return obj


def text_at(obj: Any, path: str) -> str:
    """Give the value at a dotted path as text for a cell; `-` when there is none."""
    value = value_at(obj, path)
    return EMPTY if value is None or value == "" else printable(str(value))


def items_at(obj: Any, path: str) -> Sequence[Mapping[str, Any]]:
    """Give the list of objects at a dotted path; empty when it is absent."""
    return value_at(obj, path) or ()


def texts_at(obj: Any, path: str) -> Sequence[str]:
    """Give the list of texts at a dotted path; empty when it is absent."""
    return value_at(obj, path) or ()


def name_of(obj: Mapping[str, Any]) -> str:
    """Give an object's name."""
    return text_at(obj, ".metadata.name")


def printable(text: str) -> str:
    """Replace control characters.

    What endpoints answer ends in messages; an escape sequence in one must not reach the terminal.
    """
    return "".join(char if char.isprintable() else "�" if char not in "\n\t" else " " for char in text)


def age(time: str | None, now: float) -> str:
    """Write the time since an RFC 3339 time as kubectl does: `45s`, `3m20s`, `5h`, `8d`; `-` without a time."""
    return EMPTY if not time else span(max(0.0, now - parse_rfc3339(time)))


def span(seconds: float) -> str:
    """Write a length of time with at most two units, as kubectl does."""
    whole = int(seconds)
    for limit, unit, mark, smaller, smaller_mark in _AGE_STEPS:
        if whole < limit:
            rest = whole % unit // smaller if smaller else 0
            return f"{whole // unit}{mark}" + (f"{rest}{smaller_mark}" if rest else "")
    return f"{whole // 86_400}d"


def milliseconds(value: Any) -> str:
    """Write a number of milliseconds for people: `40 ms`, `1.3 s`; `-` for None."""
    if value is None:
        return EMPTY
    return f"{value} ms" if value < 1_000 else f"{value / 1_000:.1f} s"


def percent(value: Any) -> str:
    """Write a percentage; `-` for None."""
    return EMPTY if value is None else f"{value}%"
