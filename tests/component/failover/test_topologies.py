"""LeaderElection and BlueGreen through the whole engine on an in-memory API server: what moves, what is remembered."""

from __future__ import annotations

import dataclasses
from typing import Any

from regent.domain.health.model import Figures, Health
from regent.domain.times import parse_rfc3339
from regent.engine.resources import FAILOVER_POLICIES
from tests.fakes.world import AP, EU, US, World, policy

GROUPS = {"blue": [EU], "green": [US, AP], "switchAfter": "60s", "observe": "10m"}


def _free(world: World, name: str, percent: float) -> None:
    health = world.tracker.regions[name]
    world.tracker.regions[name] = dataclasses.replace(health, figures=Figures(capacity_available_percent=percent))


async def _later(world: World, seconds: float) -> None:
    world.clock.advance(seconds)
    world.tracker.fresh()
    await world.visit()


def _edit(world: World, **spec: Any) -> None:
    """A person edits the spec; the status stays."""
    status = world.status()
    world.cluster.put(FAILOVER_POLICIES, {**policy(**spec), "status": status})


async def test_the_region_with_the_most_free_capacity_is_elected_and_has_no_home() -> None:
    world = World().furnish(topology="LeaderElection", failback={"mode": "Automatic", "stabilization": "1s"})
    await world.visit()
    _free(world, US, 40)
    _free(world, AP, 90)
    world.tracker.down(EU)
    await world.visit()
    assert world.weights() == {EU: 0, US: 0, AP: 100}, "priority is not what a leader is elected by"
    world.tracker.up(EU)
    await _later(world, 400)
    assert world.status()["activeRegion"] == AP, "preemption is Never"
    assert not world.status().get("failbackRegion")


async def test_a_better_region_takes_over_after_stabilization_and_a_new_process_counts_on() -> None:
    world = World().furnish(
        topology="LeaderElection", preemption="AfterStabilization", failback={"stabilization": "60s"}
    )
    await world.visit()
    await _later(world, 0.9)
    world.tracker.up(EU, health=Health.DEGRADED)
    since = world.clock.wall()
    await world.visit()
    better = world.status()["challenger"]["region"]
    assert world.condition("Progressing")["reason"] == "SwitchPending"
    await _later(world, 30)
    world.boot()
    assert world.status()["challenger"]["region"] == better
    assert world.status()["activeRegion"] == EU
    await _later(world, 29.2)
    assert world.status()["activeRegion"] == better
    [run] = world.runs()
    assert parse_rfc3339(run["status"]["startTime"]) - since >= 60, "not a part of a second earlier"
    assert (run["spec"]["type"], run["status"]["trigger"]) == ("Switchover", "Preemption")
    assert "challenger" not in world.status()


async def test_a_leader_that_recovers_in_time_stays() -> None:
    world = World().furnish(
        topology="LeaderElection", preemption="AfterStabilization", failback={"stabilization": "60s"}
    )
    await world.visit()
    world.tracker.up(EU, health=Health.DEGRADED)
    await _later(world, 50)
    world.tracker.up(EU)
    await _later(world, 5)
    world.tracker.up(EU, health=Health.DEGRADED)
    await _later(world, 50)
    assert world.runs() == [], "the count began anew"


async def _blue_green(**spec: Any) -> World:
    world = World().furnish(topology="BlueGreen", blueGreen=GROUPS, **spec)
    await world.visit()
    return world


async def test_the_group_that_has_the_weight_is_adopted() -> None:
    world = await _blue_green()
    status = world.status()
    assert (status["activeRegion"], status["activeRegions"]) == (EU, [EU])
    assert world.weights() == {EU: 100, US: 0, AP: 0}


async def test_desired_switches_once_the_group_is_wholly_healthy_for_long_enough() -> None:
    world = await _blue_green()
    world.tracker.up(AP, since=world.clock.monotonic())
    _edit(world, topology="BlueGreen", blueGreen={**GROUPS, "desired": "Green"})
    await world.visit()
    assert world.condition("Progressing")["reason"] == "SwitchPending"
    await _later(world, 55)
    assert world.weights()[EU] == 100
    await _later(world, 6)
    assert world.weights() == {EU: 0, US: 50, AP: 50}
    status = world.status()
    assert (status["activeRegion"], status["activeRegions"], status["active"]) == (US, [US, AP], f"{US},{AP}")
    assert status["blueGreen"]["group"] == "Green"
    assert world.runs()[0]["spec"]["type"] == "Switchover"


async def _switched() -> World:
    world = await _blue_green()
    _edit(world, topology="BlueGreen", blueGreen={**GROUPS, "desired": "Green"})
    await world.visit()
    assert world.status()["activeRegions"] == [US, AP]
    return world


async def test_a_group_that_fails_on_trial_is_left_and_latched_until_desired_changes() -> None:
    world = await _switched()
    await _later(world, 120)
    world.boot()
    world.tracker.holding.add((AP, "LOAD_ERROR_RATE"))
    await world.visit()
    assert world.weights() == {EU: 100, US: 0, AP: 0}, "one region of the new group is enough"
    assert world.status()["blueGreen"] == {"group": "Blue", "latchedGroup": "Green", "latchReason": "FailedInObserve"}
    world.tracker.holding.clear()
    world.boot()
    await _later(world, 7200)
    assert world.status()["activeRegions"] == [EU], "latched, also for a new process"
    assert "blueGreen.desired" in world.condition("Progressing")["message"]
    _edit(world, topology="BlueGreen", blueGreen={**GROUPS, "desired": "Blue"})
    await world.visit()
    assert "latchedGroup" not in world.status()["blueGreen"]
    _edit(world, topology="BlueGreen", blueGreen={**GROUPS, "desired": "Green"})
    await world.visit()
    assert world.status()["activeRegions"] == [US, AP]


async def test_after_the_trial_a_failing_region_leaves_its_share_to_its_group() -> None:
    world = await _switched()
    await _later(world, 601)
    world.tracker.down(US)
    await world.visit()
    assert world.weights() == {EU: 0, US: 0, AP: 100}
    assert world.status()["activeRegion"] == AP
    world.tracker.down(AP)
    await world.visit()
    assert world.weights() == {EU: 100, US: 0, AP: 0}, "nobody of the group is left"
    assert world.status()["blueGreen"]["latchReason"] == "FailedOver"
    world.tracker.up(US)
    world.tracker.up(AP)
    await _later(world, 4000)
    assert world.status()["activeRegions"] == [EU], "failback.mode is Manual"
    offer = world.condition("ActionRequired")
    assert (offer["status"], offer["reason"]) == ("False", "FailbackPossible")
    assert f'"to":"{US}"' in offer["message"]


async def test_with_automatic_failback_the_desired_group_returns_after_stabilization() -> None:
    world = await _blue_green(failback={"mode": "Automatic", "stabilization": "5m"}, safety={"cooldown": "1s"})
    world.tracker.down(EU)
    await world.visit()
    assert world.status()["activeRegions"] == [US, AP]
    world.tracker.up(EU, since=world.clock.monotonic())
    await _later(world, 200)
    assert world.status()["activeRegions"] == [US, AP]
    await _later(world, 101)
    assert world.status()["activeRegions"] == [EU]
    assert world.runs()[-1]["spec"]["type"] == "Failback"
