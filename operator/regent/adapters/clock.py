"""The real clock, behind the port that everything else tells time by."""

from __future__ import annotations

import time


class SystemClock:
    """Implements `regent.engine.ports.Clock` with the machine's clocks."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()
