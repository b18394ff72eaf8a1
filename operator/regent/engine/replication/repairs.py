"""How often the same object had to be written again: somebody in a region may be writing against the replicator.

Such a fight would cost writes without end. After a few rounds each one waits longer, and the object is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from regent.engine.ports import Clock
from regent.engine.replication.looking import ItemKey, Look

PATIENT_REPAIRS = 4
"""Writes of the same content to one copy after which somebody else is taken to write against them."""
CALM = 300.0
"""Seconds after which that is forgotten, and the longest time between two such writes."""


@dataclass(frozen=True, slots=True)
class _Repair:
    sort: str
    times: int
    at: float


class Repairs:
    """The writes of one link, by object."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[ItemKey, _Repair] = {}

    def written(self, look: Look, *, restless: bool = False) -> None:
        """An object was written. `restless`: its API server changes it with every write."""
        sort, now = _sort(look), self._clock.monotonic()
        known = self._known.get(look.key)
        times = 1
        if known is not None and now - known.at <= CALM and (restless or _again(look, known.sort, sort)):
            times = known.times + 1
        self._known[look.key] = _Repair(sort, times, now)

    def rest(self, look: Look) -> float:
        """Seconds until an object may be written again that did not stay as it was written."""
        known = self._known.get(look.key)
        if known is None or known.times < PATIENT_REPAIRS:
            return 0.0
        if look.pair is None and known.sort != _sort(look):
            return 0.0
        rest = min(CALM, 2.0 ** min(known.times - PATIENT_REPAIRS, 10))
        return max(0.0, known.at + rest - self._clock.monotonic())


def _sort(look: Look) -> str:
    """What tells two writes of an object apart: the content, or between two equal sides the way."""
    if look.pair is not None:
        return look.pair.kind.value
    return look.wanted.content_hash if look.wanted is not None else ""


def _again(look: Look, before: str, now: str) -> bool:
    """Whether a write is one more round of a fight: the same content once more, or between two equal sides the other
    way than just now."""
    return before != now if look.pair is not None else before == now
