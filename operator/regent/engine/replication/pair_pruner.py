"""Carries deletions over in both directions: on each side by the same plan, in two passes and with a brake of its own.

That an object was deleted there is proved by the one that is left: it says that both sides had it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from regent.domain.replication.model import Link as Way
from regent.domain.replication.model import ObjectKey
from regent.domain.replication.prune import PrunePlan, SourceView, plan_prune
from regent.engine.ports import Clock, Object
from regent.engine.replication.copier import Copier
from regent.engine.replication.links import Link
from regent.engine.replication.looking import ItemKey, Tracked
from regent.engine.replication.pair_looking import PairLooker, turned
from regent.engine.replication.pair_writing import Half
from regent.engine.replication.pruner import Pruner
from regent.engine.replication.reflection import Reflection
from regent.engine.resources import Resource


class PairPruner:
    """Deletes on both sides.

    Args:
        halves: the two ways with who writes there.
    """

    def __init__(self, link: Link, looker: PairLooker, halves: Sequence[Half], *, clock: Clock) -> None:
        self._halves = [_Half(link, looker, half.way, half.copier, clock=clock) for half in halves]

    @property
    def blocked(self) -> str:
        """Why something is not deleted although it would be to delete; "" when nothing is held back."""
        return "; ".join(half.blocked for half in self._halves if half.blocked)

    @property
    def problem(self) -> str:
        """What went wrong with a deletion; "" when nothing did."""
        return "; ".join(half.problem for half in self._halves if half.problem)

    async def visit(self, healthy: Callable[[str], bool]) -> float | None:
        """Do what is due; see `Pruner.visit`."""
        waits = [await half.visit(healthy) for half in self._halves]
        return min((wait for wait in waits if wait is not None), default=None)


class _Half(Pruner):
    """Deletes what is left in the target of one way."""

    def __init__(self, link: Link, looker: PairLooker, way: Way, copier: Copier, *, clock: Clock) -> None:
        super().__init__(link, copier, clock=clock)
        self._looker = looker
        self._way = way
        self._back = way.target.region == link.way.source_region

    def _anything(self) -> bool:
        return bool(self._looker.gone(self._way.target.region))

    def _plan(self, healthy: Callable[[str], bool]) -> PrunePlan:
        link, region = self._link, self._way.target.region
        gone = {self._key(key) for key in self._looker.gone(region)}
        copies: dict[ObjectKey, Object] = {}
        wanted: set[ObjectKey] = set()
        for resource in link.tracked:
            for name in self._reflection(resource).names(copies_of=link.spec.uid):
                # Others' objects, such as those that every namespace has, must not make an empty side look filled.
                item = ItemKey(resource, name[1])
                if (key := self._key(item)) not in gone:
                    wanted.add(key)
                elif (obj := self._object(item)) is not None:
                    copies[key] = obj
        # A side that no longer knows a kind has not deleted its objects.
        others = [self._tracked(item).source for item in link.tracked.values()]
        complete = all(other.absent or (other.complete and not other.problem) for other in others)
        return plan_prune(
            spec=link.spec,
            link=self._way,
            copies=copies,
            others=len(wanted),
            wanted=wanted,
            source=SourceView(complete=complete, healthy=healthy(self._way.source_region)),
            now=self._clock.wall(),
            deleted=gone,
        )

    def _found(self, key: ObjectKey) -> tuple[Tracked, Object | None]:
        for resource, item in self._link.tracked.items():
            if item.kind == key.kind:
                return self._tracked(item), self._object(ItemKey(resource, key.name))
        raise KeyError(key)

    def _object(self, key: ItemKey) -> Object | None:
        return self._looker.glance(key) if self._back else self._looker.copy(key)

    def _reflection(self, resource: Resource) -> Reflection:
        return self._tracked(self._link.tracked[resource]).target

    def _tracked(self, item: Tracked) -> Tracked:
        return turned(item) if self._back else item

    def _key(self, key: ItemKey) -> ObjectKey:
        return ObjectKey(self._link.tracked[key.resource].kind, self._way.target.namespace, key.name)
