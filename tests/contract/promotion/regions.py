"""A hub and two member clusters on real API servers, reached as the operator reaches them.

The hub is the test run's shared cluster, with the rights that the chart grants; each member is a control plane of its
own with the account and the roles of deploy/member, and nothing else. Kubelets, CloudNativePG and KubeVirt do not run
here: their part on `status` is played by the tests, as the admin; what the controller manager does is real.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from regent.adapters.clock import SystemClock
from regent.adapters.kubernetes.client import KubernetesCluster
from regent.adapters.kubernetes.connection import connect
from regent.adapters.kubernetes.member import MemberClusterPool
from regent.adapters.promotion.factory import PromotionDrivers, object_drivers
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import PromotionStep, RunOptions, StepKind
from regent.domain.failover.roles import Role, RoleState
from regent.domain.health.plan import ClusterReference, SecretReference
from regent.engine.ports import Object
from regent.engine.promotion import PromotionDriver
from regent.engine.region_access import RegionAccess
from regent.engine.region_secrets import RegionSecrets
from regent.engine.resources import REGIONS
from regent.engine.store import Store
from testbed.controlplane import ApiClient, Cluster, ControlPlane
from tests.fakes.ports import FakeMetrics

DEPLOY = Path(__file__).parents[3] / "deploy" / "member"
HUB, EU, US = "hub", "eu", "us"
PATIENCE = 15.0
Json = dict[str, Any]


@dataclass
class Member:
    """A member cluster, and what a Region needs to reach it."""

    plane: ControlPlane
    kubeconfig: str
    uid: str

    @classmethod
    def prepare(cls, plane: ControlPlane) -> Member:
        """Apply what a person applies in a member cluster."""
        plane.apply(DEPLOY / "account.yaml")
        listed = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
        for name in listed:
            if name.startswith("roles/"):
                plane.apply(DEPLOY / name)
        plane.apply(DEPLOY / "fence.yaml")
        kubeconfig = plane.service_account_kubeconfig("regent-system", "regent").read_text()
        return cls(plane, kubeconfig, plane.api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"])


@dataclass
class Bench:
    """One policy's namespace in the hub and both members, with the drivers that act there."""

    namespace: str
    clusters: Mapping[str, Cluster]
    access: RegionAccess
    store: Store
    hub: KubernetesCluster
    account: str = "failover"

    def driver(self, kind: StepKind, /, **settings: Any) -> PromotionDriver:
        """Return the driver of a step."""
        step = PromotionStep(name="step", kind=kind, settings=settings)
        options = RunOptions(promotion=(step,), service_account=self.account)
        policy = PolicySpec(namespace=self.namespace, name="shop", uid=f"uid-of-{self.namespace}", options=options)
        return PromotionDrivers(object_drivers(self.access, clock=SystemClock())).drivers(policy)[0]

    def api(self, region: str) -> ApiClient:
        """The API of a region, as its admin: the test's own hand."""
        return self.clusters[region].api

    async def apply(self, region: str, *manifests: Json) -> None:
        """Apply manifests in the policy's namespace."""
        await asyncio.to_thread(self.clusters[region].apply, manifests, namespace=self.namespace)

    async def set_status(self, region: str, path: str, **status: Any) -> None:
        """Write a status, as the controller of the kind would."""
        await asyncio.to_thread(self.api(region).patch, f"{self.path(path)}/status", {"status": status})

    def path(self, path: str) -> str:
        """`apps/v1/deployments/web` in the policy's namespace."""
        *group, plural, name = path.split("/")
        root = f"/apis/{'/'.join(group)}" if len(group) > 1 else "/api/v1"
        return f"{root}/namespaces/{self.namespace}/{plural}/{name}".rstrip("/")

    async def get(self, region: str, path: str) -> Json:
        """Read an object as the admin."""
        return await asyncio.to_thread(self.api(region).get, self.path(path))

    async def pods(self, region: str) -> list[Json]:
        """The pods of the namespace."""
        found: Json = await asyncio.to_thread(self.api(region).get, self.path("v1/pods/"))
        return list(found["items"])

    async def set_pods(self, region: str, *, count: int, phase: str = "Running") -> None:
        """Play the kubelet: wait for `count` pods and report `phase` for them."""

        async def enough() -> list[Json]:
            pods = [pod for pod in await self.pods(region) if not pod["metadata"].get("deletionTimestamp")]
            return pods if len(pods) >= count else []

        ready = {"type": "Ready", "status": "True" if phase == "Running" else "False"}
        for pod in await eventually(enough, what=f"{count} pods in {region}"):
            await self.set_status(region, f"v1/pods/{pod['metadata']['name']}", phase=phase, conditions=[ready])

    async def role(self, driver: PromotionDriver, region: str, wanted: Role, *, within: float = PATIENCE) -> RoleState:
        """Wait until the step has the role."""
        seen: list[RoleState] = []

        async def there() -> RoleState | None:
            seen.append(await driver.observe(region))
            return seen[-1] if seen[-1].role is wanted else None

        try:
            return await eventually(there, what=f"{wanted} in {region}", within=within)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; last seen: {seen[-1]}") from None


async def eventually(check: Callable[[], Any], *, what: str, within: float = PATIENCE) -> Any:
    """Return the first true answer of `check`."""
    deadline = time.monotonic() + within
    while not (found := await check()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {within:.0f} s")
        await asyncio.sleep(0.05)
    return found


async def open_bench(
    *, hub: Cluster, hub_kubeconfig: Path, members: Mapping[str, Member], namespace: str, timeout: float = 5.0
) -> tuple[Bench, Store]:
    """Return a bench; its Regions are in the store that is returned beside it."""
    clock, metrics, store = SystemClock(), FakeMetrics(), Store([REGIONS])
    client = KubernetesCluster(await connect(kubeconfig=str(hub_kubeconfig)), clock=clock, metrics=metrics)
    for name in (HUB, *members):
        put_region(store, name, members.get(name))
    for name, member in members.items():
        write_secret(hub, namespace, name, member.kubeconfig)
    access = RegionAccess(
        store=store,
        read_reference=lambda region: reference(region, namespace),
        secrets=RegionSecrets(cluster=client, namespace=namespace, allowed=()),
        members=MemberClusterPool(clock=clock, metrics=metrics, timeout=timeout),
        hub=lambda account: client.acting_as(account) if account else client,
        clock=clock,
    )
    clusters = {HUB: hub, **{name: member.plane for name, member in members.items()}}
    return Bench(namespace, clusters, access, store, client), store


def put_region(store: Store, name: str, member: Member | None, *, uid: str = "", version: int = 1) -> None:
    """Let the store see a Region."""
    spec: Json = {} if member is None else {"cluster": {"secret": name, "uid": uid or member.uid}}
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version), "generation": version}
    store.observe(REGIONS, {"metadata": metadata, "spec": spec})


def reference(region: Object, namespace: str) -> ClusterReference | None:
    """`spec.cluster` of these Regions."""
    cluster = region["spec"].get("cluster")
    if cluster is None:
        return None
    secret = SecretReference(name=cluster["secret"], namespace=namespace, key="kubeconfig")
    return ClusterReference(kubeconfig=secret, uid=cluster["uid"])


def write_secret(hub: Cluster, namespace: str, name: str, kubeconfig: str) -> None:
    """Put a kubeconfig into a Secret of the hub."""
    data = {"kubeconfig": base64.b64encode(kubeconfig.encode()).decode()}
    metadata = {"namespace": namespace, "name": name}
    hub.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
