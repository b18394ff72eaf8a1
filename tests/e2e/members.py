"""Member clusters of a scene's regions: what is in them, and somebody who plays their kubelets."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testbed.controlplane import ApiError, Cluster, ControlPlane
from testbed.scene import Scene

Json = dict[str, Any]
MEMBER = Path(__file__).parents[2] / "deploy" / "member"
STEPS = [
    {"name": "web", "type": "Scale", "timeout": "5s", "scale": {"kind": "Deployment", "name": "web", "replicas": 2}},
    {"name": "nightly", "type": "CronJob", "timeout": "5s", "cronJob": {"name": "nightly"}},
]


def member_kubeconfig(plane: ControlPlane) -> Path:
    """Put into `plane` what deploy/member has, and give Regent's kubeconfig for it."""
    plane.apply(MEMBER / "account.yaml")
    plane.apply(MEMBER / "roles")
    return plane.service_account_kubeconfig("regent-system", "regent")


def join(hub: Cluster, scene: Scene, name: str, plane: ControlPlane, kubeconfig: Path | None = None) -> None:
    """Make `plane` the cluster of the scene's region `name`, reached by `kubeconfig` (default: its own)."""
    text = (kubeconfig or member_kubeconfig(plane)).read_bytes()
    plane.create_namespace(scene.namespace)
    secret = {"namespace": "regent-system", "name": name}
    data = {"kubeconfig": base64.b64encode(text).decode()}
    hub.apply({"apiVersion": "v1", "kind": "Secret", "metadata": secret, "data": data})
    uid = plane.api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    cluster = {"kubeconfigSecretRef": {**secret, "key": "kubeconfig"}, "uid": uid}
    hub.apply(scene.region_manifest(name, cluster=cluster))


@contextmanager
def kubelets(members: Sequence[ControlPlane]) -> Iterator[None]:
    """Report every pod as running and ready, as kubelets would."""
    stop = threading.Event()
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}

    def run(member: ControlPlane) -> None:
        client = member.client(member.kubeconfig)
        while not stop.wait(0.1):
            try:
                for pod in client.get("/api/v1/pods", fieldSelector="status.phase=Pending")["items"]:
                    metadata = pod["metadata"]
                    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
                    client.patch(path, {"status": ready})
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
    """The Deployment and the CronJob that `STEPS` are about."""
    labels = {"app": "web"}
    pod = {"containers": [{"name": "web", "image": "web"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    web: Json = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    web["spec"] = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    job = {"template": {"spec": {**pod, "restartPolicy": "Never"}}}
    nightly: Json = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}}
    nightly["spec"] = {"schedule": "0 3 1 1 *", "suspend": suspend, "jobTemplate": {"spec": job}}
    return [web, nightly]


def state(member: Cluster, namespace: str) -> tuple[int, int, bool, str]:
    """Replicas wanted and ready, whether the CronJob is suspended, and the fence."""
    web = member.api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/web")
    nightly = member.api.get(f"/apis/batch/v1/namespaces/{namespace}/cronjobs/nightly")
    fence = (web["metadata"].get("annotations") or {}).get("regent.dev/fence", "")
    return web["spec"]["replicas"], web["status"].get("readyReplicas", 0), nightly["spec"]["suspend"], fence
