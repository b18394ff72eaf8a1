"""Two regions in memory with the replicator's real parts between them: reflections, links, visits.

The API servers are `FakeCluster`s that also take server-side applies (of whole fields, which is enough here) and can be
watched. What a real server does with them is shown by tests/cluster/replication.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from regent.adapters.kubernetes.copying import Event, View
from regent.adapters.replication.reflector import WatchReflectors
from regent.adapters.replication.transforms import Transformations
from regent.api.v1alpha1.convert_replicationpolicy import replication_spec
from regent.domain.errors import ClusterError, ConflictError, NotFoundError
from regent.domain.replication.model import Link as Way
from regent.domain.replication.model import ReplicationSpec
from regent.engine.ports import Object
from regent.engine.queue import Key, KeyedQueue
from regent.engine.replication.controller import ReplicationReconciler
from regent.engine.replication.farewell import Farewell
from regent.engine.replication.session import LinkTasks, Sessions
from regent.engine.replication.syncing import Syncing
from regent.engine.resources import CONFIG_MAPS, REGIONS, REPLICATION_POLICIES, Resource
from regent.engine.status import StatusWriter
from regent.engine.store import Store
from tests.fakes.clock import LoopClock
from tests.fakes.cloning import clone
from tests.fakes.cluster import FakeCluster, matches
from tests.fakes.ports import FakeLeadership, FakeMetrics, FakeRecorder

EU, US, SHOP = "eu", "us", "shop"


class FakeCopyCluster(FakeCluster):
    """Implements `regent.engine.replication.ports.CopyCluster`, and watches."""

    def __init__(self) -> None:
        super().__init__()
        self._applied: dict[tuple[Resource, str, str], Object] = {}
        self._streams: list[_Stream] = []
        self.down: ClusterError | None = None
        """What every request and every watch is answered with."""
        self.ahead = 0.0
        """By how many seconds its clock is ahead."""
        self.subscribe(self._deliver)

    async def apply(self, resource: Resource, obj: Object, *, force: bool, status: bool = False) -> Object:
        metadata = obj["metadata"]
        where = (metadata.get("namespace", ""), metadata["name"])
        fault = self._enter("apply", resource, *where)
        old = self._objects.get(resource, {}).get(where)
        if old is None or old["metadata"]["uid"] != metadata.get("uid"):
            raise ConflictError("uid mismatch", status=409, reason="Conflict")
        version = metadata.get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            raise ConflictError("the object has been modified", status=409, reason="Conflict")
        before = self._applied.get((resource, *where), {})
        new = {key: value for key, value in clone(old).items() if key not in before or key in obj}
        new.update({key: clone(value) for key, value in obj.items() if key not in ("metadata", "status")})
        if status:
            new["status"] = clone(obj["status"])
        for field in ("labels", "annotations"):
            new["metadata"][field] = {**new["metadata"].get(field, {}), **(metadata.get(field) or {})}
        self._applied[resource, *where] = clone(obj)
        return await self._answer(self._update(resource, old, new), fault)

    async def take_over(
        self, resource: Resource, namespace: str, name: str, *, uid: str, version: str = "", whole: bool = False
    ) -> Object:
        found = await self.get(resource, namespace, name)
        if version and found["metadata"]["resourceVersion"] != version:
            raise ConflictError("it has changed meanwhile", status=409, reason="Conflict")
        return found

    async def remove(self, resource: Resource, namespace: str, name: str, *, uid: str, version: str) -> None:
        old = self._objects.get(resource, {}).get((namespace, name))
        if old is not None and old["metadata"]["resourceVersion"] != version:
            raise ConflictError("Precondition failed", status=409, reason="Conflict")
        await self.delete(resource, namespace, name, uid=uid)

    async def page(self, view: View, *, limit: int, token: str = "") -> tuple[list[Object], str, str]:
        found = await self.list(view.resource, view.namespace, label_selector=view.selector)
        return [_seen(view, obj) for obj in found], "", str(self._version)

    async def ping(self) -> None:
        self._enter("ping", CONFIG_MAPS, "", "")

    def clock_offset(self) -> float | None:
        return self.ahead

    async def watch(self, view: View, *, version: str, silence: float, lasts: float) -> AsyncIterator[Event]:
        resource = view.resource
        self._enter("watch", resource, view.namespace, "")
        if resource not in self.served:
            raise NotFoundError("the server could not find the requested resource", status=404)
        stream = _Stream(view)
        self._streams.append(stream)
        try:
            yield Event("OPENED", {"metadata": {}})
            stream.within = {
                name
                for name, obj in self._objects.get(resource, {}).items()
                if view.namespace in ("", name[0]) and matches(view.selector, obj["metadata"].get("labels") or {})
            }
            if not version:
                for obj in await self.list(resource, view.namespace, label_selector=view.selector):
                    yield Event("ADDED", _seen(view, obj))
                bookmark = {"metadata": {"resourceVersion": str(self._version)}}
                yield Event("BOOKMARK", bookmark, synced=True)
            while True:
                item = await stream.queue.get()
                if isinstance(item, ClusterError):
                    raise item
                yield item
        finally:
            self._streams.remove(stream)

    def break_watches(self, error: ClusterError) -> None:
        """End every stream with this."""
        for stream in self._streams:
            stream.queue.put_nowait(error)

    def _enter(self, verb: str, resource: Resource, namespace: str, name: str) -> ClusterError | None:
        if self.down is not None:
            self.calls.append((verb, resource, namespace, name))
            raise self.down
        return super()._enter(verb, resource, namespace, name)

    def _deliver(self, event: str, resource: Resource, obj: Object) -> None:
        for stream in self._streams:
            if stream.view.resource == resource and stream.view.namespace in ("", obj["metadata"].get("namespace")):
                stream.deliver(event, obj)


class _Stream:
    """A watch. An object that leaves its selection is told as DELETED, one that comes into it as ADDED."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.queue: asyncio.Queue[Event | ClusterError] = asyncio.Queue()
        self.within: set[tuple[str, str]] = set()

    def deliver(self, event: str, obj: Object) -> None:
        name = str(obj["metadata"].get("namespace", "")), obj["metadata"]["name"]
        was, fits = name in self.within, matches(self.view.selector, obj["metadata"].get("labels") or {})
        if event == "DELETED" or not fits:
            self.within.discard(name)
            if was:
                self.queue.put_nowait(Event("DELETED", _seen(self.view, obj)))
            return
        self.within.add(name)
        self.queue.put_nowait(Event("MODIFIED" if was else "ADDED", _seen(self.view, obj)))


def _seen(view: View, obj: Object) -> Object:
    if view.bodies:
        return obj
    return {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": obj["metadata"]}


class FakeRegionAccess:
    """The clusters by region."""

    def __init__(self, clusters: dict[str, FakeCopyCluster]) -> None:
        self.clusters = clusters

    async def cluster(self, region: str) -> Any:
        cluster = self.clusters[region]
        if cluster.down is not None:
            raise cluster.down
        return cluster

    def shared(self, first: str, second: str) -> bool:
        return self.clusters[first] is self.clusters[second]


class CopyWorld:
    """Regions `eu` (the source) and `us`; the policy's own objects are in a hub beside them.

    Args:
        before: a world whose operator has ended: this one is the next operator, in the same clusters.
    """

    def __init__(self, before: CopyWorld | None = None) -> None:
        self.clock = LoopClock()
        self.metrics = FakeMetrics()
        self.recorder = FakeRecorder()
        self.hub = before.hub if before else FakeCluster()
        self.clusters = before.clusters if before else {EU: FakeCopyCluster(), US: FakeCopyCluster()}
        self.store = Store()
        self.hub.feed(self.store)
        self.not_now = ""
        """What is answered when it is asked whether a batch may be written."""
        access: Any = FakeRegionAccess(self.clusters)
        self.reflectors = WatchReflectors(access, clock=self.clock, metrics=self.metrics, jitter=lambda: 0.0)
        self.transforms = Transformations(clock=self.clock)
        self.tasks = LinkTasks()
        leadership = FakeLeadership()
        sessions = Sessions(
            access=access,
            reflectors=self.reflectors,
            transforms=self.transforms,
            tasks=self.tasks,
            may_write=self._may_write,
            leadership=leadership,
            clock=self.clock,
            jitter=lambda: 0.0,
            metrics=self.metrics,
        )
        self.queue = KeyedQueue(jitter=lambda: 0.0)
        self.reconciler = ReplicationReconciler(
            store=self.store,
            queue=self.queue,
            status=StatusWriter(self.hub, self.store, leadership, metrics=self.metrics),
            sessions=sessions,
            access=access,
            farewell=Farewell(
                cluster=self.hub, store=self.store, access=access, leadership=leadership, may_write=self._may_write
            ),
            read_policy=replication_spec,
            recorder=self.recorder,
            clock=self.clock,
            metrics=self.metrics,
        )
        for policy in self.store.list(REPLICATION_POLICIES, SHOP):
            self.queue.add(Key(REPLICATION_POLICIES, SHOP, policy["metadata"]["name"]))
        for name in self.clusters if before is None else ():
            self.hub.put(REGIONS, {"metadata": {"name": name}, "spec": {}, "status": {"health": "Healthy"}})

    def policy(self, **spec: Any) -> None:
        """Make or change the policy `shop`."""
        wanted = {
            "source": {"region": EU},
            "targets": [{"region": US}],
            "resources": [{"category": "Config"}],
            "prune": {"gracePeriod": "0s", "maxPercent": 100},
            **spec,
        }
        old = self.store.get(REPLICATION_POLICIES, SHOP, "shop")
        metadata = {"namespace": SHOP, "name": "shop"}
        self.hub.put(
            REPLICATION_POLICIES,
            {"metadata": metadata, "spec": wanted, "status": clone((old or {}).get("status") or {})},
        )

    def put(self, region: str, name: str, **data: str) -> Object:
        """Set a ConfigMap of a region."""
        metadata = {"namespace": SHOP, "name": name}
        return self.clusters[region].put(CONFIG_MAPS, {"metadata": metadata, "data": data})

    def edit(self, region: str, name: str, **data: str) -> None:
        """Change the data of a ConfigMap that is there, as somebody in the region; or make it."""
        found = self.clusters[region]._objects.get(CONFIG_MAPS, {}).get((SHOP, name))
        if found is None:
            self.put(region, name, **data)
        else:
            self.clusters[region].put(CONFIG_MAPS, {**clone(found), "data": data})

    def remove(self, region: str, name: str) -> None:
        """Delete a ConfigMap, as somebody in the region."""
        cluster = self.clusters[region]
        cluster._drop(CONFIG_MAPS, cluster._objects[CONFIG_MAPS][SHOP, name])

    def names(self, region: str) -> list[str]:
        """The ConfigMaps of a region."""
        return sorted(name for _, name in self.clusters[region]._objects.get(CONFIG_MAPS, {}))

    def label(self, region: str, name: str, app: str) -> None:
        """Set a ConfigMap of a region that has a label."""
        metadata = {"namespace": SHOP, "name": name, "labels": {"app": app}}
        self.clusters[region].put(CONFIG_MAPS, {"metadata": metadata, "data": {}})

    def put_copy(self, name: str, value: str) -> None:
        """Change the data of a copy, as somebody in the target."""
        cluster = self.clusters[US]
        copy = clone(cluster._objects[CONFIG_MAPS][SHOP, name])
        cluster.put(CONFIG_MAPS, {**copy, "data": {"a": value}})

    def data(self, region: str, name: str) -> Any:
        """The data of a ConfigMap; None when it is not there."""
        found = self.clusters[region]._objects.get(CONFIG_MAPS, {}).get((SHOP, name))
        return None if found is None else found.get("data")

    @property
    def target(self) -> Syncing:
        """The policy's only target."""
        session = self.reconciler.session(Key(REPLICATION_POLICIES, SHOP, "shop"))
        assert session is not None
        return session.targets[0]

    @property
    def status(self) -> Any:
        """The policy's status."""
        found = self.store.get(REPLICATION_POLICIES, SHOP, "shop")
        return (found or {}).get("status") or {}

    async def until(self, true: Callable[[], Any], *, within: float = 60.0) -> None:
        """Let (virtual) time pass until `true()` is.

        Raises:
            TimeoutError: it is not within so many seconds.
        """
        async with asyncio.timeout(within):
            while not true():  # noqa: ASYNC110 - what is waited for is a state of many parts
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let everything run, with visits as the workers make them."""
        tasks = [asyncio.create_task(part()) for part in (self.reflectors.run, self.tasks.run, self._visits)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.transforms.close()

    async def _visits(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                if key.resource == REPLICATION_POLICIES:
                    again = await self.reconciler.reconcile(key)
                    if again is not None:
                        self.queue.add(key, after=again)
            finally:
                self.queue.done(key)

    async def _may_write(self, spec: ReplicationSpec, way: Way) -> str:
        return self.not_now
