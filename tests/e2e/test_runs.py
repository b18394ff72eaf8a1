"""What a run does when things go wrong half-way, through the whole operator: real API server, gateway and HTTP.

Roles are moved by an endpoint of the user's, which here fails as the test says. Each of these scenes has regions that
are killed and restored under a run that has committed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from testbed.operator import OperatorReplicas
from testbed.scene import Scene, eventually, failover
from tests.e2e.conftest import MakeScene
from tests.e2e.roles import Roles, serving, step

Json = dict[str, Any]
LONG = 60.0
GRADUAL = {"type": "Gradual", "steps": [{"percent": 10, "hold": "10m"}, {"percent": 50, "hold": "10m"}]}


def adopted(make_scene: MakeScene, *suffixes: str, region: Json | None = None, **spec: Any) -> Scene:
    scene = make_scene(*suffixes)
    scene.apply_regions(**(region or {}))
    scene.apply_policy(**{"safety": {"cooldown": "1s"}, **spec})
    scene.wait_adopted()
    return scene


def ask(scene: Scene, name: str = "move", **spec: Any) -> None:
    fields = {"type": "Switchover", "from_": scene.names[0], "to": scene.names[1], **spec}
    scene.cluster.apply(failover(scene.app, namespace=scene.namespace, name=name, **fields))


def run_of(scene: Scene, name: str = "move") -> Json:
    return scene.cluster.api.get(scene.path("failovers", name))


def say(scene: Scene, name: str = "move", **control: Any) -> None:
    scene.cluster.api.patch(scene.path("failovers", name), {"spec": {"control": control}})


def status_when(scene: Scene, holds: Callable[[Json], object], *, what: str, name: str = "move") -> Json:
    """The run's status once it is as asked for."""

    def look() -> Json | None:
        status = run_of(scene, name).get("status") or {}
        return status if holds(status) else None

    return eventually(look, what=what, timeout=LONG)


def phase(scene: Scene, wanted: str, *, name: str = "move") -> Json:
    return status_when(scene, lambda status: status.get("phase") == wanted, what=f"phase {wanted}", name=name)


def states(status: Json) -> dict[str, str]:
    return {f"{item['attempt']} {item['name']}": item["state"] for item in status.get("steps") or ()}


def condition(status: Json, kind: str) -> Json:
    return next((item for item in status.get("conditions") or () if item["type"] == kind), {})


@pytest.fixture(autouse=True)
def led(operators: OperatorReplicas) -> None:
    operators.leader(timeout=60)


def test_several_candidates_fail_and_each_is_passive_before_the_next_is_tried(make_scene: MakeScene) -> None:
    scene = make_scene("west", "central", "east", "south")
    west, central, east, south = scene.names
    roles = Roles(west, [central, east, south])
    with serving(roles):
        scene.apply_regions()
        scene.apply_policy(promotion={"steps": [step(roles)]}, safety={"cooldown": "1s", "fencing": "BestEffort"})
        scene.wait_adopted()
        roles.away.add(west)
        roles.stuck |= {central, east}
        scene.region(west).kill()
        run = scene.wait_run(timeout=LONG)
    status = run["status"]
    assert status["phase"] == "Succeeded", status
    assert [(item["region"], item["result"]) for item in status["attempts"]] == [
        (central, "Cascade"),
        (east, "Cascade"),
    ]
    assert roles.active() == sorted([west, south]), (
        "the one that was left does not answer; no half-promoted one is left"
    )
    promoted = [roles.done.index(f"promote {region}") for region in (central, east, south)]
    passive = [
        max(place for place, text in enumerate(roles.done) if text in (f"demote {region}", f"restore {region}"))
        for region in (central, east)
    ]
    assert promoted[0] < passive[0] < promoted[1] < passive[1] < promoted[2], roles.done
    assert (scene.active(), scene.status()["activeRegion"]) == ([south], south)
    assert status["epoch"] == scene.status()["epoch"] == 6, "one for each commit and each undo"


@pytest.mark.parametrize("by_hand", [False, True], ids=["automatic", "by hand"])
def test_a_rollback_restores_exactly_what_was(make_scene: MakeScene, by_hand: bool) -> None:
    scene = make_scene("west", "central")
    west, central = scene.names
    first, second = Roles(west, [central]), Roles(west, [central])
    with serving(first), serving(second):
        timeout = "10m" if by_hand else "3s"
        steps = [step(first, "files"), step(second, "web", data="None", timeout=timeout)]
        scene.apply_regions()
        scene.apply_policy(promotion={"steps": steps}, safety={"cooldown": "1s"})
        scene.wait_adopted()
        before = scene.route()["spec"]
        second.stuck.add(central)
        ask(scene)
        status_when(scene, lambda status: "1 Promote/web" in states(status), what="half of the promotion")
        assert first.active() == [central]
        say(scene, acceptDataLoss=True, **({"desired": "Rollback"} if by_hand else {}))
        status = phase(scene, "RolledBack")
    assert (first.active(), second.active()) == ([west], [west])
    evidence = next(item["message"] for item in status["steps"] if item["name"] == "RollBack")
    assert status["snapshot"]["hash"] in evidence, "the state is the one of before"
    assert "before it was" not in evidence
    assert scene.route()["spec"] == before
    assert (scene.status()["activeRegion"], scene.status()["epoch"]) == (west, 3)


FIGURES = {
    "errors": (
        {"load": {"healthBody": {"errorRatePercent": ".errors"}}},
        {"errorRate": {"percent": 10, "for": "1s"}},
        lambda region: region.load(errors=30, free=90),
        "error rate above 10 %",
    ),
    "latency": (
        {},
        {"latency": {"threshold": "60ms", "for": "1s", "mode": "Enabled"}},
        lambda region: region.slow(120),
        "p95 latency above 60ms",
    ),
}


@pytest.mark.parametrize("figure", FIGURES)
def test_a_gradual_run_goes_back_by_itself_when_the_new_side_gets_worse(make_scene: MakeScene, figure: str) -> None:
    region, triggers, worsen, words = FIGURES[figure]
    scene = adopted(make_scene, "west", "central", region=region, triggers=triggers, transition=GRADUAL)
    west, central = scene.names
    ask(scene)
    eventually(lambda: scene.shares() == {west: 90.0, central: 10.0}, what="the first stage", timeout=LONG)
    worsen(scene.region(central))
    status = phase(scene, "RolledBack")
    assert words in status["attempts"][0]["reason"], status["attempts"]
    assert scene.shares() == {west: 100.0, central: 0.0}
    assert (scene.status()["activeRegion"], scene.status()["epoch"]) == (west, 3)


def test_a_gradual_run_is_finished_at_once_when_its_source_dies(make_scene: MakeScene) -> None:
    scene = adopted(make_scene, "west", "central", transition=GRADUAL)
    west, central = scene.names
    ask(scene)
    eventually(lambda: scene.shares() == {west: 90.0, central: 10.0}, what="the first stage", timeout=LONG)
    scene.region(west).kill()
    status = phase(scene, "Succeeded")
    assert status["plan"]["planned"] is False
    assert states(status)["1 Shift/50"] == "Skipped"
    assert scene.shares() == {west: 0.0, central: 100.0}
    assert len(scene.runs()) == 1, "it went on, and no other run was needed"


def test_a_primary_that_cannot_be_fenced_waits_for_a_person(make_scene: MakeScene) -> None:
    scene = make_scene("west", "central")
    west, central = scene.names
    roles = Roles(west, [central])
    with serving(roles):
        scene.apply_regions()
        scene.apply_policy(promotion={"steps": [step(roles)]}, safety={"cooldown": "1s"})
        scene.wait_adopted()
        assert scene.status()["effective"]["fencing"] == "Required"
        roles.away.add(west)
        scene.region(west).kill()
        name = f"{scene.app}-1"
        eventually(scene.runs, what="the run", timeout=LONG)
        status = phase(scene, "Paused", name=name)
        assert condition(status, "Ready")["reason"] == "FencingNotProved"
        action = eventually(
            lambda: found if (found := scene.condition("ActionRequired")).get("status") == "True" else None,
            what="what a person can do", timeout=LONG,
        )  # fmt: skip
        assert "Fence the region by hand and set spec.control.acceptDataLoss: true" in action["message"]
        assert (roles.done, scene.active()) == ([], [west])
        version = run_of(scene, name)["metadata"]["resourceVersion"]
        say(scene, name, acceptDataLoss=True)
        status = phase(scene, "Succeeded", name=name)
    fenced = condition(status, "Fenced")
    assert (fenced["status"], fenced["reason"]) == ("False", "AcceptedByUser")
    assert (roles.done, scene.active()) == ([f"promote {central}"], [central])
    assert int(run_of(scene, name)["metadata"]["resourceVersion"]) > int(version)
    assert [row["region"] for row in scene.status()["rejoin"]] == [west]


def test_a_dry_run_shows_plan_and_gates_and_touches_nothing(make_scene: MakeScene) -> None:
    scene = adopted(make_scene, "west", "central")
    before = (scene.route(), scene.status())
    ask(scene, dryRun=True)
    status = phase(scene, "Succeeded")
    assert condition(status, "Succeeded")["reason"] == "DryRun"
    assert status["plan"]["chosen"] == scene.names[1]
    assert status["plan"]["hash"].startswith("sha256:")
    assert "Shift" in status["plan"]["order"]
    assert "epoch" not in status
    scene.region(scene.names[1]).kill()
    eventually(lambda: scene.health(scene.names[1]) == "Unreachable", what="central to be down", timeout=LONG)
    ask(scene, "gated", dryRun=True)
    gated = phase(scene, "Blocked", name="gated")
    assert condition(gated, "Accepted")["reason"] == "TargetNotEligible"
    after = (scene.route(), scene.status())
    assert after[0]["metadata"]["resourceVersion"] == before[0]["metadata"]["resourceVersion"]
    assert (after[1]["epoch"], after[1]["activeRegion"]) == (before[1]["epoch"], before[1]["activeRegion"])


def test_a_run_waits_for_its_time_and_is_cancelled_when_it_is_late(make_scene: MakeScene) -> None:
    scene = adopted(make_scene, "west", "central")
    now = datetime.now(UTC).replace(microsecond=0)
    ask(scene, "late", scheduleTime=(now - timedelta(minutes=11)).isoformat())
    assert condition(phase(scene, "Cancelled", name="late"), "Accepted")["reason"] == "TooLate"
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
    ask(scene, scheduleTime=due.isoformat())
    status = status_when(scene, lambda status: condition(status, "Accepted"), what="that it was seen")
    if status["phase"] == "Pending":  # on a machine that has taken longer than this it has begun by now
        assert condition(status, "Accepted")["reason"] == "Scheduled"
    status = phase(scene, "Succeeded")
    assert datetime.fromisoformat(status["startTime"]) >= due
    assert scene.active() == [scene.names[1]]


def test_force_goes_to_a_region_that_does_not_answer(make_scene: MakeScene) -> None:
    scene = adopted(make_scene, "west", "central", mode="Manual")
    central = scene.names[1]
    scene.region(central).kill()
    eventually(lambda: scene.health(central) == "Unreachable", what="central to be down", timeout=LONG)
    ask(scene)
    phase(scene, "Blocked")
    say(scene, force=True)
    phase(scene, "Succeeded")
    assert (scene.active(), scene.status()["activeRegion"]) == ([central], central)


def test_a_graceful_move_loses_no_request_and_stops_the_old_side_last(make_scene: MakeScene) -> None:
    scene = make_scene("west", "central")
    west, central = scene.names
    roles = Roles(west, [central])
    with serving(roles):
        scene.apply_regions()
        steps = [step(roles, "web", data="None")]
        scene.apply_policy(
            promotion={"steps": steps}, transition={"type": "Graceful", "drain": "2s"}, safety={"cooldown": "1s"}
        )
        scene.wait_adopted()
        with scene.client(rate=100) as clients:
            first = clients.wait_served_by(west, timeout=30)
            ask(scene)
            clients.wait_served_by(central, timeout=30, since=first.sent)
            status = phase(scene, "Succeeded")
            timeline = clients.timeline()
    assert timeline.lost == 0, timeline.failures
    assert roles.done == [f"promote {central}", f"demote {west}"]
    ended = {item["name"]: item.get("completionTime", "") for item in status["steps"]}
    times = {name: datetime.fromisoformat(ended[name]) for name in ("Shift", "Isolate")}
    assert times["Isolate"] - times["Shift"] >= timedelta(seconds=2), "requests in flight have their time"
    words = ("Ready", "Accepted", "Approved", "Fenced", "Promoted", "TrafficShifted", "Reprotected")
    assert sorted(item["type"] for item in status["conditions"]) == sorted([*words, "Succeeded", "Complete"])


def test_a_run_that_is_deleted_half_way_is_ended_first(make_scene: MakeScene) -> None:
    scene = make_scene("west", "central")
    west, central = scene.names
    roles = Roles(west, [central])
    with serving(roles):
        scene.apply_regions()
        scene.apply_policy(promotion={"steps": [step(roles, data="None", timeout="10m")]}, safety={"cooldown": "1s"})
        scene.wait_adopted()
        roles.stuck.add(central)
        ask(scene)
        status_when(scene, lambda status: "1 Promote/db" in states(status), what="the promotion")
        scene.cluster.api.delete(scene.path("failovers", "move"))
        scene.cluster.api.delete(scene.path("failoverpolicies", scene.app))
        assert run_of(scene)["metadata"]["finalizers"] == ["regent.dev/run"]
        assert scene.policy()["metadata"]["finalizers"] == ["regent.dev/run"]
        roles.roles[central] = "Active"
        gone = lambda: not scene.runs() and not scene.objects("failoverpolicies")  # noqa: E731
        eventually(gone, what="both to go once the run has ended", timeout=LONG)
    assert (roles.active(), scene.active()) == ([central], [central])


def test_a_drill_says_what_would_not_work_and_changes_nothing(make_scene: MakeScene) -> None:
    scene = make_scene("west", "central")
    west, central = scene.names
    roles = Roles(west, [central])
    with serving(roles):
        scene.apply_regions()
        scene.apply_policy(promotion={"steps": [step(roles)]}, safety={"cooldown": "1s"})
        scene.wait_adopted()
        before = scene.route()["metadata"]["resourceVersion"]
        names = (f"good-{number}" for number in count())

        def passed() -> bool:
            # A drill waits for nothing: on a busy machine the last probe may be a moment too old for it.
            name = next(names)
            ask(scene, name, type="Drill")
            ended = status_when(
                scene, lambda status: status.get("phase") in ("Succeeded", "Failed"), what=name, name=name
            )
            return bool(condition(ended, "Succeeded")["reason"] == "DrillPassed")

        eventually(passed, what="a drill that passes", timeout=LONG)
        roles.roles[central] = "Changing"
        ask(scene, "bad", type="Drill")
        failed = condition(phase(scene, "Failed", name="bad"), "Succeeded")
    assert failed["reason"] == "DrillFailed"
    assert f"db is Changing in {central}, not Standby" in failed["message"]
    assert (roles.done, scene.active(), scene.status()["epoch"]) == ([], [west], 1)
    assert scene.route()["metadata"]["resourceVersion"] == before
