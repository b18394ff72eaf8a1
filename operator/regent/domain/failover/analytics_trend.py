"""How a policy's traffic was shared among regions over time, from the moves that its runs made. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A change of shares that a run completed. Times are seconds since the epoch."""

    run: str
    start_time: float
    completion_time: float
    before: Mapping[str, int]
    after: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint:
    """From `time` on the shares are these; `run` made them, "" where they were found."""

    time: float
    run: str
    shares: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTrend:
    """Where the traffic of one policy was."""

    policy: str
    points: tuple[TrendPoint, ...]
    """In the order of time; the first one tells the shares before the oldest move that is known."""
    average: Mapping[str, float]
    """Share of each region in percent, weighed by the time for which it had it, from the first point until now."""

    @property
    def now(self) -> Mapping[str, int]:
        """The shares that the last known move left."""
        return self.points[-1].shares if self.points else {}


class Direction(Enum):
    """Where the share of a region goes: its present share against its average."""

    RISING = "Rising"
    FALLING = "Falling"
    STEADY = "Steady"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionTrend:
    """How much of the traffic a region has, in percent, over the policies that list it; each policy counts alike."""

    region: str
    average: float
    now: float

    @property
    def direction(self) -> Direction:
        """Rising or falling from a point of difference on."""
        difference = self.now - self.average
        if abs(difference) < 1:
            return Direction.STEADY
        return Direction.RISING if difference > 0 else Direction.FALLING


def region_trends(trends: Sequence[PolicyTrend]) -> tuple[RegionTrend, ...]:
    """Put the trends of policies together by region, sorted by name."""
    names = sorted({name for trend in trends for name in trend.average})
    found = []
    for name in names:
        those = [trend for trend in trends if name in trend.average]
        found.append(
            RegionTrend(
                region=name,
                average=sum(trend.average[name] for trend in those) / len(those),
                now=sum(trend.now.get(name, 0) for trend in those) / len(those),
            )
        )
    return tuple(found)


def trend_of(policy: str, moves: Sequence[Move], *, until: float) -> PolicyTrend:
    """Give the trend of moves in the order of their completion; `until` is now."""
    points: list[TrendPoint] = []
    for move in moves:
        if not points and move.before:
            points.append(TrendPoint(time=move.start_time, run="", shares=dict(move.before)))
        points.append(TrendPoint(time=move.completion_time, run=move.run, shares=dict(move.after)))
    return PolicyTrend(policy=policy, points=tuple(points), average=_average(points, until))


def _average(points: Sequence[TrendPoint], until: float) -> dict[str, float]:
    weighed: dict[str, float] = {}
    whole = 0.0
    ends = [*(point.time for point in points[1:]), until]
    for point, end in zip(points, ends, strict=True):
        # Clocks of different replicas may disagree by a little: a stretch of time is never negative.
        length = max(0.0, end - point.time)
        whole += length
        for region, share in point.shares.items():
            weighed[region] = weighed.get(region, 0.0) + share * length
    if whole <= 0:
        return {region: float(share) for region, share in points[-1].shares.items()} if points else {}
    return {region: value / whole for region, value in weighed.items()}
