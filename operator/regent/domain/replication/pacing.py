"""How fast a target is written to: as many requests at once as its API server takes.

A state machine without a clock: `now` (monotonic seconds) comes in, the next state comes out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

LONGEST_PAUSE = 300.0
"""Seconds that a server may ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """How many requests may be under way: halved when the server is busy, one more for each clean second, and doubled
    in a clean second while the server has never been busy: far away, it takes many at once to get through at all.

    At most halved once a second: answers to requests that were sent together tell of one overload, not of many.
    """

    limit: float = 8.0
    maximum: int = 32
    grown_at: float = 0.0
    """When the limit last changed."""
    paused_until: float = 0.0
    """The server named a time before which it wants to hear nothing."""
    untried: bool = True
    """Whether the server has not been busy yet: nobody knows how much it takes."""

    @property
    def allowed(self) -> int:
        """Requests that may be under way."""
        return max(1, int(self.limit))

    def busy(self, now: float, *, retry_after: float = 0.0) -> Concurrency:
        """After 429, 5xx or a time-out; `retry_after`: seconds that the server asked for."""
        paused = max(self.paused_until, now + min(max(retry_after, 0.0), LONGEST_PAUSE))
        if now - self.grown_at < 1.0 and self.paused_until > 0.0:
            return replace(self, paused_until=paused, untried=False)
        halved = max(1.0, self.limit / 2)
        return replace(self, limit=halved, grown_at=now, paused_until=paused, untried=False)

    def clean(self, now: float) -> Concurrency:
        """After a request that the server answered as usual."""
        if now - self.grown_at < 1.0 or now < self.paused_until:
            return self
        grown = self.limit * 2 if self.untried else self.limit + 1
        return replace(self, limit=min(float(self.maximum), grown), grown_at=now)
