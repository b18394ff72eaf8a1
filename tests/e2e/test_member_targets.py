"""A target in the member cluster of the very region that fails: its API server hangs while traffic has to move."""

from __future__ import annotations

import time
from typing import Any

import yaml

from testbed.controlplane import Component, ControlPlane
from testbed.operator import OperatorReplicas
from testbed.scene import eventually
from testbed.toolchain import istio_crds
from tests.e2e.conftest import MakeScene, Stage
from tests.e2e.test_member_clusters import _secret
from tests.e2e.test_targets import rows, virtual_service


def _weights(member: ControlPlane, path: str) -> dict[str, int]:
    routes = member.api.get(path)["spec"]["http"][0]["route"]
    return {item["destination"]["host"]: item.get("weight", 0) for item in routes}


def test_a_hanging_member_cluster_holds_nobody_up_and_follows_later(
    make_scene: MakeScene, stage: Stage, operators: OperatorReplicas
) -> None:
    """Fails when the object is written in the wrong cluster, when the dead cluster keeps the hub's route waiting, or
    when it is not brought to the decision once it answers again."""
    operators.leader(timeout=60)
    scene = make_scene("west", "central")
    west, central = scene.names
    path = f"/apis/networking.istio.io/v1/namespaces/{scene.namespace}/virtualservices/shop"
    with ControlPlane.start(name="member") as member:
        definitions = yaml.load_all(istio_crds().read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        member.install_crds([item for item in definitions if item["spec"]["names"]["kind"] == "VirtualService"])
        member.create_namespace(scene.namespace)
        member.apply(virtual_service(scene))
        reference = _secret(stage, f"{scene.namespace}-member", member.kubeconfig.read_text(encoding="utf-8"))
        uid = member.api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
        cluster: dict[str, Any] = {"kubeconfigSecretRef": reference, "uid": uid}
        stage.cluster.apply([scene.region_manifest(west, cluster=cluster), scene.region_manifest(central)])
        destinations = [{"region": name, "host": f"shop-{name}"} for name in scene.names]
        istio = {"virtualService": {"name": "shop", "destinations": destinations}, "cluster": west}
        route = scene.policy_manifest()["spec"]["targets"][0]
        scene.apply_policy(targets=[route, istio])
        scene.wait_adopted(timeout=30)
        assert rows(scene) == {"HTTPRoute/shop": "Verified", f"VirtualService/shop@{west}": "AcceptedOnly"}
        written = member.api.get(path)["metadata"]["annotations"]
        assert written["regent.dev/fence"].startswith("1.")

        member.freeze(Component.API_SERVER)
        killed = scene.region(west).kill()
        moved = scene.wait_active(central, timeout=15)
        print(f"weights in the hub {moved - killed:.2f} s after the kill, the member's API server hanging")
        assert moved - killed < 3.0, "the hanging cluster kept the hub's route waiting"
        assert scene.wait_run(timeout=40)["status"]["phase"] == "Succeeded"
        eventually(
            lambda: rows(scene)[f"VirtualService/shop@{west}"] == "Failed", what="the outage to be shown", timeout=15
        )
        assert scene.condition("Ready")["status"] == "True"
        member.thaw(Component.API_SERVER)
        thawed = time.monotonic()
        wanted = {f"shop-{west}": 0, f"shop-{central}": 100}
        eventually(lambda: _weights(member, path) == wanted, what="the member to follow", timeout=60)
        print(f"the member's object was written {time.monotonic() - thawed:.1f} s after it answered again")
        eventually(
            lambda: rows(scene)[f"VirtualService/shop@{west}"] == "AcceptedOnly", what="its row to be good", timeout=15
        )
