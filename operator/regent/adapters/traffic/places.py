"""Where target objects are: in the hub, which is watched, or in a region's member cluster, which is asked now and then.

A member cluster fails together with its region, just when a policy has most to do. So a place that does not answer is
left alone for a while: every other visit in that time is answered at once, from memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from regent.adapters.traffic.kinds import REGION_LABEL, ObjectKind
from regent.domain.errors import (
    ClusterError,
    ConflictError,
    InvalidError,
    NotFoundError,
    PromotionProblemError,
    UnavailableError,
)
from regent.engine.ports import Clock, Cluster, Leadership, Object
from regent.engine.promotion import MemberAccess
from regent.engine.resources import SERVICES
from regent.engine.store import Store

POLL = 5.0
"""Seconds between two looks at a target in a member cluster: how late a change that others made there is noticed. Each
look is one GET, and for routes one LIST of the namespace's labelled Services."""

LIMIT = 2.0
"""Seconds that connecting and one look or write may take together. A policy's visit waits that long at most."""

SILENCE, LONGEST_SILENCE = 5.0, 30.0
"""Seconds for which a member cluster that did not answer is not asked again, doubled with each failure in a row: how
late it is noticed that it is back, and how rarely the visits of its policies are held up while it is away."""

REMEMBERED = 4096
"""Objects of one member cluster that are kept; what no policy names any more goes first."""


class UnreachablePlaceError(UnavailableError):
    """The place cannot be asked now. `problem` is the reason for the target's row."""

    def __init__(self, problem: str, message: str, *, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)
        self.problem = problem


class Place(Protocol):
    """One cluster, as targets see it. Methods raise ClusterError."""

    poll: float | None
    """Seconds between looks; None where changes are told."""

    async def look(self, kind: ObjectKind, namespace: str, *, fresh: bool = False) -> Object | None:
        """Return the object (shared: copy it before changing it), or None. `fresh` reads past every cache."""
        ...

    async def write(self, kind: ObjectKind, obj: Object) -> Object:
        """Write the object back and remember what the API server made of it.

        Raises:
            LeadershipLostError: the lease has run out; nothing was written.
        """
        ...

    def region_of_service(self, namespace: str, name: str) -> str:
        """Return the region that a Service's label names, as of the last look; "" when there is none."""
        ...


class HubPlace:
    """The hub: objects are those of the store."""

    poll: float | None = None

    def __init__(self, *, cluster: Cluster, store: Store, leadership: Leadership) -> None:
        self._cluster = cluster
        self._store = store
        self._leadership = leadership

    async def look(self, kind: ObjectKind, namespace: str, *, fresh: bool = False) -> Object | None:
        """See `Place.look`. What the store does not have is asked for: the watch of its kind may not be up yet."""
        known = None if fresh else self._store.get(kind.resource, namespace, kind.spec.name)
        if known is not None:
            return known
        try:
            found = await kind.read(self._cluster, namespace)
        except NotFoundError:
            return None
        self._store.observe(kind.resource, found)
        return found

    async def write(self, kind: ObjectKind, obj: Object) -> Object:
        """See `Place.write`."""
        # Here and not once for all writes: one that met a conflict has read again, and that may have taken too long.
        self._leadership.check()
        written = await kind.write(self._cluster, obj)
        self._store.observe(kind.resource, written)
        return written

    def region_of_service(self, namespace: str, name: str) -> str:
        """See `Place.region_of_service`."""
        return _region(self._store.get(SERVICES, namespace, name))


@dataclass(slots=True)
class _Known:
    obj: Object | None
    time: float


@dataclass(slots=True)
class _Member:
    """What is remembered of one member cluster."""

    objects: dict[tuple[str, str, str], _Known] = field(default_factory=dict)
    regions: dict[str, dict[str, str]] = field(default_factory=dict)
    """By namespace: region by name of the labelled Service."""
    silence: float = 0.0
    silent_until: float = 0.0
    problem: str = ""
    message: str = ""


class MemberMemory:
    """What is known of all member clusters; outlives the targets, which are made anew at every visit."""

    def __init__(self) -> None:
        self._members: dict[str, _Member] = {}

    def of(self, region: str) -> _Member:
        """Return what is remembered of a region's cluster."""
        return self._members.setdefault(region, _Member())


class MemberPlace:
    """The member cluster of one region, asked at most every `POLL` seconds."""

    poll: float | None = POLL

    def __init__(
        self, region: str, *, access: MemberAccess, memory: MemberMemory, leadership: Leadership, clock: Clock
    ) -> None:
        self._region = region
        self._leadership = leadership
        self._access = access
        self._memory = memory.of(region)
        self._clock = clock

    async def look(self, kind: ObjectKind, namespace: str, *, fresh: bool = False) -> Object | None:
        """See `Place.look`."""
        key = (kind.resource.plural, namespace, kind.spec.name)
        known = self._memory.objects.get(key)
        if known is not None and not fresh and self._clock.monotonic() - known.time < POLL:
            return known.obj
        found: Object | None = None
        try:
            async with self._bounded() as cluster:
                if kind.labelled:
                    labelled = await cluster.list(SERVICES, namespace, label_selector=REGION_LABEL)
                    self._memory.regions[namespace] = _by_name(labelled)
                found = await kind.read(cluster, namespace)
        except NotFoundError:
            found = None
        self._remember(key, found)
        return found

    async def write(self, kind: ObjectKind, obj: Object) -> Object:
        """See `Place.write`."""
        key = (kind.resource.plural, str(obj["metadata"]["namespace"]), kind.spec.name)
        # A write that fails may have happened all the same: what is remembered is no longer known to be true.
        self._memory.objects.pop(key, None)
        async with self._bounded() as cluster:
            self._leadership.check()  # connecting may have taken longer than the lease
            written = await kind.write(cluster, obj)
        self._remember(key, written)
        return written

    def region_of_service(self, namespace: str, name: str) -> str:
        """See `Place.region_of_service`."""
        return self._memory.regions.get(namespace, {}).get(name, "")

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[Cluster]:
        """Give the cluster for a short while. What it answers about an object is the caller's; that it does not answer,
        or refuses everything, is remembered."""
        left = self._memory.silent_until - self._clock.monotonic()
        if left > 0:
            raise UnreachablePlaceError(self._memory.problem, self._memory.message, retry_after=left)
        try:
            async with asyncio.timeout(LIMIT):
                yield await self._access.cluster(self._region)
        except (NotFoundError, ConflictError, InvalidError):
            self._memory.silence = 0.0
            raise
        except (ClusterError, PromotionProblemError, TimeoutError) as error:
            raise self._silent(error) from error
        self._memory.silence = 0.0

    def _silent(self, error: Exception) -> UnreachablePlaceError:
        """Leave the cluster alone for a while. The message says no detail that differs from try to try."""
        memory = self._memory
        memory.silence = min(2 * memory.silence or SILENCE, LONGEST_SILENCE)
        memory.silent_until = self._clock.monotonic() + memory.silence
        if isinstance(error, PromotionProblemError):
            memory.problem, memory.message = "TargetClusterInvalid", str(error)
        elif isinstance(error, UnavailableError | TimeoutError):
            memory.problem = "TargetUnreachable"
            memory.message = f"the member cluster of region {self._region} cannot be reached"
        else:
            memory.problem = "TargetRefused"
            memory.message = f"the member cluster of region {self._region} refuses: {error}"[:512]
        return UnreachablePlaceError(memory.problem, memory.message, retry_after=memory.silence)

    def _remember(self, key: tuple[str, str, str], obj: Object | None) -> None:
        objects = self._memory.objects
        objects.pop(key, None)  # put at the end again: the order is that of the last look
        objects[key] = _Known(obj, self._clock.monotonic())
        while len(objects) > REMEMBERED:
            objects.pop(next(iter(objects)))


def _region(service: Object | None) -> str:
    return str(((service or {}).get("metadata", {}).get("labels") or {}).get(REGION_LABEL) or "")


def _by_name(services: Sequence[Object]) -> dict[str, str]:
    return {str(service["metadata"]["name"]): _region(service) for service in services}
