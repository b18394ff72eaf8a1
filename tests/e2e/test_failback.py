"""Returning: only after the region has been healthy for long enough, without a break; or when a person says so."""

from __future__ import annotations

from testbed.operator import OperatorReplicas
from testbed.scene import Scene, eventually, failover, never
from tests.e2e.claims import claim_policy, claim_run
from tests.e2e.conftest import MakeScene

STABILIZATION = 3.0


def _left(make_scene: MakeScene, mode: str) -> Scene:
    """A scene whose first region has been left for the second one."""
    scene = make_scene()
    scene.apply_regions()
    scene.apply_policy(failback={"mode": mode, "stabilization": f"{STABILIZATION:.0f}s"}, safety={"cooldown": "1s"})
    scene.wait_adopted()
    scene.region(scene.names[0]).kill()
    scene.wait_active(scene.names[1])
    scene.wait_run()
    return scene


def test_automatic_failback_waits_for_uninterrupted_health(make_scene: MakeScene, operators: OperatorReplicas) -> None:
    """The latch: a region that failed gets nothing back before it was stable, and a relapse starts the clock anew."""
    scene = _left(make_scene, "Automatic")
    west, central, _ = scene.names
    scene.region(west).heal()
    eventually(lambda: scene.condition("FailbackPending")["status"] == "True", what="FailbackPending", timeout=5)
    eventually(lambda: scene.health(west) in ("Healthy", "Recovering"), what="west to be back", timeout=10)
    scene.region(west).kill()
    eventually(lambda: scene.health(west) == "Unreachable", what="the relapse to be seen", timeout=10)
    assert scene.active() == [central]
    healed = scene.region(west).heal()
    back = scene.wait_active(west, timeout=20)
    assert back - healed >= STABILIZATION, "traffic came back before the region was stable"
    run = scene.wait_run(number=2)
    assert run["spec"]["type"] == "Failback"
    claim_run(run, source=central, to=west, trigger="Failback", epoch=3)
    claim_policy(scene, active=west, epoch=3)
    eventually(lambda: scene.condition("FailbackPending")["status"] == "False", what="home", timeout=5)
    never(lambda: len(scene.runs()) > 2, what="a third run", during=1.5)


def test_manual_failback_waits_for_a_person(make_scene: MakeScene, operators: OperatorReplicas) -> None:
    scene = _left(make_scene, "Manual")
    west, central, _ = scene.names
    scene.region(west).heal()
    eventually(
        lambda: scene.condition("ActionRequired").get("reason") == "FailbackPossible", what="the offer", timeout=15
    )
    assert scene.condition("ActionRequired")["status"] == "False", "nothing is wrong: a person may, nobody must"
    never(lambda: len(scene.runs()) > 1, what="a run back", during=1.5)
    assert scene.active() == [central]
    scene.cluster.apply(
        failover(scene.app, namespace=scene.namespace, name="home", type="Failback", from_=central, to=west)
    )
    claim_run(scene.wait_run(number=2), source=central, to=west, trigger="Failback", epoch=3)
    claim_policy(scene, active=west, epoch=3)


def test_after_a_failover_back_home_a_region_left_within_the_cooldown_is_no_target(
    make_scene: MakeScene, operators: OperatorReplicas
) -> None:
    """Two regions fail in turn: the second failover goes to the third, not back to the one that has just failed."""
    scene = make_scene()
    scene.apply_regions()
    scene.apply_policy(safety={"cooldown": "1m"})
    scene.wait_adopted()
    west, central, east = scene.names
    scene.region(west).kill()
    scene.wait_active(central)
    scene.wait_run()
    scene.region(west).heal()
    eventually(lambda: scene.health(west) in ("Healthy", "Recovering"), what="west to be back", timeout=10)
    eventually(lambda: scene.health(west) == "Healthy", what="west to be healthy", timeout=10)
    scene.region(central).kill()
    scene.wait_active(east)
    claim_run(scene.wait_run(number=2), source=central, to=east, trigger="Unreachable", epoch=3)
    claim_policy(scene, active=east, epoch=3)
