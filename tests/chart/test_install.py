"""The chart on a real API server: installed, upgraded and uninstalled with Helm, and its account at work.

A control plane of its own: others would find the custom resource definitions owned by a release.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.controlplane import ApiError, ControlPlane
from testbed.toolchain import ensure
from tests.chart_render import CHART, HelmError, helm, values_arguments

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

NAMESPACE = "regent-system"
REGION = {
    "apiVersion": "regent.dev/v1alpha1",
    "kind": "Region",
    "metadata": {"name": "eu-west-1"},
    "spec": {"endpoint": "https://eu.example.com", "probes": [{"name": "web", "http": {"path": "/"}}]},
}


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[ControlPlane]:
    with ControlPlane.start(name="chart") as started:
        yield started


def release(cluster: ControlPlane, verb: str, **values: Any) -> str:
    arguments = [verb, "regent", str(CHART), "--namespace", NAMESPACE, *values_arguments(values)]
    return helm(*arguments, *(["--create-namespace"] if verb == "install" else []), kubeconfig=cluster.kubeconfig)


def names(cluster: ControlPlane, path: str) -> set[str]:
    return {item["metadata"]["name"] for item in cluster.api.get(path)["items"]}


def test_life_of_a_release(own_cluster: ControlPlane) -> None:
    cluster = own_cluster
    notes = release(cluster, "install", replicaCount=2)
    assert "kubectl get regions" in notes

    deployment = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/regent"
    assert cluster.api.get(deployment)["spec"]["replicas"] == 2
    crds = names(cluster, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    assert {"regions.regent.dev", "failoverpolicies.regent.dev", "failovers.regent.dev"} <= crds
    cluster.install_crds(CHART.parents[1] / "crds")  # the same definitions; also waits until they are served
    cluster.apply(REGION)

    with contextlib.closing(cluster.client(cluster.service_account_kubeconfig(NAMESPACE, "regent"))) as account:
        assert account.get("/apis/regent.dev/v1alpha1/regions")["items"][0]["metadata"]["name"] == "eu-west-1"
        for forbidden in ("/api/v1/secrets", "/api/v1/configmaps", "/apis/apps/v1/deployments", "/api/v1/pods"):
            with pytest.raises(ApiError) as refused:
                account.get(forbidden)
            assert refused.value.status == 403, forbidden

    release(cluster, "upgrade", replicaCount=3, **{"settings": {"failover": {"suspendAll": True}}})
    assert cluster.api.get(deployment)["spec"]["replicas"] == 3
    assert "suspendAll" in cluster.api.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/regent")["data"]["settings.yaml"]

    helm("uninstall", "regent", "--namespace", NAMESPACE, kubeconfig=cluster.kubeconfig)
    with pytest.raises(ApiError) as gone:
        cluster.api.get(deployment)
    assert gone.value.status == 404
    assert crds <= names(cluster, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    assert names(cluster, "/apis/regent.dev/v1alpha1/regions") == {"eu-west-1"}
    assert "regent" not in names(cluster, "/apis/rbac.authorization.k8s.io/v1/clusterroles")


def test_a_release_can_come_back_and_own_its_definitions_again(own_cluster: ControlPlane) -> None:
    release(own_cluster, "install")
    helm("uninstall", "regent", "--namespace", NAMESPACE, kubeconfig=own_cluster.kubeconfig)
    release(own_cluster, "install")
    helm("uninstall", "regent", "--namespace", NAMESPACE, kubeconfig=own_cluster.kubeconfig)


def test_users_roles_join_the_standard_ones(own_cluster: ControlPlane) -> None:
    release(own_cluster, "install")
    try:
        own_cluster.create_namespace("team")
        own_cluster.apply(
            [
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "dev", "namespace": "team"}},
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "RoleBinding",
                    "metadata": {"name": "dev", "namespace": "team"},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
                    "subjects": [{"kind": "ServiceAccount", "name": "dev", "namespace": "team"}],
                },
            ]
        )
        kubeconfig = own_cluster.service_account_kubeconfig("team", "dev")
        eventually(lambda: can(kubeconfig, "create", "failovers.regent.dev"))
        eventually(lambda: can(kubeconfig, "list", "failoverpolicies.regent.dev"))
        assert not can(kubeconfig, "create", "regions.regent.dev")
        assert not can(kubeconfig, "update", "failovers.regent.dev", "--subresource=status")
    finally:
        helm("uninstall", "regent", "--namespace", NAMESPACE, kubeconfig=own_cluster.kubeconfig)


def can(kubeconfig: Path, *question: str) -> bool:
    command = [str(ensure("kubectl")), f"--kubeconfig={kubeconfig}", "auth", "can-i", *question, "--namespace=team"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.strip() in ("yes", "no"), done.stderr
    return done.stdout.strip() == "yes"


def eventually(condition: Callable[[], bool], *, within: float = 30.0) -> None:
    """Wait for the controller manager, which adds roles to the standard ones."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_server_refuses_what_the_schema_refuses(own_cluster: ControlPlane) -> None:
    with pytest.raises(HelmError, match="replicaCount"):
        release(own_cluster, "install", replicaCount="two")
    listed = json.loads(helm("list", "--all-namespaces", "-o", "json", kubeconfig=own_cluster.kubeconfig))
    assert listed == []
