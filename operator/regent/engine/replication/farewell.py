"""What becomes of the copies when their policy is deleted: with `deletionPolicy: Delete` they go, and the policy waits.

Such a policy carries the finalizer `regent.dev/copies` from before its first copy on. With Orphan it carries none: it
goes at once, and the copies stay as they are, marks included, so that a policy of the same name can take them up again.

Only what the policy has made, the present way round, is deleted. What came into a target before the direction turned
may be the last there is of it; what is in the source now, or in the active region, is the application itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from regent.domain.conditions import Condition
from regent.domain.errors import ClusterError, ConflictError, NotFoundError, PromotionProblemError
from regent.domain.replication import marks
from regent.domain.replication.kinds import kinds_of_spec, wave
from regent.domain.replication.model import DeletionPolicy, KindRef, ReplicationSpec
from regent.domain.replication.model import Link as Way
from regent.engine.ports import Cluster, Leadership, Object
from regent.engine.replication.ports import Access, CopyCluster
from regent.engine.replication.scope import Scope
from regent.engine.resources import REPLICATION_POLICIES, Resource
from regent.engine.store import Store

FINALIZER = "regent.dev/copies"
SOON = 0.1
LATER = 5.0
AT_ONCE = 8
"""Copies that are deleted at the same time in a region."""
NO_TARGETS = "NoTargets"
WAY_OUT = "set spec.deletionPolicy: Orphan to let the policy go and the copies stay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What stands between a policy and its end."""

    condition: Condition
    wait: float
    """Seconds until the next look."""


class Farewell:
    """Deletes the copies of a policy that is being deleted, and holds the policy until that is done.

    Args:
        cluster: the hub.
        may_write: says why a way may not be written to now, "" when it may.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        access: Access,
        leadership: Leadership,
        may_write: Callable[[ReplicationSpec, Way], Awaitable[str]],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._access = access
        self._leadership = leadership
        self._may_write = may_write

    async def prepare(self, obj: Object, spec: ReplicationSpec) -> None:
        """Put the finalizer on the policy, or take it off, as its deletionPolicy asks for; before any copy is made.

        Raises:
            ConflictError: somebody has changed the policy meanwhile.
        """
        wanted = spec.deletion_policy is DeletionPolicy.DELETE
        if wanted is not held(obj):
            await self._write(obj, _with(obj) if wanted else _without(obj))

    async def let_go(self, obj: Object) -> None:
        """Take the finalizer off: there is nothing left to do. Raises as `prepare` does."""
        if held(obj):
            await self._write(obj, _without(obj))

    async def clear(self, spec: ReplicationSpec, scope: Scope, paused: Callable[[Way], str]) -> Left | None:
        """Delete the next copies; None when there are none left.

        Args:
            spec: of the policy that is being deleted.
            scope: from where to where it has copied.
            paused: says why nothing may be written on a way because of a failover or a Region; "" when it may.
        """
        if scope.problem is not None and scope.problem.reason != NO_TARGETS:
            # Which side is the application and which the copy is not known: nothing is deleted on a guess.
            return _held_up(scope.problem.message)
        remaining = 0
        for way in scope.ways:
            region = way.target.region
            if way.target_active:
                return _held_up(f"the failover policy has {region} active")
            if reason := paused(way):
                return _held_up(f"{region}: {reason}")
            try:
                if reason := await self._may_write(spec, way):
                    return _held_up(reason)
                remaining += await self._clear(spec, way)
            except (ClusterError, PromotionProblemError) as error:
                return _held_up(f"{region}: {error}")
        if not remaining:
            return None
        return Left(condition=Condition("Ready", "False", "DeletingCopies", "the copies are being deleted"), wait=SOON)

    async def _clear(self, spec: ReplicationSpec, way: Way) -> int:
        """Delete a batch in one target; return how many were there, those that go by themselves not counted."""
        cluster = await self._access.cluster(way.target.region)
        # What refers to others goes before what it refers to.
        for kind in sorted(kinds_of_spec(spec), key=lambda kind: (-wave(kind), kind)):
            resource = await _served(cluster, kind)
            if resource is None:
                continue
            copies = [obj for obj in await _copies(cluster, resource, spec, way) if _made_by(obj, spec, way)]
            if copies:
                await self._delete(cluster, resource, copies[: spec.batch_size])
                return len(copies)
        return 0

    async def _delete(self, cluster: CopyCluster, resource: Resource, copies: list[Object]) -> None:
        limit = asyncio.Semaphore(AT_ONCE)

        async def delete(obj: Object) -> None:
            metadata = obj["metadata"]
            async with limit:
                self._leadership.check()
                try:
                    await cluster.remove(
                        resource,
                        str(metadata.get("namespace", "")),
                        metadata["name"],
                        uid=metadata["uid"],
                        version=metadata["resourceVersion"],
                    )
                except (NotFoundError, ConflictError):
                    return  # gone, or changed since: the next look tells

        # All are tried before the first error counts: one that a webhook keeps must not keep the others.
        for result in await asyncio.gather(*map(delete, copies), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _write(self, obj: Object, changed: Object) -> None:
        self._leadership.check()
        try:
            self._store.observe(REPLICATION_POLICIES, await self._cluster.replace(REPLICATION_POLICIES, changed))
        except NotFoundError:
            return


def held(obj: Object) -> bool:
    """Whether the policy carries the finalizer."""
    return FINALIZER in (obj["metadata"].get("finalizers") or ())


def keeps_copies(obj: Object) -> bool:
    """Whether the copies stay when the policy goes; told without reading the rest of the spec, which may be broken."""
    return (obj.get("spec") or {}).get("deletionPolicy") != DeletionPolicy.DELETE.value


async def _served(cluster: CopyCluster, kind: KindRef) -> Resource | None:
    if kind.plural:
        return Resource(kind.group, kind.version, kind.plural, kind.kind, kind.namespaced)
    try:
        return await cluster.discover(kind.api_version, kind.kind)
    except NotFoundError:
        return None


async def _copies(cluster: CopyCluster, resource: Resource, spec: ReplicationSpec, way: Way) -> list[Object]:
    try:
        found = await cluster.list(resource, way.target.namespace, label_selector=marks.copies_selector(spec.uid))
    except NotFoundError:
        return []  # the kind is not installed there
    return list(found)


def _made_by(obj: Object, spec: ReplicationSpec, way: Way) -> bool:
    """Whether the policy has made the object the present way round, and it is not on its way out already."""
    written = marks.read_marks(obj)
    return (
        written is not None
        and marks.ours(obj, spec.uid)
        and written.source_region == way.source_region
        and written.home in ("", way.source_region)
        and not obj["metadata"].get("deletionTimestamp")
    )


def _held_up(why: str) -> Left:
    text = f"the copies cannot be deleted now: {why}; {WAY_OUT}"
    return Left(condition=Condition("Ready", "False", "CopiesRemain", text[:1024]), wait=LATER)


def _with(obj: Object) -> Object:
    finalizers = [*(obj["metadata"].get("finalizers") or ()), FINALIZER]
    return {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}}


def _without(obj: Object) -> Object:
    finalizers = [item for item in obj["metadata"].get("finalizers") or () if item != FINALIZER]
    return {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}}
