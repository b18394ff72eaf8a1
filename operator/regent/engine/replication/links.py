"""One way of a policy: from its source region to one target.

Whatever changes on either side is put into the worklist, looked at, and, where the copy is not what it should be,
written: in waves, a batch at a time, as many at once as the target takes. An object that cannot be written waits longer
each time and holds nobody up; a target that cannot be reached is tried again after a growing delay, and what has
gathered meanwhile is written then, without comparing everything anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial

from regent.domain.errors import ClusterError, LeadershipLostError, PromotionProblemError
from regent.domain.replication.model import Direction, ObjectKey, ReplicationSpec
from regent.domain.replication.model import Link as Way
from regent.domain.replication.state import Outcomes
from regent.engine.ports import Clock, Metrics
from regent.engine.replication.batches import Batch
from regent.engine.replication.bodies import BodyFetcher, Place
from regent.engine.replication.entries import Name
from regent.engine.replication.looking import ItemKey, Look, Looker, Outcome, Tracked
from regent.engine.replication.reflection import BodyMissingError, Reflection
from regent.engine.replication.repairs import Repairs
from regent.engine.replication.silence import Silence
from regent.engine.replication.worklist import Worklist
from regent.engine.replication.writing import Verdict, Writer, Written
from regent.engine.resources import Resource

log = logging.getLogger("regent.replication")

NOT_READY = 1.0
"""Seconds until an object is looked at again whose kind is not known whole on both sides."""
FIRST_RETRY = 0.5
LAST_RETRY = 30.0
"""Seconds between tries of a target that does not answer."""
AFTER_OTHERS = 1.0
"""Seconds by which others go before an object whose write got no answer."""
HELD = 5.0
"""Seconds until it is asked again whether a batch may be written."""
INTERNAL = "internal error, see the operator's log"


class Link:
    """Keeps one target in step.

    Args:
        writer: carries out what was decided.
        bodies: fetches what is not kept of objects that are looked at.
        may_write: called before each batch; says why nothing may be written now, "" when it may.
        changed: called when something that is shown has changed.
    """

    def __init__(
        self,
        spec: ReplicationSpec,
        way: Way,
        tracked: Mapping[Resource, Tracked],
        *,
        looker: Looker,
        writer: Writer,
        bodies: BodyFetcher,
        may_write: Callable[[], Awaitable[str]],
        clock: Clock,
        jitter: Callable[[], float],
        metrics: Metrics,
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.way = way
        self.tracked = tracked
        self.looker = looker
        self.writer = writer
        self._bodies = bodies
        self.may_write = may_write
        self._clock = clock
        self._jitter = jitter
        self._metrics = metrics
        self._changed = changed
        self.work: Worklist[ItemKey] = Worklist(wave=lambda key: tracked[key.resource].wave, jitter=jitter)
        self.open = True
        """Whether what waits may be written now: always with trigger Watch, else while a pass is under way."""
        self.paused = ""
        """Why nothing is to be written, for people; "" while it is."""
        self.held = ""
        """Why the last batch was not written, as `may_write` says it; "" when it was."""
        self.problem = ""
        """Why the target cannot be written to; "" while it can."""
        self.passed_at: float | None = None
        """Wall time at which everything that was known was last in the target."""
        self.deleted: set[ItemKey] = set()
        """Objects that were seen to be deleted in the source."""
        self._repairs = Repairs(clock)
        self.outcomes = Outcomes()
        """How the last writes ended."""
        self._silent_failures = 0
        self._silence: Silence[ItemKey] = Silence()
        self._wake = asyncio.Event()
        self._subscriptions: list[Callable[[], None]] = []
        self._whole: dict[Resource, bool] = dict.fromkeys(tracked, False)

    def start(self) -> None:
        """Listen to both sides."""
        for resource, item in self.tracked.items():
            self._listen(resource, item)
            self._state_changed(resource)

    def stop(self) -> None:
        """Listen no more."""
        for undo in self._subscriptions:
            undo()
        self._subscriptions.clear()

    def origins(self) -> Iterator[Reflection]:
        """Give what is copied from: the source, and with changes in both directions the target too."""
        for item in self.tracked.values():
            yield item.source
            if self.spec.direction is Direction.BIDIRECTIONAL:
                yield item.target

    def wake(self) -> None:
        """Something may be done now that could not be before."""
        self._wake.set()

    def look_at_everything(self) -> None:
        """Look at all objects anew; what has not changed costs a comparison of versions."""
        for resource, item in self.tracked.items():
            if item.ready:
                self.look_at(self.looker.keys(resource))

    @property
    def stopped(self) -> str:
        """Why nothing is written, for people; "" while it is."""
        return self.paused or self.held

    @property
    def known(self) -> bool:
        """Whether every kind is known whole on both sides."""
        return all(item.ready for item in self.tracked.values())

    @property
    def idle(self) -> bool:
        """Whether nothing waits but what has failed."""
        return self.known and next(iter(self.work.pending()), None) is None

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wait()
            try:
                delay = await self._batch()
            except LeadershipLostError:
                raise
            except Exception:
                log.exception("Replication failed unexpectedly", extra=self._extra)
                delay = LAST_RETRY
            if delay:
                await asyncio.sleep(delay)

    @property
    def _extra(self) -> dict[str, str]:
        return {"object": f"ReplicationPolicy/{self.spec.full_name}", "region": self.way.target.region}

    def _listen(self, resource: Resource, item: Tracked) -> None:
        def change(name: Name) -> None:
            key = ItemKey(resource, name[1])
            if item.source.entry((self.spec.namespace, name[1])) is not None:
                self.deleted.discard(key)
            elif item.source.complete and self.looker.outcome(key) not in (None, Outcome.ORPHANED):
                self.deleted.add(key)
            self.look_at((key,))

        state = partial(self._state_changed, resource)
        for reflection in (item.source, item.target):
            reflection.subscribe(change, state)
            self._subscriptions.append(lambda reflection=reflection: reflection.unsubscribe(change, state))  # type: ignore[misc]

    def _state_changed(self, resource: Resource) -> None:
        """A kind that has become whole on both sides is looked at from end to end: changes may have gone unseen."""
        ready, before = self.tracked[resource].ready, self._whole[resource]
        self._whole[resource] = ready
        if ready and not before:
            self.look_at(self.looker.keys(resource))
        self._changed()
        self._wake.set()

    def look_at(self, keys: set[ItemKey] | tuple[ItemKey, ...]) -> None:
        """Look at these objects anew."""
        now = self._clock.monotonic()
        for key in keys:
            self.work.add(key, now)
        if keys:
            self._wake.set()

    async def _wait(self) -> None:
        """Until something is due and may be done."""
        while True:
            self._wake.clear()
            due = self.work.next_due(self._clock.monotonic()) if self.open and not self.paused else None
            if due is not None and due <= 0:
                return
            try:
                async with asyncio.timeout(due):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _batch(self) -> float:
        """Take a batch through; return for how many seconds to leave the target alone."""
        now = self._clock.monotonic
        keys = self.work.take(now(), self.spec.batch_size)
        for key in keys:
            if not self.tracked[key.resource].ready:
                self.work.postpone(key, now() + NOT_READY)
        batch = Batch(
            self._bodies,
            places=self._places,
            look=self._look,
            later=lambda key, wait: self.work.postpone(key, now() + wait),
            fail=self._fail,
        )
        try:
            return await self._write(await batch.looks([key for key in keys if self.tracked[key.resource].ready]))
        finally:
            batch.end()

    def _places(self, key: ItemKey) -> tuple[Place, Place]:
        item = self.tracked[key.resource]
        here, there = (self.spec.namespace, key.name), (self.way.target.namespace, key.name)
        return (item.source, here), (item.target, there)

    async def _write(self, looks: list[Look]) -> float:
        """Write a batch; return for how many seconds to leave the target alone."""
        if looks:
            try:
                self.held = await self.may_write()
            except (ClusterError, PromotionProblemError) as error:
                self.problem = str(error)
                for look in looks:
                    self.work.give_back(look.key)
                self._changed()
                return self._rest(0.0, failed=True)
        if looks and self.stopped:
            for look in looks:
                self.work.give_back(look.key)
            self._changed()
            return HELD
        delays = [0.0]
        self.writer.hopeless = False
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._carry_out(look)) for look in looks]
        delays = [0.0, *(task.result() for task in tasks)]
        if self.idle:
            self.passed_at = self._clock.wall()
            if not any(delays):
                # A write without an answer may have been carried out all the same. The watch then shows the copy as
                # it should be, and no other write comes that would tell that the target answers again.
                self.problem = ""
        self._changed()
        return self._rest(max(delays), failed=any(delays))

    def _rest(self, asked: float, *, failed: bool) -> float:
        if not failed:
            self._silent_failures = 0
            return 0.0
        longest = self._longest_rest()
        self._silent_failures += 1
        return max(asked, longest * (1 - self._jitter() / 2))

    def _longest_rest(self) -> float:
        return min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(self._silent_failures, 10))

    def _look(self, key: ItemKey) -> Look | None:
        """Look at an object; None when that settles it."""
        now = self._clock.monotonic()
        try:
            look = self.looker.look(key)
        except BodyMissingError:
            raise
        except Exception as error:
            self._fail(key, self._foreseen(key, error))
            return None
        if look is None:
            if self.looker.outcome(key) is Outcome.FAILED:
                self.work.failed(key, now)
            else:
                self.work.done(key, now)
            return None
        if look.action.writes:
            note = self.looker.note
            drifted = look.target is not None and self.looker.outcome(key) in (Outcome.IN_SYNC, Outcome.DRIFTED)
            drifted = drifted and look.pair is None
            rest = self._repairs.rest(look)
            if rest > 0:
                note(key, Outcome.DRIFTED, f"it does not stay as it is written: {look.action.message}")
                self.work.postpone(key, now + rest)
                return None
            if not self.work.failures(key):
                # One that has failed stays counted as failed until it is written, also while it is tried again.
                note(key, Outcome.DRIFTED if drifted else Outcome.PENDING)
            return look
        self.looker.conclude(look)
        self.work.done(key, now)
        return None

    def _foreseen(self, key: ItemKey, error: Exception) -> str:
        """What is wrong with an object, for people. One that nobody has foreseen must not take its batch with it."""
        if isinstance(error, ValueError):
            return str(error)
        log.exception("Object cannot be looked at", extra={**self._extra, "copy": str(key)})
        return INTERNAL

    async def _carry_out(self, look: Look) -> float:
        """Write one copy; return for how many seconds to leave the target alone, 0 when all is well with it."""
        key, now = look.key, self._clock.monotonic
        try:
            result = await self.writer.write(self.tracked[key.resource], look)
        except LeadershipLostError:
            raise
        except Exception:
            log.exception("Copy failed unexpectedly", extra={**self._extra, "copy": str(key)})
            result = Written(Verdict.FAILED, INTERNAL)
        if result.verdict is Verdict.NOT_TRIED:
            self.work.give_back(key)
            return FIRST_RETRY
        self.count(result.verdict.value, region=result.region)
        if result.verdict is Verdict.UNAVAILABLE:
            return self._unavailable(key, result)
        self.problem = ""
        self._silence.answered(key)
        match result.verdict:
            case Verdict.WRITTEN if result.unchanged:
                # What differs is the target's own: an injected container, a default of another version.
                self._judged(key, succeeded=True)
                self.looker.settle(look)
                self.work.done(key, now())
            case Verdict.WRITTEN:
                self._judged(key, succeeded=True)
                self._repairs.written(look, restless=result.restless)
                self.looker.confirm(look)
                self.work.done(key, now())
            case Verdict.KEPT:
                self.looker.settle(look)
                self.work.done(key, now())
            case Verdict.CONFLICTED:
                self.looker.note(key, Outcome.CONFLICTED, result.message)
                self.work.done(key, now())
            case Verdict.AGAIN:
                self.work.postpone(key, now() + FIRST_RETRY)
            case Verdict.TOO_LARGE:
                self._judged(key, succeeded=False)
                self.looker.note(key, Outcome.FAILED, result.message)
                self.work.done(key, now())
            case _:
                self._fail(key, result.message)
        return 0.0

    def _unavailable(self, key: ItemKey, result: Written) -> float:
        """Leave the target alone for a while, unless it is only this object that it does not answer to."""
        if result.unanswered and self._silence.unanswered(key):
            self.problem = ""
            self._fail(key, f"others are written, and this is not answered: {result.message}")
            return 0.0
        self.problem = result.message
        wait = max(result.wait, FIRST_RETRY)
        if result.unanswered:
            # The others go first: with it at their head they would wait for as long as it gets no answer.
            self.work.postpone(key, self._clock.monotonic() + max(wait, self._longest_rest()) + AFTER_OTHERS)
        else:
            self.work.give_back(key)
        return wait

    def _judged(self, key: ItemKey, *, succeeded: bool) -> None:
        kind = self.tracked[key.resource].kind
        self.outcomes = self.outcomes.add(ObjectKey(kind, self.way.target.namespace, key.name), succeeded=succeeded)

    def _fail(self, key: ItemKey, message: str) -> None:
        self._judged(key, succeeded=False)
        self.looker.note(key, Outcome.FAILED, message)
        self.work.failed(key, self._clock.monotonic())

    def count(self, result: str, *, region: str = "") -> None:
        """Count a write by how it ended. `region`: where it was made; "": in the target."""
        self._metrics.count(
            "regent_replication_writes_total",
            namespace=self.spec.namespace,
            policy=self.spec.name,
            region=region or self.way.target.region,
            result=result,
        )
