"""The whole chain that fences a region which the hub cannot reach: operator, agent, and the region's own cluster.

The region is cut off: the operator does not reach its cluster, the agent does not reach the hub, and clients get no
answer. Inside, everything works. So only the agent can stop the region's workloads, and only its silence can tell the
operator that it has.
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.controlplane import ControlPlane
from testbed.network import spawn
from testbed.network.processes import stop
from testbed.operator import OperatorReplicas
from testbed.operator.link import Link
from testbed.scene import Scene, eventually
from tests.chart_render import helm
from tests.e2e.claims import claim_policy
from tests.e2e.conftest import MakeScene, Stage
from tests.e2e.members import MEMBER, kubelets, state, workloads

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "regent-system"
STEPS = [
    {"name": "web", "type": "Scale", "timeout": "30s", "scale": {"kind": "Deployment", "name": "web", "replicas": 2}}
]
Json = dict[str, Any]


def agent_chart(side: str, region: str) -> list[Json]:
    chart = str(ROOT / "charts" / "regent-agent")
    text = helm("template", "agent", chart, "--namespace", SYSTEM, f"--set=side={side}", f"--set=region={region}")
    found = [document for document in yaml.safe_load_all(text) if document]
    return [obj for obj in found if obj["kind"] not in ("Deployment", "PodDisruptionBudget")]


@contextmanager
def agent(region: str, own: Path, hub: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`regent agent --fence` as the chart starts it, with times that a test can wait for."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [
        sys.executable, "-m", "regent", "agent", "--fence", "--vantage", "inside", "--region", region,
        "--kubeconfig", str(own), "--hub-kubeconfig", str(hub), "--fence-after", "7s", "--demotion-limit", "5s",
        "--http-address", f"127.0.0.1:{port}", "--log-format", "text",
    ]  # fmt: skip
    with log.open("wb") as stream:
        process = spawn(argv, stdout=stream, stderr=stream)
    try:
        yield process
    finally:
        stop(process)


class Watcher:
    """Looks at the replicas of both sides all the time, for a moment at which both are wanted to run."""

    def __init__(self, planes: list[ControlPlane], namespace: str) -> None:
        self.overlaps: list[tuple[int, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(planes, namespace))

    def _run(self, planes: list[ControlPlane], namespace: str) -> None:
        clients = [plane.client(plane.kubeconfig) for plane in planes]
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
        while not self._stop.wait(0.05):
            # The new side first: what runs there now must have found the old one stopped before.
            new, old = (clients[place].get(path)["spec"]["replicas"] for place in (1, 0))
            if old and new:
                self.overlaps.append((old, new))
        for client in clients:
            client.close()

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def prepare(stage: Stage, scene: Scene, planes: list[ControlPlane], reach: Path) -> None:
    """Both member clusters with the workloads; the first one is reached by the operator through `reach`."""
    for name, plane in zip(scene.names, planes, strict=True):
        plane.apply(workloads(replicas=2 if name == scene.names[0] else 0, suspend=True), namespace=scene.namespace)
        path = reach if name == scene.names[0] else plane.service_account_kubeconfig(SYSTEM, "regent")
        secret = {"namespace": SYSTEM, "name": name}
        data = {"kubeconfig": base64.b64encode(path.read_bytes()).decode()}
        stage.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": secret, "data": data})
        uid = plane.api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
        cluster = {"kubeconfigSecretRef": {**secret, "key": "kubeconfig"}, "uid": uid}
        stage.cluster.apply(scene.region_manifest(name, cluster=cluster))


@pytest.mark.timeout(300)
def test_a_region_that_is_cut_off_is_stopped_by_its_agent_before_another_one_starts(
    make_scene: MakeScene, stage: Stage, operators: OperatorReplicas, tmp_path: Path
) -> None:
    """Fails when the operator does not wait for the agent's lease, waits for ever, or the agent does not stop."""
    operators.leader(timeout=60)
    scene = make_scene("west", "central")
    west, central = scene.names
    with ExitStack() as stack:
        with ThreadPoolExecutor(2) as pool:
            planes = list(pool.map(lambda name: stack.enter_context(ControlPlane.start(name=name)), scene.names))
        for plane in planes:
            plane.apply(MEMBER / "account.yaml")
            plane.apply(MEMBER / "roles")
            plane.create_namespace(scene.namespace)
        planes[0].apply(agent_chart("Region", west))
        stage.cluster.apply(agent_chart("Hub", west))
        reach = stack.enter_context(Link(planes[0].service_account_kubeconfig(SYSTEM, "regent"), tmp_path))
        hub = stage.cluster.service_account_kubeconfig(SYSTEM, f"regent-agent-{west}")
        home = stack.enter_context(Link(hub, tmp_path))
        prepare(stage, scene, planes, reach.kubeconfig)
        stack.enter_context(kubelets(planes))
        scene.apply_policy(promotion={"steps": STEPS}, safety={"cooldown": "1s", "fencing": "Required"})
        scene.wait_adopted()
        eventually(lambda: state(planes[0], scene.namespace)[:2] == (2, 2), what="ready pods in the west", timeout=60)
        own = planes[0].service_account_kubeconfig(SYSTEM, "regent-agent")
        log = tmp_path / "agent.log"
        stack.enter_context(agent(west, own, home.kubeconfig, log))
        told = f"/api/v1/namespaces/{SYSTEM}/configmaps/regent-agent-{west}"
        guards = lambda: json.loads((stage.cluster.api.get(told).get("data") or {}).get("guards", "{}"))  # noqa: E731
        eventually(lambda: f"{scene.namespace}/{scene.app}" in guards(), what="the agent to guard it", timeout=60)

        with Watcher(planes, scene.namespace) as watcher:
            reach.cut()
            home.cut()
            scene.region(west).kill()
            run = scene.wait_run(timeout=120)
        assert run["status"]["phase"] == "Succeeded", (run["status"], log.read_text()[-3000:])
        fenced = next(item for item in run["status"]["conditions"] if item["type"] == "Fenced")
        assert (fenced["status"], fenced["reason"]) == ("True", "AgentIsolated"), fenced
        assert watcher.overlaps == [], "both sides were to run at the same time"
        assert state(planes[0], scene.namespace)[0] == 0
        assert state(planes[1], scene.namespace)[:2] == (2, 2)
        claim_policy(scene, active=central, epoch=2)

        home.heal()
        reach.heal()
        eventually(lambda: "Let go" in log.read_text(), what="the agent to let go", timeout=60)
        assert state(planes[0], scene.namespace)[0] == 0, "it is not brought back beside the new one"
