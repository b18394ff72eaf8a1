"""A whole region that dies and is started again, with the real agent between real PostgreSQL under Patroni and the hub.

The hub and the region's own API server are in memory, everything else is real: the agent's loops, its endpoint, and the
client that docs/patroni.md puts into Patroni's `pre_promote`. With all of it real, and clients that write, it is played
by `make test-database`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from regent.adapters.clock import SystemClock
from regent.adapters.metrics import PrometheusMetrics
from regent.adapters.promotion.factory import PromotionDrivers
from regent.adapters.promotion.patroni import PatroniDriver, patroni_steps
from regent.adapters.promotion.patroni_api import Clients
from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.domain.failover.fence import Fence
from regent.domain.failover.guarding import Answer
from regent.domain.failover.roles import Role
from regent.engine.resources import FAILOVER_POLICIES
from regent.server.operational import OperationalServer
from regent.server.permission import permission_route
from testbed.database import Database, Databases
from testbed.database.agents import pre_promote
from testbed.network import NetworkNamespaces
from tests.fakes.region import HERE, THERE, RegionScene, database_policy

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("patroni"),
]
RUN = "shop/shop-4/r"
ELSEWHERE = {"activeRegion": THERE, "distribution": [{"region": THERE, "weightPercent": 100}]}
PATIENCE = 120.0


class Passwords:
    """The Secrets of the policy's namespace."""

    def __init__(self, password: str) -> None:
        self._entries = {"username": b"regent", "password": password.encode()}

    async def data(self, namespace: str, name: str) -> dict[str, bytes]:
        return self._entries


class Stage:
    """The databases of HERE and THERE, and the agent of HERE."""

    def __init__(self, databases: Databases) -> None:
        self.here, self.there = databases[HERE], databases[THERE]
        self.network = databases.network
        self.asked: list[Answer] = []
        steps = patroni_steps(
            clients=Clients(allow_loopback=False),
            secrets=Passwords(databases.secrets.rest_password),
            clock=SystemClock(),
        )
        factory = PromotionDrivers(steps)
        self.agent = RegionScene(policy=self.policy(epoch=3), drivers=factory)
        [driver] = factory.drivers(policy_spec(self.policy(epoch=3))[0])
        assert isinstance(driver, PatroniDriver)
        self.driver = driver

    def policy(self, **status: Any) -> dict[str, Any]:
        policy = database_policy(**status)
        [step] = policy["spec"]["promotion"]["steps"]
        clusters = [
            {"region": item.name, "url": item.patroni_url, "host": item.address} for item in (self.here, self.there)
        ]
        step["patroni"] = {"clusters": clusters, "credentialsSecretRef": {"name": "patroni"}}
        return policy

    async def status(self, **status: Any) -> None:
        """What the operator would write."""
        present = await self.agent.hub.get(FAILOVER_POLICIES, "shop", "shop")
        await self.agent.hub.replace_status(FAILOVER_POLICIES, {**present, "status": self.policy(**status)["status"]})

    @asynccontextmanager
    async def endpoint(self) -> AsyncIterator[str]:
        """The agent's endpoint; gives its URL."""

        async def ask(namespace: str, policy: str, step: str) -> Answer:
            answer = await self.agent.permission.ask(namespace, policy, step)
            self.asked.append(answer)
            return answer

        server = OperationalServer(
            f"{self.network.host_address}:0",
            metrics=PrometheusMetrics(),
            live={},
            ready={},
            routes=permission_route(ask),
        )
        task = asyncio.create_task(server.run())
        await asyncio.wait_for(server.listening.wait(), 10)
        yield f"http://{server.bound[0]}:{server.bound[1]}"
        task.cancel()

    async def until(self, condition: Callable[[], bool], what: str, *, never: Database | None = None) -> None:
        """Wait for a condition; `never`: what must not accept writes meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while not await asyncio.to_thread(condition):
            assert never is None or not await asyncio.to_thread(never.accepts_writes), f"{never.name} accepts writes"
            assert time.monotonic() < deadline, (what, self.asked[-5:], self.here.status(), self.there.status())
            await asyncio.sleep(0.05)

    def follows(self) -> bool:
        """Whether HERE is a standby of THERE, and has what that one has."""
        status, body = self.here.status("/standby-leader")
        return status == 200 and body.get("replication_state") == "streaming"


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    with NetworkNamespaces() as network, Databases([HERE, THERE], network=network) as databases:
        yield databases


async def test_a_region_that_comes_back_asks_first_and_ends_as_a_standby(databases: Databases) -> None:
    """Without the hook it accepts writes within seconds of its start; without the agent's settling nobody makes it a
    standby."""
    stage = Stage(databases)
    here, there, driver, agent = stage.here, stage.there, stage.driver, stage.agent
    async with stage.endpoint() as url:
        command = pre_promote(url, namespace="shop", policy="shop")
        for database in (here, there):
            database.configure({"postgresql": {"pre_promote": command if database is here else None}})
        async with agent.running():
            await stage.until(lambda: agent.agent.unready() == "", "the agent to be connected")
            here.power_off()
        # The agent dies with its region. The operator waits until it must have fenced, and promotes.
        await stage.status(epoch=4, operation={"uid": "r", "name": "shop-4", "to": THERE})
        await driver.promote(THERE, source=HERE, fence=Fence(4, 1, 900), run=RUN)
        await stage.until(there.accepts_writes, "the other region to be promoted")
        there.query("INSERT INTO writes VALUES (7000000, 'new')")
        await stage.status(epoch=4, **ELSEWHERE)

        here.power_on()
        await stage.until(lambda: len(stage.asked) >= 2, "the database to ask, and to ask again", never=here)
        agent.make()
        async with agent.running():
            await stage.until(stage.follows, "the region to stand by", never=here)
            await stage.until(lambda: 7_000_000 in here.numbers(), "the region to have what was written", never=here)
            assert not here.accepts_writes()
            assert any("another region is active" in answer.reason for answer in stage.asked)

            # A planned run brings it back: its Commit, and the change at Patroni with its fence, are leave enough.
            await stage.status(epoch=5, operation={"uid": "s", "name": "shop-5", "to": HERE}, **ELSEWHERE)
            await driver.demote(THERE, successor=HERE, fence=Fence(5, 1, 800), run=RUN)
            await stage.until(lambda: not there.accepts_writes(), "the other region to stop")
            asked, began = len(stage.asked), time.monotonic()
            await driver.promote(HERE, source=THERE, fence=Fence(5, 1, 900), run=RUN)
            await stage.until(here.accepts_writes, "it to be promoted")
            print(f"promoted with leave in {time.monotonic() - began:.2f} s: {stage.asked[asked:]}")
            assert len(stage.asked) > asked
            assert (await driver.observe(HERE)).role in (Role.ACTIVE, Role.CHANGING)
