"""Workloads in member clusters that go with the traffic: planned, and when a region is lost with its cluster.

Two regions, each with a member cluster of its own and nothing in it but deploy/member. A thread plays the kubelets.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from testbed.controlplane import ApiError, Component, ControlPlane
from testbed.operator import OperatorReplicas
from testbed.scene import Scene, eventually, failover
from tests.e2e.claims import claim_policy
from tests.e2e.conftest import MakeScene, Stage

MEMBER = Path(__file__).parents[2] / "deploy" / "member"
Json = dict[str, Any]
STEPS = [
    {"name": "web", "type": "Scale", "timeout": "5s", "scale": {"kind": "Deployment", "name": "web", "replicas": 2}},
    {"name": "nightly", "type": "CronJob", "timeout": "5s", "cronJob": {"name": "nightly"}},
]


@contextmanager
def kubelets(members: list[ControlPlane], namespace: str) -> Iterator[None]:
    """Report every pod as running and ready, as kubelets would."""
    stop, path = threading.Event(), f"/api/v1/namespaces/{namespace}/pods"
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}

    def run(member: ControlPlane) -> None:
        client = member.client(member.kubeconfig)
        while not stop.wait(0.1):
            try:
                for pod in client.get(path)["items"]:
                    if pod["status"].get("phase") == "Pending":
                        client.patch(f"{path}/{pod['metadata']['name']}/status", {"status": ready})
            except (ApiError, OSError, TimeoutError):
                continue  # the pod has gone, or the API server hangs as the test wants it to
            except Exception as error:
                if not type(error).__module__.startswith("httpcore"):
                    raise
        client.close()

    threads = [threading.Thread(target=run, args=(member,)) for member in members]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def workloads(*, replicas: int, suspend: bool) -> list[Json]:
    labels = {"app": "web"}
    pod = {"containers": [{"name": "web", "image": "web"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    web: Json = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    web["spec"] = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    job = {"template": {"spec": {**pod, "restartPolicy": "Never"}}}
    nightly: Json = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}}
    nightly["spec"] = {"schedule": "0 3 1 1 *", "suspend": suspend, "jobTemplate": {"spec": job}}
    return [web, nightly]


def state(member: ControlPlane, namespace: str) -> tuple[int, int, bool, str]:
    """Replicas wanted and ready, whether the CronJob is suspended, and the fence."""
    web = member.api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/web")
    nightly = member.api.get(f"/apis/batch/v1/namespaces/{namespace}/cronjobs/nightly")
    fence = (web["metadata"].get("annotations") or {}).get("regent.dev/fence", "")
    return web["spec"]["replicas"], web["status"].get("readyReplicas", 0), nightly["spec"]["suspend"], fence


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
            plane.apply(MEMBER / "account.yaml")
            plane.apply(MEMBER / "roles")
            plane.create_namespace(scene.namespace)
            plane.apply(workloads(replicas=2 if name == west else 0, suspend=name != west), namespace=scene.namespace)
            kubeconfig = plane.service_account_kubeconfig("regent-system", "regent").read_bytes()
            secret = {"namespace": "regent-system", "name": name}
            data = {"kubeconfig": base64.b64encode(kubeconfig).decode()}
            stage.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": secret, "data": data})
            uid = plane.api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
            cluster = {"kubeconfigSecretRef": {**secret, "key": "kubeconfig"}, "uid": uid}
            stage.cluster.apply(scene.region_manifest(name, cluster=cluster))
        stack.enter_context(kubelets(planes, scene.namespace))
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
