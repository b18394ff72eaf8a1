"""Watches how far this machine's clock is from the API server's.

Decisions use the monotonic clock; but cooldowns, scheduled runs and the times in statuses are wall time, and another
leader on a machine with another clock would count them differently. A clock that is off is therefore said aloud, and
runs that move data do not begin meanwhile (`Snapshot.clock_off`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from regent.engine.ports import Metrics

log = logging.getLogger("regent.clock")

INTERVAL = 5.0
"""Seconds between two looks. A look reads what the last answer said, and costs nothing."""
RESOLUTION = 1.0
"""Seconds: an HTTP Date has no fractions, so a difference smaller than this says nothing."""


class ClockCheck:
    """Compares the clocks every few seconds.

    Args:
        offset: seconds by which the API server's clock is ahead of ours, from its last answer; None before the first.
        limit: the setting `failover.maxClockSkew`, seconds.
    """

    def __init__(self, *, offset: Callable[[], float | None], limit: float, metrics: Metrics) -> None:
        self._offset = offset
        self._limit = limit
        self._metrics = metrics
        self._off = False

    def problem(self) -> str:
        """Return what is wrong with the clock as last looked at; "": nothing. Without the seconds, which change."""
        if not self._off:
            return ""
        return f"this machine's clock is more than failover.maxClockSkew ({self._limit:g}s) off the API server's"

    async def run(self) -> None:
        """Compare until cancelled; the supervisor runs this."""
        while True:
            self.look()
            await asyncio.sleep(INTERVAL)

    def look(self) -> None:
        """Compare once; a warning when the clock leaves the limit, a line when it is back."""
        offset = self._offset()
        if offset is None:
            return
        self._metrics.gauge("regent_clock_offset_seconds", offset)
        off = abs(offset) > self._limit + RESOLUTION
        if off and not self._off:
            log.warning(
                "Clock is %.0fs off the API server's, more than failover.maxClockSkew: cooldowns and schedules are "
                "counted wrong; synchronise the clocks (NTP)",
                abs(offset),
            )
        elif self._off and not off:
            log.info("Clock agrees with the API server's again")
        self._off = off
