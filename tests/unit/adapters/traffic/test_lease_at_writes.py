"""Weights are written under a lease that holds at that very moment, not at the beginning of what led to them."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.errors import ConflictError, LeadershipLostError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicyRegion, PolicySpec
from regent.domain.traffic.targets import HTTP_ROUTE, TargetSpec
from regent.engine.ports import Object
from regent.engine.resources import HTTP_ROUTES, Resource
from regent.engine.store import Store
from tests.fakes.cluster import FakeCluster
from tests.fakes.members import FakeMembers
from tests.fakes.ports import FakeLeadership
from tests.fakes.targets import make_targets

ROUTE: dict[str, Any] = {
    "metadata": {"namespace": "n", "name": "r"},
    "spec": {"rules": [{"backendRefs": [{"name": "eu", "weight": 100}, {"name": "us", "weight": 0}]}]},
}
POLICY = PolicySpec(namespace="n", name="p", uid="u", regions=(PolicyRegion(name="eu"), PolicyRegion(name="us")))


class SlowToConnect(FakeMembers):
    """Connecting to a member cluster outlasts the lease."""

    def __init__(self, leadership: FakeLeadership) -> None:
        super().__init__()
        self._leadership = leadership
        self.slow = False

    async def cluster(self, region: str, *, account: str = "") -> FakeCluster:
        if self.slow:
            self._leadership.lose()
        return await super().cluster(region, account=account)


class SlowToReadAgain(FakeCluster):
    """Reading again after a conflict outlasts the lease."""

    def __init__(self, leadership: FakeLeadership) -> None:
        super().__init__()
        self._leadership = leadership

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        self._leadership.lose()
        return await super().get(resource, namespace, name)


def spec(cluster: str = "") -> TargetSpec:
    return TargetSpec(kind=HTTP_ROUTE, name="r", regions_by_service={"eu": "eu", "us": "us"}, cluster=cluster)


async def test_a_write_that_met_a_conflict_is_not_repeated_without_the_lease() -> None:
    leadership, store = FakeLeadership(), Store()
    cluster = SlowToReadAgain(leadership)
    cluster.put(HTTP_ROUTES, ROUTE)
    cluster.feed(store)
    cluster.fail("replace", ConflictError("the object has been modified", status=409))
    [target] = make_targets(cluster, store, leadership=leadership).targets(POLICY, [spec()])
    with pytest.raises(LeadershipLostError):
        await target.apply({"eu": 0, "us": 100}, fence=Fence(2), owner="n/p/u")
    assert [verb for verb, *_ in cluster.writes] == ["replace"], "the one that met the conflict"


async def test_a_member_cluster_that_was_slow_to_connect_is_not_written_without_the_lease() -> None:
    leadership = FakeLeadership()
    members = SlowToConnect(leadership)
    members.clusters["eu"].put(HTTP_ROUTES, ROUTE)
    [target] = make_targets(FakeCluster(), Store(), members=members, leadership=leadership).targets(
        POLICY, [spec("eu")]
    )
    await target.observe({"eu": 100, "us": 0})
    members.slow = True
    with pytest.raises(LeadershipLostError):
        await target.apply({"eu": 0, "us": 100}, fence=Fence(2), owner="n/p/u")
    assert not members.clusters["eu"].writes
