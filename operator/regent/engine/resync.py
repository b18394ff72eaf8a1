"""What is watched, and the periodic LIST that keeps the store honest.

A watch does not report what was deleted while it was down, and one that hangs reports nothing at all. So every kind is
listed whole, at the start and every few minutes: that fills the store before the first decision, prunes what is gone,
repairs what was missed (and counts it), and proves that the API server can still be reached.

A kind whose custom resource definition is not installed is looked for again and again: optional ones, such as
HTTPRoute, do not hold up the start, and are picked up when they appear. Kinds that only some policies steer, such as
Istio's, are not even looked for until a policy names one: they cost those who do not use them nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from regent.domain.errors import ClusterError, NotFoundError
from regent.engine import resources
from regent.engine.ports import Clock, Cluster, Metrics
from regent.engine.resources import Resource
from regent.engine.store import Store
from regent.engine.traffic import names_in_hub

log = logging.getLogger("regent.resync")


@dataclass(frozen=True, slots=True)
class Watched:
    """A kind that the store follows. `optional` ones may be missing from the cluster without holding up the start;
    `targets_only` ones, which are optional too, are followed while a FailoverPolicy has one as a target."""

    resource: Resource
    label_selector: str = ""
    optional: bool = False
    targets_only: bool = False


WATCHED: tuple[Watched, ...] = (
    Watched(resources.REGIONS),
    Watched(resources.FAILOVER_POLICIES),
    Watched(resources.FAILOVERS),
    Watched(resources.PLACEMENT_POLICIES, optional=True),
    Watched(resources.REPLICATION_POLICIES, optional=True),
    Watched(resources.HTTP_ROUTES, optional=True),
    Watched(resources.GRPC_ROUTES, optional=True, targets_only=True),
    Watched(resources.VIRTUAL_SERVICES, optional=True, targets_only=True),
    Watched(resources.DNS_ENDPOINTS, optional=True, targets_only=True),
    # Only Services that say which region they belong to; a cluster may hold thousands of others.
    Watched(resources.SERVICES, label_selector="regent.dev/region"),
)

FIRST_RETRY = 0.5
LAST_RETRY = 15.0
"""Seconds between tries of a LIST that fails, doubling from the first to the last."""
ABSENT = 10.0
"""Seconds between looks for a kind that the cluster does not serve."""


class Resync:
    """Lists every watched kind, one task each.

    Args:
        interval: seconds between two LISTs of a kind.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        *,
        clock: Clock,
        metrics: Metrics,
        watched: Sequence[Watched] = WATCHED,
        interval: float = 300.0,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._watched = watched
        self._interval = interval
        self._started = clock.monotonic()
        self._listed: dict[Resource, float] = {}
        self._served: set[Resource] = set()
        self._listeners: list[Callable[[], None]] = []
        self._now = {watch.resource: asyncio.Event() for watch in watched}
        self._unknown = {watch.resource for watch in watched}
        self._looked = asyncio.Event()
        self._unused: set[Resource] = set()
        if any(watch.targets_only for watch in watched):
            store.subscribe(resources.FAILOVER_POLICIES, lambda _: self._policies_changed())

    async def run(self) -> None:
        """Keep the store honest until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watched:
                group.create_task(self._follow(watch), name=f"resync-{watch.resource.plural}")

    def request(self) -> None:
        """List everything now: the watches were down, and what went meanwhile was not reported."""
        for event in self._now.values():
            event.set()

    def served(self) -> frozenset[Resource]:
        """Return the watched kinds that the cluster serves, as far as is known."""
        return frozenset(self._served)

    async def looked_around(self) -> None:
        """Wait until it is known of every watched kind whether the cluster serves it."""
        await self._looked.wait()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the set of served kinds changes."""
        self._listeners.append(listener)

    def age(self) -> float:
        """Return for how many seconds the kind that was listed longest ago, of those in use, has not been listed."""
        now = self._clock.monotonic()
        used = [watch.resource for watch in self._watched if watch.resource not in self._unused]
        return max((now - self._listed.get(resource, self._started) for resource in used), default=0.0)

    async def once(self, watch: Watched) -> float:
        """List one kind; return seconds until the next time.

        Raises:
            ClusterError: the API server did not answer, or refused.
        """
        resource, mark = watch.resource, self._store.mark()
        first = not self._store.synced(resource)
        try:
            objs = await self._cluster.list(resource, label_selector=watch.label_selector)
        except NotFoundError:
            # What is known of the kind stays: an API server that has just started may not know its custom
            # resources yet, and nobody's regions must vanish for that.
            self._absent(watch, first=first)
            return ABSENT
        changed = self._store.replace_all(resource, objs, mark=mark)
        self._store.mark_synced(resource)
        self._listed[resource] = self._clock.monotonic()
        self._metrics.count("regent_resync_total", kind=resource.kind, result="ok")
        self._metrics.gauge("regent_store_objects", len(objs), kind=resource.kind)
        if changed and not first:
            self._metrics.count("regent_resync_repaired_total", changed, kind=resource.kind)
            log.info(
                "Resync found changes that the watch had not reported", extra={"kind": resource.kind, "n": changed}
            )
        self._set_served(resource, now=True)
        return self._interval

    async def _follow(self, watch: Watched) -> None:
        delay = FIRST_RETRY
        requested = self._now[watch.resource]
        while True:
            # Cleared before the LIST: a request that comes while it is under way asks for another one.
            requested.clear()
            if not self._in_use(watch):
                self._leave(watch)
                await requested.wait()
                continue
            self._take_up(watch)
            try:
                wait = await self.once(watch)
                delay = FIRST_RETRY
            except ClusterError as error:
                wait, delay = delay, min(delay * 2, LAST_RETRY)
                self._metrics.count("regent_resync_total", kind=watch.resource.kind, result="error")
                log.warning("Resync failed, trying again in %.1fs: %s", wait, error)
            self._metrics.gauge("regent_resync_age_seconds", self.age())
            try:
                await asyncio.wait_for(requested.wait(), wait)
            except TimeoutError:
                continue

    def _in_use(self, watch: Watched) -> bool:
        if not watch.targets_only:
            return True
        policies = self._store.list(resources.FAILOVER_POLICIES)
        return any(names_in_hub(policy, watch.resource) for policy in policies)

    def _policies_changed(self) -> None:
        for watch in self._watched:
            if watch.targets_only and self._in_use(watch) is (watch.resource in self._unused):
                self._now[watch.resource].set()

    def _take_up(self, watch: Watched) -> None:
        if watch.resource in self._unused:
            self._unused.discard(watch.resource)
            self._listed[watch.resource] = self._clock.monotonic()

    def _leave(self, watch: Watched) -> None:
        """Follow the kind no longer, or not yet. Whoever needs an object of it in the meantime reads it."""
        if watch.resource not in self._unused:
            self._unused.add(watch.resource)
            self._store.replace_all(watch.resource, ())
            self._store.mark_synced(watch.resource)
        self._set_served(watch.resource, now=False)

    def _absent(self, watch: Watched, *, first: bool) -> None:
        resource = watch.resource
        if watch.optional:
            self._store.mark_synced(resource)
            self._listed[resource] = self._clock.monotonic()
        if first or resource in self._served:
            level = logging.INFO if watch.optional else logging.WARNING
            log.log(level, "The cluster does not serve %s: install its custom resource definition", resource.kind)
        self._set_served(resource, now=False)

    def _set_served(self, resource: Resource, *, now: bool) -> None:
        self._unknown.discard(resource)
        if not self._unknown:
            self._looked.set()
        if (resource in self._served) is now:
            return
        (self._served.add if now else self._served.discard)(resource)
        for listener in self._listeners:
            listener()
