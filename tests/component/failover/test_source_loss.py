"""A planned run whose old side fails under it: it goes on as a failover, waits for a person, or makes room for one."""

from typing import Any

import pytest

from regent.domain.failover.roles import Role
from tests.fakes.world import AP, EU, US, World

STAGES = [{"percent": 10, "hold": "1h"}, {"percent": 50, "hold": "1h"}]
GRADUAL = {"type": "Gradual", "steps": STAGES}
DB = {
    "name": "db",
    "type": "Patroni",
    "patroni": {"clusters": [{"region": name, "url": f"https://{name}.example.com"} for name in (EU, US, AP)]},
}


async def half_way(**spec: Any) -> World:
    """A stateless move that holds its first stage."""
    world = World().furnish(transition=GRADUAL, **spec)
    await world.visit()
    world.ask(to=US)
    await world.visit()
    assert world.weights() == {EU: 90, US: 10, AP: 0}
    return world


def database(**spec: Any) -> World:
    world = World().furnish(promotion={"steps": [DB]}, **spec)
    for region in (EU, US, AP):
        world.steps.roles["db", region] = Role.ACTIVE if region == EU else Role.STANDBY
    return world


async def test_a_gradual_move_is_finished_at_once_when_its_source_dies() -> None:
    world = await half_way()
    world.tracker.down(EU)
    await world.visit()
    status = world.run()["status"]
    assert (status["phase"], world.weights()) == ("Succeeded", {EU: 0, US: 100, AP: 0})
    assert (world.status()["activeRegion"], world.status()["epoch"]) == (US, 2)
    assert {"1 Shift/10 Succeeded", "1 Shift/50 Skipped"} <= set(world.journal())
    assert (status["plan"]["planned"], status["plan"]["transition"]) == (False, "Immediate")
    assert next(step["message"] for step in status["steps"] if step["name"] == "Shift/50").endswith(
        f"{EU} failed during the hand-over"
    )


async def test_a_verdict_that_is_doubted_changes_nothing() -> None:
    world = await half_way()
    world.tracker.suspect = "its own network is away"
    world.tracker.down(EU)
    await world.visit()
    assert world.weights() == {EU: 90, US: 10, AP: 0}
    assert world.run()["status"]["plan"]["planned"] is True
    world.tracker.suspect = ""
    await world.visit()
    assert world.weights() == {EU: 0, US: 100, AP: 0}


async def test_in_mode_manual_a_person_decides_and_waiting_costs_nothing() -> None:
    world = await half_way(mode="Manual")
    world.tracker.down(EU)
    await world.visit()
    status = world.run()["status"]
    assert (status["phase"], world.weights()) == ("Paused", {EU: 90, US: 10, AP: 0})
    assert "set spec.control.force" in world.condition("ActionRequired")["message"]
    writes = len(world.cluster.writes)
    world.clock.advance(5)
    world.tracker.fresh()
    await world.visit()
    assert world.cluster.writes[writes:] == []
    world.say(force=True)
    await world.visit()
    assert (world.run()["status"]["phase"], world.weights()) == ("Succeeded", {EU: 0, US: 100, AP: 0})


async def test_in_mode_manual_a_source_that_comes_back_is_left_as_it_was_planned() -> None:
    world = await half_way(mode="Manual")
    world.tracker.down(EU)
    await world.visit()
    world.tracker.up(EU)
    await world.visit()
    status = world.run()["status"]
    assert (status["phase"], status["plan"]["planned"]) == ("Running", True)
    assert world.weights() == {EU: 90, US: 10, AP: 0}


async def test_a_primary_that_dies_before_it_was_demoted_is_fenced_first() -> None:
    world = database()
    await world.visit()
    world.steps.slow = 1000
    world.ask(to=US)
    await world.visit(times=3)
    world.tracker.down(EU)
    world.steps.away.add(EU)
    await world.visit(times=20)
    status = world.run()["status"]
    assert (status["phase"], status["currentStep"]) == ("Paused", "Isolate")
    assert f"db {US} Active" not in world.steps.effects
    writes = len(world.cluster.writes)
    world.clock.advance(5)
    world.tracker.fresh()
    await world.visit(times=5)
    assert world.cluster.writes[writes:] == [], "a run that waits for a person writes nothing"
    world.steps.slow = 0
    world.say(acceptDataLoss=True)
    await world.visit(times=60)
    status = world.run()["status"]
    assert status["phase"] == "Succeeded"
    assert (world.status()["activeRegion"], world.weights()) == (US, {EU: 0, US: 100, AP: 0})


@pytest.mark.parametrize("mode", ["Automatic", "Manual"])
async def test_a_region_that_fails_because_its_database_is_demoted_is_not_lost(mode: str) -> None:
    """A database starts anew to be demoted, and the service in front of it fails its probes meanwhile. Taken for a
    loss, every planned move would promote before the last writes are there, or wait for a person."""
    world = database(mode=mode, safety={"fencing": "BestEffort"})
    await world.visit()
    world.steps.slow = 1000
    world.ask(to=US)
    await world.visit(times=3)
    assert world.steps.effects == [f"db {EU} Standby"]
    world.tracker.down(EU)
    for _ in range(4):
        world.clock.advance(2)
        world.tracker.fresh()
        await world.visit(times=3)
    status = world.run()["status"]
    assert (status["phase"], status["currentStep"], status["plan"]["planned"]) == ("Running", "Isolate", True)
    assert world.steps.active("db") == [EU], "promoted before the old side was seen passive"
    world.steps.slow = 0
    world.steps.pending.clear()
    world.steps.set("db", **{EU: Role.STANDBY})
    world.steps.behind = 4096
    await world.visit(times=10)
    assert world.run()["status"]["currentStep"] == "FinalSync"
    world.steps.behind = 0
    await world.visit(times=40)
    status = world.run()["status"]
    assert (status["phase"], world.steps.active("db")) == ("Succeeded", [US])
    assert "estimatedDataLoss" not in status


WEB = {"name": "web", "type": "Scale", "scale": {"kind": "Deployment", "name": "shop", "replicas": 3}}


def workloads(**spec: Any) -> World:
    world = World().furnish(promotion={"steps": [WEB]}, **spec)
    for region in (EU, US, AP):
        world.steps.roles["web", region] = Role.ACTIVE if region == EU else Role.STANDBY
    return world


@pytest.mark.parametrize("mode", ["Automatic", "Manual"])
async def test_a_region_that_fails_because_its_workloads_are_stopped_is_not_lost(mode: str) -> None:
    world = workloads(mode=mode, transition={"type": "Graceful", "drain": "1s"})
    await world.visit()
    world.ask(to=US)
    await world.visit(times=10)
    world.steps.slow = 1000
    world.clock.advance(1.5)
    world.tracker.fresh()
    await world.visit(times=3)
    assert world.steps.effects[-1] == f"web {EU} Standby"
    world.tracker.down(EU)
    world.clock.advance(10)  # pods take their time to end
    world.tracker.fresh()
    await world.visit(times=3)
    status = world.run()["status"]
    assert (status["phase"], status["currentStep"], status["plan"]["planned"]) == ("Running", "Isolate", True)
    world.steps.pending.clear()
    world.steps.roles["web", EU] = Role.STANDBY
    await world.visit(times=20)
    status = world.run()["status"]
    assert status["phase"] == "Succeeded"
    assert next(item for item in status["conditions"] if item["type"] == "Fenced")["reason"] == "Demoted"


async def test_workloads_that_never_stop_in_a_region_that_is_lost_hold_no_policy() -> None:
    world = workloads(transition={"type": "Graceful", "drain": "1s"})
    await world.visit()
    world.ask(to=US)
    await world.visit(times=10)
    world.steps.slow = 1000
    world.clock.advance(1.5)
    world.tracker.fresh()
    await world.visit(times=3)
    world.tracker.down(EU)
    world.clock.advance(31)
    world.tracker.fresh()
    await world.visit(times=20)
    status = world.run()["status"]
    assert (status["phase"], world.weights()) == ("Succeeded", {EU: 0, US: 100, AP: 0})
    assert [row["region"] for row in world.status()["rejoin"]] == [EU]


async def test_what_is_stopped_before_the_other_side_starts_gets_no_traffic_in_stages() -> None:
    world = workloads(transition=GRADUAL, safety={"fencing": "Required"})
    await world.visit()
    world.ask(to=US)
    await world.visit(times=30)
    status = world.run()["status"]
    assert (status["phase"], status["plan"]["transition"]) == ("Succeeded", "Graceful")
    assert world.steps.effects == [f"web {EU} Standby", f"web {US} Active"]


async def test_what_the_new_side_lacks_is_given_up_by_a_person_only() -> None:
    world = database(safety={"fencing": "BestEffort", "maxReplicationLag": "10s"})
    await world.visit()
    world.steps.behind = 4096
    world.ask(to=US)
    await world.visit(times=6)
    assert world.run()["status"]["currentStep"] == "FinalSync"
    world.steps.lags[US] = 60.0
    world.tracker.down(EU)
    world.steps.away.add(EU)
    await world.visit(times=20)
    assert world.run()["status"]["phase"] == "Paused"
    assert "safety.maxReplicationLag is 10s" in world.condition("ActionRequired")["message"]
    assert f"db {US} Active" not in world.steps.effects
    world.say(acceptDataLoss=True)
    await world.visit(times=60)
    status = world.run()["status"]
    assert (status["phase"], world.steps.roles["db", US]) == ("Succeeded", Role.ACTIVE)
    assert "4096" in status["estimatedDataLoss"] or "bytes behind" in status["estimatedDataLoss"]


async def test_an_old_side_that_dies_while_it_is_brought_back_is_not_waited_for() -> None:
    world = database(safety={"fencing": "None"})
    await world.visit()
    world.steps.stuck.add(("db", US))
    world.ask(to=US)
    await world.visit(times=12)
    world.steps.slow = 1000
    world.clock.advance(31)
    world.tracker.fresh()
    await world.visit(times=5)
    assert world.run()["status"]["phase"] == "RollingBack"
    world.tracker.down(EU)
    world.steps.away.add(EU)
    world.steps.slow = 0
    world.steps.stuck.clear()
    world.steps.pending.clear()
    await world.visit(times=80)
    assert world.run()["status"]["phase"] == "Failed"
    assert [run["status"]["phase"] for run in world.runs()] == ["Failed", "Succeeded"]
    assert world.status()["activeRegion"] in (US, AP)
    assert world.weights()[EU] == 0


async def test_a_shared_move_makes_room_when_another_region_dies() -> None:
    regions = [{"name": EU}, {"name": US}, {"name": AP}]
    world = World().furnish(topology="ActiveActive", regions=regions, transition=GRADUAL)
    await world.visit(times=30)
    before = world.weights()
    world.ask(to=US)
    await world.visit()
    assert world.run()["status"]["currentStep"] == "Shift/10"
    world.tracker.down(AP)
    await world.visit(times=30)
    assert world.run()["status"]["phase"] == "RolledBack", before
    assert world.weights()[AP] == 0
    assert world.weights()[EU] > 0


async def test_an_old_side_that_cannot_be_stopped_after_clients_have_moved_waits_for_a_person() -> None:
    world = workloads(transition={"type": "Graceful", "drain": "1s"})
    await world.visit()
    world.ask(to=US)
    await world.visit(times=10)
    world.steps.slow = 1000
    world.clock.advance(1.5)
    world.tracker.fresh()
    await world.visit(times=3)
    world.clock.advance(31)
    world.tracker.fresh()
    await world.visit(times=3)
    status = world.run()["status"]
    assert (status["phase"], status["currentStep"], world.weights()[US]) == ("Paused", "Isolate", 100)
    assert "traffic has moved" in world.condition("ActionRequired")["message"]
    writes = len(world.cluster.writes)
    world.clock.advance(5)
    world.tracker.fresh()
    await world.visit(times=3)
    assert world.cluster.writes[writes:] == []
    world.say(desired="Rollback")
    await world.visit(times=3)
    assert world.weights()[US] == 100, "what clients have seen is not taken back"
    world.say(desired="Run")
    world.steps.pending.clear()
    world.steps.roles["web", EU] = Role.STANDBY
    await world.visit(times=20)
    assert world.run()["status"]["phase"] == "Succeeded"


async def test_a_policy_that_wants_to_be_asked_is_asked_before_a_failed_step_is_undone() -> None:
    world = database(rollback="Pause")
    await world.visit()
    world.steps.behind = 4096
    world.ask(to=US)
    await world.visit(times=10)
    world.clock.advance(31)
    world.tracker.fresh()
    await world.visit(times=5)
    status = world.run()["status"]
    assert (status["phase"], status["currentStep"]) == ("Paused", "FinalSync")
    assert "spec.rollback of the policy is Pause" in world.condition("ActionRequired")["message"]
    world.say(desired="Rollback")
    await world.visit(times=40)
    assert (world.run()["status"]["phase"], world.steps.active("db")) == ("RolledBack", [EU])
