"""What can go wrong between a replica and the API server, and when: the part of `proxy` that decides.

An API server that is upgraded, throttled or lost behind a load balancer refuses a write (409, 429, 500), or carries it
out and the answer never arrives. A watch tells late, tells twice, tells an old version after a newer one, or stays
silent about a change until the next one, or the next LIST.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Write:
    """One write of the replica, in the order in which they came (from 1)."""

    number: int
    verb: str
    resource: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.number}: {self.verb} {self.resource} {self.namespace}/{self.name}"


class Trouble(Enum):
    """What becomes of a write."""

    CONFLICT = "409"
    THROTTLED = "429"
    BROKEN = "500"
    LOST = "lost"  # it is done, and nobody hears of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What becomes of one event of a watch: how often it is told, after how many seconds, and whether it is told once
    more after the next one."""

    copies: int = 1
    delay: float = 0.0
    again: bool = False


class Faults(Protocol):
    """Decides. Called in the proxy's thread, once for each write and each event."""

    def write(self, write: Write) -> Trouble | None:
        """What goes wrong with a write; None: nothing."""
        ...

    def event(self, resource: str) -> Delivery:
        """How an event about an object of `resource` (plural) is delivered."""
        ...


class NoFaults:
    """Everything goes well."""

    def write(self, write: Write) -> Trouble | None:
        """Nothing."""
        return None

    def event(self, resource: str) -> Delivery:
        """Once, at once."""
        return Delivery()


class OneTrouble(NoFaults):
    """The `number`-th write (from 1) that `counts` meets `trouble`; all others go well."""

    def __init__(self, trouble: Trouble, *, number: int, counts: Callable[[Write], bool]) -> None:
        self._trouble = trouble
        self._number = number
        self._counts = counts
        self._seen = 0
        self.met: Write | None = None
        """The write that it happened to."""

    def write(self, write: Write) -> Trouble | None:
        """The trouble, at its time."""
        if self._counts(write):
            self._seen += 1
            if self._seen == self._number:
                self.met = write
                return self._trouble
        return None


class Storm:
    """All of it, at random.

    Args:
        seed: the same seed asks for the same faults in the same order.
        trouble: share of the writes that meet one.
        events: share of the events that are dropped, and of those that are repeated, and repeated later.
        delay: seconds by which events are late at most.
        in_a_row: how often the same object's writes may fail one after the other, so that every storm ends.
    """

    def __init__(
        self, seed: int, *, trouble: float = 0.25, events: float = 0.15, delay: float = 0.3, in_a_row: int = 3
    ) -> None:
        self._random = random.Random(seed)  # noqa: S311  # for faults that can be had again, not for secrets
        self._trouble = trouble
        self._events = events
        self._delay = delay
        self._in_a_row = in_a_row
        self._failed: Counter[tuple[str, str, str]] = Counter()
        self.troubles: Counter[str] = Counter()
        """How often which fault was made."""

    def write(self, write: Write) -> Trouble | None:
        """Something, sometimes."""
        key = (write.resource, write.namespace, write.name)
        if self._random.random() >= self._trouble or self._failed[key] >= self._in_a_row:
            self._failed[key] = 0
            return None
        self._failed[key] += 1
        trouble = self._random.choice(list(Trouble))
        self.troubles[trouble.value] += 1
        return trouble

    def event(self, resource: str) -> Delivery:
        """Late, and sometimes never, twice, or again."""
        delay, kind = self._random.random() * self._delay, self._random.random() / self._events
        if kind < 1:
            self.troubles["dropped"] += 1
            return Delivery(copies=0, delay=delay)
        if kind < 3:
            self.troubles["repeated"] += 1
            return Delivery(copies=2 if kind < 2 else 1, delay=delay, again=kind >= 2)
        return Delivery(delay=delay)
