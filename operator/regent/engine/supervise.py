"""Runs the parts that live as long as the process; when one of them ends, the process ends.

A half-dead operator is worse than a restarted one: it still answers its health checks while it has stopped watching or
deciding. So no part is restarted here. The exit code tells a lost lease, which is normal life, from a fault.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from regent.domain.errors import LeadershipLostError

log = logging.getLogger("regent.supervise")

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_LEADERSHIP_LOST = 3

Part = Callable[[], Coroutine[Any, Any, None]]


class Supervisor:
    """Long-lived parts by name. `run` returns the exit code of the process."""

    def __init__(self, *, grace: float = 2.0) -> None:
        self._parts: dict[str, Part] = {}
        self._grace = grace
        self._stop = asyncio.Event()

    def add(self, name: str, part: Part) -> None:
        """Have `part` run; it must neither return nor raise while the process lives."""
        self._parts[name] = part

    def stop(self) -> None:
        """End all parts and let `run` return 0. Safe to call more than once, and from a signal handler of the loop."""
        self._stop.set()

    async def run(self) -> int:
        """Run all parts until one ends or `stop` is called; then end them all."""
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        tasks = {asyncio.create_task(part(), name=name) for name, part in self._parts.items()}
        try:
            await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            return self._judge({task for task in tasks if task.done()})
        finally:
            for task in {stop, *tasks}:
                task.cancel()
            _, hung = await asyncio.wait({stop, *tasks}, timeout=self._grace)
            for task in hung:
                log.error("Part did not end in time", extra={"part": task.get_name()})

    def _judge(self, ended: set[asyncio.Task[None]]) -> int:
        codes = [EXIT_DONE]
        for task in ended:
            error = task.exception() if not task.cancelled() else None
            lost = _leadership_lost(error)
            if lost is not None:
                log.error("Leadership lost: %s", lost)
                codes.append(EXIT_LEADERSHIP_LOST)
            elif error is not None:
                log.error("Part failed", exc_info=error, extra={"part": task.get_name()})
                codes.append(EXIT_FAILED)
            elif not self._stop.is_set():
                log.error("Part ended, which it never should", extra={"part": task.get_name()})
                codes.append(EXIT_FAILED)
        return max(codes)


def _leadership_lost(error: BaseException | None) -> LeadershipLostError | None:
    """Find a lost lease, also inside the group that a TaskGroup raises."""
    if isinstance(error, LeadershipLostError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_leadership_lost, error.exceptions)), None)
    return None
