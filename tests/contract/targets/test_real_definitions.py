"""Every kind of target object against a real API server with the real resource definitions of its project."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from regent.adapters.clock import SystemClock
from regent.adapters.kubernetes.client import KubernetesCluster
from regent.adapters.kubernetes.connection import connect
from regent.domain.errors import FencedOffError, TargetProblemError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicyRegion, PolicySpec
from regent.domain.traffic.dns import DnsMode, DnsRecords
from regent.domain.traffic.targets import DNS_ENDPOINT, GRPC_ROUTE, HTTP_ROUTE, VIRTUAL_SERVICE, TargetSpec
from regent.engine.resources import DNS_ENDPOINTS, GRPC_ROUTES, HTTP_ROUTES, VIRTUAL_SERVICES, Resource
from regent.engine.store import Store
from regent.engine.traffic import TrafficTarget
from testbed.dns import external_dns_crds
from testbed.toolchain import gateway_api_crds, istio_crds
from tests.fakes.ports import FakeMetrics
from tests.fakes.targets import make_targets

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

EU, US = "eu-west-1", "us-east-1"
OWNER = "n/shop/u"
ALL_EU, ALL_US = {EU: 100, US: 0}, {EU: 0, US: 100}


@dataclass
class Bench:
    cluster: KubernetesCluster
    store: Store
    namespace: str

    def target(self, spec: TargetSpec) -> TrafficTarget:
        policy = PolicySpec(
            namespace=self.namespace, name="shop", uid="u", regions=(PolicyRegion(name=EU), PolicyRegion(name=US))
        )
        [target] = make_targets(self.cluster, self.store, clock=SystemClock()).targets(policy, [spec])
        return target

    async def create(self, resource: Resource, spec: dict[str, Any]) -> dict[str, Any]:
        obj = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"namespace": self.namespace, "name": "shop", "annotations": {"kept": "yes"}},
            "spec": spec,
        }
        return await self.cluster.create(resource, obj)


@pytest.fixture(scope="module")
def installed(control_plane: Any) -> Any:
    """The control plane with the definitions of all three projects."""
    definitions = yaml.load_all(istio_crds().read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    istio = [item for item in definitions if item and item["spec"]["names"]["kind"] == "VirtualService"]
    control_plane.install_crds(gateway_api_crds())
    control_plane.install_crds(external_dns_crds())
    control_plane.install_crds(istio)
    return control_plane


@pytest.fixture
async def bench(installed: Any, namespace: str) -> AsyncIterator[Bench]:
    connection = await connect(kubeconfig=str(installed.kubeconfig))
    cluster = KubernetesCluster(connection, clock=SystemClock(), metrics=FakeMetrics())
    try:
        yield Bench(cluster, Store(), namespace)
    finally:
        await cluster.close()


def references() -> list[dict[str, Any]]:
    return [{"name": f"shop-{name}", "port": 80, "weight": 100 if name == EU else 0} for name in (EU, US)]


BACKENDS = {f"shop-{name}": name for name in (EU, US)}
RECORDS = DnsRecords(
    hostname="shop.example.com", record_type="A", ttl=5, addresses={EU: ("192.0.2.1",), US: ("192.0.2.2",)}
)
WEIGHTED = DnsRecords(
    hostname="shop.example.com",
    record_type="A",
    ttl=5,
    addresses=RECORDS.addresses,
    mode=DnsMode.PROVIDER_WEIGHTED,
    identifier_prefix="r-",
    weight_property="aws/weight",
)
ROUTE = {"parentRefs": [{"name": "gw"}], "hostnames": ["shop.example.com"]}
KINDS: list[Any] = [
    pytest.param(
        HTTP_ROUTES,
        TargetSpec(kind=HTTP_ROUTE, name="shop", regions_by_service=BACKENDS),
        {**ROUTE, "rules": [{"timeouts": {"request": "3s"}, "backendRefs": references()}]},
        id="HTTPRoute",
    ),
    pytest.param(
        GRPC_ROUTES,
        TargetSpec(kind=GRPC_ROUTE, name="shop", regions_by_service=BACKENDS),
        {**ROUTE, "rules": [{"matches": [{"method": {"service": "shop.Cart"}}], "backendRefs": references()}]},
        id="GRPCRoute",
    ),
    pytest.param(
        VIRTUAL_SERVICES,
        TargetSpec(kind=VIRTUAL_SERVICE, name="shop", regions_by_service=BACKENDS),
        {
            "hosts": ["shop.example.com"],
            "http": [
                {
                    "retries": {"attempts": 2},
                    "route": [
                        {"destination": {"host": "shop-eu-west-1"}, "weight": 90},
                        {"destination": {"host": "shop-us-east-1"}, "weight": 0},
                        {"destination": {"host": "canary", "subset": "v2"}, "weight": 10},
                    ],
                }
            ],
        },
        id="VirtualService",
    ),
    pytest.param(
        DNS_ENDPOINTS,
        TargetSpec(kind=DNS_ENDPOINT, name="shop", dns=RECORDS),
        {"endpoints": [{"dnsName": "a.example.com", "recordType": "TXT", "targets": ["x"], "labels": {"l": "1"}}]},
        id="DNSEndpoint",
    ),
    pytest.param(
        DNS_ENDPOINTS, TargetSpec(kind=DNS_ENDPOINT, name="shop", dns=WEIGHTED), {"endpoints": []}, id="DNSEndpoint-set"
    ),
]


def without_weights(spec: Any) -> Any:
    """The spec without what Regent may change."""
    if isinstance(spec, dict):
        kept = {k: v for k, v in spec.items() if k != "weight"}
        if "endpoints" in kept:
            kept["endpoints"] = [item for item in kept["endpoints"] if item["dnsName"] != "shop.example.com"]
        return {k: without_weights(v) for k, v in kept.items()}
    return [without_weights(item) for item in spec] if isinstance(spec, list) else spec


@pytest.mark.parametrize(("resource", "spec", "body"), KINDS)
async def test_weights_fence_and_owner_are_written_and_all_else_is_kept(
    bench: Bench, resource: Resource, spec: TargetSpec, body: dict[str, Any]
) -> None:
    before = await bench.create(resource, body)
    target = bench.target(spec)
    await target.apply(ALL_EU, fence=Fence(1, 1, 0), owner=OWNER)
    state = await target.apply(ALL_US, fence=Fence(2, 1, 12), owner=OWNER)
    after = await bench.cluster.get(resource, bench.namespace, "shop")
    assert without_weights(after["spec"]) == without_weights(before["spec"])
    assert after["metadata"]["annotations"]["kept"] == "yes"
    assert after["metadata"]["annotations"]["regent.dev/fence"] == "2.1.12"
    assert after["metadata"]["annotations"]["regent.dev/policy"] == OWNER
    assert state.aligned
    assert state.shares == ALL_US
    assert state.writer == "", "the last writer was Regent"
    version = after["metadata"]["resourceVersion"]
    await target.apply(ALL_US, fence=Fence(2, 1, 12), owner=OWNER)
    again = await bench.cluster.get(resource, bench.namespace, "shop")
    assert again["metadata"]["resourceVersion"] == version, "applying twice writes once"
    with pytest.raises(FencedOffError):
        await target.apply(ALL_EU, fence=Fence(2, 1, 11), owner=OWNER)


@pytest.mark.parametrize(("resource", "spec", "body"), KINDS)
async def test_a_change_of_others_in_between_is_kept(
    bench: Bench, resource: Resource, spec: TargetSpec, body: dict[str, Any]
) -> None:
    """The store is one version behind: the write meets a conflict, reads again and edits what is there now."""
    created = await bench.create(resource, body)
    bench.store.observe(resource, created)
    label = {**created, "metadata": {**created["metadata"], "labels": {"theirs": "1"}}}
    await bench.cluster.replace(resource, label)
    target = bench.target(spec)
    state = await target.apply(ALL_US, fence=Fence(2, 1, 12), owner=OWNER)
    assert state.aligned
    after = await bench.cluster.get(resource, bench.namespace, "shop")
    assert after["metadata"]["labels"] == {"theirs": "1"}
    assert (await target.observe(ALL_EU)).aligned is False


@pytest.mark.parametrize(("resource", "spec", "body"), KINDS)
async def test_an_object_that_is_missing_is_named(
    bench: Bench, resource: Resource, spec: TargetSpec, body: dict[str, Any]
) -> None:
    target = bench.target(spec)
    state = await target.observe(ALL_EU)
    assert (state.exists, state.problem) == (False, "TargetNotFound")
    with pytest.raises(TargetProblemError, match="create it"):
        await target.apply(ALL_EU, fence=Fence(1, 1, 0), owner=OWNER)


async def test_percentages_beside_a_foreign_destination_still_add_up(bench: Bench) -> None:
    _, spec, body = KINDS[2].values
    await bench.create(VIRTUAL_SERVICES, body)
    await bench.target(spec).apply(ALL_US, fence=Fence(2, 1, 12), owner=OWNER)
    after = await bench.cluster.get(VIRTUAL_SERVICES, bench.namespace, "shop")
    assert [route["weight"] for route in after["spec"]["http"][0]["route"]] == [0, 90, 10]


async def test_another_field_manager_is_named(bench: Bench, control_plane: Any) -> None:
    resource, spec, body = KINDS[3].values
    await bench.create(resource, body)
    target = bench.target(spec)
    await target.apply(ALL_EU, fence=Fence(1, 1, 0), owner=OWNER)
    changed = {"spec": {"endpoints": []}}
    path = f"/apis/{resource.group}/{resource.version}/namespaces/{bench.namespace}/{resource.plural}/shop"
    await asyncio.to_thread(
        lambda: control_plane.api.patch(
            f"{path}?fieldManager=argocd", changed, content_type="application/merge-patch+json"
        )
    )
    state = await target.observe(ALL_EU, fresh=True)
    assert (state.aligned, state.writer) == (False, "argocd")
