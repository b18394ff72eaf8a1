"""Maintenance windows and schedules: cron in a time zone, as pure functions of a time.

A schedule has five fields (minute, hour, day of the month, month, day of the week) with `*`, lists, ranges, steps and
English names, as the API accepts them. When both day fields are restricted, a day that fits either one counts, as in
every cron since Vixie's. 7 and 0 are both Sunday.

Daylight saving: a time of the day that the clock skips is taken one offset later (02:30 becomes 03:30), and one that
comes twice counts once, at its first coming; schedules that name no fixed hour count both. Time zones are the IANA
database as Python finds it; the operator's image carries it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from regent.domain.failover.options import Window

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
NAMES: tuple[Sequence[str], ...] = ((), (), (), ("", *MONTHS), DAYS)
_PART = re.compile(r"(?P<star>\*)?(?P<low>[0-9A-Z]+)?(?:-(?P<high>[0-9A-Z]+))?(?:/(?P<step>[0-9]{1,3}))?", re.ASCII)

FORWARD_DAYS = 366 * 8 + 1
"""How far ahead a next time is looked for: 29 February comes within eight years."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed schedule."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    """Both day fields are restricted: one that fits is enough."""
    any_hour: bool

    def on(self, day: date) -> bool:
        """Whether the schedule has a time on this day."""
        if day.month not in self.months:
            return False
        by_month, by_week = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        return by_month or by_week if self.either_day else by_month and by_week


@lru_cache(maxsize=256)
def parse(text: str) -> Cron:
    """Parse a schedule.

    Raises:
        ValueError: it is none; the message says what to write.
    """
    fields = text.split()
    if len(fields) != len(BOUNDS):
        raise ValueError(f"{text[:64]!r} is not a schedule of five fields, such as 0 2 * * 6")
    minutes, hours, days, months, weekdays = (
        _field(field.upper(), *bounds, names=names) for field, bounds, names in zip(fields, BOUNDS, NAMES, strict=True)
    )
    return Cron(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
        any_hour=fields[1].startswith("*"),
    )


def _field(text: str, low: int, high: int, *, names: Sequence[str]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None or bool(match["star"]) is bool(match["low"]) or (match["star"] and match["high"]):
            raise ValueError(f"{part[:32]!r} is no part of a schedule; write *, a number, a range or a step")
        first = low if match["star"] else _number(match["low"], names)
        last = _number(match["high"], names) if match["high"] else first
        step = int(match["step"] or 1)
        # `5/15` means from 5 to the end, as `*/15` means from the beginning to the end.
        if match["star"] or (match["step"] and not match["high"]):
            last = high
        if not low <= first <= high or not low <= last <= high or step < 1:
            raise ValueError(f"{part[:32]!r} is outside {low}-{high}")
        # FRI-MON goes round the end of the week, as people mean it.
        span = range(first, last + 1) if first <= last else [*range(first, high + 1), *range(low, last + 1)]
        found.update(list(span)[::step])
    return frozenset(found)


def _number(text: str, names: Sequence[str]) -> int:
    if text.isdigit():
        return int(text)
    if text and text in names:
        return names.index(text)
    raise ValueError(f"{text[:32]!r} is no number and no name of a month or day")


def zone(name: str) -> ZoneInfo:
    """Return the time zone of this IANA name; "" is UTC.

    Raises:
        ValueError: there is no such zone.
    """
    try:
        return ZoneInfo(name or "UTC")
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError; a directory's name an OSError
        raise ValueError(f"there is no time zone {name[:64]!r}; write an IANA name such as Europe/Dublin") from None


def problem(start: str, time_zone: str) -> str:
    """Say what is wrong with a schedule and its time zone; "" when nothing is."""
    try:
        parse(start)
        zone(time_zone)
    except ValueError as error:
        return str(error)
    return ""


def previous(cron: Cron, where: ZoneInfo, moment: float, *, within: float) -> float | None:
    """Return the last time of the schedule that is not after `moment`, at most `within` seconds back."""
    local = datetime.fromtimestamp(moment, where).date()
    for back in range(int(within // 86_400) + 3):
        times = [time for time in _times(cron, where, local + timedelta(days=1 - back)) if time <= moment]
        if times:
            newest = max(times)
            return newest if moment - newest <= within else None
    return None


def following(cron: Cron, where: ZoneInfo, moment: float) -> float | None:
    """Return the first time of the schedule after `moment`; None when there is none in eight years."""
    local = datetime.fromtimestamp(moment, where).date()
    for ahead in range(-1, FORWARD_DAYS):
        times = [time for time in _times(cron, where, local + timedelta(days=ahead)) if time > moment]
        if times:
            return min(times)
    return None


def _times(cron: Cron, where: ZoneInfo, day: date) -> Iterator[float]:
    if not cron.on(day):
        return
    for hour in cron.hours:
        for minute in cron.minutes:
            local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=where)
            first = local.timestamp()
            yield first
            second = local.replace(fold=1).timestamp()
            if cron.any_hour and second > first:  # in a gap fold=1 is the earlier one, and means another time of day
                yield second


def open_until(window: Window, moment: float) -> float | None:
    """Return when the window closes that is open at `moment`; None while it is shut. An unreadable one is shut."""
    if problem(window.start, window.time_zone):
        return None
    start = previous(parse(window.start), zone(window.time_zone), moment, within=window.duration)
    return start + window.duration if start is not None and moment < start + window.duration else None


def opens(window: Window, moment: float) -> float | None:
    """Return when the window opens next after `moment`; None for one that never does."""
    if problem(window.start, window.time_zone):
        return None
    return following(parse(window.start), zone(window.time_zone), moment)
