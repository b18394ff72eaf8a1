"""A cap on concurrent probes in which those that hang do not starve the others.

Probes start in the fast lane and move to the slow one when their answer is late; probes of endpoints that are failing
start in the slow lane. Each lane has its own cap, so a thousand hanging endpoints fill the slow lane and the healthy
ones are probed on time. What moves over may exceed the slow lane's cap, by at most one probe for each endpoint, because
an endpoint in trouble starts nothing more outside the slow lane.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import IntEnum


class Lane(IntEnum):
    """Where a probe runs."""

    FAST = 0
    SLOW = 1


class Lanes:
    """Counts the probes that run in each lane and starts those that wait, oldest first.

    This is passed twice by every probe, so it indexes lists and makes no objects while there is room.
    """

    __slots__ = ("_busy", "_limits", "_waiting")

    def __init__(self, *, fast: int, slow: int) -> None:
        self._limits = [fast, slow]
        self._busy = [0, 0]
        self._waiting: list[deque[Callable[[], bool]]] = [deque(), deque()]

    def room(self, lane: Lane) -> bool:
        """Take a place in `lane` when there is one and nobody waits for it; the caller starts its probe then."""
        if self._waiting[lane] or self._busy[lane] >= self._limits[lane]:
            return False
        self._busy[lane] += 1
        return True

    def wait(self, lane: Lane, start: Callable[[], bool]) -> None:
        """Call `start` when there is room; it returns False when the probe is no longer wanted."""
        self._waiting[lane].append(start)

    def fall_behind(self) -> None:
        """Move one probe from the fast lane to the slow one."""
        self._busy[Lane.FAST] -= 1
        self._busy[Lane.SLOW] += 1
        self._pump(Lane.FAST)

    def leave(self, lane: Lane) -> None:
        """Note that a probe in `lane` has ended."""
        self._busy[lane] -= 1
        if self._waiting[lane]:
            self._pump(lane)

    def busy(self, lane: Lane) -> int:
        """Return how many probes run in `lane`."""
        return self._busy[lane]

    def waiting(self, lane: Lane) -> int:
        """Return how many probes wait for room in `lane`."""
        return len(self._waiting[lane])

    def _pump(self, lane: Lane) -> None:
        while self._waiting[lane] and self._busy[lane] < self._limits[lane]:
            start = self._waiting[lane].popleft()
            # Counted before the start: a probe that ends at once must find itself counted.
            self._busy[lane] += 1
            if not start():
                self._busy[lane] -= 1
