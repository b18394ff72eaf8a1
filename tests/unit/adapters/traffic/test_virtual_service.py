"""What Istio means by a VirtualService: weights that are not there, and its own word on the object."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicyRegion, PolicySpec
from regent.domain.traffic.targets import VIRTUAL_SERVICE, TargetSpec
from regent.engine.resources import VIRTUAL_SERVICES
from regent.engine.store import Store
from regent.engine.traffic import TrafficTarget
from tests.fakes.cluster import FakeCluster
from tests.fakes.targets import make_targets


def to(host: str, weight: int | None = None) -> dict[str, Any]:
    route: dict[str, Any] = {"destination": {"host": host}}
    return route if weight is None else {**route, "weight": weight}


def bench(*rules: list[dict[str, Any]], status: Any = None) -> tuple[FakeCluster, TrafficTarget]:
    cluster, store = FakeCluster(), Store()
    cluster.feed(store)
    obj: dict[str, Any] = {"metadata": {"namespace": "n", "name": "v"}}
    cluster.put(
        VIRTUAL_SERVICES, {**obj, "spec": {"http": [{"route": rule} for rule in rules]}, "status": status or {}}
    )
    policy = PolicySpec(namespace="n", name="p", uid="u", regions=(PolicyRegion(name="eu"), PolicyRegion(name="us")))
    spec = TargetSpec(kind=VIRTUAL_SERVICE, name="v", regions_by_service={"eu": "eu", "us": "us"})
    [target] = make_targets(cluster, store).targets(policy, [spec])
    return cluster, target


async def routes(cluster: FakeCluster) -> list[Any]:
    return [rule["route"] for rule in (await cluster.get(VIRTUAL_SERVICES, "n", "v"))["spec"]["http"]]


async def test_an_absent_weight_that_is_right_stays_absent() -> None:
    cluster, target = bench([to("us")], [to("eu", 100), to("us")])
    state = await target.apply({"eu": 0, "us": 100}, fence=Fence(2), owner="n/p/u")
    assert await routes(cluster) == [[to("us")], [to("eu", 0), to("us", 100)]]
    assert state.shares == {"us": 100}
    await target.apply({"eu": 100, "us": 0}, fence=Fence(3), owner="n/p/u")
    assert (await routes(cluster))[0] == [to("us")], "a rule without a region that has a share stays as it is"
    state = await target.observe({"eu": 100, "us": 0})
    assert state.message.startswith("RuleNotCovered: rule http[0] of VirtualService/v")


@pytest.mark.parametrize(
    ("status", "accepted"),
    [
        ({}, True),
        ({"validationMessages": [{"level": "WARNING"}]}, True),
        ({"observedGeneration": "1", "validationMessages": [{"level": "ERROR", "type": {"code": "IST0101"}}]}, False),
        ({"observedGeneration": 0, "validationMessages": [{"level": "ERROR"}]}, True),
        ({"observedGeneration": "x", "validationMessages": [{"level": "ERROR"}]}, True),
    ],
)
async def test_only_an_error_about_this_generation_counts_against_it(status: dict[str, Any], accepted: bool) -> None:
    _, target = bench([to("eu", 100), to("us", 0)], status=status)
    state = await target.observe({"eu": 100, "us": 0})
    assert state.accepted is accepted, state.accepted_message
