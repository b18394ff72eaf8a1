"""What the objects of storage drivers say about the volumes of one link: read from reflections, without a request.

What is copied of these objects is copied as any other object is (`domain.replication.sleep` gives them the role of a
standby); here they are only read, in both regions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from regent.domain.replication.kinds import REPLICATION_SOURCE, VOLUME_REPLICATION, reads_destinations
from regent.domain.replication.model import Link as Way
from regent.domain.replication.model import ReplicationSpec
from regent.domain.replication.selection import selected
from regent.domain.replication.storage import Storage, Volume, moved, primary, standby_problems, together
from regent.engine.ports import Object
from regent.engine.replication.looking import Tracked, selects
from regent.engine.replication.reflection import Reflection

DRIVERS = frozenset({VOLUME_REPLICATION.group_kind, REPLICATION_SOURCE.group_kind})
"""Kinds whose objects in the source stand for a volume each."""


class Volumes:
    """The volumes of one link.

    Args:
        tracked: the kinds of the link.
        destinations: what receives data in the target, where the policy is about such.
        known: what the status says, which counts until the source has been listed.
    """

    def __init__(
        self,
        spec: ReplicationSpec,
        way: Way,
        tracked: Collection[Tracked],
        *,
        destinations: Reflection | None,
        known: Storage | None,
    ) -> None:
        self._way = way
        self._tracked = [item for item in tracked if item.kind.group_kind in DRIVERS]
        self._readers = [selector for selector in spec.resources if reads_destinations(selector)]
        self.destinations = destinations
        self._known = known

    def judge(self) -> Storage | None:
        """Return what is known of them now; None where there are none."""
        needed = [item.source for item in self._tracked]
        needed += [self.destinations] if self.destinations is not None else []
        unread = [item for item in needed if not (item.listed or item.absent)]
        if not unread:
            return together(self._sources(), self._received())
        problems = tuple(f"{item.resource.kind} in {item.region}: {item.problem}" for item in unread if item.problem)
        if self._known is None:
            # Perhaps there are volumes, perhaps not: who cannot look does not say that there are none.
            return Storage(volumes=0, problems=problems) if problems else None
        return replace(self._known, problems=problems)

    def _sources(self) -> Iterator[Volume]:
        here, there = self._way.source_region, self._way.target.region
        for item in self._tracked:
            for (_, name), obj in item.source.items():
                if not selects(item, obj):
                    continue
                if item.kind.group_kind == REPLICATION_SOURCE.group_kind:
                    yield moved(obj, here)
                    continue
                volume, other = primary(obj, here), item.target.get((self._way.target.namespace, name))
                wrong = standby_problems(other, there) if other is not None else ()
                yield Volume(synced_at=volume.synced_at, problems=(*volume.problems, *wrong))

    def _received(self) -> Iterator[Volume]:
        for _, obj in self.destinations.items() if self.destinations is not None else ():
            if self._reads(obj):
                yield moved(obj, self._way.target.region)

    def _reads(self, obj: Object) -> bool:
        gone = obj["metadata"].get("deletionTimestamp")
        return not gone and any(selected(obj, selector) for selector in self._readers)
