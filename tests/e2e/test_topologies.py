"""LeaderElection and BlueGreen on the real API server and through the real gateway."""

from __future__ import annotations

import time
from typing import Any

from testbed.operator import OperatorReplicas
from testbed.scene import Scene, eventually, never
from tests.e2e.claims import claim_run
from tests.e2e.conftest import MakeScene

LOAD = {"healthBody": {"capacityAvailablePercent": ".free"}}


def test_the_roomiest_region_is_elected_and_a_better_one_takes_over(
    make_scene: MakeScene, operators: OperatorReplicas
) -> None:
    operators.leader(timeout=60)
    scene = make_scene()
    west, central, east = scene.names
    scene.region(central).load(errors=0, free=55)
    scene.region(east).load(errors=0, free=95)
    scene.apply_regions(load=LOAD)
    scene.apply_policy(
        topology="LeaderElection",
        preemption="AfterStabilization",
        failback={"stabilization": "2s"},
        safety={"cooldown": "1s"},
    )
    scene.wait_adopted()
    for name, free in ((central, 55), (east, 95)):
        eventually(lambda name=name, free=free: _free(scene, name) == free, what=f"{name} to report", timeout=10)
    with scene.client() as clients:
        clients.wait_served_by(west, timeout=10)
        at = scene.region(west).kill()
        scene.wait_active(east)
        clients.wait_served_by(east, timeout=10, since=at)
        claim_run(scene.wait_run(), source=west, to=east, trigger="Unreachable", epoch=2)
        assert "failbackRegion" not in scene.status() or not scene.status()["failbackRegion"]
        scene.region(west).heal()
        eventually(lambda: scene.health(west) == "Healthy", what="west to be healthy", timeout=15)
        short = time.monotonic()
        scene.region(east).load(errors=0, free=20)
        back = scene.wait_active(west, timeout=20)
        assert back - short >= 2.0, "the better region took over before it had been better for long enough"
        clients.wait_served_by(west, timeout=10, since=back)
    run = scene.wait_run(number=2)
    assert (run["spec"]["type"], run["status"]["trigger"]) == ("Switchover", "Preemption")
    never(lambda: len(scene.runs()) > 2, what="a third run", during=1.5)


def _free(scene: Scene, name: str) -> int | None:
    status = scene.cluster.api.get(f"/apis/regent.dev/v1alpha1/regions/{name}").get("status") or {}
    return status.get("capacityAvailablePercent")


def _groups(scene: Scene, desired: str) -> dict[str, Any]:
    west, central, east = scene.names
    return {"blue": [west], "green": [central, east], "desired": desired, "switchAfter": "2s", "observe": "60s"}


def _desire(scene: Scene, group: str) -> None:
    scene.apply_policy(topology="BlueGreen", blueGreen=_groups(scene, group), safety={"cooldown": "1s"})


def _expect(scene: Scene, *shares: float, timeout: float = 20) -> None:
    wanted = dict(zip(scene.names, shares, strict=True))
    eventually(lambda: scene.shares() == wanted, what=f"the shares {wanted}", timeout=timeout)


def test_two_groups_take_turns_and_a_group_that_fails_on_trial_is_latched(
    make_scene: MakeScene, operators: OperatorReplicas
) -> None:
    operators.leader(timeout=60)
    scene = make_scene()
    scene.apply_regions()
    _desire(scene, "Blue")
    scene.wait_adopted()
    west, central, east = scene.names
    with scene.client() as clients:
        clients.wait_served_by(west, timeout=10)
        _desire(scene, "Green")
        _expect(scene, 0, 50, 50)
        clients.wait_served_by(central, timeout=10)
        clients.wait_served_by(east, timeout=10)
        run = scene.wait_run()
        assert (run["spec"]["type"], run["status"]["trigger"]) == ("Switchover", "Manual")
        status = scene.status()
        assert (status["activeRegion"], status["activeRegions"]) == (central, [central, east])
        at = scene.region(east).kill()
        _expect(scene, 100, 0, 0)
        clients.wait_served_by(west, timeout=10, since=at)
        claim = scene.wait_run(number=2)
        assert (claim["spec"]["type"], claim["status"]["trigger"]) == ("Failover", "Unreachable")
        latch = scene.status()["blueGreen"]
        assert (latch["latchedGroup"], latch["latchReason"]) == ("Green", "FailedInObserve")
        scene.region(east).heal()
        eventually(lambda: scene.health(east) == "Healthy", what="east to be healthy", timeout=15)
        operators.leader().kill()  # who leads next knows of the latch
        operators.leader(timeout=60)
        never(lambda: scene.shares()[west] < 100, what="a switch to a latched group", during=4.0)
        _desire(scene, "Blue")
        eventually(lambda: "latchedGroup" not in scene.status()["blueGreen"], what="the latch to open", timeout=10)
        _desire(scene, "Green")
        # The failed probes of the outage degrade the region for up to a minute, and Green is not wholly healthy until
        # they are over.
        _expect(scene, 0, 50, 50, timeout=75)
    scene.wait_run(number=3)
