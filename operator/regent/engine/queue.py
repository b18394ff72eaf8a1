"""The work queue between what happens and what is done about it.

Watch events, probe results and timers add keys; workers take them. One key is never handled twice at the same time, a
key added while it is handled is handled once more afterwards, and a key added many times before a worker takes it is
handled once: reconcilers look at the state of the world, not at events, so nothing is lost by that. The queue fills
on standby replicas too, where no worker runs; it holds at most one entry per object.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from regent.engine.resources import Resource

FIRST_RETRY = 0.05
"""Seconds before the first retry of a key; doubles with each failure in a row."""
LAST_RETRY = 30.0
"""Seconds that the delay between retries never exceeds."""
TICK = 0.001
"""Event loops fire timers up to this many seconds early."""
COMPACT = 256
"""Outdated entries that the heap of delayed keys may hold before it is tidied."""


class Key(NamedTuple):
    """Names an object; `namespace` is "" for cluster-scoped ones."""

    resource: Resource
    namespace: str
    name: str

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.resource.kind}/{where}"


class Priority(IntEnum):
    """Which ready key is taken first. Strict: a lower one waits as long as a higher one is ready."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


@dataclass(slots=True)
class _Wanted:
    """One coming visit of a key: not before `due` (event loop time)."""

    due: float
    priority: Priority
    ticket: int
    """Tells the live entry of a heap or deque from those that a later add has replaced."""


class KeyedQueue:
    """Keys to visit, by priority and time, for any number of workers on one event loop.

    Args:
        jitter: returns a number in [0, 1), which spreads retries so that a fault of many does not make them a herd.
    """

    def __init__(self, *, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._tickets = itertools.count()
        self._waiting: dict[Key, _Wanted] = {}
        self._again: dict[Key, _Wanted] = {}
        self._in_flight: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._ready: dict[Priority, deque[tuple[int, Key]]] = {priority: deque() for priority in Priority}
        self._delayed: list[tuple[float, int, Key]] = []
        self._timer: asyncio.Handle | None = None
        self._armed = 0.0
        self._getters: deque[asyncio.Future[None]] = deque()

    def add(self, key: Key, *, priority: Priority = Priority.NORMAL, after: float = 0.0) -> None:
        """Ask for a visit of `key`, `after` seconds from now.

        Of several asks before the visit the earliest time and the highest priority hold. While the key is being
        handled the ask is kept until `done`.
        """
        now = self._now()
        wanted = _Wanted(now + max(0.0, after), priority, next(self._tickets))
        if key in self._in_flight:
            self._again[key] = _merge(self._again.get(key), wanted)
            return
        pending = self._waiting.get(key)
        merged = _merge(pending, wanted)
        if merged is not pending:
            self._schedule(key, merged, now)

    async def get(self) -> Key:
        """Wait for a key that is due, and take it; the caller owes a `done`."""
        while True:
            key = self._take()
            if key is not None:
                return key
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except BaseException:
                # A wake-up given to a getter that is cancelled at the same moment must go to another one,
                # or a ready key would lie there with all workers asleep.
                getter.cancel()
                if getter in self._getters:
                    self._getters.remove(getter)
                elif any(self._ready.values()):
                    self._wake()
                raise

    def done(self, key: Key) -> None:
        """Say that the visit is over; a visit asked for meanwhile is queued now."""
        self._in_flight.remove(key)
        again = self._again.pop(key, None)
        if again is not None:
            self._schedule(key, again, self._now())

    def retry(self, key: Key, *, priority: Priority = Priority.NORMAL, at_least: float = 0.0) -> float:
        """Ask for another visit after a failure; return the delay in seconds.

        The delay doubles from 50 ms to 30 s with the failures in a row, shortened at random by up to half; it is
        never shorter than `at_least`, which is what a server asked for.
        """
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        longest = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 20))
        delay = max(longest * (1 - self._jitter() / 2), at_least)
        self.add(key, priority=priority, after=delay)
        return delay

    def forget(self, key: Key) -> None:
        """Forget the failures of `key`: the next retry is quick again."""
        self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """Return how many failures in a row `key` has had."""
        return self._failures.get(key, 0)

    @property
    def depth(self) -> int:
        """How many keys are due and wait for a worker."""
        now = self._now()
        return sum(1 for wanted in self._waiting.values() if wanted.due <= now)

    @property
    def in_flight(self) -> int:
        """How many keys are being handled."""
        return len(self._in_flight)

    def __len__(self) -> int:
        """Return how many keys wait, due or not."""
        return len(self._waiting)

    def _schedule(self, key: Key, wanted: _Wanted, now: float) -> None:
        self._waiting[key] = wanted
        if wanted.due <= now:
            self._ready[wanted.priority].append((wanted.ticket, key))
            self._wake()
        else:
            if len(self._delayed) > 2 * len(self._waiting) + COMPACT:
                # A key that is asked for earlier again and again leaves an entry behind each time.
                self._delayed = [entry for entry in self._delayed if self._live(entry)]
                heapq.heapify(self._delayed)
            heapq.heappush(self._delayed, (wanted.due, wanted.ticket, key))
            self._arm()

    def _take(self) -> Key | None:
        for priority, line in self._ready.items():
            while line:
                ticket, key = line.popleft()
                wanted = self._waiting.get(key)
                if wanted is None or wanted.ticket != ticket or wanted.priority != priority:
                    continue
                del self._waiting[key]
                self._in_flight.add(key)
                return key
        return None

    def _arm(self) -> None:
        """Set the one timer for the earliest delayed key."""
        due = self._delayed[0][0]
        if self._timer is not None:
            # Its time is remembered here: uvloop gives a plain handle, which has none, for what is due in no time.
            if self._armed <= due:
                return
            self._timer.cancel()
        self._timer, self._armed = asyncio.get_running_loop().call_at(due, self._release), due

    def _release(self) -> None:
        self._timer = None
        now = self._now() + TICK
        while self._delayed and (self._delayed[0][0] <= now or not self._live(self._delayed[0])):
            entry = heapq.heappop(self._delayed)
            if self._live(entry):
                _, ticket, key = entry
                self._ready[self._waiting[key].priority].append((ticket, key))
                self._wake()
        if self._delayed:
            self._arm()

    def _live(self, entry: tuple[float, int, Key]) -> bool:
        _, ticket, key = entry
        wanted = self._waiting.get(key)
        return wanted is not None and wanted.ticket == ticket

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _merge(pending: _Wanted | None, wanted: _Wanted) -> _Wanted:
    if pending is None:
        return wanted
    if wanted.due >= pending.due and wanted.priority >= pending.priority:
        return pending
    return _Wanted(min(pending.due, wanted.due), min(pending.priority, wanted.priority), wanted.ticket)
