"""Workers take keys from the queue and call the reconciler of the key's kind.

The queue fills on every replica; workers run on the leader only and start when it is elected. What a reconciler raises
decides when its key is visited again: a conflict at once (the world moved on, look again), an API server that is away
after a growing delay, anything unforeseen likewise but with a traceback in the log and a count in a metric. One broken
object thus never stops the others. Losing the lease ends the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from regent.domain.errors import ClusterError, ConflictError, LeadershipLostError, UnavailableError
from regent.engine.ports import Clock, Metrics
from regent.engine.queue import Key, KeyedQueue
from regent.engine.resources import Resource

log = logging.getLogger("regent.reconcile")

CONFLICTS_AT_ONCE = 3
"""Conflicts in a row that are retried without a delay; more than that is a fight with another writer."""


class Reconciler(Protocol):
    """Brings one object's part of the world closer to what is wanted. Level-triggered: it looks, it is not told."""

    async def reconcile(self, key: Key) -> float | None:
        """Visit the object, which may be gone; return seconds until the next visit, None for "only on events"."""
        ...


class Workers:
    """Runs `count` workers over one queue.

    Args:
        count: objects that are handled at the same time.
    """

    def __init__(
        self,
        queue: KeyedQueue,
        reconcilers: Mapping[Resource, Reconciler],
        *,
        clock: Clock,
        metrics: Metrics,
        count: int = 16,
    ) -> None:
        self._queue = queue
        self._reconcilers = reconcilers
        self._clock = clock
        self._metrics = metrics
        self._count = count
        self._busy: dict[int, tuple[float, Key]] = {}
        self._running = False

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            LeadershipLostError: a reconciler found that the lease is lost.
        """
        self._running = True
        tasks = [asyncio.create_task(self._work(number), name=f"worker-{number}") for number in range(self._count)]
        try:
            await asyncio.gather(*tasks)
        finally:
            self._running = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def longest(self) -> tuple[float, Key | None]:
        """Return for how many seconds the longest visit under way has lasted, and of which object it is."""
        if not self._busy:
            return 0.0, None
        started, key = min(self._busy.values(), key=lambda entry: entry[0])
        return self._clock.monotonic() - started, key

    @property
    def running(self) -> bool:
        """Whether the workers have been started and have not ended."""
        return self._running

    async def _work(self, number: int) -> None:
        while True:
            key = await self._queue.get()
            started = self._clock.monotonic()
            self._busy[number] = (started, key)
            try:
                result = await self._visit(key)
                self._metrics.count("regent_reconcile_total", kind=key.resource.kind, result=result)
            finally:
                del self._busy[number]
                self._queue.done(key)
            duration = self._clock.monotonic() - started
            self._metrics.observe("regent_reconcile_duration_seconds", duration, kind=key.resource.kind)

    async def _visit(self, key: Key) -> str:
        """Call the reconciler and put the key back into the queue as its outcome asks for."""
        reconciler = self._reconcilers.get(key.resource)
        if reconciler is None:
            return "ok"
        try:
            again = await reconciler.reconcile(key)
        except LeadershipLostError:
            raise
        except ConflictError:
            if self._queue.failures(key) < CONFLICTS_AT_ONCE:
                self._queue.retry(key)
                self._queue.add(key)
            else:
                self._queue.retry(key)
            return "retry"
        except ClusterError as error:
            at_least = (error.retry_after or 0.0) if isinstance(error, UnavailableError) else 0.0
            delay = self._queue.retry(key, at_least=at_least)
            # The first failures are everyday life of a distributed system; only a lasting one is worth a line.
            level = logging.WARNING if self._queue.failures(key) >= CONFLICTS_AT_ONCE else logging.DEBUG
            log.log(level, "Visit failed, trying again in %.1fs: %s", delay, error, extra={"object": str(key)})
            return "retry"
        except Exception:
            delay = self._queue.retry(key)
            log.exception("Visit failed unexpectedly, trying again in %.1fs", delay, extra={"object": str(key)})
            return "error"
        self._queue.forget(key)
        if again is not None:
            self._queue.add(key, after=again)
        return "ok"
