"""One target of a policy over time: passes, verification, pruning, and what of it is shown.

The link underneath copies as changes come; here is what happens by the clock. Nothing here makes a request by itself
while nothing is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from regent.domain.replication.content import bucket_digest
from regent.domain.replication.model import Direction, TriggerMode
from regent.engine.ports import Clock
from regent.engine.replication import passes
from regent.engine.replication.links import Link
from regent.engine.replication.looking import ItemKey, Outcome
from regent.engine.replication.pair_pruner import PairPruner
from regent.engine.replication.ports import Reflectors
from regent.engine.replication.pruner import Pruner
from regent.engine.replication.reflection import Reflection
from regent.engine.replication.volumes import Volumes
from regent.engine.resources import Resource

AGAIN = 5.0
"""Seconds until digests that differed are compared again; it costs no request."""
BUCKET = 500
"""Objects in a bucket, of which one digest is made on each side: a few milliseconds of work."""
RELIST_EVERY = 6
"""Verification intervals after which the target is listed anew."""


class Syncing:
    """The passes and verifications of one link.

    Args:
        last: wall time of the last complete pass, as the status says.
        token: the syncToken of it, likewise.
        verified: wall time of the last verification that found both sides equal, likewise.
    """

    def __init__(
        self,
        link: Link,
        *,
        pruner: Pruner | PairPruner,
        reflectors: Reflectors,
        clock: Clock,
        last: float | None,
        token: str,
        verified: float | None,
    ) -> None:
        self.link = link
        self._reflectors = reflectors
        self._clock = clock
        self.last_pass = last
        self.token = token
        self.verified_at = verified
        self.unequal: tuple[str, ...] = ()
        """Kinds whose digests differed at the last verification."""
        self.pass_problem = ""
        self.pruner = pruner
        self.volumes: Volumes | None = None
        """The volumes that go to the target, where the policy is about such."""
        self._awaited: dict[Reflection, int] | None = None
        self._pass_token = ""
        self._under_way = False
        self.passes = 0
        """How many passes have been completed."""
        self._verify_at: float | None = None
        self._comparing = False
        self._relist_at: float | None = None
        link.open = link.spec.trigger.mode is TriggerMode.WATCH

    async def tick(self) -> float | None:
        """Do what is due; return in how many seconds to come again, None: only when something changes."""
        wall = self._clock.wall()
        found = passes.due(self.link.spec.trigger, token=self.token, last=self.last_pass, wall=wall)
        self.pass_problem = found.problem
        if found.now and not self._under_way and not self.link.stopped:
            self.begin()
        if self._under_way:
            self._go_on()
        waits = [await self._verify()]
        if found.next_time is not None:
            waits.append(max(0.05, found.next_time - wall))
        if self._under_way:
            waits.append(0.5)
        return min((wait for wait in waits if wait is not None), default=None)

    def begin(self) -> None:
        """Begin a pass: all that is in the source now will be in the target when it is over."""
        self._under_way, self._pass_token = True, self.link.spec.trigger.sync_token
        self._awaited = {item: item.listed for item in self.link.origins()}
        self._ask_for_lists()

    @property
    def under_way(self) -> bool:
        """Whether a pass is."""
        return self._under_way

    def _ask_for_lists(self) -> None:
        for reflection, listed in (self._awaited or {}).items():
            if reflection.listed == listed and not reflection.absent:
                self._reflectors.refresh(reflection)

    def _go_on(self) -> None:
        if self._awaited is not None:
            if any(item.listed == listed and not item.absent for item, listed in self._awaited.items()):
                self._ask_for_lists()
                return
            self._awaited = None
            self.link.open = True
            self.link.look_at_everything()
            self.link.wake()
        if self.link.idle and not self.link.stopped:
            self._under_way = False
            self.passes += 1
            self.token, self.last_pass = self._pass_token, self._clock.wall()
            self.link.open = self.link.spec.trigger.mode is TriggerMode.WATCH
            self._verify_at = None

    async def _verify(self) -> float | None:
        """Compare digests when that is due; return in how many seconds it is."""
        if not self._at_rest() or self._comparing:
            return None
        now = self._clock.monotonic()
        if self._verify_at is not None and now < self._verify_at:
            return self._verify_at - now
        self._comparing = True
        try:
            unequal = [resource.kind for resource in self.link.tracked if not await self._equal(resource)]
        finally:
            self._comparing = False
        self.unequal = tuple(sorted(unequal))
        wait = AGAIN
        if not unequal:
            if not self._at_rest():
                return 0.0  # something has changed meanwhile
            self.verified_at, wait = self._clock.wall(), self.link.spec.verify_interval
            self._relist(now)
        self._verify_at = now + wait
        return wait

    def _at_rest(self) -> bool:
        return self.link.idle and not self.link.stopped and not self._under_way

    async def _equal(self, resource: Resource) -> bool:
        """Compare the digests of both sides, bucket by bucket, and look into those that differ."""
        keys, equal = list(self.link.looker.keys(resource)), True
        for start in range(0, len(keys), BUCKET):
            should, is_there = self.link.looker.digests(keys[start : start + BUCKET])
            if bucket_digest(should) != bucket_digest(is_there):
                equal = False
                self._look_into(resource, should, is_there)
            await asyncio.sleep(0)  # many objects: let others have their turn
        return equal

    def _look_into(self, resource: Resource, should: Mapping[str, str], is_there: Mapping[str, str]) -> None:
        """Look anew at what differs although it is taken to be in sync; what is known to differ has its own time."""
        looker = self.link.looker
        names = {name for name in should.keys() | is_there.keys() if should.get(name) != is_there.get(name)}
        keys = {ItemKey(resource, name) for name in names}
        self.link.look_at({key for key in keys if looker.outcome(key) in (None, Outcome.IN_SYNC)})

    def _relist(self, now: float) -> None:
        """List the target anew from time to time: a cache that lies would find itself equal for ever."""
        if self._relist_at is not None and now >= self._relist_at:
            known = {item.target for item in self.link.tracked.values()}
            if self.link.spec.direction is Direction.BIDIRECTIONAL:
                known |= set(self.link.origins())
            for reflection in known:
                self._reflectors.refresh(reflection)
            self._relist_at = None
        if self._relist_at is None:
            self._relist_at = now + RELIST_EVERY * self.link.spec.verify_interval
