"""Notices when the event loop stood still, so that probes do not blame a region for it.

A probe's answer may lie unread in the kernel while the loop is blocked or the process is stopped; a time-out that ran
across such a gap says nothing. A ticking timer measures the gaps, because a gap that ended before the probe's deadline
leaves no other trace.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

TICK = 0.05
"""Seconds between two looks at the clock; gaps shorter than this are not seen."""


class LoopLag:
    """Remembers the latest gaps of the running loop. Starts ticking with `start`, ends with `stop`."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._expected = 0.0
        self._gaps: deque[tuple[float, float]] = deque(maxlen=64)

    def start(self) -> None:
        """Begin to tick on the running loop; harmless when it ticks already."""
        if self._timer is None:
            self._arm()

    def stop(self) -> None:
        """End ticking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def excuses(self, start: float, timeout: float) -> bool:
        """Whether too much of a probe from `start` (monotonic), timed out now, was lost to be held against the region.

        A quarter of the time-out may be lost, and 50 ms always: less leaves the region time enough to answer, and
        a loop that is always a little late must not hide every hang.
        """
        now = time.monotonic()
        lost = max(now - (start + timeout), sum(min(gap, end - start) for end, gap in self._gaps if end > start))
        if self._timer is not None:
            # The gap may have ended this very moment, and the tick that measures it run after the probe's own timer.
            lost = max(lost, now - self._expected)
        return lost > max(TICK, timeout / 4)

    def _arm(self) -> None:
        self._expected = time.monotonic() + TICK
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _tick(self) -> None:
        now = time.monotonic()
        late = now - self._expected
        if late > TICK:
            self._gaps.append((now, late))
        self._arm()
