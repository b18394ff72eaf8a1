"""Targets beside HTTPRoute, each on the real thing that follows it: DNS through external-dns, gRPC through Traefik."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import dns.resolver
import pytest
from grpclib.client import Channel
from grpclib.const import Cardinality
from grpclib.encoding.base import CodecBase

from testbed.controlplane import ApiError
from testbed.dns import DnsServer, ExternalDns
from testbed.operator import OperatorReplicas
from testbed.scene import Scene, eventually, never
from testbed.toolchain import istio_crds
from tests.e2e.conftest import MakeScene, Stage

GATEWAYS = "/apis/gateway.networking.k8s.io/v1"


@pytest.fixture(scope="module")
def dns_server() -> Iterator[DnsServer]:
    """An empty zone."""
    with DnsServer() as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def external_dns(stage: Stage, dns_server: DnsServer) -> Iterator[ExternalDns]:
    """What fills the zone from the cluster's DNSEndpoints, wherever they are."""
    with ExternalDns(stage.cluster, dns_server) as program:
        yield program


def resolve(server: DnsServer, name: str) -> set[str]:
    """What a client gets that uses the server: dnspython's stub resolver, without a cache."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port, resolver.lifetime = [server.address], server.port, 2.0
    try:
        return {item.to_text() for item in resolver.resolve(name, "A")}
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return set()


def hostname(scene: Scene, server: DnsServer) -> str:
    return f"{scene.namespace}.{server.zone}"


def dns_target(scene: Scene, server: DnsServer, **options: Any) -> dict[str, Any]:
    records = [{"region": name, "targets": [scene.region(name).address]} for name in scene.names]
    endpoint = {"name": "shop", "hostname": hostname(scene, server), "records": records, **options}
    return {"dnsEndpoint": endpoint, "verification": {"url": server.url, "successes": 2}}


def apply_dns_endpoint(scene: Scene, *endpoints: dict[str, Any]) -> None:
    """The user's object: what else it holds is not Regent's."""
    scene.cluster.apply(
        {
            "apiVersion": "externaldns.k8s.io/v1alpha1",
            "kind": "DNSEndpoint",
            "metadata": {"name": "shop", "namespace": scene.namespace},
            "spec": {"endpoints": list(endpoints)},
        }
    )


def rows(scene: Scene) -> dict[str, str]:
    return {row["target"]: row["verification"] for row in scene.status().get("targets") or []}


def test_dns_follows_a_failover(make_scene: MakeScene, dns_server: DnsServer, operators: OperatorReplicas) -> None:
    """Fails when the DNSEndpoint is not written, when `Verified` is said before DNS answers so, or when records that
    are not the policy's are touched."""
    operators.leader(timeout=60)
    scene = make_scene("west", "central")
    west, central = scene.names
    other = {"dnsName": f"other.{dns_server.zone}", "recordType": "A", "recordTTL": 60, "targets": ["192.0.2.9"]}
    apply_dns_endpoint(scene, other)
    scene.apply_regions()
    scene.apply_policy(targets=[dns_target(scene, dns_server)])
    scene.wait_adopted(timeout=30)
    name = hostname(scene, dns_server)
    assert resolve(dns_server, name) == {scene.region(west).address}
    assert rows(scene) == {"DNSEndpoint/shop": "Verified"}

    killed = scene.region(west).kill()
    new = {scene.region(central).address}
    seen: list[set[str]] = []

    def changed() -> bool:
        seen.append(resolve(dns_server, name))
        return seen[-1] == new

    eventually(changed, what="DNS to lead to the other region", timeout=20)
    print(f"DNS answered with the other region {time.monotonic() - killed:.2f} s after the kill")
    assert set() not in seen, "the name was without an answer in between"
    run = scene.wait_run()
    assert run["status"]["phase"] == "Succeeded"
    eventually(
        lambda: rows(scene) == {"DNSEndpoint/shop": "Verified"} and scene.status()["targets"][0]["epoch"] == 2,
        what="the answer to be verified",
        timeout=15,
    )
    assert scene.condition("TrafficVerified")["status"] == "True"
    assert resolve(dns_server, name) == new
    assert resolve(dns_server, str(other["dnsName"])) == {"192.0.2.9"}


def test_dns_is_not_verified_before_it_answers_so(
    make_scene: MakeScene, stage: Stage, dns_server: DnsServer, external_dns: ExternalDns, operators: OperatorReplicas
) -> None:
    """Fails when external-dns' word, which comes before any server answers so, counts as proof."""
    scene = make_scene("west", "central")
    west, central = scene.names
    apply_dns_endpoint(scene)
    scene.apply_regions()
    scene.apply_policy(targets=[dns_target(scene, dns_server)])
    scene.wait_adopted(timeout=30)
    external_dns.stop()
    try:
        scene.region(west).kill()
        assert scene.wait_run(timeout=30)["status"]["phase"] == "Succeeded"
        path = f"/apis/externaldns.k8s.io/v1alpha1/namespaces/{scene.namespace}/dnsendpoints/shop"
        generation = stage.cluster.api.get(path)["metadata"]["generation"]
        said = {"status": {"observedGeneration": generation}}
        stage.cluster.api.patch(f"{path}/status", said, content_type="application/merge-patch+json")
        never(lambda: rows(scene)["DNSEndpoint/shop"] == "Verified", what="verified", during=2.0)
        message = scene.status()["targets"][0]["message"]
        assert f"is {scene.region(west).address}, expected {scene.region(central).address}" in message
    finally:
        external_dns.start()
    eventually(lambda: rows(scene)["DNSEndpoint/shop"] == "Verified", what="proof by DNS", timeout=20)
    assert resolve(dns_server, hostname(scene, dns_server)) == {scene.region(central).address}


def test_one_target_fails_and_the_others_move(
    make_scene: MakeScene, stage: Stage, dns_server: DnsServer, operators: OperatorReplicas
) -> None:
    """Fails when a target that is gone keeps the run from moving the others, is passed over in silence, or is not
    written when it is back."""
    with suppress(ApiError):
        stage.cluster.install_crds(istio_crds())
    scene = make_scene("west", "central")
    west, central = scene.names
    apply_dns_endpoint(scene)
    service = virtual_service(scene)
    stage.cluster.apply(service)
    path = f"/apis/networking.istio.io/v1/namespaces/{scene.namespace}/virtualservices/shop"
    scene.apply_regions()
    route = scene.policy_manifest()["spec"]["targets"][0]
    destinations = [{"region": name, "host": f"shop-{name}"} for name in scene.names]
    istio = {"virtualService": {"name": "shop", "destinations": destinations}}
    scene.apply_policy(targets=[route, istio, dns_target(scene, dns_server)])
    scene.wait_adopted(timeout=30)
    assert rows(scene) == {
        "HTTPRoute/shop": "Verified",
        "VirtualService/shop": "AcceptedOnly",
        "DNSEndpoint/shop": "Verified",
    }
    stage.cluster.api.delete(path)
    eventually(lambda: scene.condition("Ready").get("reason") == "TargetNotFound", what="Ready=False", timeout=10)

    scene.region(west).kill()
    scene.wait_active(central, timeout=15)
    eventually(
        lambda: resolve(dns_server, hostname(scene, dns_server)) == {scene.region(central).address},
        what="DNS to follow",
        timeout=20,
    )
    run = scene.wait_run(timeout=30)
    assert run["status"]["phase"] == "Succeeded"
    assert "VirtualService/shop" in next(s["message"] for s in run["status"]["steps"] if s["name"] == "Shift")
    assert scene.condition("TrafficVerified")["status"] == "False"
    assert rows(scene)["VirtualService/shop"] == "Failed"

    stage.cluster.apply(service)
    wanted = {f"shop-{west}": 0, f"shop-{central}": 100}

    def weights() -> dict[str, int]:
        routes = stage.cluster.api.get(path)["spec"]["http"][0]["route"]
        return {item["destination"]["host"]: item.get("weight", 0) for item in routes}

    eventually(lambda: weights() == wanted, what="the target that came back to be written", timeout=15)
    eventually(lambda: scene.condition("Ready")["status"] == "True", what="Ready=True", timeout=10)


def virtual_service(scene: Scene) -> dict[str, Any]:
    weights = {name: 100 if number == 0 else 0 for number, name in enumerate(scene.names)}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "shop", "namespace": scene.namespace},
        "spec": {
            "hosts": [scene.host],
            "http": [
                {
                    "route": [
                        {"destination": {"host": f"shop-{name}"}, "weight": weight} for name, weight in weights.items()
                    ]
                }
            ],
        },
    }


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it is told."""

    told: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_a_webhook_is_told_of_a_failover(make_scene: MakeScene, operators: OperatorReplicas) -> None:
    """Fails when the receiver is not told, is told something else than the route says, or is told more than once."""
    scene = make_scene("west", "central")
    west, central = scene.names
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        scene.apply_regions()
        route = scene.policy_manifest()["spec"]["targets"][0]
        scene.apply_policy(targets=[route, {"webhook": {"url": f"http://127.0.0.1:{server.server_port}/told"}}])
        scene.wait_adopted()
        scene.region(west).kill()
        scene.wait_active(central)
        assert scene.wait_run()["status"]["phase"] == "Succeeded"
        eventually(lambda: "AcceptedOnly" in rows(scene).values(), what="the receiver's row", timeout=10)
        never(lambda: len(Receiver.told) > 2, what="told more than once", during=1.0)
        server.shutdown()
        thread.join()
    shares = [{row["region"]: row["weightPercent"] for row in body["distribution"]} for body in Receiver.told]
    assert shares == [{west: 100, central: 0}, {west: 0, central: 100}]
    assert [body["epoch"] for body in Receiver.told] == [1, 2]


class Raw(CodecBase):
    """gRPC messages as bytes: the health check's request is empty, its answer one enum."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


async def check(port: int, authority: str) -> bytes:
    """One health check through the gateway, over a connection of its own."""
    channel = Channel("127.0.0.1", port, codec=Raw())
    channel._authority = authority
    try:
        async with channel.request(
            "/grpc.health.v1.Health/Check", Cardinality.UNARY_UNARY, bytes, bytes, timeout=2.0
        ) as stream:
            await stream.send_message(b"", end=True)
            return bytes(await stream.recv_message() or b"")
    finally:
        channel.close()


def grpc_objects(scene: Scene, authority: str) -> list[dict[str, Any]]:
    """A Service and EndpointSlice for each region's gRPC port, and a GRPCRoute over them, all on the first region."""
    objects: list[dict[str, Any]] = []
    for name in scene.names:
        labels = {"regent.dev/region": name, "kubernetes.io/service-name": f"rpc-{name}"}
        metadata = {"name": f"rpc-{name}", "namespace": scene.namespace, "labels": labels}
        port = {"name": "grpc", "port": scene.region(name).ports.grpc, "appProtocol": "kubernetes.io/h2c"}
        objects += [
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{**port, "port": 80}]}},
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata,
                "addressType": "IPv4",
                "ports": [port],
                "endpoints": [{"addresses": [scene.region(name).address], "conditions": {"ready": True}}],
            },
        ]
    references = [
        {"name": f"rpc-{name}", "port": 80, "weight": 100 if number == 0 else 0}
        for number, name in enumerate(scene.names)
    ]
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GRPCRoute",
        "metadata": {"name": "rpc", "namespace": scene.namespace},
        "spec": {
            "parentRefs": [{"name": scene.gateway.name, "namespace": scene.gateway.namespace}],
            "hostnames": [authority],
            "rules": [{"backendRefs": references}],
        },
    }
    return [*objects, route]


def test_grpc_follows_a_failover(make_scene: MakeScene, stage: Stage, operators: OperatorReplicas) -> None:
    """Fails when the GRPCRoute's weights are not written, or are said to be accepted before Traefik took them."""
    scene = make_scene("west", "central")
    west, central = scene.names
    authority = f"rpc.{scene.namespace}.example.test"
    stage.cluster.apply(grpc_objects(scene, authority))

    def served_by(name: str) -> bool:
        before = {region: scene.region(region).counters()["grpc"] for region in alive}
        with suppress(Exception):
            assert asyncio.run(check(scene.gateway.port, authority)) == b"\x08\x01"
        grown = [region for region in alive if scene.region(region).counters()["grpc"] > before[region]]
        return grown == [name]

    alive = [west, central]
    eventually(lambda: served_by(west), what="Traefik to serve gRPC", timeout=10)
    scene.apply_regions()
    scene.apply_policy(targets=[{"grpcRoute": {"name": "rpc"}}])
    scene.wait_adopted()
    assert rows(scene) == {"GRPCRoute/rpc": "AcceptedOnly"}
    scene.region(west).kill()
    alive = [central]
    eventually(lambda: served_by(central), what="gRPC to be served by the other region", timeout=15)
    assert scene.wait_run()["status"]["phase"] == "Succeeded"
    route = stage.cluster.api.get(f"{GATEWAYS}/namespaces/{scene.namespace}/grpcroutes/rpc")
    assert {ref["name"]: ref["weight"] for ref in route["spec"]["rules"][0]["backendRefs"]} == {
        f"rpc-{west}": 0,
        f"rpc-{central}": 100,
    }
    assert route["metadata"]["annotations"]["regent.dev/fence"].startswith("2.")
