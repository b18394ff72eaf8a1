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


class LeaseClock(SystemClock):
    """A clock for leases: its monotonic time goes on while the machine is suspended, so a lease never sleeps.

    Not to be compared with the event loop's time, which does stand still then.
    """

    def monotonic(self) -> float:
        """Seconds since the machine was started, suspension included where the system can tell."""
        return time.clock_gettime(_ALWAYS_ON)


_ALWAYS_ON = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
