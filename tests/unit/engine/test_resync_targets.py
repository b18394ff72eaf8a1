"""Kinds that only some policies steer cost nothing until a policy names one, and nothing after the last one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from regent.engine.resources import DNS_ENDPOINTS, FAILOVER_POLICIES
from regent.engine.resync import Resync, Watched
from regent.engine.store import Store
from tests.fakes.clock import LoopClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.ports import FakeMetrics

pytestmark = pytest.mark.looptime


class Bench:
    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.store = Store([DNS_ENDPOINTS])
        watched = (Watched(DNS_ENDPOINTS, optional=True, targets_only=True),)
        self.resync = Resync(
            self.cluster, self.store, clock=LoopClock(), metrics=FakeMetrics(), watched=watched, interval=300.0
        )

    @property
    def lists(self) -> int:
        return sum(1 for verb, resource, _, _ in self.cluster.calls if (verb, resource) == ("list", DNS_ENDPOINTS))

    def policy(self, *targets: dict[str, Any], name: str = "shop") -> dict[str, Any]:
        metadata = {"namespace": "shop", "name": name}
        obj = self.cluster.put(FAILOVER_POLICIES, {"metadata": metadata, "spec": {"targets": list(targets)}})
        self.store.observe(FAILOVER_POLICIES, obj)
        return obj


@contextlib.asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[None]:
    task = asyncio.create_task(bench.resync.run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_nothing_is_asked_while_no_policy_names_one() -> None:
    bench = Bench()
    async with running(bench):
        bench.policy({"httpRoute": {"name": "shop"}})
        bench.policy({"dnsEndpoint": {"name": "d"}, "cluster": "eu"}, name="member")
        await asyncio.sleep(3600)
        assert bench.lists == 0
        assert bench.store.synced(), "it does not hold up the start"
        await asyncio.wait_for(bench.resync.looked_around(), 1)
        assert bench.resync.served() == frozenset()
        assert bench.resync.age() == 0.0, "what is not followed is not overdue"


async def test_it_is_followed_from_the_first_policy_to_the_last() -> None:
    bench = Bench()
    bench.cluster.put(DNS_ENDPOINTS, {"metadata": {"namespace": "shop", "name": "d"}, "spec": {}})
    async with running(bench):
        await asyncio.sleep(1)
        first = bench.policy({"dnsEndpoint": {"name": "d"}})
        await asyncio.sleep(0.1)
        assert bench.lists == 1
        assert bench.resync.served() == {DNS_ENDPOINTS}
        assert bench.store.get(DNS_ENDPOINTS, "shop", "d")
        bench.policy({"dnsEndpoint": {"name": "d"}})
        await asyncio.sleep(0.1)
        assert bench.lists == 1, "another change of policies is no reason to list again"
        await asyncio.sleep(700)
        assert bench.lists == 3
        bench.store.remove(FAILOVER_POLICIES, first)
        await asyncio.sleep(3600)
        assert bench.lists == 3
        assert bench.resync.served() == frozenset()
        assert bench.store.list(DNS_ENDPOINTS) == []
