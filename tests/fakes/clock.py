"""Clocks for tests: one that moves when told, one that follows the event loop (and so `looptime`)."""

from __future__ import annotations

import asyncio


class FakeClock:
    """A Clock that stands still until `advance`; wall time moves along unless `step_wall` shifts it alone."""

    def __init__(self, *, monotonic: float = 1_000.0, wall: float = 1_790_000_000.0) -> None:
        self._monotonic = monotonic
        self._wall = wall

    def monotonic(self) -> float:
        return self._monotonic

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        assert seconds >= 0
        self._monotonic += seconds
        self._wall += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP would."""
        self._wall += seconds


class LoopClock:
    """A Clock that tells the running event loop's time: under `looptime` hours pass in no time."""

    def __init__(self, *, wall: float = 1_790_000_000.0) -> None:
        self._wall = wall

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self._wall + self.monotonic()
