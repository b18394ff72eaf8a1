"""Deletes copies whose source is gone, by the plan of `domain.replication.prune`: tombstone first, deletion later, and
nothing at all while the source is not known to be whole and well, or when too much would go."""

from __future__ import annotations

import logging
from collections.abc import Callable

from regent.domain.errors import ClusterError, PromotionProblemError
from regent.domain.replication.model import ObjectKey
from regent.domain.replication.prune import PrunePlan, SourceView, plan_prune
from regent.engine.ports import Clock, Object
from regent.engine.replication.copier import Copier
from regent.engine.replication.links import Link
from regent.engine.replication.looking import ItemKey, Outcome, Tracked

log = logging.getLogger("regent.replication")


class Pruner:
    """Prunes one target."""

    def __init__(self, link: Link, copier: Copier, *, clock: Clock) -> None:
        self._link = link
        self._copier = copier
        self._clock = clock
        self.blocked = ""
        """Why nothing is deleted although something would be to delete; "" when nothing is held back."""
        self.problem = ""
        """What went wrong with a deletion; "" when nothing did."""

    async def visit(self, healthy: Callable[[str], bool]) -> float | None:
        """Do what is due; return in how many seconds something will be, None: not by itself.

        `healthy` says whether a region is.
        """
        link, waits = self._link, self._anything()
        self.problem = ""
        if not waits or link.stopped or not link.idle:
            # While copies are being written the world is changing; deleting can wait until it is at rest.
            self.blocked = self.blocked if waits else ""
            return None
        plan = self._plan(healthy)
        self.blocked = f"{plan.blocked_reason}: {plan.message}" if plan.blocked_reason else ""
        if plan.unproved:
            self.problem = (
                f"{len(plan.unproved)} copies are kept whose source was never seen since the direction turned, such as "
                f"{plan.unproved[0]}"
            )
        if not plan.mark and not plan.delete:
            return plan.next_due
        try:
            reason = await link.may_write()
            if not reason:
                await self._carry_out(plan)
        except (ClusterError, PromotionProblemError) as error:
            self.problem = f"deleting copies: {error}"[:512]
        return 0.5

    def _anything(self) -> bool:
        """Whether there is anything whose source is gone."""
        return bool(self._link.looker.counts[Outcome.ORPHANED])

    def _plan(self, healthy: Callable[[str], bool]) -> PrunePlan:
        link = self._link
        copies: dict[ObjectKey, Object] = {}
        wanted: set[ObjectKey] = set()
        others = 0
        for resource, item in link.tracked.items():
            for key in link.looker.keys(resource):
                # A source that does not know a kind (any more) has not deleted its objects.
                if item.source.absent or link.looker.outcome(key) not in (None, Outcome.ORPHANED, Outcome.UNWANTED):
                    wanted.add(self._key(key))
                    others += link.looker.is_copy(key)
                elif (target := link.looker.copy(key)) is not None:
                    copies[self._key(key)] = target
        sources = [item.source for item in link.tracked.values()]
        complete = all(source.absent or (source.complete and not source.problem) for source in sources)
        return plan_prune(
            spec=link.spec,
            link=link.way,
            copies=copies,
            others=others,
            wanted=wanted,
            source=SourceView(complete=complete, healthy=healthy(link.way.source_region)),
            now=self._clock.wall(),
            deleted={self._key(key) for key in link.deleted},
            elsewhere={self._key(key) for key in link.looker.standing(Outcome.ORPHANED) if link.looker.elsewhere(key)},
        )

    async def _carry_out(self, plan: PrunePlan) -> None:
        link = self._link
        for key in plan.mark:
            tracked, target = self._found(key)
            if target is not None:
                await self._copier.mark_missing(tracked, target)
        for victim in plan.delete:
            tracked, target = self._found(victim.key)
            if target is None:
                continue
            metadata = target["metadata"]
            if (metadata["uid"], metadata["resourceVersion"]) == (victim.uid, victim.resource_version):
                await self._copier.delete(tracked, target)
                link.count("deleted", region=tracked.target.region)

    def _found(self, key: ObjectKey) -> tuple[Tracked, Object | None]:
        for resource, item in self._link.tracked.items():
            if item.kind == key.kind:
                return item, self._link.looker.copy(ItemKey(resource, key.name))
        raise KeyError(key)

    def _key(self, key: ItemKey) -> ObjectKey:
        return ObjectKey(self._link.tracked[key.resource].kind, self._link.way.target.namespace, key.name)
