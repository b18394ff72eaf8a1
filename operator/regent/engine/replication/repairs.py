"""How often the same object had to be written again: somebody in a region may be writing against the replicator.

Such a fight would cost writes without end. After a few rounds each one waits longer, and the object is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from regent.domain.replication.conflict import OutcomeKind
from regent.domain.replication.content import content_hash
from regent.engine.ports import Clock
from regent.engine.replication.looking import ItemKey, Look

PATIENT_REPAIRS = 4
"""Writes of the same content to one copy after which somebody else is taken to write against them."""
CALM = 300.0
"""Seconds after which that is forgotten, and the longest time between two such writes."""

TIDY = 1000
"""Objects that are remembered before it is looked which of them are long past."""


@dataclass(frozen=True, slots=True)
class _Repair:
    sort: str
    times: int
    at: float


class Repairs:
    """The writes of one link, by object."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[tuple[ItemKey, bool], _Repair] = {}
        self._tidy_at = TIDY

    def written(self, look: Look, *, restless: bool = False) -> None:
        """An object was written. `restless`: its API server changes it with every write."""
        key, sort, now = _key(look), _sort(look), self._clock.monotonic()
        known = self._known.get(key)
        times = 1
        if known is not None and now - known.at <= CALM and (restless or _again(look, known.sort, sort)):
            times = known.times + 1
        self._known[key] = _Repair(sort, times, now)
        if len(self._known) > self._tidy_at:
            self._known = {key: repair for key, repair in self._known.items() if now - repair.at <= CALM}
            self._tidy_at = max(TIDY, 2 * len(self._known))

    def rest(self, look: Look) -> float:
        """Seconds until an object may be written again that did not stay as it was written."""
        known = self._known.get(_key(look))
        if known is None or known.times < PATIENT_REPAIRS:
            return 0.0
        if not _between_sides(look) and known.sort != _sort(look):
            return 0.0
        rest = min(CALM, 2.0 ** min(known.times - PATIENT_REPAIRS, 10))
        return max(0.0, known.at + rest - self._clock.monotonic())


def _between_sides(look: Look) -> bool:
    """Whether it is a copy between two sides that both may change the object."""
    return look.pair is not None and look.pair.kind in (OutcomeKind.TO_TARGET, OutcomeKind.TO_SOURCE)


def _key(look: Look) -> tuple[ItemKey, bool]:
    """Marks, and how a workload rests, are matters of their own: they say nothing about who copies over whom."""
    return look.key, look.pair is None or _between_sides(look)


def _sort(look: Look) -> str:
    """What tells two writes of an object apart: the content, or between two sides the way."""
    if look.pair is not None:
        return look.pair.kind.value if _between_sides(look) else content_hash(look.rest or {"common": look.pair.common})
    return look.wanted.content_hash if look.wanted is not None else ""


def _again(look: Look, before: str, now: str) -> bool:
    """Whether a write is one more round of a fight: the same content once more, or between two sides the other way
    than just now."""
    return (before != now) is _between_sides(look)
