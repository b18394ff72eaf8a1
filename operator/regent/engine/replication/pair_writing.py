"""Carries out a decision about an object that both sides may change: the copy first, then the marks.

The replicator may die between any two of these writes. What stands on the two sides then always says less than is true,
never more: at worst an object that both have is not known to be a pair yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from regent.domain.errors import ClusterError, NotFoundError, PromotionProblemError
from regent.domain.replication import marks
from regent.domain.replication.conflict import Outcome, OutcomeKind, pair_essence
from regent.domain.replication.model import Link as Way
from regent.domain.replication.model import ReplicationSpec
from regent.domain.replication.normalise import steered
from regent.domain.replication.pairs import change, mark_patch, served_patch, source_body, target_body
from regent.domain.replication.plan import Action
from regent.engine.ports import Clock, Object
from regent.engine.replication.copier import Copier
from regent.engine.replication.looking import Look, Tracked
from regent.engine.replication.pace import Pace
from regent.engine.replication.pair_looking import turned
from regent.engine.replication.writing import Verdict, Writer, Written, judge


class PairCopier(Copier):
    """Writes to one of the two sides: to the target of its way."""

    async def carry(self, tracked: Tracked, present: Object | None, body: Object, action: Action) -> Object:
        """Make the object say what `body` says; return it as the API server has it then. Raises as `write` does."""
        cluster = await self._access.cluster(self._way.target.region)
        resource = tracked.target.resource
        self._leadership.check()
        if present is None:
            written = await self._create(cluster, resource, tracked, body)
        else:
            if action.keep_loser:
                await self._keep(cluster, resource, present, action)
            written = await self._patched(cluster, resource, present, change(present, body))
        self._transfers.add(self._way, body)
        tracked.target.observe(written)
        return written

    async def note(self, tracked: Tracked, present: Object, patch: Object) -> Object:
        """Send a merge patch for exactly the version that was looked at; return what became of it."""
        cluster = await self._access.cluster(self._way.target.region)
        self._leadership.check()
        try:
            written = await self._patched(cluster, tracked.target.resource, present, patch)
        except NotFoundError:
            tracked.target.remove(present)
            raise
        tracked.target.observe(written)
        return written


@dataclass(frozen=True, slots=True, eq=False)
class Half:
    """One of the two sides: the way to it, who writes to it, and how much at once."""

    way: Way
    copier: PairCopier
    pace: Pace


class PairWriter(Writer):
    """Writes to both sides, as much at once as each takes.

    Args:
        forth: the target's side.
        back: the source's side.
    """

    def __init__(self, spec: ReplicationSpec, *, forth: Half, back: Half, clock: Clock) -> None:
        super().__init__(spec, forth.copier, forth.pace)
        self._forth = forth
        self._back = back
        self._clock = clock

    @property
    def kept(self) -> tuple[str, ...]:
        """What was overwritten on either side, and where a record of it is."""
        return (*self._forth.copier.kept, *self._back.copier.kept)

    async def write(self, tracked: Tracked, look: Look) -> Written:
        """Carry out `look.pair`. Raises LeadershipLostError only."""
        if self.hopeless:
            return Written(Verdict.NOT_TRIED)
        run = _Run(self._spec, tracked, look, forth=self._forth, back=self._back, now=self._clock.wall())
        try:
            await run.carry_out()
        except NotFoundError as error:
            # A side that is gone is looked at anew; a namespace that is missing is not there for the next try either.
            result = Written(Verdict.AGAIN, str(error)) if run.marking else judge(error)
        except (ClusterError, PromotionProblemError, ValueError) as error:
            result = judge(error)
        else:
            result = Written(Verdict.WRITTEN, unchanged=not run.changed, restless=run.restless)
        # A side that is gone stops the other way as well: a copy cannot be noted on its origin then.
        self.hopeless = self.hopeless or result.hopeless
        if result.verdict is not Verdict.UNAVAILABLE:
            run.last.pace.clean()
        elif not result.hopeless:
            run.last.pace.busy(retry_after=result.wait)
        message = f"in {run.last.way.target.region}: {result.message}" if result.message else ""
        return replace(result, message=message, region=run.first.way.target.region, restless=run.restless)


class _Run:
    """The writes of one decision."""

    def __init__(
        self, spec: ReplicationSpec, tracked: Tracked, look: Look, *, forth: Half, back: Half, now: float
    ) -> None:
        if look.pair is None:
            raise ValueError(f"{look.key}: there is no decision about both sides")
        self._spec = spec
        self._look = look
        self._outcome: Outcome = look.pair
        self._now = now
        self._tracked = {forth: tracked, back: turned(tracked)}
        self._present = {forth: look.target, back: look.source}
        self._forth, self._back = forth, back
        self.first = self.last = back if self._outcome.kind is OutcomeKind.TO_SOURCE else forth
        self.marking = False
        self.changed = False
        """Whether any API server found something to change."""
        self.restless = False

    async def carry_out(self) -> None:
        """Do it."""
        match self._outcome.kind:
            case OutcomeKind.TO_TARGET:
                await self._copy(self._back, self._forth)
            case OutcomeKind.TO_SOURCE:
                await self._copy(self._forth, self._back)
            case OutcomeKind.MARK:
                for half in (self._forth, self._back):
                    if self._unmarked(self._present[half]):
                        await self._mark(half)
            case _ if self._look.rest is not None:
                await self._note(self._forth, self._look.rest)

    async def _copy(self, origin: Half, goal: Half) -> None:
        present, outcome = self._present[goal], self._outcome
        body = self._body(origin)
        action = Action(
            kind=self._look.action.kind, reason=outcome.reason, message=outcome.message, keep_loser=outcome.keep_loser
        )
        self.last = goal
        async with goal.pace:
            written = await goal.copier.carry(self._tracked[goal], present, body, action)
        self.changed = True
        found = self._essence(goal, written)
        if found != outcome.common:
            # Another default or a webhook. Without this it would look like somebody's change, and go back.
            self._present[goal] = written
            again = await self._note(goal, served_patch(found, outcome.common))
            self.restless = self._essence(goal, again) != found
        # Only now may the origin say that both have it.
        await self._mark(origin)

    async def _mark(self, half: Half) -> None:
        self.marking = True
        other = half.way.source_region
        patch = mark_patch(self._outcome, self._spec, other_region=other, epoch=half.way.epoch)
        present = self._present[half]
        if present is None:
            return
        before = self._essence(half, present)
        written = await self._note(half, patch)
        self.restless = self.restless or self._essence(half, written) != before

    async def _note(self, half: Half, patch: Object) -> Object:
        present = self._present[half]
        if present is None:
            raise ValueError(f"{self._look.key}: there is nothing to mark")
        self.last = half
        async with half.pace:
            written = await half.copier.note(self._tracked[half], present, patch)
        before = present["metadata"].get("resourceVersion")
        self.changed = self.changed or before != written["metadata"].get("resourceVersion")
        return written

    def _body(self, origin: Half) -> Object:
        look, options = self._look, {"observed_at": self._now}
        way: Any = self._forth.way
        if origin is self._back and look.wanted is not None and look.source is not None:
            return target_body(
                look.wanted, self._spec, way, self._outcome, winner=look.source, loser=look.target, **options
            )
        if origin is self._forth and look.target is not None:
            return source_body(look.target, look.source, self._spec, way, self._outcome, **options)
        raise ValueError(f"{look.key}: there is nothing to copy")

    def _essence(self, half: Half, obj: Object) -> str:
        drop = any(item is not None and steered(item) for item in (self._look.source, self._look.target))
        region, other = half.way.target.region, half.way.source_region
        return pair_essence(obj, region=region, other=other, spec=self._spec, link=self._forth.way, steered_route=drop)

    def _unmarked(self, obj: Object | None) -> bool:
        written = marks.read_marks(obj) if obj is not None else None
        if written is None:
            return obj is not None
        wanted = (self._spec.uid, self._outcome.common, self._outcome.home, None)
        return (written.policy_uid, written.last_common, written.home, written.missing_since) != wanted
