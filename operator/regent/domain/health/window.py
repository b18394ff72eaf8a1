"""The last minute of one probe: failures and latencies, exact and small.

Only scheduled probes are samples. The re-probes of an episode are not, so that a lost probe counts once, however often
it is tried again. Latencies are kept as they are (4 bytes) beside their times (8 bytes): at 4 probes/s that is 2.9 KB
for each probe and 2.9 MB for 1,000, against 0.5 MB for histograms of 64 coarse buckets, which would put 0.95 s and
1.05 s on the same side of a threshold of 1 s. Sorting a full window takes about 15 µs and is done once a second.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from math import inf

SPAN = 60.0
"""Seconds that figures look back."""

MINIMUM_SAMPLES = 20
"""Below this an error rate says nothing: one lost probe of five is not 20 %."""

CAPACITY = 720
"""Most samples kept: ten a second (the shortest interval) for the whole span, and a margin for jitter."""


class Window:
    """Samples of the last `SPAN` seconds, at most `CAPACITY` of them. Times are monotonic and never go back."""

    __slots__ = ("_head", "_latencies", "_times", "failures")

    def __init__(self) -> None:
        self._times = array("d")
        # A failure is stored as its negated length: a time-out counts with its full length among the latencies.
        self._latencies = array("f")
        self._head = 0
        self.failures = 0
        """Failures in the window."""

    @property
    def samples(self) -> int:
        """Samples in the window."""
        return len(self._times) - self._head

    def add(self, now: float, *, latency: float | None, failed: bool) -> None:
        """Add a sample that came in at `now`.

        `latency` is seconds, of a time-out its full length; None for a refusal, whose quick no is a failure but tells
        nothing about how fast the region serves.
        """
        self._times.append(now)
        if failed:
            self._latencies.append(-inf if latency is None else -max(latency, 1e-6))
        else:
            self._latencies.append(max(latency or 0.0, 0.0))
        self.failures += failed
        if self.samples > CAPACITY:
            self._drop()
        self.expire(now)

    def expire(self, now: float) -> None:
        """Forget what is older than the span."""
        while self._head < len(self._times) and self._times[self._head] <= now - SPAN:
            self._drop()
        # Cut the dead front off now and then: each sample is moved once at most in the mean.
        if self._head > 64 and self._head * 2 > len(self._times):
            del self._times[: self._head], self._latencies[: self._head]
            self._head = 0

    def error_rate_percent(self) -> float | None:
        """Return the share of failures in percent, or None below the least number of samples."""
        return 100.0 * self.failures / self.samples if self.samples >= MINIMUM_SAMPLES else None

    def percentile(self, *shares: float) -> tuple[float | None, ...]:
        """Return the latency in seconds that each share (0 to 1) of the samples does not exceed (nearest rank)."""
        ordered = sorted(abs(value) for value in self._latencies[self._head :] if value != -inf)
        if not ordered:
            return (None,) * len(shares)
        last = len(ordered) - 1
        return tuple(ordered[min(last, max(0, -int(-share * len(ordered) // 1) - 1))] for share in shares)

    def newest(self, *, over: float = inf) -> tuple[float, bool] | None:
        """Return when the newest sample came in and whether it was bad: failed, or slower than `over` seconds."""
        if not self.samples:
            return None
        value = self._latencies[-1]
        return self._times[-1], value < 0 or value > over

    def bad_since(self, since: float, *, over: float = inf) -> int:
        """Count the samples since `since` that failed or were slower than `over` seconds."""
        first = bisect_left(self._times, since, self._head)
        return sum(1 for value in self._latencies[first:] if value < 0 or value > over)

    def _drop(self) -> None:
        self.failures -= self._latencies[self._head] < 0
        self._head += 1


class Series:
    """Figures that a region reports about itself, of the last `SPAN` seconds, at most `CAPACITY` of them."""

    __slots__ = ("_times", "_values")

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=CAPACITY)
        self._values: deque[float] = deque(maxlen=CAPACITY)

    def __len__(self) -> int:
        return len(self._times)

    def add(self, now: float, value: float) -> None:
        """Add the figure that came in at `now`."""
        self._times.append(now)
        self._values.append(value)
        while self._times[0] <= now - SPAN:
            self._times.popleft()
            self._values.popleft()

    def fresh(self, now: float, *, within: float) -> float | None:
        """Return the newest figure when it is younger than `within` seconds."""
        return self._values[-1] if self._times and now - self._times[-1] < within else None

    def count(self, since: float, bad: Callable[[float], bool]) -> int:
        """Count the figures since `since` that are bad."""
        return sum(1 for moment, value in zip(self._times, self._values, strict=True) if moment >= since and bad(value))
