"""Remembers where the primaries were: when one is gone, its last seen position is all there is to judge a loss by.

One `Track` for each region of each step, fed by every look of a driver. Times are monotonic seconds. The memory is of
this replica alone and starts empty; what is not known is said to be not known.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from regent.adapters.promotion.patroni_state import Address, Seen
from regent.domain.times import rfc3339

KEPT = 600
"""Samples of a primary that are kept: ten minutes at one a second."""

CLOSEST = 0.05
"""Seconds between two samples that are kept, at least: a run looks ten times a second."""

MAX_STEPS = 4096


@dataclass(frozen=True, slots=True)
class Sample:
    """A primary's position at a time."""

    time: float
    position: int
    timeline: int | None


@dataclass(slots=True)
class Track:
    """What is remembered about the database of one region."""

    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=KEPT))
    """Looks at it as a primary, oldest first."""
    failed: float | None = None
    """When it could last not be asked, if that was after the last answer."""
    identifier: str = ""
    address: Address | None = None
    history: tuple[tuple[int, int], ...] = ()
    """Ends of the timelines before `history_of`."""
    history_of: int | None = None
    """Timeline of the primary whose history is known."""
    led: float | None = None
    """When its cluster, which had no leader, was last asked to take one."""

    def note(self, seen: Seen, *, asked: float) -> None:
        """Remember a look. `asked`: when the question left, so that a position is never taken for younger than it
        is."""
        self.failed = None
        self.identifier = seen.identifier or self.identifier
        if seen.recovering is False and seen.position is not None:
            if self.samples and asked - self.samples[-1].time < CLOSEST:
                return
            self.samples.append(Sample(asked, seen.position, seen.timeline))

    @property
    def last(self) -> Sample | None:
        """The newest sample."""
        return self.samples[-1] if self.samples else None

    def reached(self, position: int) -> Sample | None:
        """The newest sample that a standby at `position` has all of; None when even the oldest is ahead of it."""
        return next((sample for sample in reversed(self.samples) if sample.position <= position), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a promotion without the old primary may lose."""

    seconds: float | None
    """Every write that was acknowledged longer ago than this is there; None: nothing is known."""
    known_bytes: int | None
    """WAL that was seen on the old primary and is missing."""
    replayed_time: float | None = None
    """When the last transaction that the new side has replayed was committed, by its primary's clock. No bound: nobody
    knows that clock, nor whether that primary is the one that is gone."""

    def __str__(self) -> str:
        """For people."""
        if self.known_bytes is None:
            return "unknown: the old primary was never seen" + replayed(self.replayed_time)
        missing = f"{self.known_bytes} bytes of WAL that were seen there are missing"
        if self.seconds is None:
            return f"unknown: {missing}"
        return f"at most the writes of the last {math.ceil(self.seconds * 10) / 10:.1f} s; {missing}"


def replayed(time: float | None) -> str:
    """What a standby's last transaction tells people where nothing else is known; "" when there is none."""
    if time is None:
        return ""
    return f"; the last transaction that was replayed is of {rfc3339(time)}, by its primary's clock"


def estimate_loss(source: Track, *, position: int, now: float) -> Loss:
    """Bound the loss when `source` is gone and the new side has everything up to `position`.

    What the old primary had acknowledged when it was last seen at or before `position` is on the new side; all later
    writes may be lost, up to now: nobody knows when it stopped.
    """
    last, reached = source.last, source.reached(position)
    missing = None if last is None else max(0, last.position - position)
    return Loss(seconds=None if reached is None else max(0.0, now - reached.time), known_bytes=missing)


def lag(source: Track, *, position: int, streaming: bool) -> float | None:
    """Seconds that a standby at `position` is behind its source; None when it is not known.

    While the source answers, a standby that does not stream has no known lag: it may stay where it is. When the source
    is gone no standby streams, and the lag is the one at the last look.
    """
    last, reached = source.last, source.reached(position)
    if last is None or reached is None or (source.failed is None and not streaming):
        return None
    return max(0.0, last.time - reached.time)


class Positions:
    """The tracks of all steps, by a key of the step and the region."""

    def __init__(self) -> None:
        self._steps: OrderedDict[str, dict[str, Track]] = OrderedDict()

    def of(self, step: str) -> dict[str, Track]:
        """Return the tracks of a step by region; add to it as needed."""
        tracks = self._steps.setdefault(step, {})
        self._steps.move_to_end(step)
        while len(self._steps) > MAX_STEPS:
            self._steps.popitem(last=False)
        return tracks
