"""What stands around a policy (placement, replication, capacity, windows, suspended Regions) reaches its decisions."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from regent.domain.failover.model import PolicySpec, PolicyState
from regent.domain.failover.options import ReplicationRef, RunOptions
from regent.domain.health.model import Figures
from regent.domain.times import rfc3339
from regent.engine.policy_surroundings import replication_lags
from regent.engine.policy_watch import PolicyWatch
from regent.engine.queue import KeyedQueue
from regent.engine.resources import FAILOVER_POLICIES, PLACEMENT_POLICIES, REGIONS, REPLICATION_POLICIES
from tests.fakes.world import AP, EU, US, World, policy, region

NOW = 1_800_000_000.0


def _placement(name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"namespace": "shop", "name": name}
    return {"apiVersion": "regent.dev/v1alpha1", "kind": "PlacementPolicy", "metadata": metadata, "spec": spec}


def _reasons(world: World, name: str) -> list[str]:
    return next(row["reasons"] for row in world.status()["candidates"] if row["region"] == name)


async def test_a_region_without_the_frameworks_is_no_candidate_and_the_policy_says_so() -> None:
    world = World().furnish()
    world.cluster.put(REGIONS, region(EU, compliance=["GDPR", "SOC2"]))
    world.cluster.put(REGIONS, region(AP, compliance=["GDPR"]))
    world.cluster.put(PLACEMENT_POLICIES, _placement("gdpr", compliance=["GDPR"]))
    await world.visit()
    assert _reasons(world, US) == ["PlacementDenied"]
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PlacementDenied")
    assert "does not carry GDPR" in ready["message"]
    world.tracker.down(EU)
    await world.visit()
    assert world.status()["activeRegion"] == AP


async def test_a_placement_policy_for_other_objects_binds_nobody() -> None:
    world = World().furnish()
    selector = {"matchLabels": {"tier": "gold"}}
    world.cluster.put(PLACEMENT_POLICIES, _placement("gold", selector=selector, allowedRegions=[EU]))
    await world.visit()
    assert _reasons(world, US) == []
    labelled = policy()
    labelled["metadata"]["labels"] = {"tier": "gold"}
    world.cluster.put(FAILOVER_POLICIES, {**labelled, "status": world.status()})
    await world.visit()
    assert _reasons(world, US) == ["PlacementDenied"]


async def test_locality_region_prefers_and_does_not_forbid() -> None:
    world = World().furnish()
    world.cluster.put(PLACEMENT_POLICIES, _placement("near", allowedRegions=[EU, AP], locality="Region"))
    await world.visit()
    world.tracker.down(EU)
    await world.visit()
    assert world.status()["activeRegion"] == AP, "us-east-1 has the higher priority, and is not preferred"


async def test_a_suspended_region_is_shown_and_neither_left_nor_entered() -> None:
    world = World().furnish()
    world.cluster.put(REGIONS, region(US, suspend=True, priority=90))
    await world.visit()
    assert world.condition("Suspended")["reason"] == "RegionSuspended"
    labels = frozenset({("namespace", "shop"), ("policy", "shop")})
    assert world.metrics.gauges["regent_policy_suspended", labels] == 1.0
    world.tracker.down(EU)
    await world.visit()
    assert world.status()["activeRegion"] == AP
    world.cluster.put(REGIONS, region(AP, suspend=True))
    world.tracker.down(AP)
    await world.visit()
    assert world.status()["activeRegion"] == AP
    assert world.condition("ActionRequired")["reason"] == "RegionSuspended"


async def test_what_a_region_cannot_take_stays_and_follows_when_there_is_room() -> None:
    world = World().furnish(topology="ActiveActive", safety={"cooldown": "1s"})
    await world.visit()
    for name, free in ((US, 10), (AP, 10)):
        health = world.tracker.regions[name]
        world.tracker.regions[name] = dataclasses.replace(health, figures=Figures(capacity_available_percent=free))
    world.tracker.down(EU)
    await world.visit()
    status = {row["region"]: row["weightPercent"] for row in world.status()["distribution"]}
    assert status == {EU: 28, US: 36, AP: 36}
    assert world.condition("Progressing")["reason"] == "CapacityShort"
    for name in (US, AP):
        health = world.tracker.regions[name]
        world.tracker.regions[name] = dataclasses.replace(health, figures=Figures(capacity_available_percent=60))
    await world.visit()
    assert world.weights()[EU] == 0


async def test_a_budget_that_is_spent_alerts_and_does_not_keep_an_outage() -> None:
    world = World().furnish(safety={"budget": {"failovers": 1, "per": "6h"}, "cooldown": "1s"})
    await world.visit()
    world.tracker.down(EU)
    await world.visit()
    assert world.condition("BudgetSpent")["status"] == "True"
    world.tracker.down(US)
    await world.visit()
    assert world.status()["activeRegion"] == AP


async def test_half_of_the_traffic_moves_at_a_time() -> None:
    world = World().furnish(safety={"maxShift": {"percent": 50, "per": "60s"}})
    await world.visit()
    world.tracker.holding.add((EU, "LOAD_ERROR_RATE"))
    await world.visit()
    assert world.weights() == {EU: 50, US: 50, AP: 0}
    assert world.status()["activeRegion"] == US
    assert world.condition("Progressing")["reason"] == "MaxShift"
    world.clock.advance(61)
    world.tracker.fresh()
    await world.visit()
    assert world.weights() == {EU: 0, US: 100, AP: 0}
    assert [run["spec"]["type"] for run in world.runs()] == ["Failover", "Rebalance"]
    assert world.status()["failbackRegion"] == EU


async def test_an_override_comes_and_goes() -> None:
    world = World().furnish()
    await world.visit()
    override = _override(world, hours=23)
    world.cluster.put(FAILOVER_POLICIES, {**policy(trafficOverride=override), "status": world.status()})
    await world.visit()
    assert world.weights() == {EU: 0, US: 100, AP: 0}
    assert world.status()["activeRegion"] == US
    world.cluster.put(FAILOVER_POLICIES, {**policy(), "status": world.status()})
    await world.visit()
    assert world.weights() == {EU: 100, US: 0, AP: 0}
    assert {run["spec"]["type"] for run in world.runs()} == {"Rebalance"}
    assert not world.status().get("failbackRegion")


async def test_an_override_that_ends_after_more_than_a_day_is_said_and_not_obeyed() -> None:
    world = World().furnish()
    await world.visit()
    late = {**policy(trafficOverride=_override(world, hours=25)), "status": world.status()}
    world.cluster.put(FAILOVER_POLICIES, late)
    await world.visit()
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "OverrideTooLong")
    assert "more than 24 h from now is not obeyed. Set an earlier time" in ready["message"]
    assert (world.weights()[EU], world.runs()) == (100, [])
    world.tracker.down(EU)
    await world.visit()
    assert world.status()["activeRegion"] == US


def _override(world: World, *, hours: float) -> dict[str, Any]:
    ends = rfc3339(world.clock.wall() + hours * 3600)
    return {"distribution": [{"region": US, "weightPercent": 100}], "expirationTime": ends}


def _replication(source: str, **lags: int) -> dict[str, Any]:
    rows = [{"region": name.replace("_", "-"), "lagMilliseconds": lag} for name, lag in lags.items()]
    status = {"sourceRegion": source, "targets": [*rows, {"region": AP}]}
    return {**_placement("data"), "kind": "ReplicationPolicy", "status": status}


def test_the_lag_of_required_policies_is_read_and_unknown_where_it_says_nothing() -> None:
    world = World().furnish()
    refs = (ReplicationRef(name="data", required=True), ReplicationRef(name="logs", required=False))
    spec = PolicySpec(namespace="shop", name="shop", uid="u", options=RunOptions(replication=refs))
    state = PolicyState(active_region=EU)
    assert replication_lags(world.store, spec, state, wall=NOW) == {"data": {}}, "a policy that is missing says nothing"
    world.cluster.put(REPLICATION_POLICIES, _replication(EU, us_east_1=1500))
    assert replication_lags(world.store, spec, state, wall=NOW) == {"data": {US: 1.5, AP: None}}
    world.cluster.put(REPLICATION_POLICIES, _replication(US, us_east_1=0))
    assert replication_lags(world.store, spec, state, wall=NOW) == {"data": {}}, "it replicates from elsewhere"


@pytest.mark.parametrize(
    ("lag", "storage", "expected"),
    [
        (2000, {"volumes": 2, "lastSyncTime": rfc3339(NOW - 300), "lagMilliseconds": 500_000}, 300.0),
        (900_000, {"volumes": 2, "lastSyncTime": rfc3339(NOW - 300)}, 900.0),
        (2000, {"volumes": 2}, None),
        (2000, {"volumes": 0}, None),
        (None, {"volumes": 1, "lastSyncTime": rfc3339(NOW)}, None),
    ],
)
def test_the_data_of_volumes_counts_for_the_lag(
    lag: int | None, storage: dict[str, Any], expected: float | None
) -> None:
    """Fails when volumes that are far behind, or of which nothing is known, are taken for current."""
    world = World().furnish()
    spec = PolicySpec(
        namespace="shop", name="shop", uid="u",
        options=RunOptions(replication=(ReplicationRef(name="data", required=True),)),
    )  # fmt: skip
    obj = _replication(EU)
    row = {"region": US, "storage": storage, **({"lagMilliseconds": lag} if lag is not None else {})}
    world.cluster.put(REPLICATION_POLICIES, {**obj, "status": {**obj["status"], "targets": [row]}})
    found = replication_lags(world.store, spec, PolicyState(active_region=EU), wall=NOW)
    assert found == {"data": {US: expected}}


async def test_a_change_of_placement_or_replication_wakes_the_policies_of_its_namespace() -> None:
    world = World().furnish()
    queue = KeyedQueue(jitter=lambda: 0.0)
    PolicyWatch(store=world.store, tracker=world.tracker, queue=queue)  # type: ignore[arg-type]
    for resource, kind in ((PLACEMENT_POLICIES, "PlacementPolicy"), (REPLICATION_POLICIES, "ReplicationPolicy")):
        world.cluster.put(resource, {**_placement("any"), "kind": kind})
        key = await queue.get()
        assert (key.resource, key.name) == (FAILOVER_POLICIES, "shop")
        queue.done(key)


async def test_a_short_history_does_not_switch_the_budget_off() -> None:
    rules = {"budget": {"failovers": 2, "per": "6h"}, "cooldown": "1s"}
    world = World().furnish(safety=rules, historyLimit=1)
    await world.visit()
    for name in (EU, US):
        world.tracker.holding = {(name, "LOAD_ERROR_RATE")}
        await world.visit()
        world.clock.advance(3600)
        world.tracker.fresh()
        await world.visit()
    assert len(world.runs()) == 2, "the budget counts both, whatever people want to see"
    assert world.condition("BudgetSpent")["status"] == "True"
    world.tracker.holding = {(AP, "LOAD_ERROR_RATE"), (EU, "LOAD_ERROR_RATE")}
    await world.visit()
    assert world.condition("Progressing")["reason"] == "BudgetSpent"
    world.clock.advance(6 * 3600)
    world.tracker.holding.clear()
    world.tracker.fresh()
    await world.visit()
    assert len(world.runs()) == 1


async def test_everything_at_rest_is_shown_as_condition_and_metric_and_moves_nothing() -> None:
    world = World()
    world.suspend_all = True
    world.furnish()
    await world.visit()
    suspended = world.condition("Suspended")
    assert (suspended["status"], suspended["reason"]) == ("True", "SuspendedGlobally")
    assert "failover.suspendAll" in suspended["message"]
    assert world.status()["phase"] == "Suspended"
    labels = frozenset({("namespace", "shop"), ("policy", "shop")})
    assert world.metrics.gauges["regent_policy_suspended", labels] == 1.0
    world.tracker.down(EU)
    await world.visit()
    assert (world.runs(), world.weights()[EU]) == ([], 100)
    assert world.condition("ActionRequired")["reason"] == "SuspendedGlobally"
    world.ask(to=US)
    await world.visit()
    assert world.status()["activeRegion"] == US, "a person goes through"


async def test_a_time_zone_of_drills_that_is_none_is_said() -> None:
    world = World().furnish(drills={"schedule": "0 3 * * *", "timeZone": "Europe/Atlantis"})
    await world.visit()
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSchedule")
    assert "there is no time zone 'Europe/Atlantis'" in ready["message"]


async def test_a_latency_that_no_probe_can_see_is_said_and_stops_nothing() -> None:
    world = World().furnish(triggers={"latency": {"mode": "Enabled", "threshold": "2s"}})
    patient = [{"name": "web", "http": {"path": "/"}, "timeout": "3s"}, {"name": "tcp", "tcp": {"port": 1}}]
    world.cluster.put(REGIONS, region(EU, probes=patient))
    world.cluster.put(REGIONS, region(AP, adminState="Disabled"))
    await world.visit()
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "TriggerCannotFire")
    assert "fires above 2s, and no probe waits longer in us-east-1 (2s)" in ready["message"]
    world.tracker.down(EU)
    await world.visit()
    assert world.status()["activeRegion"] == US
    world.cluster.put(REGIONS, region(US, probes=patient))
    await world.visit()
    assert world.condition("Ready")["status"] == "True"


async def test_a_rebalance_by_hand_says_what_to_set_instead() -> None:
    world = World().furnish()
    await world.visit()
    world.ask(type="Rebalance")
    await world.visit()
    status = world.run()["status"]
    said = next(item for item in status["conditions"] if item["type"] == "Complete")
    assert (status["phase"], world.weights()[EU]) == ("Failed", 100)
    assert "set spec.trafficOverride of the policy" in said["message"]
