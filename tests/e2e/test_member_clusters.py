"""Member clusters: a Region's kubeconfig leads to a second, real API server, and its identity is checked."""

from __future__ import annotations

import base64
from typing import Any

import yaml

from testbed.controlplane import ControlPlane
from testbed.operator import OperatorReplicas
from testbed.scene import Scene, eventually
from tests.e2e.conftest import MakeScene, Stage

NAMESPACE = "regent-system"


def _secret(stage: Stage, name: str, kubeconfig: str) -> dict[str, Any]:
    data = {"kubeconfig": base64.b64encode(kubeconfig.encode()).decode()}
    metadata = {"namespace": NAMESPACE, "name": name}
    stage.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    return {"namespace": NAMESPACE, "name": name, "key": "kubeconfig"}


def _connected(scene: Scene, region: str, reason: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        obj = scene.cluster.api.get(f"/apis/regent.dev/v1alpha1/regions/{region}")
        conditions = (obj.get("status") or {}).get("conditions") or []
        condition = next((item for item in conditions if item["type"] == "ClusterConnected"), None)
        return condition if condition and condition["reason"] == reason else None

    return eventually(found, what=f"ClusterConnected with reason {reason} on {region}", timeout=20)


def test_the_member_cluster_is_reached_and_its_identity_checked(
    make_scene: MakeScene, stage: Stage, operators: OperatorReplicas
) -> None:
    """Fails when a kubeconfig is not tried, another cluster passes for the right one, or a program in it is run."""
    operators.leader(timeout=60)
    scene = make_scene("right", "other", "exec")
    right, other, program = scene.names
    with ControlPlane.start(name="member") as member:
        kubeconfig = member.kubeconfig.read_text(encoding="utf-8")
        uid = member.api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
        hostile = yaml.safe_load(kubeconfig)
        hostile["users"][0]["user"] = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch"}}
        word = scene.names[0].split("-")[0]
        reference = _secret(stage, f"{word}-member", kubeconfig)
        refused = _secret(stage, f"{word}-exec", yaml.safe_dump(hostile))
        for name, cluster in (
            (right, {"kubeconfigSecretRef": reference, "uid": uid}),
            (other, {"kubeconfigSecretRef": reference, "uid": "00000000-0000-0000-0000-000000000000"}),
            (program, {"kubeconfigSecretRef": refused}),
        ):
            stage.cluster.apply(scene.region_manifest(name, cluster=cluster))
        assert _connected(scene, right, "Connected")["status"] == "True"
        mismatch = _connected(scene, other, "UidMismatch")
        assert mismatch["status"] == "False"
        assert uid in mismatch["message"]
        exec_refused = _connected(scene, program, "KubeconfigRefused")
        assert exec_refused["status"] == "False"
        assert "exec" in exec_refused["message"]
