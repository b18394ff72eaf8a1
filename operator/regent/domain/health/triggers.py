"""Triggers on figures: does a rate hold, and has it held long enough?

A figure fires only when it has been past its threshold for the whole `for`, with at least three bad samples within it,
and when the newest sample is bad too. One lost probe or a blip that is over never fires. Rates of probes also need the
window's least number of samples; a figure that the region reports about itself is an aggregate of many requests and
needs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from regent.domain.health.window import MINIMUM_SAMPLES

MINIMUM_BAD = 3
"""Bad samples within the duration."""


class Figure(Enum):
    """What a trigger looks at."""

    LOAD_ERROR_RATE = "LoadErrorRate"
    """Percent, as the region reports it."""
    PROBE_ERROR_RATE = "ProbeErrorRate"
    """Percent of failed probes."""
    LATENCY_P95 = "LatencyP95"
    """Seconds."""
    CAPACITY = "Capacity"
    """Free capacity in percent; it is past the threshold *below* it."""

    @property
    def of_probes(self) -> bool:
        """Whether the figure is made of probes' results."""
        return self in (Figure.PROBE_ERROR_RATE, Figure.LATENCY_P95)

    def past(self, value: float, threshold: float) -> bool:
        """Tell whether a value is on the bad side of a threshold."""
        return value < threshold if self is Figure.CAPACITY else value > threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is measured of one figure at one moment."""

    value: float | None
    """None: no source gives it, or it is too old."""
    samples: int = 0
    """Samples in the window behind `value`."""
    bad: int = 0
    """Bad samples within the trigger's duration: failed probes, slow or failed ones for a latency, figures past the
    threshold for reports."""
    newest_bad: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A trigger that holds."""

    figure: Figure
    threshold: float
    value: float
    since: float
    """Monotonic time since when the figure has been past the threshold."""
    bad: int


@dataclass(slots=True, kw_only=True)
class Watch:
    """One trigger's look at one figure over time."""

    figure: Figure
    threshold: float
    duration: float
    since: float | None = None
    """Since when the figure is past the threshold; None while it is not."""

    def look(self, now: float, evidence: Evidence) -> Held | None:
        """Take in a measurement and return the held trigger, or None."""
        value = evidence.value
        if (
            value is None
            or not self.figure.past(value, self.threshold)
            or (self.figure.of_probes and evidence.samples < MINIMUM_SAMPLES)
        ):
            self.since = None
            return None
        if self.since is None:
            self.since = now
        if now - self.since < self.duration or evidence.bad < MINIMUM_BAD or not evidence.newest_bad:
            return None
        return Held(figure=self.figure, threshold=self.threshold, value=value, since=self.since, bad=evidence.bad)
