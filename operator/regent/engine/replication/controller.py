"""Visits ReplicationPolicies, on the leader: sees to it that each has the session that it asks for, lets it do what is
due by the clock, and writes its status.

Copying itself goes on beside the visits, in the links; a visit makes no request while nothing is due or has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from regent.domain.conditions import Condition
from regent.domain.replication.model import Link as Way
from regent.domain.replication.model import ReplicationSpec
from regent.engine.ports import Clock, Metrics, Object, Recorder
from regent.engine.queue import Key, KeyedQueue, Priority
from regent.engine.records import time_of
from regent.engine.replication.farewell import Farewell, Left, held, keeps_copies
from regent.engine.replication.freeze import frozen
from regent.engine.replication.linking import Remembered
from regent.engine.replication.ports import Access
from regent.engine.replication.scope import Scope, denied_by_placement, owners_of, scope_of, target_paused
from regent.engine.replication.session import UNREACHABLE, Session, Sessions
from regent.engine.replication.status import Findings, announce, compose, measure
from regent.engine.replication.storage_status import shown_storage
from regent.engine.replication.transfers import Transfers
from regent.engine.resources import FAILOVER_POLICIES, PLACEMENT_POLICIES, REGIONS, REPLICATION_POLICIES
from regent.engine.status import StatusWriter
from regent.engine.store import Store

log = logging.getLogger("regent.replication")

BUSY = 1.0
"""Seconds between two visits, and so between two writes of status, while something is going on."""
LOOK_AGAIN = 30.0
"""Seconds between two looks for a kind that the source does not serve."""
CALM = 5.0
"""Seconds between two visits while nothing is: lag and states are judged by the clock."""


@dataclass(slots=True)
class _Active:
    session: Session
    print: object
    """What the session was made of; another one means a new session."""
    look_again: float
    """When kinds that the source did not serve are looked for again, in monotonic seconds."""


class ReplicationReconciler:
    """Visits ReplicationPolicies.

    Args:
        read_policy: turns the object into a spec; ValueError when it cannot be read.
    """

    def __init__(
        self,
        *,
        store: Store,
        queue: KeyedQueue,
        status: StatusWriter,
        sessions: Sessions,
        access: Access,
        farewell: Farewell,
        read_policy: Callable[[Object], ReplicationSpec],
        recorder: Recorder,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._queue = queue
        self._status = status
        self._sessions = sessions
        self._access = access
        self._farewell = farewell
        self._read_policy = read_policy
        self._recorder = recorder
        self._clock = clock
        self._metrics = metrics
        self._active: dict[Key, _Active] = {}
        self._visited: dict[Key, float] = {}
        self._transfers: dict[Key, tuple[str, Transfers]] = {}
        store.subscribe(REPLICATION_POLICIES, queue.add)
        store.subscribe(FAILOVER_POLICIES, self._neighbour)
        store.subscribe(PLACEMENT_POLICIES, self._neighbour)
        store.subscribe(REGIONS, self._region)

    def session(self, key: Key) -> Session | None:
        """Return the policy's session, if it has one."""
        active = self._active.get(key)
        return active.session if active else None

    async def reconcile(self, key: Key) -> float | None:
        """Visit a policy; see `Reconciler.reconcile`."""
        obj = self._store.get(REPLICATION_POLICIES, key.namespace, key.name)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            await self._close(key)
            self._visited.pop(key, None)
            self._transfers.pop(key, None)
            self._metrics.forget(namespace=key.namespace, policy=key.name)
            return await self._end(key, obj) if obj is not None and held(obj) else None
        try:
            spec = self._read_policy(obj)
        except ValueError as error:
            await self._close(key)
            text = " ".join(str(error).split())[:512]
            unreadable = Condition("Ready", "False", "InvalidSpec", f"the spec cannot be read: {text}")
            await self._show(key, obj, Findings(spec=None, scope=Scope(problem=unreadable)))
            return None
        await self._farewell.prepare(obj, spec)
        scope = scope_of(spec, self._store, shared=self._access.shared)
        problem = await self._ensure(key, obj, spec, scope)
        wait = await self._tick(key, spec, scope)
        session = self.session(key)
        findings = Findings(
            spec=spec,
            scope=scope,
            problem=problem,
            targets=tuple(session.targets) if session else (),
            unserved=session.unserved if session else (),
            wall=self._clock.wall(),
            monotonic=self._clock.monotonic(),
            source_down_at=self._lost_at(spec, scope.source_region),
            transfers=self._carried(key, obj),
        )
        await self._show(key, obj, findings)
        measure(self._metrics, findings)
        self._visited[key] = self._clock.monotonic()
        return wait

    async def _end(self, key: Key, obj: Object) -> float | None:
        """Delete the copies of a policy that is being deleted; let it go when there are none left."""
        scope, problem = Scope(), None
        if not keeps_copies(obj):
            try:
                spec = self._read_policy(obj)
            except ValueError as error:
                problem = Left(
                    condition=Condition("Ready", "False", "InvalidSpec", " ".join(str(error).split())[:512]), wait=CALM
                )
            else:
                scope = scope_of(spec, self._store, shared=self._access.shared)
                problem = await self._farewell.clear(spec, scope, lambda way: self._standing_still(spec, way))
        if problem is None:
            await self._farewell.let_go(obj)
            return None
        await self._show(key, obj, Findings(spec=None, scope=scope, problem=problem.condition))
        return problem.wait

    async def _ensure(self, key: Key, obj: Object, spec: ReplicationSpec, scope: Scope) -> Condition | None:
        """Have the session that the spec asks for, or none while it cannot be."""
        if scope.problem is not None:
            await self._close(key)
            return scope.problem
        if wrong := await self._sessions.problem(spec):
            # Before anything is copied: an expression that is wrong is so for every object.
            await self._close(key)
            return Condition("Ready", "False", "TransformInvalid", wrong[:1024])
        print_ = self._print(obj, scope)
        active = self._active.get(key)
        now = self._clock.monotonic()
        if active is not None and active.print == print_ and not (active.session.unserved and now >= active.look_again):
            return None
        try:
            session = await self._sessions.open(
                spec,
                scope.ways,
                denied=lambda way: denied_by_placement(self._store, spec, way),
                remembered=_remembered(obj),
                transfers=self._carried(key, obj),
                changed=lambda: self._changed(key),
            )
        except UNREACHABLE as error:
            await self._close(key)
            text = f"the kinds of the policy cannot be looked up in {scope.source_region}: {error}"
            return Condition("Ready", "Unknown", "SourceUnreachable", text[:1024])
        # The old one ends only now, so that what both watch is not listed anew.
        await self._close(key)
        session.start()
        self._active[key] = _Active(session, print_, look_again=now + LOOK_AGAIN)
        return None

    def _print(self, obj: Object, scope: Scope) -> object:
        """Everything that a session is made of, as a value to compare."""
        namespace = obj["metadata"]["namespace"]
        rules = tuple(
            (item["metadata"]["uid"], item["metadata"].get("generation"), item["metadata"].get("deletionTimestamp"))
            for item in self._store.list(PLACEMENT_POLICIES, namespace)
        )
        regions = tuple(
            str(((self._store.get(REGIONS, "", region) or {}).get("spec") or {}).get("compliance"))
            for region in (scope.source_region, *(way.target.region for way in scope.ways))
        )
        metadata = obj["metadata"]
        # Labels have no generation, and PlacementPolicies select by them.
        labels = tuple(sorted((metadata.get("labels") or {}).items()))
        return metadata["uid"], metadata.get("generation"), labels, scope.ways, rules, regions

    async def _tick(self, key: Key, spec: ReplicationSpec, scope: Scope) -> float:
        """Let the session do what is due; return in how many seconds to come again."""
        session = self.session(key)
        if session is None:
            return CALM
        session.spread_out()
        unsettled = "" if session.spread.settled else "it is not known yet which targets answer"
        busy, waits = False, [CALM]
        for syncing in session.targets:
            link = syncing.link
            link.paused = scope.paused or self._standing_still(spec, link.way) or unsettled
            if not link.paused:
                link.wake()
            pruned = await syncing.pruner.visit(self._healthy)
            waits += [wait for wait in (await syncing.tick(), pruned) if wait is not None]
            busy = busy or not link.idle or syncing.under_way
        return max(0.05, min([BUSY, *waits] if busy else waits))

    def _carried(self, key: Key, obj: Object) -> Transfers:
        """What the policy has copied: it outlives its sessions, and ends with it, whoever gets its name then."""
        uid, found = str(obj["metadata"]["uid"]), self._transfers.get(key)
        if found is None or found[0] != uid:
            shown = (obj.get("status") or {}).get("transferred") or ()
            found = uid, Transfers(namespace=key.namespace, policy=key.name, shown=shown, metrics=self._metrics)
            self._transfers[key] = found
        return found[1]

    def _lost_at(self, spec: ReplicationSpec, region: str) -> float | None:
        """Since when a run has been leaving a source that does not answer: what it has lost does not grow by waiting.
        Without a run the lag of such a source grows, as nobody knows what it still does."""
        if not any(status.get("operation") for status in owners_of(spec, self._store)):
            return None
        status = (self._store.get(REGIONS, "", region) or {}).get("status") or {}
        return time_of(status.get("lastTransitionTime")) if status.get("health") == "Unreachable" else None

    def _healthy(self, region: str) -> bool:
        obj = self._store.get(REGIONS, "", region) or {}
        return bool((obj.get("status") or {}).get("health") == "Healthy")

    def _standing_still(self, spec: ReplicationSpec, way: Way) -> str:
        return frozen(spec, self._store) or target_paused(self._store, way.target.region)

    async def _show(self, key: Key, obj: Object, findings: Findings) -> None:
        before: list[Object] = []

        def change(current: Object) -> dict[str, Any]:
            before[:] = [current]
            return compose(current, findings, now=self._clock.wall())

        written = await self._status.transact(
            REPLICATION_POLICIES, key.namespace, key.name, change, uid=str(obj["metadata"]["uid"])
        )
        if written is not None and before and written is not before[0]:
            announce(self._recorder, before[0], written)

    async def _close(self, key: Key) -> None:
        active = self._active.pop(key, None)
        if active is not None:
            await active.session.close()

    def _changed(self, key: Key) -> None:
        """Show it soon, and no more often than once a second."""
        visited = self._visited.get(key)
        after = 0.0 if visited is None else visited + BUSY - self._clock.monotonic()
        self._queue.add(key, priority=Priority.LOW, after=max(0.05, after))

    def _neighbour(self, key: Key) -> None:
        for obj in self._store.list(REPLICATION_POLICIES, key.namespace):
            self._queue.add(Key(REPLICATION_POLICIES, key.namespace, obj["metadata"]["name"]))

    def _region(self, key: Key) -> None:
        for obj in self._store.list(REPLICATION_POLICIES):
            metadata = obj["metadata"]
            self._queue.add(Key(REPLICATION_POLICIES, metadata["namespace"], metadata["name"]), priority=Priority.LOW)


def _remembered(obj: Object) -> dict[str, Remembered]:
    return {
        str(row.get("region")): Remembered(
            last_pass=time_of(row.get("lastSyncTime")),
            token=str(row.get("syncToken") or ""),
            verified=time_of(row.get("lastVerifiedTime")),
            storage=shown_storage(row),
        )
        for row in (obj.get("status") or {}).get("targets") or ()
    }
