"""Workloads in member clusters that go with the traffic: planned, and when a region is lost with its cluster.

Two regions, each with a member cluster of its own and nothing in it but deploy/member. A thread plays the kubelets.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from regent.engine.region_epochs import NAME
from testbed.controlplane import Component, ControlPlane
from testbed.operator import OperatorReplicas
from testbed.scene import Scene, eventually, failover
from tests.e2e.claims import claim_policy
from tests.e2e.conftest import MakeScene, Stage
from tests.e2e.members import STEPS, join, kubelets, state, workloads


@pytest.mark.timeout(180)
def test_workloads_follow_the_traffic_and_do_so_without_the_old_cluster(
    make_scene: MakeScene, stage: Stage, operators: OperatorReplicas
) -> None:
    """Fails when a step is done in the wrong cluster, before the other side has stopped, or waits for a dead one."""
    operators.leader(timeout=60)
    scene: Scene = make_scene("west", "central")
    west, central = scene.names
    with ExitStack() as stack:
        with ThreadPoolExecutor(2) as pool:
            planes = list(pool.map(lambda name: stack.enter_context(ControlPlane.start(name=name)), scene.names))
        for name, plane in zip(scene.names, planes, strict=True):
            join(stage.cluster, scene, name, plane)
            plane.apply(workloads(replicas=2 if name == west else 0, suspend=name != west), namespace=scene.namespace)
        stack.enter_context(kubelets(planes))
        scene.apply_policy(promotion={"steps": STEPS}, safety={"cooldown": "1s"})
        scene.wait_adopted()
        old, new = planes
        eventually(lambda: state(old, scene.namespace)[:2] == (2, 2), what="ready pods in the west", timeout=20)

        stage.cluster.apply(
            failover(scene.app, namespace=scene.namespace, name="over", type="Switchover", from_=west, to=central)
        )
        run = scene.wait_run(timeout=40)
        assert run["status"]["phase"] == "Succeeded", run["status"]
        names = {step["name"] for step in run["status"]["steps"]}
        assert {"Promote/web", "Promote/nightly"} <= names
        assert state(old, scene.namespace)[:3] == (0, 0, True)
        assert state(new, scene.namespace)[:3] == (2, 2, False)
        assert {state(plane, scene.namespace)[3].partition(".")[0] for plane in planes} == {"2"}
        claim_policy(scene, active=central, epoch=2)
        # Each region keeps the epoch itself, written with the rights of deploy/member, for a hub that is built anew.
        kept = f"/api/v1/namespaces/regent-system/configmaps/{NAME}"
        stored = {plane.api.get(kept)["data"][f"{scene.namespace}.{scene.app}"].split(".")[0] for plane in planes}
        assert stored == {"2"}

        # The region is lost with its cluster: nothing there answers, and the other side is promoted all the same.
        new.freeze(Component.API_SERVER)
        try:
            scene.region(central).kill()
            run = scene.wait_run(number=2, timeout=90)
            assert run["status"]["phase"] == "Succeeded", run["status"]
            assert state(old, scene.namespace)[:3] == (2, 2, False)
            claim_policy(scene, active=west, epoch=3)
        finally:
            new.thaw(Component.API_SERVER)
