"""A leader dies in the middle of a run and nobody leads for a while: its successor does not hold that against it."""

from collections.abc import Callable
from typing import Any

import pytest

from regent.domain.errors import UnavailableError
from regent.domain.failover.roles import Role
from regent.engine.resources import FAILOVERS
from tests.fakes.world import AP, EU, US, CrashError, World

GAP = 6.0
"""Seconds without a leader: about what the default lease takes."""
WEB = {"name": "web", "type": "Scale", "timeout": "5s", "scale": {"kind": "Deployment", "name": "shop", "replicas": 3}}
REQUIRED = {"promotion": {"steps": [WEB]}, "safety": {"fencing": "Required"}}


def promoting() -> World:
    world = World().furnish(**REQUIRED)
    for region in (EU, US, AP):
        world.steps.roles["web", region] = Role.ACTIVE if region == EU else Role.STANDBY
    return world


def dies_when(world: World, found: Callable[[dict[str, Any]], bool]) -> None:
    """Let the process end right after a run was written like this, before it does anything else."""
    alive = [True]

    def look(event: str, resource: Any, obj: dict[str, Any]) -> None:
        steps = {step["name"]: step for step in (obj.get("status") or {}).get("steps") or ()}
        if alive and resource is FAILOVERS and found(steps):
            alive.clear()
            raise CrashError

    world.cluster.subscribe(look)


def begun(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda steps: (steps.get(name) or {}).get("state") == "Running" and not steps[name].get("appliedTime")


def take_over(world: World, *, after: float = GAP) -> None:
    world.clock.advance(after)
    world.boot()
    world.leadership.gain(transitions=2)
    world.tracker.fresh()


async def test_the_gateway_has_its_whole_time_under_a_new_leader() -> None:
    """Fails when the wait for the gateway's word counts from a leader that is dead: its cutover is never proved."""
    world = World().furnish()
    await world.visit()
    world.tracker.down(EU)
    await world.visit(accept=False, times=1)
    assert world.weights()[US] == 100
    take_over(world)
    await world.visit()
    [run] = world.runs()
    conditions = {item["type"]: item["status"] for item in run["status"]["conditions"]}
    assert (run["status"]["phase"], conditions["TrafficShifted"]) == ("Succeeded", "True")
    assert (run["status"]["leaseTransitions"], "leaderTime" in run["status"]) == (2, True)


async def test_a_stage_is_held_from_when_its_weights_are_there() -> None:
    """Fails when a stage whose leader died before it wrote the weights is passed without having been watched."""
    steps = [{"percent": 25, "hold": "5s"}]
    world = World().furnish(transition={"type": "Gradual", "steps": steps})
    await world.visit()
    world.ask(to=US)
    dies_when(world, begun("Shift/25"))
    with pytest.raises(CrashError):
        await world.visit()
    assert world.weights() == {EU: 100, US: 0, AP: 0}
    take_over(world)
    await world.visit(times=3)
    assert world.weights() == {EU: 75, US: 25, AP: 0}
    await world.visit(times=40)
    run = world.run()
    assert run["status"]["phase"] == "Succeeded"
    [stage] = [step for step in run["status"]["steps"] if step["name"] == "Shift/25"]
    seconds = [stage[key].rpartition(":")[2].rstrip("Z") for key in ("appliedTime", "completionTime")]
    assert (float(seconds[1]) - float(seconds[0])) % 60 >= 5.0


@pytest.mark.parametrize("step", ["Isolate", "Promote/web"])
async def test_a_step_has_its_whole_time_under_a_new_leader(step: str) -> None:
    """Fails when the time without a leader uses up the step's time-out: a sound region would be given up."""
    world = promoting()
    world.steps.slow = 3
    await world.visit()
    world.ask(to=US)
    dies_when(world, begun(step))
    with pytest.raises(CrashError):
        await world.visit(times=40)
    take_over(world, after=40.0)
    await world.visit(times=80)
    run = world.run()
    assert (run["status"]["phase"], run["status"].get("attempts")) == ("Succeeded", None)
    assert world.steps.effects == [f"web {EU} Standby", f"web {US} Active"]


async def test_what_is_changing_by_itself_is_asked_all_the_same() -> None:
    """Fails when a degraded old side passes for one that a dead leader had asked to stop."""
    world = promoting()
    await world.visit()
    world.ask(to=US)
    dies_when(world, begun("Isolate"))
    with pytest.raises(CrashError):
        await world.visit(times=40)
    world.steps.pending["web", EU] = (Role.ACTIVE, 1_000_000)
    take_over(world)
    await world.visit(times=80)
    assert world.steps.effects == [f"web {EU} Standby", f"web {US} Active"]
    assert world.run()["status"]["phase"] == "Succeeded"


async def test_a_run_that_was_made_without_an_answer_is_not_made_twice() -> None:
    """Fails when a lost answer and a late watch leave two runs of one outage."""
    world = World().furnish()
    await world.visit()
    lost = [True]

    def lose(event: str, resource: Any, obj: dict[str, Any]) -> None:
        if lost and resource is FAILOVERS:
            lost.clear()
            raise UnavailableError("no answer")

    world.cluster.subscribe(lose)
    world.tracker.down(EU)
    with pytest.raises(UnavailableError):
        await world.visit()
    for run in world.runs():
        world.store.remove(FAILOVERS, run)  # the watch has not told yet
    await world.visit()
    assert [run["metadata"]["name"] for run in await world.cluster.list(FAILOVERS)] == ["shop-1"]
    assert world.status()["totals"] == {"succeeded": 1}
