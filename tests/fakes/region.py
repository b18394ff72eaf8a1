"""A region with its agent and the hub, in memory and virtual time: everything is real but the two API servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from regent.adapters.promotion.factory import PromotionDrivers, object_drivers
from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.domain.errors import UnavailableError
from regent.domain.failover.fence import Fence
from regent.engine.agent.access import OwnRegion
from regent.engine.agent.acting import Acting
from regent.engine.agent.agent import RegionAgent
from regent.engine.agent.memory import Memory
from regent.engine.agent.permission import Permission
from regent.engine.agent.presence import HubPresence
from regent.engine.agent_isolation import AgentIsolation
from regent.engine.ports import Object
from regent.engine.promotion import DriverFactory, IsolationState
from regent.engine.resources import CONFIG_MAPS, DEPLOYMENTS, FAILOVER_POLICIES, LEASES
from tests.fakes.clock import LoopClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.ports import FakeLeadership, FakeMetrics

SYSTEM, HERE, THERE = "regent-system", "eu-west-1", "us-east-1"
AFTER, LIMIT, SKEW = 10.0, 5.0, 1.0
WAIT = AFTER * 1.65 + LIMIT + SKEW
KEY = "shop/shop"
ASKED = Fence(4, 1, 8)


class FakeElector:
    """An elector that holds its Lease until told otherwise."""

    identity = "agent-1"

    def __init__(self) -> None:
        self.leading = True
        self.holder = self.identity
        self.lost = asyncio.Event()

    async def run(self) -> None:
        await self.lost.wait()
        await asyncio.Event().wait()

    async def release(self) -> None:
        self.leading, self.holder = False, ""


def deployment(*, replicas: int = 2, fence: str = "3.1.12") -> Object:
    metadata = {"namespace": "shop", "name": "web", "annotations": {"regent.dev/fence": fence}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def failover_policy(**status: Any) -> Object:
    step = {"name": "web", "type": "Scale", "scale": {"kind": "Deployment", "name": "web", "replicas": 2}}
    return {
        "apiVersion": "regent.dev/v1alpha1",
        "kind": "FailoverPolicy",
        "metadata": {"namespace": "shop", "name": "shop", "uid": "p"},
        "spec": {"regions": [{"name": HERE}, {"name": THERE}], "promotion": {"steps": [step]}},
        "status": {
            "epoch": 3,
            "activeRegion": HERE,
            "distribution": [{"region": HERE, "weightPercent": 100}],
            **status,
        },
    }


def database_policy(**status: Any) -> Object:
    """As `failover_policy`, with a database."""
    clusters = [{"region": name, "url": f"http://{name}:8008", "host": name} for name in (HERE, THERE)]
    step = {"name": "db", "type": "Patroni", "patroni": {"clusters": clusters}}
    policy = failover_policy(**status)
    return {**policy, "spec": {**policy["spec"], "promotion": {"steps": [step]}}}


class RegionScene:
    """One region. `running` runs its agent. `drivers`: of the steps, where they are not the Deployment's."""

    def __init__(self, *, policy: Object | None = None, drivers: DriverFactory | None = None) -> None:
        self._drivers = drivers
        self.clock = LoopClock()
        self.hub, self.own = FakeCluster(), FakeCluster()
        self.metrics = FakeMetrics()
        self.elector = FakeElector()
        self.leadership = FakeLeadership()
        self.isolation = AgentIsolation(
            cluster=self.hub, namespace=SYSTEM, leadership=self.leadership, clock=self.clock, skew=SKEW
        )
        self.own.put(DEPLOYMENTS, deployment())
        self.hub.put(FAILOVER_POLICIES, policy or failover_policy())
        self.cut = False
        self.agent = self.make()

    def make(self) -> RegionAgent:
        """A new process of the agent."""
        link = _Link(self)
        self.presence = HubPresence(
            hub=link, namespace=SYSTEM, region=HERE, identity="agent-1", duration=AFTER, limit=LIMIT, clock=self.clock
        )
        drivers = object_drivers(OwnRegion(HERE, cluster=lambda _: self.own), clock=self.clock)
        self.agent = RegionAgent(
            region=HERE,
            namespace=SYSTEM,
            hub=link,
            presence=self.presence,
            memory=Memory(cluster=self.own, namespace=SYSTEM),
            acting=Acting(lambda: self.elector),
            factory=self._drivers or PromotionDrivers(drivers),
            read_policy=lambda obj: policy_spec(obj)[0],
            duration=AFTER,
            clock=self.clock,
            metrics=self.metrics,
        )
        self.permission = Permission(hub=link, agent=self.agent, view=self.agent.view_of, side=self.agent.side_of)
        return self.agent

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[RegionAgent]:
        """Run the agent's loops, and the Deployment's controller."""
        parts = (self.agent.renew, self.agent.learn, self.agent.act, self._controller)
        tasks = [asyncio.create_task(part()) for part in parts]
        try:
            yield self.agent
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(error, asyncio.CancelledError) for error in ended), ended

    async def ask(self, fence: Fence = ASKED) -> IsolationState:
        """Ask for isolation as a run does."""
        spec = policy_spec(await self.hub.get(FAILOVER_POLICIES, "shop", "shop"))[0]
        return await self.isolation.isolate(spec, HERE, fence=fence)

    async def status(self, **status: Any) -> None:
        """Write the policy's status as the operator would."""
        present = await self.hub.get(FAILOVER_POLICIES, "shop", "shop")
        wanted = failover_policy(**status)["status"]
        await self.hub.replace_status(FAILOVER_POLICIES, {**present, "status": wanted})

    async def replicas(self) -> int:
        return int((await self.own.get(DEPLOYMENTS, "shop", "web"))["spec"]["replicas"])

    async def fence(self) -> str:
        return str((await self.own.get(DEPLOYMENTS, "shop", "web"))["metadata"]["annotations"]["regent.dev/fence"])

    async def told(self) -> dict[str, str]:
        return dict((await self.hub.get(CONFIG_MAPS, SYSTEM, f"regent-agent-{HERE}"))["data"])

    async def lease(self) -> Object:
        return await self.hub.get(LEASES, SYSTEM, f"regent-agent-{HERE}")

    async def _controller(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            try:
                present = await self.own.get(DEPLOYMENTS, "shop", "web")
            except UnavailableError:
                continue
            count = present["spec"]["replicas"]
            wanted = {"observedGeneration": present["metadata"].get("generation", 1), "readyReplicas": count}
            wanted |= {"replicas": count}
            if present.get("status") != wanted:
                await self.own.replace_status(DEPLOYMENTS, {**present, "status": wanted})


class _Link:
    """The hub as the agent reaches it, or not."""

    def __init__(self, scene: RegionScene) -> None:
        self._scene = scene

    def __getattr__(self, name: str) -> Any:
        if self._scene.cut:
            return self._silent
        return getattr(self._scene.hub, name)

    async def _silent(self, *_: Any, **__: Any) -> Any:
        await asyncio.sleep(1.0)
        raise UnavailableError("no answer in time", reason="Timeout")
