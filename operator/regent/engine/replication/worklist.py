"""What one link still has to look at: names of objects, by wave, with their age and their failures.

Whatever changed is put in here, however often; it is looked at once. Waves are strict: what others need (namespaces,
configuration) goes before what needs it (workloads). An object that fails waits longer each time and holds nobody up.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

FIRST_RETRY = 0.5
LAST_RETRY = 300.0
"""Seconds between tries of one object, doubling from the first to the last."""

K = TypeVar("K")


@dataclass(slots=True)
class _Item:
    since: float
    due: float
    ticket: int


class Worklist(Generic[K]):
    """Keys to look at. Times are monotonic seconds, passed in.

    Args:
        wave: the wave of a key; lower ones come first.
        jitter: returns a number in [0, 1), which spreads retries.
    """

    def __init__(self, *, wave: Callable[[K], int], jitter: Callable[[], float]) -> None:
        self._wave = wave
        self._jitter = jitter
        self._items: dict[K, _Item] = {}
        self._taken: dict[K, float] = {}
        self._again: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._tickets = itertools.count()
        self._ready: list[tuple[int, int, K]] = []
        self._delayed: list[tuple[float, int, K]] = []

    def __len__(self) -> int:
        """Return how many keys wait or are being looked at."""
        return len(self._items) + len(self._taken)

    def __contains__(self, key: K) -> bool:
        """Say whether the key waits or is being looked at."""
        return key in self._items or key in self._taken

    def add(self, key: K, now: float) -> None:
        """Have the key looked at at once, also if it waits after a failure."""
        if key in self._taken:
            self._again.setdefault(key, now)
            return
        item = self._items.get(key)
        if item is not None and item.due <= now:
            return
        self._put(key, since=item.since if item else now, due=now)

    def take(self, now: float, count: int) -> list[K]:
        """Take up to `count` keys of the first wave that has any; the caller owes a `done` or `failed` for each."""
        self._release(now)
        taken: list[K] = []
        wave: int | None = None
        while self._ready and len(taken) < count:
            number, ticket, key = self._ready[0]
            item = self._items.get(key)
            if item is None or item.ticket != ticket:
                heapq.heappop(self._ready)
                continue
            if wave is not None and number != wave:
                break
            wave = number
            heapq.heappop(self._ready)
            del self._items[key]
            self._taken[key] = item.since
            taken.append(key)
        return taken

    def done(self, key: K, now: float) -> None:
        """The key is settled; what was added meanwhile is looked at anew."""
        self._taken.pop(key, None)
        self._failures.pop(key, None)
        self._requeue(key, now)

    def give_back(self, key: K) -> None:
        """The key has not been looked at: it waits as before."""
        since = self._taken.pop(key)
        self._again.pop(key, None)
        self._put(key, since=since, due=since)

    def postpone(self, key: K, until: float) -> None:
        """The key cannot be looked at yet: it waits until monotonic time `until`, as old as it is."""
        since = self._taken.pop(key)
        self._again.pop(key, None)
        self._put(key, since=since, due=until)

    def failed(self, key: K, now: float, *, at_least: float = 0.0) -> float:
        """Try again later; return the delay in seconds."""
        since = self._taken.pop(key, now)
        self._again.pop(key, None)
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        longest = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 20))
        delay = max(longest * (1 - self._jitter() / 2), at_least)
        self._put(key, since=since, due=now + delay)
        return delay

    def forget(self, key: K) -> None:
        """The key is of no interest any more."""
        self._items.pop(key, None)
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Return how many failures in a row the key has had."""
        return self._failures.get(key, 0)

    def oldest(self) -> float | None:
        """Return since when the oldest key without failures waits; None when none does.

        An object that fails is counted and shown as failed; it does not make the whole link look late.
        """
        waiting = (item.since for key, item in self._items.items() if not self._failures.get(key))
        taken = (since for key, since in self._taken.items() if not self._failures.get(key))
        return min(itertools.chain(waiting, taken), default=None)

    def pending(self) -> Iterator[K]:
        """Give the keys without failures that wait or are being looked at."""
        for key in itertools.chain(self._items, self._taken):
            if not self._failures.get(key):
                yield key

    def next_due(self, now: float) -> float | None:
        """Return in how many seconds there is something to take; None when nothing waits."""
        self._release(now)
        if self._ready:
            return 0.0
        return max(0.0, self._delayed[0][0] - now) if self._delayed else None

    def _requeue(self, key: K, now: float) -> None:
        since = self._again.pop(key, None)
        if since is not None:
            self._put(key, since=since, due=now)

    def _put(self, key: K, *, since: float, due: float) -> None:
        item = self._items[key] = _Item(since, due, next(self._tickets))
        heapq.heappush(self._delayed, (due, item.ticket, key))

    def _release(self, now: float) -> None:
        while self._delayed:
            due, ticket, key = self._delayed[0]
            item = self._items.get(key)
            live = item is not None and item.ticket == ticket
            if live and due > now:
                return
            heapq.heappop(self._delayed)
            if live:
                heapq.heappush(self._ready, (self._wave(key), ticket, key))
