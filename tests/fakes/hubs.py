"""Hubs in memory that share the regions of a shop, each with the parts that decide whether it acts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from regent.adapters.replication.reflector import WatchReflectors
from regent.engine.hub_guard import GuardedLeadership, HubGuard
from regent.engine.hub_identity import HubIdentity
from regent.engine.hub_notice import HubNotice
from regent.engine.ports import Object
from regent.engine.resources import CONFIG_MAPS, FAILOVER_POLICIES, NAMESPACES, REGIONS
from regent.engine.standby.copies import FOLLOWED
from regent.engine.standby.follower import HubFollower
from regent.engine.store import Store
from tests.fakes.clock import LoopClock
from tests.fakes.cloning import clone
from tests.fakes.copying import FakeCopyCluster, FakeRegionAccess
from tests.fakes.members import FakeMembers
from tests.fakes.ports import FakeLeadership, FakeMetrics

SYSTEM = "regent-system"
EU, US = "eu", "us"


def region(name: str) -> Object:
    """A Region with a cluster of its own."""
    reference = {"namespace": SYSTEM, "name": name, "key": "kubeconfig"}
    return {"metadata": {"name": name}, "spec": {"cluster": {"kubeconfigSecretRef": reference}}}


def shop(epoch: int = 8, active: str = EU, **status: Any) -> Object:
    """The policy of a shop in both regions."""
    return {
        "metadata": {"namespace": "shop", "name": "shop"},
        "spec": {"regions": [{"name": EU}, {"name": US}]},
        "status": {"epoch": epoch, "active": active, "activeRegion": active, **status},
    }


class Hub:
    """One hub: its API server, and an operator's parts about its role."""

    def __init__(self, uid: str, members: FakeMembers, *, follows: Hub | None = None, secrets: bool = False) -> None:
        self.cluster = FakeCopyCluster()
        self.cluster.put(NAMESPACES, {"metadata": {"name": "kube-system", "uid": uid}})
        self.uid, self.members = uid, members
        self.store, self.metrics, self.clock = Store(), FakeMetrics(), LoopClock()
        self.cluster.feed(self.store)
        self.lease = FakeLeadership()
        self.ended: BaseException | None = None
        """What the operator ended with."""
        self._follows, self._secrets = follows, secrets
        self.start()

    def start(self) -> None:
        """Make the parts anew, as a process that starts does."""
        self.ended = None
        clock, metrics, store = self.clock, self.metrics, self.store
        self.identity = HubIdentity(cluster=self.cluster, found=lambda: None)
        self.guard = HubGuard(
            cluster=self.cluster,
            namespace=SYSTEM,
            identity=self.identity,
            store=store,
            members=self.members,
            notice=HubNotice(cluster=self.cluster, store=store, clock=clock, metrics=metrics),
            follows=self._follows is not None,
            leading=lambda: self.lease.leading,
            clock=clock,
            metrics=metrics,
        )
        self.leadership = GuardedLeadership(self.lease, self.guard)
        self._parts: list[Callable[[], Any]] = [self.identity.run, self.guard.run]
        if self._follows is not None:
            source: Any = FakeRegionAccess({FOLLOWED: self._follows.cluster})
            reflectors = WatchReflectors(source, clock=clock, metrics=metrics, jitter=lambda: 0.0)
            follower = HubFollower(
                cluster=self.cluster,
                store=store,
                source=source,
                reflectors=reflectors,
                guard=self.guard,
                identity=self.identity,
                namespace=SYSTEM,
                secret="active-hub",
                secret_namespaces=[SYSTEM] if self._secrets else [],
                clock=clock,
                metrics=metrics,
            )
            self._parts += [reflectors.run, follower.run]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let the parts run."""
        tasks = [asyncio.create_task(self._run(part)) for part in self._parts]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, part: Callable[[], Any]) -> None:
        try:
            await part()
        except Exception as error:
            self.ended = error

    def put_shop(self, **changes: Any) -> None:
        """The regions and the policy."""
        for name in (EU, US):
            self.cluster.put(REGIONS, region(name))
        self.cluster.put(FAILOVER_POLICIES, shop(**changes))

    def find(self, resource: Any, namespace: str, name: str) -> Any:
        """An object as it is in the cluster, or None."""
        found = self.cluster._objects.get(resource, {}).get((namespace, name))
        return None if found is None else clone(found)

    @property
    def policy(self) -> Any:
        """The policy of the shop, or None."""
        return self.find(FAILOVER_POLICIES, "shop", "shop")

    @property
    def record(self) -> Any:
        """What the hub has written down about itself, or None."""
        found = self.find(CONFIG_MAPS, SYSTEM, "regent-hub-role")
        return None if found is None else found["data"]

    def put_record(self, **data: str) -> None:
        """Write down what it is."""
        metadata = {"namespace": SYSTEM, "name": "regent-hub-role"}
        self.cluster.put(CONFIG_MAPS, {"metadata": metadata, "data": data})


def keep(members: FakeMembers, name: str, fence: str, *, hub: str = "", term: int = 0) -> None:
    """What a region has kept."""
    claim = {"regent.dev/promoted-hub": hub} if hub else {}
    claim |= {"regent.dev/hub-term": str(term)} if term else {}
    metadata = {"namespace": SYSTEM, "name": "regent-epochs", "annotations": claim}
    members.clusters[name].put(CONFIG_MAPS, {"metadata": metadata, "data": {"shop.shop": fence}})


def kept(members: FakeMembers, name: str) -> Any:
    """The ConfigMap where a region keeps it; None when it has none."""
    return members.clusters[name]._objects.get(CONFIG_MAPS, {}).get((SYSTEM, "regent-epochs"))
