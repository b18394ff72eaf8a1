"""How much a policy has copied from region to region: objects and bytes by pair, as metrics and in its status.

A copy counts once an API server has taken it, so what is refused for ever does not make the figures grow, nor the
status be written. The status is what survives: a replica that takes over goes on from there. Copies of the last second
of one that dies may be missing in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from regent.domain.replication.content import canonical
from regent.domain.replication.model import Link as Way
from regent.engine.ports import Metrics, Object

MAX_PAIRS = 128
"""Pairs that the status has room for: those that are in use, then those that carried most."""

Pair = tuple[str, str]
"""Source and target region."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What has gone one way. `size`: bytes of the copies as canonical JSON, which is what is sent, uncompressed."""

    objects: int = 0
    size: int = 0

    def or_more(self, other: Carried) -> Carried:
        """Return the greater of both figures."""
        return Carried(max(self.objects, other.objects), max(self.size, other.size))


class Transfers:
    """What one policy has copied.

    Args:
        shown: `status.transferred` as it is when this replica begins.
    """

    def __init__(self, *, namespace: str, policy: str, shown: Iterable[Mapping[str, Any]], metrics: Metrics) -> None:
        self._labels = {"namespace": namespace, "policy": policy}
        self._metrics = metrics
        self._carried: dict[Pair, Carried] = _read(shown)

    def add(self, way: Way, body: Object) -> None:
        """Count a copy that has been written."""
        pair, size = (way.source_region, way.target.region), len(canonical(body))
        before = self._carried.get(pair, Carried())
        self._carried[pair] = Carried(before.objects + 1, before.size + size)
        count, labels = self._metrics.count, {**self._labels, "source": pair[0], "target": pair[1]}
        count("regent_replication_transferred_objects_total", 1, **labels)
        count("regent_replication_transferred_bytes_total", size, **labels)

    def rows(self, shown: Iterable[Mapping[str, Any]], ways: Iterable[Way]) -> list[dict[str, Any]]:
        """Return `status.transferred`, in the order of the regions' names.

        Args:
            shown: what the status says now. It is never set back: this replica may have begun with an older one.
            ways: those in use, which are not left out for want of room.
        """
        before, used = _read(shown), {(way.source_region, way.target.region) for way in ways}
        found = {
            pair: before.get(pair, Carried()).or_more(self._carried.get(pair, Carried()))
            for pair in before.keys() | self._carried.keys()
        }
        first = sorted(found, key=lambda pair: (pair not in used, -found[pair].size, pair))[:MAX_PAIRS]
        return [
            {"source": pair[0], "target": pair[1], "objects": found[pair].objects, "bytes": found[pair].size}
            for pair in sorted(first)
        ]


def _read(rows: Iterable[Mapping[str, Any]]) -> dict[Pair, Carried]:
    return {
        (str(row.get("source")), str(row.get("target"))): Carried(
            int(row.get("objects") or 0), int(row.get("bytes") or 0)
        )
        for row in rows
    }
