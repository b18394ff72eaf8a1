"""What people write on the command line, as values: durations, times, shares of regions."""

from __future__ import annotations

from typing import Any

import click

from regent.domain.duration import parse_duration
from regent.domain.times import parse_rfc3339

LONGEST_INTERVAL = 7 * 24 * 3600.0
"""Seconds of the longest interval that the API takes."""


class Duration(click.ParamType[float]):
    """A duration such as `90s` or `1h30m`, in seconds."""

    name = "duration"

    def __init__(self, *, longest: float = 0.0, longest_text: str = "") -> None:
        """Take the longest duration that is accepted, and how to write it; 0: any."""
        self._longest = longest
        self._longest_text = longest_text

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the text; click has passed the value already when it is a number."""
        if isinstance(value, int | float):
            return float(value)
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if self._longest and seconds > self._longest:
            self.fail(f"{value} is too long: at most {self._longest_text}", param, ctx)
        return seconds


class Moment(click.ParamType[str]):
    """A time: RFC 3339, such as `2026-11-22T02:00:00Z`, or `+30m` for half an hour from now. Kept as it was written."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the text."""
        text = str(value)
        try:
            parse_duration(text[1:]) if text.startswith("+") else parse_rfc3339(text)
        except ValueError as error:
            self.fail(f"{error}; write a time such as 2026-11-22T02:00:00Z, or +30m", param, ctx)
        return text


def moment(text: str, *, now: float) -> float:
    """Give the seconds since the epoch that a checked `Moment` means."""
    return now + parse_duration(text[1:]) if text.startswith("+") else parse_rfc3339(text)


class Stage(click.ParamType[dict[str, Any]]):
    """A stage of a gradual run: `10:30s` is ten percent, held for 30 seconds."""

    name = "percent:hold"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """Read the text as an entry of `transition.steps`."""
        if isinstance(value, dict):
            return value
        percent, colon, hold = str(value).partition(":")
        if not colon or not (percent.isascii() and percent.isdigit()) or not 1 <= int(percent[:4]) <= 99:
            self.fail(f"{str(value)[:40]!r} is no stage: write PERCENT:HOLD, such as 10:30s", param, ctx)
        try:
            parse_duration(hold)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return {"percent": int(percent), "hold": hold}


def parse_shares(arguments: tuple[str, ...]) -> dict[str, int]:
    """Read `region=percent…`.

    Raises:
        click.UsageError: an argument has another shape, a region comes twice, a share is not 0-100, or they do not
            add up to 100.
    """
    found: dict[str, int] = {}
    for argument in arguments:
        region, equals, percent = argument.partition("=")
        text = percent.removesuffix("%")
        if not region or not equals or not (text.isascii() and text.isdigit()):
            raise click.UsageError(f"{argument[:80]!r}: write REGION=PERCENT, such as eu-west-1=60")
        if region in found:
            raise click.UsageError(f"{region} is given twice")
        if len(text) > 3 or int(text) > 100:
            raise click.UsageError(f"{argument[:80]!r}: a share is 0-100 percent")
        found[region] = int(text)
    whole = sum(found.values())
    if whole != 100:
        listed = " + ".join(str(share) for share in found.values())
        raise click.UsageError(f"the shares add up to {whole}, not to 100 ({listed}); regions that you leave out get 0")
    return found


class Seconds(click.ParamType[float]):
    """A number of seconds, or a duration such as `5m`, from one second to a week."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the text; click has passed the value already when it is a number."""
        text = str(value)
        plain = text.isascii() and text.isdigit() and len(text) <= 6
        try:
            seconds = float(text) if plain else parse_duration(text)
        except ValueError as error:
            self.fail(f"{error}; or a number of seconds", param, ctx)
        if not 1 <= seconds <= LONGEST_INTERVAL:
            self.fail(f"{text}: from 1 second to 168h", param, ctx)
        return seconds


def listed(text: str) -> tuple[str, ...]:
    """Read words with commas between them; empty ones are left out."""
    return tuple(word for part in text.split(",") if (word := part.strip()))
