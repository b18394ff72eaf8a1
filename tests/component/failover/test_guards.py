"""The guards of the engine, one test each: every one of them fails when its guard is taken out."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from regent.domain.errors import ClusterError, ConflictError, LeadershipLostError, UnavailableError
from regent.domain.failover.cooldown import current
from regent.domain.failover.model import RunRecord, RunType, TriggerKind
from regent.domain.times import rfc3339
from regent.engine.policy_writes import raise_run_number, release_status
from regent.engine.queue import Key
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS, HTTP_ROUTES, REGIONS
from tests.fakes.world import AP, EU, US, World, policy, region, route


@pytest.fixture
async def world() -> World:
    world = World().furnish()
    await world.visit()
    return world


def stored(world: World, resource: Any, name: str = "shop") -> dict[str, Any]:
    obj = world.store.get(resource, "" if resource is REGIONS else "shop", name)
    assert obj is not None
    return obj


async def test_a_run_loses_when_another_one_commits_first(world: World) -> None:
    """Two leaders overlap: the other one commits between our plan and our commit."""

    def other_leader(event: str, resource: Any, obj: dict[str, Any]) -> None:
        steps = (obj.get("status") or {}).get("steps") or []
        if resource is FAILOVERS and steps and steps[-1]["name"] == "Commit" and not raced:
            raced.append(True)
            theirs = stored(world, FAILOVER_POLICIES)
            operation = {"uid": "theirs", "name": "theirs", "to": AP}
            status = {**theirs["status"], "epoch": 2, "operation": operation, "activeRegion": AP}
            world.cluster.put(FAILOVER_POLICIES, {**theirs, "status": status})

    raced: list[bool] = []
    world.cluster.subscribe(other_leader)
    world.tracker.down(EU)
    await world.visit(times=1)
    assert raced
    [run] = world.runs()
    assert run["status"]["phase"] == "Superseded"
    assert "theirs committed first" in str(run["status"]["conditions"])
    assert world.weights()[US] == 0, "ours moved nothing"
    assert (world.status()["epoch"], world.status()["activeRegion"]) == (2, AP)


async def test_a_committed_run_whose_policy_was_wiped_is_not_committed_again(world: World) -> None:
    world.tracker.down(EU)
    await world.visit(accept=False, times=1)
    assert world.status()["operation"]["name"] == "shop-1", "the run waits for the gateway"
    world.cluster.put(FAILOVER_POLICIES, {**stored(world, FAILOVER_POLICIES), "status": {}})
    world.boot()
    await world.visit()
    [run] = world.runs()
    assert run["status"]["phase"] == "Superseded"
    assert (world.status()["epoch"], world.status()["activeRegion"]) == (3, US)
    assert world.weights()[US] == 100


async def test_no_run_is_made_after_the_lease_is_lost(world: World) -> None:
    world.tracker.down(EU)
    world.leadership.lose()
    with pytest.raises(LeadershipLostError):
        await world.visit()
    assert world.runs() == []


async def test_the_number_of_a_run_that_never_committed_is_not_used_again(world: World) -> None:
    """The commit raises the number of the others."""
    metadata = {"namespace": "shop", "name": "shop-7", "labels": {"regent.dev/managed-by": "regent"}}
    world.cluster.put(
        FAILOVERS,
        {"metadata": metadata, "spec": {"policyRef": {"name": "shop"}}, "status": {"phase": "NotNeeded"}},
    )
    await world.visit()
    [run] = world.runs()
    await world.cluster.delete(FAILOVERS, "shop", "shop-7", uid=run["metadata"]["uid"])
    world.tracker.down(EU)
    await world.visit()
    assert [run["metadata"]["name"] for run in world.runs()] == ["shop-8"]
    assert world.status()["runNumber"] == 8


async def test_a_policy_that_has_no_turn_decides_when_it_has_one(world: World) -> None:
    others = [Key(FAILOVER_POLICIES, "shop", f"other-{number}") for number in range(4)]
    assert all(world.pace.enter(other) for other in others)
    world.tracker.down(EU)
    await world.visit(times=1)
    assert world.runs() == []
    world.pace.leave(others[0])
    assert world.turns == [Key(FAILOVER_POLICIES, "shop", "shop")]
    await world.visit()
    assert world.weights()[US] == 100


async def test_a_run_that_has_moved_its_traffic_stands_back_for_those_that_have_not(world: World) -> None:
    world.tracker.down(EU)
    await world.visit(times=1)
    assert world.weights()[US] == 100
    assert world.status()["operation"]
    crowd = [Key(FAILOVER_POLICIES, "shop", f"other-{number}") for number in range(5)]
    assert [world.pace.enter(other) for other in crowd] == [True] * 4 + [False]
    written = len(world.cluster.calls)
    await world.visit()
    assert len(world.cluster.calls) == written
    for other in crowd:
        world.pace.leave(other)
    await world.visit()
    assert "operation" not in world.status()


async def test_a_run_whose_weights_are_not_written_does_not_stand_back(world: World) -> None:
    world.cluster.fail("replace", UnavailableError("away", status=503), resource=HTTP_ROUTES)
    world.tracker.down(EU)
    await world.visit(times=1)
    assert world.status()["operation"]
    assert world.weights()[US] == 0
    for number in range(5):
        world.pace.enter(Key(FAILOVER_POLICIES, "shop", f"other-{number}"))
    assert world.pace.crowded
    await world.visit()
    assert world.weights()[US] == 100


async def test_a_release_never_frees_a_policy_from_another_run(world: World) -> None:
    held = {**stored(world, FAILOVER_POLICIES)}
    held["status"] = {**held["status"], "operation": {"uid": "theirs", "name": "theirs", "to": US}}
    ours = {"metadata": {"uid": "ours", "name": "ours"}, "spec": {}, "status": {"phase": "Succeeded"}}
    spec = world.policies._gathering.parse(held)[0]
    assert release_status(held, spec, ours, {}, now="2026-01-01T00:00:00Z") == held["status"]


def test_run_numbers_never_go_back() -> None:
    assert raise_run_number({"status": {"runNumber": 9}}, 4)["runNumber"] == 9


@pytest.mark.parametrize("weights", [{EU: 0, US: 100, AP: 0}, {EU: 100, US: 0, AP: 0}], ids=["other", "same"])
async def test_a_newer_fence_on_a_target_is_left_alone_and_shown(world: World, weights: dict[str, int]) -> None:
    theirs = stored(world, HTTP_ROUTES)
    metadata = {
        **theirs["metadata"],
        "annotations": {**theirs["metadata"]["annotations"], "regent.dev/fence": "99.1.12"},
    }
    world.cluster.put(HTTP_ROUTES, {**theirs, "metadata": metadata, "spec": route(weights)["spec"]})
    await world.visit()
    assert world.weights() == weights
    assert world.condition("Ready")["reason"] == "FencedOff"


async def test_a_run_gives_way_to_a_newer_leader_inside_its_own_epoch(world: World) -> None:
    theirs = stored(world, HTTP_ROUTES)
    metadata = {
        **theirs["metadata"],
        "annotations": {**theirs["metadata"]["annotations"], "regent.dev/fence": "2.9.12"},
    }
    world.cluster.put(HTTP_ROUTES, {**theirs, "metadata": metadata})
    world.tracker.down(EU)
    await world.visit()
    assert world.weights() == {EU: 100, US: 0, AP: 0}
    [run] = world.runs()
    assert run["status"]["phase"] == "Superseded"
    assert world.status()["targets"][0]["verification"] == "Conflict"
    assert (world.status()["activeRegion"], world.status()["active"]) == (US, US), "it had committed"
    shown = {row["region"]: row["weightPercent"] for row in world.status()["distribution"]}
    assert shown[US] == 100, "what the targets are kept at is what the status says"


async def test_a_run_whose_own_turn_was_applied_unseen_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the next candidate's epoch is lost, and the watch is late: it was the run itself that wrote."""
    observe, lost = world.store.observe, []

    def late(resource: Any, obj: dict[str, Any]) -> bool:
        epoch = (obj.get("status") or {}).get("epoch")
        if resource is FAILOVER_POLICIES and epoch == 3:
            world.cluster.fail("replace_status", UnavailableError("lost"), resource=FAILOVER_POLICIES, after=True)
        if resource is FAILOVER_POLICIES and epoch == 4 and not lost:
            lost.append(epoch)
            return False
        return observe(resource, obj)

    world.tracker.down(EU)
    await world.visit(accept=False, times=1)
    assert world.weights()[US] == 100
    monkeypatch.setattr(world.store, "observe", late)
    world.tracker.down(US)
    for _ in range(8):
        with contextlib.suppress(ClusterError):
            await world.visit()
    [run] = world.runs()
    assert lost and run["status"]["phase"] == "Succeeded"
    assert (world.status()["activeRegion"], world.weights()[AP]) == (AP, 100)


async def test_first_weights_wait_for_a_proved_region() -> None:
    world = World().furnish()
    world.cluster.put(HTTP_ROUTES, route({EU: 60, US: 20, AP: 20}))
    world.tracker.regions.pop(EU)
    await world.visit(times=3)
    assert world.status()["activeRegion"] == EU, "the weights say so"
    assert world.weights() == {EU: 60, US: 20, AP: 20}
    world.tracker.up(EU)
    await world.visit()
    assert world.weights() == {EU: 100, US: 0, AP: 0}


async def test_nothing_counts_as_accepted_before_the_gateway_says_so() -> None:
    world = World().furnish()
    await world.visit(accept=False, times=3)
    assert world.status()["targets"][0]["verification"] == "Pending"
    assert world.condition("TrafficVerified")["status"] == "Unknown"


async def test_a_cutover_is_verified_by_right_answers_in_a_row() -> None:
    verification = {"url": "http://gateway.example.com/", "regionHeader": "x-region", "successes": 3}
    world = World().furnish(targets=[{"httpRoute": {"name": "shop"}, "verification": verification}])
    answers = iter(["", "", "answered by us-east-1", "", "", ""])

    async def check(target: Any, *, expected: frozenset[str]) -> str:
        assert expected == {EU}
        return next(answers)

    world.verifier.check = check  # type: ignore[method-assign]
    await world.visit(times=20)
    assert world.status()["targets"][0]["verification"] == "Verified"
    assert list(answers) == [], "the wrong answer in between made it begin again"


async def test_a_conflict_keeps_what_the_other_writer_wrote(world: World) -> None:
    world.cluster.fail("replace", ConflictError("the object has been modified", status=409), resource=HTTP_ROUTES)
    world.tracker.down(EU)
    await world.visit(times=1)
    assert world.weights()[US] == 100, "read again and written in the same visit"


async def test_a_region_that_is_being_deleted_is_left_before_its_finalizers_end(world: World) -> None:
    going = region(EU)
    going["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/slow"]}
    world.cluster.put(REGIONS, going)
    await world.visit()
    assert world.status()["activeRegion"] == US


def test_regions_left_by_runs_in_a_row_are_all_remembered() -> None:
    def run(name: str, left: str, end: float) -> RunRecord:
        return RunRecord(
            name=name, type=RunType.FAILOVER, trigger=TriggerKind.UNREACHABLE, committed=True, automatic=True,
            left=frozenset({left}), completion_time=end,
        )  # fmt: skip

    cooldown = current([run("b", US, 100.0), run("a", EU, 50.0)], base=300.0)
    assert cooldown.left == {EU, US}
    assert cooldown.until_time == 700.0, "doubled by the second run in a row"


async def test_a_scheduled_run_waits_and_a_late_one_is_cancelled(world: World) -> None:
    def run(name: str, moment: float) -> dict[str, Any]:
        spec = {
            "policyRef": {"name": "shop"},
            "type": "Switchover",
            "from": EU,
            "to": US,
            "scheduleTime": rfc3339(moment),
        }
        return {"kind": "Failover", "metadata": {"namespace": "shop", "name": name}, "spec": spec}

    now = world.clock.wall()
    world.cluster.put(FAILOVERS, run("late", now - 601))
    world.cluster.put(FAILOVERS, run("soon", now + 30))
    await world.visit()
    phases = {item["metadata"]["name"]: item["status"]["phase"] for item in world.runs()}
    assert phases == {"late": "Cancelled", "soon": "Pending"}
    assert world.weights()[EU] == 100
    world.clock.advance(31)
    world.tracker.fresh()
    await world.visit()
    assert world.weights()[US] == 100


async def test_an_api_server_that_is_away_only_delays_the_run(world: World) -> None:
    from regent.domain.errors import UnavailableError

    world.tracker.down(EU)
    world.cluster.fail("create", UnavailableError("connection refused"), resource=FAILOVERS)
    with pytest.raises(UnavailableError):
        await world.visit()
    await world.visit()
    assert world.weights()[US] == 100
    assert [run["metadata"]["name"] for run in world.runs()] == ["shop-1"], "one run, of the next number"


async def test_suspending_holds_new_runs_and_lets_people_through(world: World) -> None:
    world.cluster.put(FAILOVER_POLICIES, policy(suspend=True))
    world.tracker.down(EU)
    await world.visit()
    assert world.status()["phase"] == "Suspended"
    assert world.weights()[EU] == 100
    spec = {"policyRef": {"name": "shop"}, "type": "Failover", "from": EU, "to": US}
    world.cluster.put(FAILOVERS, {"kind": "Failover", "metadata": {"namespace": "shop", "name": "go"}, "spec": spec})
    await world.visit()
    assert world.weights()[US] == 100


async def test_panic_holds_when_most_regions_go_down_together(world: World) -> None:
    """Four of six regions at once: the observer is the likelier culprit."""
    for number in range(3):
        world.cluster.put(REGIONS, region(f"other-{number}"))
        world.tracker.up(f"other-{number}")
    for name in (EU, "other-0", "other-1", "other-2"):
        world.tracker.down(name)
    await world.visit()
    assert world.weights()[EU] == 100
    assert world.condition("Progressing")["reason"] == "Panic"
    world.tracker.up("other-0")
    world.tracker.up("other-1")
    await world.visit()
    assert world.weights()[US] == 100
