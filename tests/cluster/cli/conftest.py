"""A control plane of its own with the chart installed, one operator, and three regions on this machine.

The operator would act on every object of the shared control plane, so the commands that need it have their own.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.controlplane import ApiError, ControlPlane
from testbed.operator import OperatorReplicas, install
from testbed.regions import Regions
from testbed.scene import eventually, manifests

GROUP = "/apis/regent.dev/v1alpha1"
NAMES = ("west", "central", "east")
SETTINGS = {"failover": {"startupGrace": "500ms"}, "egress": {"allowLoopback": True}}

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Stage:
    """What the tests of the session share."""

    cluster: ControlPlane
    regions: Regions
    operators: OperatorReplicas


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    with ControlPlane.start(name="cli") as cluster, Regions(NAMES) as regions:
        installation = install(cluster, settings=SETTINGS)
        for place, name in enumerate(NAMES):
            cluster.apply(manifests.region(name, endpoint=regions[name].http_url, priority=100 - place))
        with OperatorReplicas(installation, count=1) as operators:
            yield Stage(cluster, regions, operators)


@dataclass(frozen=True)
class Desk:
    """Where a person sits: a namespace, and a kubeconfig whose context names it."""

    stage: Stage
    namespace: str
    kubeconfig: Path
    policies: list[str] = field(default_factory=list)

    def command(self, *arguments: str, kubeconfig: Path | None = None) -> list[str]:
        return [sys.executable, "-m", "regent", "--kubeconfig", str(kubeconfig or self.kubeconfig), *arguments]

    def run(self, *arguments: str, typed: str = "", kubeconfig: Path | None = None) -> Done:
        command = self.command(*arguments, kubeconfig=kubeconfig)
        return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, input=typed)

    def path(self, plural: str, name: str = "") -> str:
        return f"{GROUP}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def get(self, plural: str, name: str) -> dict[str, Any]:
        return self.stage.cluster.api.get(self.path(plural, name))

    def runs(self) -> list[dict[str, Any]]:
        return list(self.stage.cluster.api.get(self.path("failovers"))["items"])

    def active(self, name: str = "shop") -> str:
        return str((self.get("failoverpolicies", name).get("status") or {}).get("active", ""))

    def metric(self, name: str, **labels: str) -> float:
        """A metric of the operator about the desk's policy `shop`."""
        return self.stage.operators.leader().metric(name, namespace=self.namespace, policy="shop", **labels)

    def put_policy(self, name: str = "shop", **spec: Any) -> None:
        """Make a policy over the regions and wait until it is known what is active."""
        regions = spec.pop("regions", [{"name": region} for region in NAMES])
        policy = manifests.policy(name, NAMES, namespace=self.namespace)
        policy["spec"] = {"topology": "ActivePassive", "regions": regions, "safety": {"cooldown": "1s"}, **spec}
        self.stage.cluster.apply(policy)
        eventually(lambda: self.active(name), what="the policy to be adopted", timeout=60)


@pytest.fixture
def desk(stage: Stage, tmp_path: Path) -> Iterator[Desk]:
    namespace = stage.cluster.create_namespace(f"desk-{secrets.token_hex(3)}")
    made = Desk(stage, namespace, in_namespace(stage.cluster.kubeconfig, namespace, tmp_path / "kubeconfig"))
    yield made
    for plural in ("failoverpolicies", "failovers"):
        for item in stage.cluster.api.get(made.path(plural))["items"]:
            delete(stage, made.path(plural, item["metadata"]["name"]))
    stage.cluster.delete_namespace(namespace)


@pytest.fixture
def signed_in(desk: Desk, tmp_path: Path) -> Callable[..., Path]:
    """Give the kubeconfig of an account with a role of the chart in the desk's namespace; "" is no role at all."""

    def sign_in(role: str) -> Path:
        cluster, account = desk.stage.cluster, f"person-{secrets.token_hex(2)}"
        kind: Mapping[str, Any] = {"apiVersion": "v1", "kind": "ServiceAccount"}
        cluster.apply({**kind, "metadata": {"name": account, "namespace": desk.namespace}})
        if role:
            subject = {"kind": "ServiceAccount", "name": account, "namespace": desk.namespace}
            binding = {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": account, "namespace": desk.namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [subject],
            }
            cluster.apply(binding)
        kubeconfig = cluster.service_account_kubeconfig(desk.namespace, account)
        return in_namespace(kubeconfig, desk.namespace, tmp_path / account)

    return sign_in


def in_namespace(kubeconfig: Path, namespace: str, copy: Path) -> Path:
    """Copy a kubeconfig and let its context name the namespace."""
    config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    config["contexts"][0]["context"]["namespace"] = namespace
    copy.write_text(yaml.safe_dump(config), encoding="utf-8")
    return copy


def delete(stage: Stage, path: str) -> None:
    try:
        stage.cluster.api.delete(path)
    except ApiError as error:
        if error.status != 404:
            raise
