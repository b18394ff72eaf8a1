"""The engine of failovers on an in-memory API server: what is written, in which order, and what is shown."""

from __future__ import annotations

import contextlib
import json

import pytest

from regent.domain.health.model import Health
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS, HTTP_ROUTES, REGIONS
from tests.fakes.world import AP, EU, US, CrashError, CrashingCluster, World, policy, region, route


@pytest.fixture
def world() -> World:
    return World().furnish()


async def test_adopts_the_region_that_holds_the_weight_and_changes_no_weight(world: World) -> None:
    await world.visit()
    status = world.status()
    assert (status["activeRegion"], status["epoch"], status["phase"]) == (EU, 1, "Steady")
    assert world.weights() == {EU: 100, US: 0, AP: 0}
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("FailoverReady")["status"] == "True"
    assert status["targets"] == [{"target": "HTTPRoute/shop", "epoch": 1, "verification": "AcceptedOnly"}]


async def test_an_unreachable_active_region_is_left_for_the_best_candidate(world: World) -> None:
    await world.visit()
    world.tracker.down(EU)
    await world.visit()
    assert world.weights() == {EU: 0, US: 100, AP: 0}
    status = world.status()
    assert (status["activeRegion"], status["epoch"]) == (US, 2)
    assert status["active"] == US
    assert "operation" not in status
    [run] = world.runs()
    assert run["metadata"]["name"] == "shop-1"
    assert run["spec"]["from"] == EU
    assert run["status"]["phase"] == "Succeeded"
    assert run["status"]["trigger"] == "Unreachable"
    assert [step["name"] for step in run["status"]["steps"]][-1] == "Finalize"
    assert {step["state"] for step in run["status"]["steps"]} == {"Succeeded", "Skipped"}
    assert status["lastFailover"]["summary"].startswith(f"{EU}→{US} ")
    assert status["totals"] == {"succeeded": 1}
    assert any(event[2] == "FailoverStarted" for event in world.recorder.events)


async def test_nothing_is_written_when_nothing_changes(world: World) -> None:
    await world.visit()
    world.cluster.calls.clear()
    for _ in range(20):
        world.clock.advance(30)
        world.tracker.fresh()
        await world.visit()
    assert world.cluster.writes == []


async def test_the_next_failure_goes_on_to_the_third_region_within_the_cooldown(world: World) -> None:
    await world.visit()
    world.tracker.down(EU)
    await world.visit()
    world.tracker.up(EU)
    world.tracker.down(US)
    await world.visit()
    assert world.status()["activeRegion"] == AP, "eu-west-1 was left within the cooldown"


async def test_all_down_keeps_the_last_weights(world: World) -> None:
    await world.visit()
    for name in (EU, US, AP):
        world.tracker.down(name)
    await world.visit()
    assert world.weights() == {EU: 100, US: 0, AP: 0}
    assert world.status()["phase"] == "Blocked"
    assert world.condition("Progressing")["reason"] == "AllRegionsDown"
    assert world.runs() == []


async def test_manual_mode_says_the_command_and_moves_nothing(world: World) -> None:
    world.cluster.put(FAILOVER_POLICIES, policy(mode="Manual"))
    await world.visit()
    world.tracker.down(EU)
    await world.visit()
    assert world.weights()[EU] == 100
    assert world.runs() == []
    required = world.condition("ActionRequired")
    assert required["status"] == "True"
    assert "kubectl create -f -" in required["message"]
    assert f'"to":"{US}"' in required["message"]


async def test_automatic_failback_waits_for_stabilization_and_the_cooldown() -> None:
    world = World().furnish(
        failback={"mode": "Automatic", "stabilization": "60s"}, safety={"cooldown": "30s"}
    )  # fmt: skip
    await world.visit()
    world.tracker.down(EU)
    await world.visit()
    world.tracker.up(EU, since=world.clock.monotonic())
    await world.visit()
    assert world.status()["activeRegion"] == US
    assert world.condition("FailbackPending")["status"] == "True"
    world.clock.advance(61)
    world.tracker.fresh()
    await world.visit()
    assert world.status()["activeRegion"] == EU
    assert world.weights() == {EU: 100, US: 0, AP: 0}
    assert [run["spec"]["type"] for run in world.runs()] == ["Failover", "Failback"]
    assert not world.status().get("failbackRegion")


async def test_draining_the_active_region_switches_over(world: World) -> None:
    await world.visit()
    world.cluster.put(REGIONS, region(EU, adminState="Drained"))
    await world.visit()
    assert world.status()["activeRegion"] == US
    assert world.runs()[0]["spec"]["type"] == "Switchover"
    assert world.runs()[0]["status"]["trigger"] == "AdminState"


async def test_deleting_the_active_region_leaves_it(world: World) -> None:
    await world.visit()
    obj = world.store.get(REGIONS, "", EU)
    assert obj is not None
    await world.cluster.delete(REGIONS, "", EU, uid=obj["metadata"]["uid"])
    world.tracker.regions.pop(EU)
    await world.visit()
    assert world.status()["activeRegion"] == US
    assert world.runs()[0]["status"]["trigger"] == "RegionRemoved"


async def test_a_run_made_by_a_person_is_executed(world: World) -> None:
    await world.visit()
    world.cluster.put(FAILOVERS, manual_run("moved", EU, AP))
    await world.visit()
    assert world.status()["activeRegion"] == AP
    [run] = world.runs()
    assert run["status"]["phase"] == "Succeeded"
    assert run["status"]["trigger"] == "Manual"


async def test_a_run_from_a_region_that_is_not_active_is_refused(world: World) -> None:
    await world.visit()
    world.cluster.put(FAILOVERS, manual_run("wrong", US, AP))
    await world.visit()
    assert world.status()["activeRegion"] == EU
    [run] = world.runs()
    assert run["status"]["phase"] == "Superseded"
    assert "active is eu-west-1" in run["status"]["conditions"][0]["message"]


async def test_a_run_to_a_region_that_is_down_waits_and_an_outage_overtakes_it(world: World) -> None:
    await world.visit()
    world.tracker.down(US)
    world.cluster.put(FAILOVERS, manual_run("early", EU, US))
    await world.visit(times=3)
    assert world.runs()[0]["status"]["phase"] == "Blocked"
    world.tracker.down(EU)
    await world.visit()
    assert world.status()["activeRegion"] == AP
    phases = {run["metadata"]["name"]: run["status"]["phase"] for run in world.runs()}
    assert phases == {"early": "Superseded", "shop-1": "Succeeded"}


async def test_a_failover_that_cannot_be_read_ends_and_stops_nothing(world: World) -> None:
    """Fails when one bad object keeps its policy from being visited to the end."""
    await world.visit()
    world.cluster.put(FAILOVERS, manual_run("odd", EU, US, type="Teleport"))
    world.tracker.down(EU)
    await world.visit()
    assert world.status()["activeRegion"] == US
    phases = {run["metadata"]["name"]: run["status"]["phase"] for run in world.runs()}
    assert phases == {"odd": "Failed", "shop-1": "Succeeded"}


async def test_a_dry_run_plans_and_touches_nothing(world: World) -> None:
    await world.visit()
    world.cluster.put(FAILOVERS, manual_run("dry", EU, US, dryRun=True))
    await world.visit()
    [run] = world.runs()
    assert run["status"]["phase"] == "Succeeded"
    assert run["status"]["plan"]["chosen"] == US
    assert world.weights()[EU] == 100
    assert world.status()["epoch"] == 1


async def test_a_wiped_status_is_adopted_again_with_a_higher_epoch(world: World) -> None:
    await world.visit()
    world.tracker.down(EU)
    await world.visit()
    world.tracker.up(EU)
    obj = world.store.get(FAILOVER_POLICIES, "shop", "shop")
    assert obj is not None
    world.cluster.put(FAILOVER_POLICIES, {**obj, "status": {}})
    world.boot()
    await world.visit()
    assert (world.status()["activeRegion"], world.status()["epoch"]) == (US, 3)
    assert world.weights()[US] == 100


async def test_sources_that_disagree_are_put_before_a_person(world: World) -> None:
    await world.visit()
    world.tracker.down(EU)
    await world.visit()
    obj = world.store.get(FAILOVER_POLICIES, "shop", "shop")
    assert obj is not None
    world.cluster.put(FAILOVER_POLICIES, {**obj, "status": {}})
    world.cluster.put(HTTP_ROUTES, route({EU: 100, US: 0, AP: 0}))
    world.boot()
    await world.visit(times=2)
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "AdoptionAmbiguous")
    assert world.weights()[EU] == 100
    annotated = {**obj, "status": {}, "metadata": {**obj["metadata"], "annotations": {"regent.dev/adopt": US}}}
    world.cluster.put(FAILOVER_POLICIES, annotated)
    await world.visit()
    assert world.weights()[US] == 100


async def test_the_younger_of_two_policies_on_one_route_writes_nothing(world: World) -> None:
    younger = policy("late")
    younger["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z"
    world.cluster.put(FAILOVER_POLICIES, younger)
    await world.visit()
    world.cluster.calls.clear()
    await world.visit("late")
    ready = world.condition("Ready", "late")
    assert (ready["status"], ready["reason"]) == ("False", "TargetConflict")
    assert "shop/shop" in ready["message"]
    assert {call[1] for call in world.cluster.writes} == {FAILOVER_POLICIES}


async def test_a_writer_that_insists_gets_three_repairs_and_then_the_conflict_is_shown(world: World) -> None:
    await world.visit()
    repaired = 0
    for _ in range(6):
        obj = world.store.get(HTTP_ROUTES, "shop", "shop")
        assert obj is not None
        rules = route({EU: 0, US: 0, AP: 100})["spec"]["rules"]
        world.cluster.put(HTTP_ROUTES, {**obj, "spec": {"rules": rules}})
        await world.visit(times=3)
        repaired += world.weights()[EU] == 100
    assert repaired == 3
    assert world.condition("TrafficVerified")["reason"] == "TargetConflict"
    assert world.status()["targets"][0]["verification"] == "Conflict"


async def test_a_route_that_was_deleted_and_is_back_gets_its_weights(world: World) -> None:
    await world.visit()
    world.tracker.down(EU)
    await world.visit()
    obj = world.store.get(HTTP_ROUTES, "shop", "shop")
    assert obj is not None
    await world.cluster.delete(HTTP_ROUTES, "shop", "shop", uid=obj["metadata"]["uid"])
    await world.visit()
    assert world.condition("Ready")["reason"] == "TargetNotFound"
    world.cluster.put(HTTP_ROUTES, route({EU: 100, US: 0, AP: 0}))
    await world.visit()
    assert world.weights() == {EU: 0, US: 100, AP: 0}


async def test_active_active_takes_a_lost_regions_share_and_gives_it_back() -> None:
    world = World().furnish(
        topology="ActiveActive",
        regions=[{"name": name, "weightPercent": share} for name, share in ((EU, 60), (US, 30), (AP, 10))],
        safety={"cooldown": "10s"}, failback={"stabilization": "60s"},
    )  # fmt: skip
    await world.visit()
    assert world.weights() == {EU: 60, US: 30, AP: 10}
    world.tracker.down(EU)
    await world.visit()
    assert world.weights() == {EU: 0, US: 75, AP: 25}
    assert world.status()["activeRegions"] == [US, AP]
    world.tracker.up(EU, since=world.clock.monotonic())
    world.clock.advance(30)
    world.tracker.fresh()
    await world.visit()
    assert world.weights()[EU] == 0, "not before the stabilization is over"
    world.clock.advance(31)
    world.tracker.fresh()
    await world.visit()
    assert world.weights() == {EU: 60, US: 30, AP: 10}
    assert [run["spec"]["type"] for run in world.runs()] == ["Failover", "Failback"]


async def test_a_required_replication_policy_that_is_not_there_holds_the_policy_and_says_so() -> None:
    world = World().furnish(replicationPolicyRefs=[{"name": "shop", "gate": "Required"}])
    await world.visit()
    world.tracker.down(EU)
    await world.visit()
    assert world.weights()[EU] == 100
    rows = {row["region"]: row for row in world.status()["candidates"]}
    assert not rows[US]["eligible"]
    assert any("ReplicationLag" in reason for reason in rows[US]["reasons"])


async def test_old_runs_are_pruned(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="regent.audit")
    world.cluster.put(FAILOVER_POLICIES, policy(historyLimit=2, safety={"cooldown": "0s"}))
    await world.visit()
    for turn in range(4):
        active, other = (EU, US) if turn % 2 == 0 else (US, EU)
        world.cluster.put(FAILOVERS, manual_run(f"turn-{turn}", active, other))
        world.clock.advance(5)
        world.tracker.fresh()
        await world.visit()
    assert [run["metadata"]["name"] for run in world.runs()] == ["turn-2", "turn-3"]
    assert world.status()["totals"]["succeeded"] == 4
    lines = [json.loads(record.message) for record in caplog.records if record.name == "regent.audit"]
    told = [(line["failover"], line["from"], line["to"], line["phase"], line["epoch"]) for line in lines]
    assert told == [("shop/turn-0", EU, US, "Succeeded", 2), ("shop/turn-1", US, EU, "Succeeded", 3)]


async def test_a_recovering_region_is_taken_only_when_nothing_better_exists(world: World) -> None:
    await world.visit()
    world.tracker.up(US, health=Health.RECOVERING)
    world.tracker.down(EU)
    await world.visit()
    assert world.status()["activeRegion"] == AP


WRITES_OF_A_RUN = 7
"""Object, plan, commit, journal, route, shifted, ended (then the policy's release)."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("nth", range(1, WRITES_OF_A_RUN + 3))
async def test_a_crash_at_any_write_leads_to_the_same_end(nth: int, after: bool) -> None:
    """Fails when a write of a run is not idempotent, or the next process does not find where to go on."""
    cluster = CrashingCluster()
    world = World(cluster).furnish()
    await world.visit()
    world.tracker.down(EU)
    cluster.arm(nth, after=after)
    with contextlib.suppress(CrashError):
        await world.visit()
    crashed, _ = cluster._seen >= nth, cluster.disarm()
    assert crashed == (nth <= WRITES_OF_A_RUN + 2), "the table above does not name every write of a run"
    world.boot()
    await world.visit()
    assert world.weights() == {EU: 0, US: 100, AP: 0}
    assert (world.status()["activeRegion"], world.status()["epoch"]) == (US, 2)
    committed = [run for run in world.runs() if run["status"].get("epoch")]
    assert [run["status"]["phase"] for run in committed] == ["Succeeded"]
    assert len(world.runs()) == 1
    assert world.status()["totals"]["succeeded"] == 1


def manual_run(name: str, source: str, to: str, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "regent.dev/v1alpha1", "kind": "Failover", "metadata": {"namespace": "shop", "name": name},
        "spec": {"policyRef": {"name": "shop"}, "type": "Failover", "from": source, "to": to, **spec},
    }  # fmt: skip
