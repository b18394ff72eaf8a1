"""Regions of a test's own, in the member clusters that all tests share: reached on a detour that can be spoilt, with
credentials that can be taken away, without any other test noticing."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.controlplane import ControlPlane
from testbed.controlplane.kubeconfig import Access
from tests.cluster.replication.bench import API, HUB, SYSTEM, Bench, region

NO_FINALIZERS = {"metadata": {"finalizers": None}}
KUBE_SYSTEM = "/api/v1/namespaces/kube-system"
REGIONS = "/apis/regent.dev/v1alpha1/regions"


def uid_of(plane: ControlPlane) -> str:
    """The uid by which a Region names its cluster."""
    return str(plane.api.get(KUBE_SYSTEM)["metadata"]["uid"])


def account(plane: ControlPlane, name: str) -> Path:
    """Make an account that may do everything; return a kubeconfig for it."""
    subject = {"kind": "ServiceAccount", "name": name, "namespace": SYSTEM}
    rbac = "rbac.authorization.k8s.io"
    plane.apply(
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": SYSTEM}},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": name},
                "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [subject],
            },
        ]
    )
    return plane.service_account_kubeconfig(SYSTEM, name)


def put_kubeconfig(hub: ControlPlane, name: str, kubeconfig: Path) -> None:
    """Put a kubeconfig into the Secret of a Region."""
    data = {"kubeconfig": base64.b64encode(kubeconfig.read_bytes()).decode()}
    hub.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": SYSTEM, "name": name}, "data": data})


def put_cluster_api(hub: ControlPlane, name: str, kubeconfig: Path) -> None:
    """The same as Cluster API keeps it."""
    data = {"value": base64.b64encode(kubeconfig.read_bytes()).decode()}
    metadata = {"namespace": SYSTEM, "name": name, "labels": {"cluster.x-k8s.io/cluster-name": name}}
    secret_type = "cluster.x-k8s.io/secret"
    hub.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": secret_type, "data": data})


def put_argo_cd(hub: ControlPlane, name: str, kubeconfig: Path) -> None:
    """The same as Argo CD keeps it."""
    access = Access.read(kubeconfig)
    tls = {"insecure": False, "caData": base64.b64encode(access.authority).decode()}
    config = json.dumps({"bearerToken": access.token, "tlsClientConfig": tls})
    values = {"name": name, "server": access.server, "config": config}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    metadata = {"namespace": SYSTEM, "name": name, "labels": {"argocd.argoproj.io/secret-type": "cluster"}}
    hub.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})


@contextmanager
def another_region(
    bench: Bench, plane: ControlPlane, kubeconfig: Path, put: Callable[[ControlPlane, str, Path], None] = put_kubeconfig
) -> Iterator[str]:
    """A Region for a cluster that others may have Regions for too; gives its name."""
    hub, name = bench.planes[HUB], f"detour-{secrets.token_hex(3)}"
    put(hub, name, kubeconfig)
    reference = {"namespace": SYSTEM, "name": name}
    hub.apply(region(name, plane, cluster={"kubeconfigSecretRef": reference, "uid": uid_of(plane)}))
    try:
        yield name
    finally:
        bench.remove_policies()
        for item in hub.api.get(bench.path("replicationpolicies", api=API))["items"]:
            # One that a test has left behind waits for copies in a region that is no more.
            hub.api.patch(bench.path("replicationpolicies", item["metadata"]["name"], api=API), NO_FINALIZERS)
        hub.api.delete(f"{REGIONS}/{name}")
        hub.api.delete(f"/api/v1/namespaces/{SYSTEM}/secrets/{name}")
