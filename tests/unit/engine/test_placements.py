"""What a PlacementPolicy's status says, from objects as the API serves them."""

from __future__ import annotations

from typing import Any

import pytest

from regent.engine.placements import PlacementReconciler
from regent.engine.queue import Key, KeyedQueue
from regent.engine.resources import FAILOVER_POLICIES, PLACEMENT_POLICIES, REGIONS, REPLICATION_POLICIES
from regent.engine.status import StatusWriter
from regent.engine.store import Store
from tests.fakes.clock import FakeClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.ports import FakeLeadership, FakeMetrics

EU, US, AP = "eu", "us", "ap"


class Bench:
    def __init__(self) -> None:
        self.cluster, self.store = FakeCluster(), Store()
        self.cluster.feed(self.store)
        status = StatusWriter(self.cluster, self.store, FakeLeadership(), metrics=FakeMetrics())
        self.queue = KeyedQueue(jitter=lambda: 0.5)
        self.part = PlacementReconciler(store=self.store, status=status, queue=self.queue, clock=FakeClock())
        for name, carries in ((EU, ["GDPR"]), (US, []), (AP, ["GDPR", "PCI"])):
            self.cluster.put(REGIONS, {"metadata": {"name": name}, "spec": {"compliance": carries}})

    async def status(self, **spec: Any) -> dict[str, Any]:
        self.cluster.put(PLACEMENT_POLICIES, {"metadata": {"namespace": "n", "name": "p"}, "spec": spec})
        await self.part.reconcile(Key(PLACEMENT_POLICIES, "n", "p"))
        obj = self.store.get(PLACEMENT_POLICIES, "n", "p")
        assert obj is not None
        return dict(obj["status"])

    def failover(self, name: str, active: list[str], **labels: str) -> None:
        metadata = {"namespace": "n", "name": name, "labels": labels}
        self.cluster.put(FAILOVER_POLICIES, {"metadata": metadata, "spec": {}, "status": {"activeRegions": active}})

    def replication(self, name: str, source: str, targets: list[str]) -> None:
        spec = {"targets": [{"region": target} for target in targets]}
        self.cluster.put(
            REPLICATION_POLICIES,
            {"metadata": {"namespace": "n", "name": name}, "spec": spec, "status": {"sourceRegion": source}},
        )


@pytest.mark.parametrize(
    ("spec", "eligible"),
    [
        ({"compliance": ["GDPR"]}, "ap,eu"),
        ({"allowedRegions": [US, EU]}, "eu,us"),
        ({"compliance": ["GDPR"], "allowedRegions": [US, EU]}, "eu"),
        ({"crossRegionTransfer": "Denied"}, "ap,eu,us"),
        ({"allowedRegions": [EU], "locality": "None"}, "eu"),
    ],
)
async def test_eligible_are_the_regions_that_satisfy_it(spec: dict[str, Any], eligible: str) -> None:
    status = await Bench().status(**spec)
    assert (status["eligibleRegions"], status["violations"]) == (eligible, 0)
    assert status["conditions"][0]["reason"] == "Obeyed"


async def test_no_region_at_all_is_said() -> None:
    status = await Bench().status(compliance=["HIPAA"])
    assert (status["eligibleRegions"], status["conditions"][0]["reason"]) == ("", "NoEligibleRegion")
    assert status["conditions"][0]["status"] == "False"


async def test_who_breaks_it_is_counted_and_named() -> None:
    bench = Bench()
    bench.failover("shop", [US])
    bench.failover("shared", [EU, US])
    bench.failover("fine", [EU])
    bench.replication("copies", EU, [US])
    bench.replication("back", US, [EU])
    status = await bench.status(compliance=["GDPR"])
    assert status["violations"] == 3
    message = status["conditions"][0]["message"]
    assert message.endswith("FailoverPolicy shared, FailoverPolicy shop, ReplicationPolicy copies")


@pytest.mark.parametrize(("locality", "violations"), [("Strict", 1), ("Region", 0), ("None", 0)])
async def test_only_a_strict_rule_can_be_broken_by_being_active(locality: str, violations: int) -> None:
    bench = Bench()
    bench.failover("shop", [US])
    assert (await bench.status(allowedRegions=[EU], locality=locality))["violations"] == violations


async def test_what_it_does_not_select_does_not_break_it() -> None:
    bench = Bench()
    bench.failover("shop", [US], data="public")
    assert (await bench.status(allowedRegions=[EU], selector={"matchLabels": {"data": "personal"}}))["violations"] == 0


async def test_denied_transfers_are_broken_by_every_copy_to_another_region() -> None:
    bench = Bench()
    bench.replication("copies", EU, [US])
    assert (await bench.status(crossRegionTransfer="Denied"))["violations"] == 1


async def test_it_is_visited_when_a_region_or_a_policy_changes() -> None:
    bench = Bench()
    await bench.status(allowedRegions=[EU])
    for change in (lambda: bench.failover("shop", [US]), lambda: bench.replication("copies", EU, [US])):
        while bench.queue.depth:
            bench.queue.done(await bench.queue.get())
        change()
        assert bench.queue.depth == 1
