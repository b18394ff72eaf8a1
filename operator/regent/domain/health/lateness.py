"""When is an answer late? Learned from the endpoint's own latencies, as TCP learns when to send again.

A probe that hangs is only known to have failed at its time-out. If the next ones were started then, each detection
would take a second time-out. So they are started as soon as an answer is late; the bound is the mean latency plus four
mean deviations (RFC 6298), so that an endpoint that is slow by nature is not probed twice each time.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Lateness:
    """Running estimate of one kind of probe's latency, in seconds."""

    _mean: float | None = None
    _deviation: float = 0.0

    def add(self, latency: float) -> None:
        """Learn from an answer."""
        if self._mean is None:
            self._mean, self._deviation = latency, latency / 2
            return
        self._deviation += (abs(self._mean - latency) - self._deviation) / 4
        self._mean += (latency - self._mean) / 8

    def bound(self) -> float | None:
        """Return the latency above which an answer is late; None before the first answer."""
        return None if self._mean is None else self._mean + 4 * self._deviation
