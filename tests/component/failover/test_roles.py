"""Runs that move roles: order, proof, undo and cascade, through the real engine on an API server in memory."""

from typing import Any

from regent.domain.failover.roles import Role
from regent.engine.promotion import IsolationState
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS
from tests.fakes.world import AP, EU, US, World

DB = {
    "name": "db",
    "type": "Patroni",
    "patroni": {"clusters": [{"region": name, "url": f"https://{name}.example.com"} for name in (EU, US, AP)]},
}
WEB = {"name": "web", "type": "Scale", "scale": {"kind": "Deployment", "name": "shop", "replicas": 3}}
STATEFUL = {"steps": [DB, WEB]}


def furnished(**spec: Any) -> World:
    world = World().furnish(**{"promotion": STATEFUL, **spec})
    for step in ("db", "web"):
        for region in (EU, US, AP):
            world.steps.roles[step, region] = Role.ACTIVE if region == EU else Role.STANDBY
    return world


async def test_a_planned_move_stops_the_old_side_before_it_starts_the_new_one() -> None:
    world = furnished()
    await world.visit()
    world.ask(to=US)
    await world.visit(times=40)
    assert world.run()["status"]["phase"] == "Succeeded"
    assert world.steps.effects == [f"web {EU} Standby", f"db {EU} Standby", f"db {US} Active", f"web {US} Active"]
    assert world.journal() == [
        "1 Commit Succeeded", "1 Isolate Succeeded", "1 FinalSync Succeeded", "1 Promote/db Succeeded",
        "1 Promote/web Succeeded", "1 Verify Succeeded", "1 Shift Succeeded", "1 Stabilize Succeeded",
        "1 Reverse Succeeded", "1 Finalize Succeeded",
    ]  # fmt: skip
    assert world.weights() == {EU: 0, US: 100, AP: 0}
    assert world.status()["activeRegion"] == US
    assert world.status()["effective"]["fencing"] == "Required"


async def test_the_active_region_turns_when_the_promotion_was_seen_and_traffic_follows() -> None:
    world = furnished()
    await world.visit()
    world.steps.slow = 3
    world.ask(to=US)
    order: list[tuple[str, int, bool]] = []
    for _ in range(60):
        await world.visit(times=1)
        step = (world.status()["activeRegion"], world.weights()[US], world.steps.active("db") == [US])
        if not order or order[-1] != step:
            order.append(step)
        world.clock.advance(0.2)
        world.tracker.fresh()
    # What the policy says never runs ahead of the promotion, and clients never ahead of what the policy says.
    assert [step for step in order if step != (EU, 0, True)] == [(EU, 0, False), (US, 0, True), (US, 100, True)]


async def test_data_that_is_not_replayed_holds_the_promotion_and_the_deadline_restores_the_old_side() -> None:
    world = furnished()
    await world.visit()
    world.steps.behind = 4096
    world.ask(to=US)
    await world.visit(times=20)
    assert world.steps.active("db") == []
    assert world.run()["status"]["currentStep"] == "FinalSync"
    world.clock.advance(31)
    world.tracker.fresh()
    await world.visit(times=40)
    status = world.run()["status"]
    assert (status["phase"], world.steps.active("db"), world.steps.active("web")) == ("RolledBack", [EU], [EU])
    assert status["snapshot"]["hash"] in next(s["message"] for s in status["steps"] if s["name"] == "RollBack")
    assert status["attempts"][0]["region"] == US
    assert (world.status()["activeRegion"], world.status()["epoch"]) == (EU, 3)
    assert world.weights() == {EU: 100, US: 0, AP: 0}


async def test_an_unreachable_primary_without_proof_waits_for_a_person_who_may_accept_the_loss() -> None:
    world = furnished()
    await world.visit()
    world.tracker.down(EU)
    world.steps.away.add(EU)
    await world.visit(times=20)
    status = world.run("shop-1")["status"]
    assert (status["phase"], status["currentStep"]) == ("Paused", "Isolate")
    assert world.steps.effects == []
    assert world.condition("ActionRequired")["status"] == "True"
    assert "acceptDataLoss" in world.condition("ActionRequired")["message"]
    world.say("shop-1", acceptDataLoss=True)
    await world.visit(times=60)
    status = world.run("shop-1")["status"]
    assert status["phase"] == "Succeeded"
    assert world.steps.active("db") == [EU, US]  # the old one is still there, and nobody is sent to it
    assert next(c for c in status["conditions"] if c["type"] == "Fenced")["status"] == "False"
    assert world.weights() == {EU: 0, US: 100, AP: 0}


async def test_an_agents_proof_lets_the_promotion_go_on() -> None:
    world = furnished()
    await world.visit()
    world.tracker.down(EU)
    world.steps.away.add(EU)
    world.isolation.state = IsolationState(proved=False, possible=True, message="lease runs", retry_after=0.5)
    await world.visit(times=10)
    world.clock.advance(120)  # no deadline: only proof ends this wait
    world.tracker.fresh()
    await world.visit(times=10)
    assert world.steps.effects == []
    assert world.run("shop-1")["status"]["phase"] == "Running"
    world.isolation.state = IsolationState(proved=True, possible=True, message="its lease ran out 4 s ago")
    await world.visit(times=40)
    assert world.run("shop-1")["status"]["phase"] == "Succeeded"
    assert world.isolation.asked[0] == EU


async def test_an_agent_that_is_connected_and_does_not_get_it_done_needs_a_person() -> None:
    world = furnished()
    await world.visit()
    world.tracker.down(EU)
    world.steps.away.add(EU)
    world.isolation.state = IsolationState(proved=False, possible=True, message="the agent is asked", asked=True)
    await world.visit(times=10)
    assert world.run("shop-1")["status"]["phase"] == "Running", "it gets its time"
    world.clock.advance(31)
    world.tracker.fresh()
    await world.visit(times=10)
    assert world.run("shop-1")["status"]["phase"] == "Paused"
    assert "acceptDataLoss" in world.condition("ActionRequired")["message"]
    assert world.steps.effects == []
    world.isolation.state = IsolationState(proved=True, possible=True, message="done after all")
    await world.visit(times=40)
    assert world.run("shop-1")["status"]["phase"] == "Succeeded"


async def test_an_old_side_that_came_back_in_time_hands_over_what_it_has_before_the_other_is_promoted() -> None:
    world = furnished()
    await world.visit()
    world.tracker.down(EU)  # its clients cannot reach it; its database answers
    world.steps.behind = 4096
    await world.visit(times=10)
    assert world.run("shop-1")["status"]["currentStep"] == "FinalSync"
    assert world.steps.active("db") == [], "promoted although the old side still had writes to hand over"
    world.steps.behind = 0
    await world.visit(times=40)
    status = world.run("shop-1")["status"]
    assert status["phase"] == "Succeeded"
    assert world.steps.active("db") == [US]
    assert "estimatedDataLoss" not in status


async def test_an_old_side_that_hands_nothing_over_is_left_after_a_while_and_the_loss_is_told() -> None:
    world = furnished()
    await world.visit()
    world.tracker.down(EU)
    world.steps.behind = 4096
    await world.visit(times=10)
    world.clock.advance(11)
    world.tracker.fresh()
    await world.visit(times=40)
    status = world.run("shop-1")["status"]
    assert status["phase"] == "Succeeded"
    assert world.steps.active("db") == [US]
    assert "bytes behind" in status["estimatedDataLoss"]


async def test_best_effort_fencing_does_not_keep_clients_waiting() -> None:
    world = furnished(safety={"fencing": "BestEffort"})
    await world.visit()
    world.tracker.down(EU)
    world.steps.away.add(EU)
    before = world.clock.monotonic()
    await world.visit(times=80)
    assert world.run("shop-1")["status"]["phase"] == "Succeeded"
    assert world.clock.monotonic() - before < 15
    assert world.steps.active("db") == [EU, US]


async def test_candidates_that_fail_are_proved_passive_before_the_next_one_is_tried() -> None:
    world = furnished(safety={"fencing": "None"})
    await world.visit()
    world.tracker.down(EU)
    world.steps.away.add(EU)
    world.steps.stuck.add(("db", US))
    await world.visit(times=12)
    world.clock.advance(31)
    world.tracker.fresh()
    await world.visit(times=80)
    status = world.run("shop-1")["status"]
    assert status["phase"] == "Succeeded"
    assert [(a["region"], a["result"]) for a in status["attempts"]] == [(US, "Cascade")]
    assert world.steps.active("db") == [AP, EU]
    assert world.steps.effects[:3] == [f"db {US} Active", f"db {US} Standby", f"db {AP} Active"]
    assert world.status()["activeRegion"] == AP
    assert "1 Promote/db Undone" in world.journal("shop-1")
    assert "2 Promote/db Succeeded" in world.journal("shop-1")
    assert world.status()["epoch"] == 4  # commit, undo, next attempt


async def test_no_candidate_is_tried_before_the_failed_one_answers() -> None:
    world = furnished(safety={"fencing": "None"})
    await world.visit()
    world.tracker.down(EU)
    world.steps.away.add(EU)
    world.steps.stuck.add(("db", US))
    await world.visit(times=12)
    world.steps.away.add(US)
    world.clock.advance(31)
    world.tracker.fresh()
    await world.visit(times=30)
    assert world.run("shop-1")["status"]["phase"] == "RollingBack"
    assert "proved passive" in world.condition("ActionRequired")["message"]
    assert not any(AP in effect for effect in world.steps.effects)


async def test_when_all_candidates_fail_the_run_says_so_and_none_is_half_promoted() -> None:
    world = furnished(safety={"fencing": "None"}, cascade={"maxAttempts": 2})
    await world.visit()
    world.tracker.down(EU)
    world.steps.away.add(EU)
    world.steps.stuck |= {("db", US), ("db", AP)}
    for _ in range(3):
        await world.visit(times=12)
        world.clock.advance(31)
        world.tracker.fresh()
    await world.visit(times=40)
    status = world.run("shop-1")["status"]
    assert status["phase"] == "Failed"
    assert [a["region"] for a in status["attempts"]] == [US, AP]
    assert {world.steps.roles["db", US], world.steps.roles["db", AP]} == {Role.STANDBY}
    assert world.weights() == {EU: 100, US: 0, AP: 0}
    assert world.status().get("operation") is None


async def test_a_person_rolls_a_run_back_before_data_and_not_after_it() -> None:
    world = furnished()
    await world.visit()
    world.steps.stuck.add(("web", US))
    world.ask(to=US)
    await world.visit(times=30)
    assert world.run()["status"]["currentStep"] == "Promote/web"
    assert world.run()["status"]["pointOfNoReturn"]["kind"] == "Data"
    world.say(desired="Rollback")
    await world.visit(times=10)
    assert world.run()["status"]["phase"] == "Running"  # the new side has begun to write
    world.say(acceptDataLoss=True)
    await world.visit(times=60)
    assert world.run()["status"]["phase"] == "RolledBack"
    assert (world.steps.active("db"), world.steps.active("web")) == ([EU], [EU])


async def test_a_paused_run_stands_still_and_goes_on() -> None:
    world = furnished()
    await world.visit()
    world.steps.slow = 5
    world.ask(to=US)
    await world.visit(times=3)
    world.say(desired="Pause")
    await world.visit(times=5)
    seen = list(world.steps.effects)
    await world.visit(times=20)
    assert world.run()["status"]["phase"] == "Paused"
    assert world.steps.effects == seen
    world.say(desired="Run")
    await world.visit(times=80)
    assert world.run()["status"]["phase"] == "Succeeded"


async def test_where_nothing_can_diverge_clients_move_before_the_old_side_stops() -> None:
    world = furnished(promotion={"steps": [WEB]}, transition={"type": "Graceful", "drain": "2s"})
    await world.visit()
    world.ask(to=US)
    await world.visit(times=12)
    assert world.steps.effects == [f"web {US} Active"]
    assert world.weights() == {EU: 0, US: 100, AP: 0}
    world.clock.advance(2)
    world.tracker.fresh()
    await world.visit(times=20)
    assert world.steps.effects == [f"web {US} Active", f"web {EU} Standby"]
    assert world.run()["status"]["phase"] == "Succeeded"


async def test_a_gradual_move_goes_by_stages_and_goes_back_when_the_new_side_gets_worse() -> None:
    stages = [{"percent": 10, "hold": "30s"}, {"percent": 50, "hold": "60s"}]
    world = World().furnish(transition={"type": "Gradual", "steps": stages})
    await world.visit()
    world.ask(to=US)
    await world.visit()
    assert world.weights() == {EU: 90, US: 10, AP: 0}
    world.clock.advance(31)
    world.tracker.fresh()
    await world.visit()
    assert world.weights() == {EU: 50, US: 50, AP: 0}
    world.tracker.holding.add((US, "LOAD_ERROR_RATE"))
    await world.visit()
    status = world.run()["status"]
    assert (status["phase"], world.weights()) == ("RolledBack", {EU: 100, US: 0, AP: 0})
    assert world.status()["activeRegion"] == EU
    assert f"Region {US}: error rate above" in status["attempts"][0]["reason"]


async def test_a_gradual_move_arrives() -> None:
    world = World().furnish(transition={"type": "Gradual", "steps": [{"percent": 10, "hold": "30s"}]})
    await world.visit()
    world.ask(to=US)
    await world.visit()
    world.clock.advance(31)
    world.tracker.fresh()
    await world.visit()
    assert (world.run()["status"]["phase"], world.weights()) == ("Succeeded", {EU: 0, US: 100, AP: 0})


async def test_a_plan_waits_for_its_approval_and_another_plans_hash_does_not_count() -> None:
    world = World().furnish(safety={"approval": "Always"})
    await world.visit()
    world.ask(to=US)
    await world.visit()
    status = world.run()["status"]
    assert (status["phase"], world.weights()) == ("AwaitingApproval", {EU: 100, US: 0, AP: 0})
    assert f"--hash {status['plan']['hash']}" in world.condition("ActionRequired")["message"]
    writes = len(world.cluster.writes)
    world.clock.advance(5)
    world.tracker.fresh()
    await world.visit()
    assert len(world.cluster.writes) == writes  # waiting costs nothing
    world.say(approvedPlan="sha256:of-another")
    await world.visit()
    assert world.run()["status"]["phase"] == "AwaitingApproval"
    world.say(approvedPlan=status["plan"]["hash"])
    await world.visit()
    assert (world.run()["status"]["phase"], world.weights()) == ("Succeeded", {EU: 0, US: 100, AP: 0})


async def test_an_approval_that_never_comes_cancels_the_run() -> None:
    world = World().furnish(safety={"approval": "Always", "approvalTimeout": "10m"})
    await world.visit()
    world.ask(to=US)
    await world.visit()
    world.clock.advance(601)
    world.tracker.fresh()
    await world.visit()
    assert world.run()["status"]["phase"] == "Cancelled"
    assert world.weights() == {EU: 100, US: 0, AP: 0}


async def test_a_stateless_candidate_that_dies_under_the_shift_is_left_for_the_next_one() -> None:
    world = World().furnish(targets=[{"httpRoute": {"name": "shop"}, "verification": {"url": "http://gateway.test/"}}])
    await world.visit(times=40)
    world.verifier.wrong = "502"
    world.tracker.down(EU)
    await world.visit(times=3)
    assert world.weights() == {EU: 0, US: 100, AP: 0}
    world.tracker.down(US)
    world.verifier.wrong = ""
    await world.visit(times=40)
    status = world.run("shop-1")["status"]
    assert (status["phase"], world.weights()) == ("Succeeded", {EU: 0, US: 0, AP: 100})
    assert [(a["region"], a["result"]) for a in status["attempts"]] == [(US, "Cascade")]


async def left_behind(**spec: Any) -> World:
    """A world in which the primary's region was left without proof and is back, still believing that it is active."""
    world = furnished(safety={"fencing": "BestEffort"}, **spec)
    await world.visit()
    world.tracker.down(EU)
    world.steps.away.add(EU)
    await world.visit(times=80)
    assert [row["region"] for row in world.status()["rejoin"]] == [EU]
    world.steps.away.clear()
    world.tracker.up(EU)
    return world


async def test_a_region_that_was_left_without_proof_stands_by_when_it_is_back() -> None:
    world = await left_behind()
    for _ in range(4):
        await world.watch.look()
        await world.visit()
        world.clock.advance(2)
        world.tracker.fresh()
    assert (world.steps.active("db"), world.steps.active("web")) == ([US], [US])
    assert "rejoin" not in world.status()


async def test_what_an_isolated_region_wrote_is_reported_and_dropped_only_when_a_person_says_so() -> None:
    world = await left_behind()
    world.steps.diverged[EU] = f"{EU} wrote 96 bytes of WAL"
    for _ in range(4):
        await world.watch.look()
        await world.visit()
        world.clock.advance(2)
        world.tracker.fresh()
    assert EU in world.steps.active("db")
    assert "96 bytes" in world.status()["rejoin"][0]["message"]
    epoch = world.status()["epoch"]
    assert f'regent.dev/rejoin="{EU}@{epoch}"' in world.condition("ActionRequired")["message"]
    # What was said before an earlier failover, or about all of them, allows nothing now.
    for said, active in ((f"{EU}@{epoch - 1}", [EU, US]), (EU, [EU, US]), (f"{EU}@{epoch}", [US])):
        policy = world.store.get(FAILOVER_POLICIES, "shop", "shop")
        assert policy is not None
        metadata = {**policy["metadata"], "annotations": {"regent.dev/rejoin": said}}
        world.cluster.put(FAILOVER_POLICIES, {**policy, "metadata": metadata})
        for _ in range(4):
            await world.watch.look()
            await world.visit()
            world.clock.advance(2)
            world.tracker.fresh()
        assert sorted(world.steps.active("db")) == active
    assert "rejoin" not in world.status()


async def test_a_drill_says_what_would_not_work_and_changes_nothing() -> None:
    world = furnished()
    await world.visit()
    world.ask("drill-1", type="Drill", to=US)
    await world.visit()
    assert world.run("drill-1")["status"]["phase"] == "Succeeded"
    world.steps.roles["db", AP] = Role.ABSENT
    world.ask("drill-2", type="Drill", to=AP)
    await world.visit()
    status = world.run("drill-2")["status"]
    assert status["phase"] == "Failed"
    assert f"db is Absent in {AP}" in next(c["message"] for c in status["conditions"] if c["type"] == "Complete")
    assert (world.steps.effects, world.status()["epoch"]) == ([], 1)
    assert world.weights() == {EU: 100, US: 0, AP: 0}


async def test_a_lag_over_the_gate_holds_a_move_until_a_person_accepts_the_loss() -> None:
    world = furnished(safety={"fencing": "None", "maxReplicationLag": "5s"})
    world.steps.lags[US] = 60.0
    world.steps.lags[AP] = None
    await world.visit()
    world.tracker.down(EU)
    world.steps.away.add(EU)
    await world.visit(times=10)
    assert world.runs() == []
    assert "safety.maxReplicationLag is 5s" in world.condition("Progressing")["message"]
    assert {row["region"]: row["lag"] for row in world.status()["candidates"]} == {US: ">5s", AP: "unknown"}
    world.ask(type="Failover", to=US)
    await world.visit(times=10)
    assert world.run()["status"]["phase"] == "Blocked"
    world.say(acceptDataLoss=True)
    await world.visit(times=40)
    assert world.run()["status"]["phase"] == "Succeeded"
    assert world.steps.active("db") == [EU, US]


async def test_a_schedule_makes_one_drill_for_each_of_its_times() -> None:
    world = furnished(drills={"schedule": "*/5 * * * *"})
    before = world.clock.wall() // 300 - 1  # the time that has just passed when the policy is first seen counts too
    await world.visit()
    for _ in range(12):
        world.clock.advance(60)
        world.tracker.fresh()
        await world.visit()
        world.boot()
    drills = [run for run in world.runs() if run["spec"]["type"] == "Drill"]
    assert len(drills) == world.clock.wall() // 300 - before >= 2
    assert {run["status"]["phase"] for run in drills} == {"Succeeded"}
    assert {run["status"]["trigger"] for run in drills} == {"Schedule"}
    assert (world.steps.effects, world.status()["epoch"]) == ([], 1)


async def test_how_the_last_drill_ended_stands_in_the_policy_when_its_object_is_gone() -> None:
    world = furnished(drills={"schedule": "*/5 * * * *"}, historyLimit=1)
    await world.visit()
    seen = set()
    for turn in range(12):
        if turn == 6:
            world.steps.roles["db", US] = Role.ABSENT
            world.tracker.down(AP)
        world.clock.advance(60)
        world.tracker.fresh()
        await world.visit()
        seen.add(world.status()["lastDrill"]["result"])
    assert seen == {"Succeeded", "Failed"}
    last = world.status()["lastDrill"]
    assert (last["result"], last["to"]) == ("Failed", US)
    assert f"db is Absent in {US}" in last["message"]
    (run,) = world.runs()
    assert run["metadata"]["name"] == last["name"]
    await world.cluster.delete(FAILOVERS, "shop", last["name"], uid=run["metadata"]["uid"])
    world.cluster.put(FAILOVER_POLICIES, without_drills(world))
    await world.visit()
    assert world.status()["lastDrill"] == last


def without_drills(world: World) -> dict[str, Any]:
    obj = world.store.get(FAILOVER_POLICIES, "shop", "shop")
    assert obj is not None
    return {**obj, "spec": {name: value for name, value in obj["spec"].items() if name != "drills"}}


async def test_a_drill_that_a_person_pauses_keeps_no_failover_waiting() -> None:
    world = World().furnish(drills={"schedule": "*/5 * * * *"})
    await world.visit()
    world.cluster.put(
        FAILOVERS,
        {
            "apiVersion": "regent.dev/v1alpha1", "kind": "Failover",
            "metadata": {
                "namespace": "shop", "name": "shop-d0", "labels": {"regent.dev/managed-by": "regent"},
            },
            "spec": {
                "policyRef": {"name": "shop"}, "type": "Drill", "from": EU, "control": {"desired": "Pause"},
            },
        },
    )  # fmt: skip
    await world.visit()
    assert world.run("shop-d0")["status"]["phase"] == "Paused"
    world.tracker.down(EU)
    await world.visit()
    assert world.status()["activeRegion"] == US


async def test_a_schedule_drills_a_policy_where_all_regions_are_active() -> None:
    world = World().furnish(topology="ActiveActive", drills={"schedule": "*/5 * * * *"})
    await world.visit()
    world.clock.advance(300)
    world.tracker.fresh()
    await world.visit()
    drills = [run for run in world.runs() if run["spec"]["type"] == "Drill"]
    assert {run["status"]["phase"] for run in drills} == {"Succeeded"}
    assert world.status()["lastDrill"]["result"] == "Succeeded"


async def test_a_policy_and_a_run_that_are_deleted_meanwhile_stay_until_the_run_has_ended() -> None:
    world = furnished()
    await world.visit()
    world.steps.slow = 4
    world.ask(to=US)
    await world.visit(times=3)
    for resource, obj in (
        (FAILOVERS, world.run()),
        (FAILOVER_POLICIES, world.store.get(FAILOVER_POLICIES, "shop", "shop")),
    ):
        assert obj is not None
        assert obj["metadata"]["finalizers"] == ["regent.dev/run"]
        await world.cluster.delete(resource, "shop", obj["metadata"]["name"], uid=obj["metadata"]["uid"])
    await world.visit(times=60)
    assert (world.steps.active("db"), world.steps.active("web")) == ([US], [US])
    assert world.weights() == {EU: 0, US: 100, AP: 0}
    assert world.runs() == []
    assert world.store.get(FAILOVER_POLICIES, "shop", "shop") is None


async def test_no_finalizer_is_left_behind() -> None:
    world = furnished()
    await world.visit()
    world.ask(to=US)
    await world.visit(times=40)
    policy = world.store.get(FAILOVER_POLICIES, "shop", "shop")
    assert policy is not None
    assert not policy["metadata"].get("finalizers")
    assert not world.run()["metadata"].get("finalizers")


async def test_no_data_is_moved_while_the_clock_is_off() -> None:
    world = furnished()
    await world.visit()
    world.clock_off = "this machine's clock is more than failover.maxClockSkew (2s) off the API server's"
    world.ask(to=US)
    await world.visit()
    status = world.run()["status"]
    assert (status["phase"], world.steps.effects) == ("Blocked", [])
    assert next(item["reason"] for item in status["conditions"] if item["type"] == "Accepted") == "ClockSkew"
    world.tracker.down(EU)
    await world.visit()
    assert world.condition("ActionRequired")["reason"] == "ClockSkew"
    assert world.steps.effects == []
    world.tracker.up(EU)
    world.clock_off = ""
    await world.visit(times=40)
    assert world.run()["status"]["phase"] == "Succeeded"
