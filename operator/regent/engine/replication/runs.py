"""What a failover asks of replication: that everything is copied before roles move, and that the copies wake up.

Implements `engine.promotion.ReplicationInRuns`. A planned run waits, after the old side has stopped writing, until a
pass that began then is complete: what is in the source has then been read and is in the target. Waking needs nothing of
the old side: a sleeping copy carries what it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from regent.domain.errors import ConflictError, NotFoundError
from regent.domain.failover import fence as fences
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.roles import SyncState
from regent.domain.replication.kinds import kinds_of_spec
from regent.domain.replication.marks import copies_selector
from regent.domain.replication.model import ReplicationSpec
from regent.domain.replication.shape import awake
from regent.engine.ports import Leadership, Object
from regent.engine.promotion import MemberAccess
from regent.engine.queue import Key, KeyedQueue, Priority
from regent.engine.replication.looking import SLEEPERS
from regent.engine.replication.session import Session
from regent.engine.resources import REPLICATION_POLICIES, Resource
from regent.engine.store import Store


@dataclass(frozen=True, slots=True)
class _Related:
    """A ReplicationPolicy that a FailoverPolicy names or that follows it. `required`: a run waits for it."""

    key: Key
    spec: ReplicationSpec
    required: bool


class ReplicationInRuns:
    """Answers the steps FinalSync and Promote.

    Args:
        session: returns the session of a ReplicationPolicy.
        members: the regions' API servers, over the failover's connections.
        read_policy: turns a ReplicationPolicy into a spec; ValueError when it cannot be read.
    """

    def __init__(
        self,
        *,
        store: Store,
        queue: KeyedQueue,
        session: Callable[[Key], Session | None],
        members: MemberAccess,
        leadership: Leadership,
        read_policy: Callable[[Object], ReplicationSpec],
    ) -> None:
        self._store = store
        self._queue = queue
        self._session = session
        self._members = members
        self._leadership = leadership
        self._read_policy = read_policy
        self._begun: dict[tuple[str, Key], tuple[Session, int]] = {}

    async def synced(
        self, policy: PolicySpec, source: str, to: str, *, run: str, planned: bool
    ) -> dict[str, SyncState]:
        """Say, by Required ReplicationPolicy, whether all that `source` has is in `to`; see the port."""
        states: dict[str, SyncState] = {}
        for related in self._related(policy):
            if related.required and any(target.region == to for target in related.spec.targets):
                states[related.spec.name] = await self._state(related, source, to, run=run, planned=planned)
        return states

    async def asleep(self, policy: PolicySpec, region: str) -> list[str]:
        """Name the copies in `region` that sleep; see the port."""
        found = [item async for item in self._sleeping(policy, region)]
        return [f"{resource.kind} {obj['metadata']['name']}" for resource, obj, _ in found]

    async def wake(self, policy: PolicySpec, region: str, *, fence: Fence) -> None:
        """Wake the copies in `region` with what they were in their source; see the port."""
        cluster = await self._members.cluster(region)
        async for resource, obj, change in self._sleeping(policy, region):
            metadata = obj["metadata"]
            notes = {**(change.get("metadata") or {}).get("annotations", {}), fences.ANNOTATION: str(fence)}
            exact = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"], "annotations": notes}
            self._leadership.check()
            try:
                namespace = str(metadata.get("namespace", ""))
                await cluster.patch(resource, namespace, metadata["name"], {**change, "metadata": exact})
            except (ConflictError, NotFoundError):
                continue  # changed meanwhile: the next look finds out what it is now

    async def _state(self, related: _Related, source: str, to: str, *, run: str, planned: bool) -> SyncState:
        name = f"ReplicationPolicy {related.spec.name}"
        if not planned:
            lag = self._row(related, to).get("lagMilliseconds")
            return SyncState(done=False, message=f"{name}: lag {f'{lag} ms' if lag is not None else 'not known'}")
        session = self._session(related.key)
        targets = session.targets if session is not None else ()
        syncing = next((item for item in targets if item.link.way.target.region == to), None)
        if session is None or syncing is None or syncing.link.way.source_region != source:
            return SyncState(done=False, message=f"{name} does not copy {source} to {to}")
        begun = self._begun.get((run, related.key))
        if begun is None or begun[0] is not session:
            # Begun only now that the old side has stopped: a pass from before may have missed its last writes.
            syncing.begin()
            self._begun = {(run, related.key): (session, syncing.passes), **self._of_run(run)}
        elif syncing.passes > begun[1]:
            return SyncState(done=True, message=f"{name}: all of {source} is in {to}")
        await syncing.tick()
        self._queue.add(related.key, priority=Priority.HIGH)
        return SyncState(done=False, message=f"{name}: the last changes are being copied")

    def _of_run(self, run: str) -> dict[tuple[str, Key], tuple[Session, int]]:
        return {key: value for key, value in self._begun.items() if key[0] == run}

    def _row(self, related: _Related, to: str) -> Object:
        obj = self._store.get(REPLICATION_POLICIES, related.key.namespace, related.key.name) or {}
        rows = (obj.get("status") or {}).get("targets") or ()
        return next((row for row in rows if row.get("region") == to), {})

    async def _sleeping(self, policy: PolicySpec, region: str) -> AsyncIterator[tuple[Resource, Object, Object]]:
        cluster = None
        for related in self._related(policy):
            for target in related.spec.targets:
                if target.region != region:
                    continue
                for kind in kinds_of_spec(related.spec):
                    if kind.group_kind not in SLEEPERS or not kind.plural:
                        continue
                    cluster = cluster or await self._members.cluster(region)
                    resource = Resource(kind.group, kind.version, kind.plural, kind.kind)
                    try:
                        found = await cluster.list(
                            resource, target.namespace, label_selector=copies_selector(related.spec.uid)
                        )
                    except NotFoundError:
                        continue  # the cluster does not know the kind
                    for obj in found:
                        change = awake(obj)
                        if change is not None and not obj["metadata"].get("deletionTimestamp"):
                            yield resource, obj, change

    def _related(self, policy: PolicySpec) -> Iterator[_Related]:
        required = {ref.name: ref.required for ref in policy.options.replication}
        for obj in self._store.list(REPLICATION_POLICIES, policy.namespace):
            name = obj["metadata"]["name"]
            try:
                spec = self._read_policy(obj)
            except ValueError:
                continue
            if name in required or spec.source.follow_policy == policy.name:
                yield _Related(Key(REPLICATION_POLICIES, policy.namespace, name), spec, required.get(name, False))
