"""What people do: drain, delete, decide by hand, suspend; and the commands that Regent shows them."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from testbed.operator import OperatorReplicas
from testbed.scene import Scene, eventually, failover, never
from tests.e2e.claims import claim_events, claim_policy, claim_run, no_run
from tests.e2e.conftest import MakeScene

REGIONS = "/apis/regent.dev/v1alpha1/regions"


def _adopted(make_scene: MakeScene, **spec: object) -> Scene:
    scene = make_scene()
    scene.apply_regions()
    scene.apply_policy(**spec)
    scene.wait_adopted()
    return scene


def _shell(scene: Scene, command: str) -> str:
    """Run a command as a person would who has kubectl and the cluster's kubeconfig."""
    path = f"{scene.cluster.kubectl.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(scene.cluster.kubeconfig)}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_draining_the_active_region_moves_traffic_without_a_loss(scene: Scene) -> None:
    west, central, _ = scene.names
    with scene.client(rate=100) as clients:
        first = clients.wait_served_by(west, timeout=10)
        scene.cluster.api.patch(f"{REGIONS}/{west}", {"spec": {"adminState": "Drained"}})
        clients.wait_served_by(central, timeout=10, since=first.sent)
        run = scene.wait_run()
        clients.wait_served_by(central, timeout=5, since=time.monotonic())
        timeline = clients.timeline()
    assert run["spec"]["type"] == "Switchover"
    claim_run(run, source=west, to=central, trigger="AdminState", epoch=2)
    claim_policy(scene, active=central, epoch=2)
    assert timeline.lost == 0, timeline.failures
    rows = {row["region"]: row for row in scene.status()["candidates"]}
    assert "AdminStateDrained" in rows[west]["reasons"]


def test_deleting_the_active_region_moves_traffic(scene: Scene) -> None:
    west, central, _ = scene.names
    scene.cluster.api.delete(f"{REGIONS}/{west}")
    claim_run(scene.wait_run(), source=west, to=central, trigger="RegionRemoved", epoch=2)
    claim_policy(scene, active=central, epoch=2)
    ready = eventually(
        lambda: found if (found := scene.condition("Ready"))["status"] == "False" else None, what="Ready", timeout=5
    )
    assert ready["reason"] == "RegionNotFound"
    assert west in ready["message"]


def test_mode_manual_shows_a_command_that_works(make_scene: MakeScene, operators: OperatorReplicas) -> None:
    scene = _adopted(make_scene, mode="Manual")
    west, central, _ = scene.names
    scene.region(west).kill()
    required = eventually(
        lambda: found if (found := scene.condition("ActionRequired")).get("status") == "True" else None,
        what="ActionRequired",
        timeout=10,
    )
    assert required["reason"] == "ManualMode"
    never(scene.runs, what="a run in mode Manual", during=1.5)
    no_run(scene)
    _shell(scene, required["message"].partition("Run: ")[2])
    run = scene.wait_run()
    claim_run(run, source=west, to=central, trigger="Manual", epoch=2)
    claim_policy(scene, active=central, epoch=2)
    eventually(lambda: scene.condition("ActionRequired")["status"] == "False", what="nothing left to do", timeout=5)


def test_a_person_moves_traffic_by_a_failover_object(scene: Scene) -> None:
    west, _, east = scene.names
    wish = failover(
        scene.app, namespace=scene.namespace, name="maintenance", type="Switchover", from_=west, to=east, reason="work"
    )
    wish["metadata"]["annotations"] = {"regent.dev/requested-by": "somebody-else"}
    with scene.client(rate=100) as clients:
        first = clients.wait_served_by(west, timeout=10)
        scene.cluster.apply(wish)
        clients.wait_served_by(east, timeout=10, since=first.sent)
        run = scene.wait_run()
        timeline = clients.timeline()
    assert run["metadata"]["name"] == "maintenance"
    assert run["status"]["requestedBy"] == "testbed-admin"
    claim_run(run, source=west, to=east, trigger="Manual", epoch=2)
    claim_policy(scene, active=east, epoch=2)
    assert timeline.lost == 0, timeline.failures
    never(lambda: len(scene.runs()) > 1, what="a run back", during=1.5)


@pytest.mark.parametrize(
    ("source", "to", "phase", "reason"),
    [
        ("east", "central", "Superseded", "FromNotActive"),
        ("west", "nowhere", "Failed", "UnknownRegion"),
    ],
)
def test_a_failover_that_makes_no_sense_is_refused(scene: Scene, source: str, to: str, phase: str, reason: str) -> None:
    names = {name.rpartition("-")[2]: name for name in scene.names}
    wish = failover(scene.app, namespace=scene.namespace, name="wrong", from_=names[source], to=names.get(to, to))
    scene.cluster.apply(wish)
    run = scene.wait_run()
    assert run["status"]["phase"] == phase
    conditions = {item["type"]: item for item in run["status"]["conditions"]}
    assert conditions["Accepted"]["status"] == "False"
    assert conditions["Accepted"]["reason"] == reason
    assert scene.status()["epoch"] == 1
    assert scene.active() == [scene.names[0]]


def test_a_failover_to_a_dead_region_waits_and_can_be_cancelled(scene: Scene) -> None:
    west, central, _ = scene.names
    scene.region(central).kill()
    eventually(lambda: scene.health(central) == "Unreachable", what="central to be down", timeout=10)
    scene.cluster.apply(failover(scene.app, namespace=scene.namespace, name="wish", from_=west, to=central))
    path = scene.path("failovers", "wish")
    phase = lambda: (scene.cluster.api.get(path).get("status") or {}).get("phase")  # noqa: E731
    eventually(lambda: phase() == "Blocked", what="the run to be blocked", timeout=5)
    assert scene.active() == [west]
    scene.cluster.api.patch(path, {"spec": {"control": {"desired": "Cancel"}}})
    eventually(lambda: phase() == "Cancelled", what="the run to be cancelled", timeout=5)
    assert scene.active() == [west]
    assert scene.status()["epoch"] == 1


def test_a_waiting_wish_never_stands_in_the_way_of_an_automatic_run(scene: Scene) -> None:
    west, central, east = scene.names
    scene.region(central).kill()
    eventually(lambda: scene.health(central) == "Unreachable", what="central to be down", timeout=10)
    scene.cluster.apply(failover(scene.app, namespace=scene.namespace, name="wish", from_=west, to=central))
    scene.region(west).kill()
    scene.wait_active(east)
    eventually(lambda: scene.status()["epoch"] == 2, what="the commit", timeout=5)
    wish = eventually(
        lambda: (
            found
            if (found := scene.cluster.api.get(scene.path("failovers", "wish")))["status"]["phase"] == "Superseded"
            else None
        ),
        what="the wish to be superseded",
        timeout=5,
    )
    assert not wish["status"].get("epoch")
    claim_policy(scene, active=east, epoch=2)


def test_a_suspended_policy_holds_and_goes_on(make_scene: MakeScene, operators: OperatorReplicas) -> None:
    scene = _adopted(make_scene, suspend=True)
    west, central, _ = scene.names
    scene.region(west).kill()
    eventually(lambda: scene.condition("ActionRequired").get("reason") == "Suspended", what="the hold", timeout=10)
    never(scene.runs, what="a run while suspended", during=1.5)
    no_run(scene)
    assert scene.status()["phase"] == "Suspended"
    claim_events(scene, "Suspended")
    scene.cluster.api.patch(scene.path("failoverpolicies", scene.app), {"spec": {"suspend": False}})
    claim_run(scene.wait_run(), source=west, to=central, trigger="Unreachable", epoch=2)
    claim_policy(scene, active=central, epoch=2)
