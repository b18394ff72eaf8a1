"""Figures from the records of a client loop. All times are monotonic seconds, as those of the regions' faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """What became of a request."""

    GOOD = "good"  # a status below 500 in time
    STATUS = "status"  # 500 or above, from a gateway or a region
    REFUSED = "refused"
    TIMEOUT = "timeout"
    BROKEN = "broken"  # the connection ended before the answer did


@dataclass(frozen=True, slots=True)
class Record:
    """One request: when it was sent, how long it took (seconds), and its answer."""

    sent: float
    latency: float
    outcome: Outcome
    status: int  # 0 without an answer
    region: str  # of the x-region header; empty when there was none

    @property
    def done(self) -> float:
        """When its answer, or its failure, was known."""
        return self.sent + self.latency

    @property
    def good(self) -> bool:
        return self.outcome is Outcome.GOOD


class Timeline:
    """Records in the order in which they were sent."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = sorted(records, key=lambda record: record.sent)

    def since(self, time: float) -> Timeline:
        """Only what was sent at that time or later."""
        return Timeline(record for record in self.records if record.sent >= time)

    def between(self, start: float, end: float) -> Timeline:
        """Only what was sent from `start` to before `end`."""
        return Timeline(record for record in self.records if start <= record.sent < end)

    @property
    def failures(self) -> list[Record]:
        return [record for record in self.records if not record.good]

    @property
    def lost(self) -> int:
        """Number of requests without a good answer."""
        return len(self.failures)

    @property
    def first_failure(self) -> Record | None:
        """The failed request that was sent first."""
        return next((record for record in self.records if not record.good), None)

    @property
    def last_failure(self) -> Record | None:
        """The failed request that was sent last: its sending time is the end of the outage."""
        return next((record for record in reversed(self.records) if not record.good), None)

    def first_good(self, region: str, *, after: float = 0.0) -> Record | None:
        """The good answer of that region which arrived first, among the requests sent after a time."""
        found = [record for record in self.records if record.good and record.region == region and record.sent >= after]
        return min(found, key=lambda record: record.done, default=None)

    def last_good(self, region: str) -> Record | None:
        """The request sent last that this region answered well."""
        return next((record for record in reversed(self.records) if record.good and record.region == region), None)

    def outage(self, fault: float) -> float:
        """Seconds from a fault to the sending of the last failed request after it; 0 when none failed."""
        last = self.since(fault).last_failure
        return 0.0 if last is None else last.sent - fault

    def by_region(self) -> Counter[str]:
        """Good answers by region."""
        return Counter(record.region for record in self.records if record.good)

    def by_outcome(self) -> Counter[Outcome]:
        """Requests by what became of them."""
        return Counter(record.outcome for record in self.records)

    def buckets(self, *, width: float, start: float | None = None) -> list[tuple[float, Counter[str]]]:
        """Per `width` seconds of sending time: the bucket's start and its answers by region, failures as "failed"."""
        if width <= 0.0:
            raise ValueError("width must be positive")
        if not self.records:
            return []
        begin = self.records[0].sent if start is None else start
        counts: dict[int, Counter[str]] = {}
        for record in self.records:
            counts.setdefault(int((record.sent - begin) // width), Counter())[
                record.region if record.good else "failed"
            ] += 1
        first, last = min(counts), max(counts)
        return [(begin + number * width, counts.get(number, Counter())) for number in range(first, last + 1)]

    def latency(self, percentile: float) -> float:
        """A percentile (0 to 100) of the good answers' latency in seconds; `ValueError` without any."""
        values = sorted(record.latency for record in self.records if record.good)
        if not values:
            raise ValueError("no good answers")
        return values[min(len(values) - 1, int(len(values) * percentile / 100.0))]
