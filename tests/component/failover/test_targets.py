"""Several targets in one policy, of different kinds and in different clusters, on the whole engine."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.errors import UnavailableError
from regent.engine.queue import Key
from regent.engine.resources import (
    DNS_ENDPOINTS,
    FAILOVER_POLICIES,
    GRPC_ROUTES,
    HTTP_ROUTES,
    SERVICES,
    VIRTUAL_SERVICES,
)
from tests.fakes.receiver import Receiver, is_signed
from tests.fakes.wire import response
from tests.fakes.world import AP, EU, US, World, policy, route, service

ADDRESSES = {EU: "192.0.2.1", US: "192.0.2.2", AP: "192.0.2.3"}
HTTP = {"httpRoute": {"name": "shop"}}


def dns_target(**extra: Any) -> dict[str, Any]:
    records = [{"region": name, "targets": [address]} for name, address in ADDRESSES.items()]
    return {"dnsEndpoint": {"name": "shop", "hostname": "shop.example.com", "records": records, **extra}}


def istio_target(**extra: Any) -> dict[str, Any]:
    destinations = [{"region": name, "host": f"shop-{name}"} for name in ADDRESSES]
    return {"virtualService": {"name": "shop", "destinations": destinations}, **extra}


def dns_endpoint(*endpoints: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": "shop"}, "spec": {"endpoints": list(endpoints)}}


def virtual_service() -> dict[str, Any]:
    routes = [{"destination": {"host": f"shop-{name}"}, "weight": 100 if name == EU else 0} for name in ADDRESSES]
    return {"metadata": {"namespace": "shop", "name": "shop"}, "spec": {"http": [{"route": routes}]}}


def read_by_external_dns(world: World) -> None:
    for obj in list(world.store.list(DNS_ENDPOINTS)):
        generation = obj["metadata"]["generation"]
        if (obj.get("status") or {}).get("observedGeneration") != generation:
            world.cluster.put(DNS_ENDPOINTS, {**obj, "status": {"observedGeneration": generation}})


def answered(world: World) -> list[str]:
    obj = world.store.get(DNS_ENDPOINTS, "shop", "shop")
    assert obj is not None
    return [address for endpoint in obj["spec"]["endpoints"] for address in endpoint["targets"]]


def istio_weights(obj: Any) -> dict[str, int]:
    return {
        item["destination"]["host"].removeprefix("shop-"): item["weight"] for item in obj["spec"]["http"][0]["route"]
    }


def rows(world: World) -> dict[str, str]:
    return {row["target"]: row["verification"] for row in world.status()["targets"]}


async def settle(world: World) -> None:
    for _ in range(3):
        await world.visit()
        read_by_external_dns(world)
    await world.visit()


async def test_targets_of_all_kinds_move_together() -> None:
    world = World().furnish(targets=[HTTP, {"grpcRoute": {"name": "shop"}}, istio_target(), dns_target()])
    grpc = {**route({EU: 100, US: 0, AP: 0}), "kind": "GRPCRoute"}
    accepted = [{"type": kind, "status": "True", "observedGeneration": 99} for kind in ("Accepted", "ResolvedRefs")]
    world.cluster.put(GRPC_ROUTES, {**grpc, "status": {"parents": [{"conditions": accepted}]}})
    world.cluster.put(VIRTUAL_SERVICES, virtual_service())
    world.cluster.put(DNS_ENDPOINTS, dns_endpoint())
    await settle(world)
    assert world.status()["activeRegion"] == EU
    assert answered(world) == [ADDRESSES[EU]], "an empty DNSEndpoint is filled at adoption"
    world.tracker.down(EU)
    await settle(world)
    assert world.weights() == {EU: 0, US: 100, AP: 0}
    assert istio_weights(world.store.get(VIRTUAL_SERVICES, "shop", "shop")) == {EU: 0, US: 100, AP: 0}
    assert answered(world) == [ADDRESSES[US]]
    assert set(rows(world).values()) == {"AcceptedOnly"}
    grpc = world.store.get(GRPC_ROUTES, "shop", "shop") or {}
    assert [ref["weight"] for ref in grpc["spec"]["rules"][0]["backendRefs"]] == [0, 100, 0]
    assert world.runs()[-1]["status"]["phase"] == "Succeeded"


async def test_a_missing_object_is_a_problem_and_never_made() -> None:
    world = World().furnish(targets=[HTTP, dns_target()])
    await world.visit()
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "TargetNotFound")
    assert "DNSEndpoint/shop does not exist in namespace shop; create it" in ready["message"]
    assert not [call for call in world.cluster.writes if call[1] == DNS_ENDPOINTS]
    world.cluster.put(DNS_ENDPOINTS, dns_endpoint())
    await settle(world)
    assert world.condition("Ready")["status"] == "True"


@pytest.fixture
def members() -> World:
    """The VirtualService is in the member cluster of the region that fails, the HTTPRoute in the hub."""
    world = World()
    world.members.clusters[EU].put(VIRTUAL_SERVICES, virtual_service())
    return world.furnish(targets=[HTTP, istio_target(cluster=EU)])


async def test_a_dead_member_cluster_keeps_nobody_waiting_and_is_written_when_it_is_back(members: World) -> None:
    world = members
    await world.visit()
    assert rows(world) == {"HTTPRoute/shop": "AcceptedOnly", f"VirtualService/shop@{EU}": "AcceptedOnly"}
    world.tracker.down(EU)
    world.members.down.add(EU)
    await world.visit()
    assert world.weights() == {EU: 0, US: 100, AP: 0}
    assert world.runs()[-1]["status"]["phase"] == "Succeeded"
    asked = len(world.members.accounts)
    for _ in range(50):
        await world.visit(times=1)
    assert len(world.members.accounts) - asked <= 2, "a cluster that does not answer is left alone for a while"
    world.clock.advance(10)
    await world.visit()
    assert rows(world)[f"VirtualService/shop@{EU}"] == "Failed"
    assert world.condition("Ready")["status"] == "True", "an outage is nothing that has to be put right in the spec"
    assert world.condition("TrafficVerified")["status"] == "False"
    world.members.down.clear()
    for _ in range(8):
        world.clock.advance(10)
        world.tracker.fresh()
        await world.visit()
    there = await world.members.clusters[EU].get(VIRTUAL_SERVICES, "shop", "shop")
    assert istio_weights(there) == {EU: 0, US: 100, AP: 0}
    assert rows(world)[f"VirtualService/shop@{EU}"] == "AcceptedOnly"


async def test_a_change_in_a_member_cluster_is_found_without_an_event(members: World) -> None:
    world = members
    await world.visit()
    cluster = world.members.clusters[EU]
    obj = await cluster.get(VIRTUAL_SERVICES, "shop", "shop")
    cluster.put(VIRTUAL_SERVICES, {**obj, **{"spec": {"http": [{"route": _spread()}]}}})
    reads = len(cluster.calls)
    again = await world.policies.reconcile(_key())
    assert again is not None and again <= 5.0, "nothing else would bring the policy back"
    assert len(cluster.calls) == reads, "a look is good for five seconds"
    world.clock.advance(6)
    world.tracker.fresh()
    await world.visit()
    assert istio_weights(await cluster.get(VIRTUAL_SERVICES, "shop", "shop")) == {EU: 100, US: 0, AP: 0}


async def test_labels_of_services_in_the_member_cluster_map_its_routes() -> None:
    world = World().furnish(targets=[HTTP, {**HTTP, "cluster": US}])
    cluster = world.members.clusters[US]
    for name in ADDRESSES:
        cluster.put(SERVICES, service(name))
    there = cluster.put(HTTP_ROUTES, route({EU: 100, US: 0, AP: 0}))
    await world.visit()
    world.tracker.down(EU)
    await world.visit()
    there = await cluster.get(HTTP_ROUTES, "shop", "shop")
    assert [ref["weight"] for ref in there["spec"]["rules"][0]["backendRefs"]] == [0, 100, 0]
    assert there["metadata"]["annotations"]["regent.dev/fence"].startswith("2.")


async def test_a_lost_status_is_adopted_although_one_member_cluster_is_away(members: World) -> None:
    """Fails when what a dead region would say is waited for: the policy could not act in that very outage."""
    world = members
    world.members.down.add(EU)
    await world.visit()
    assert world.status()["activeRegion"] == EU
    alone = World().furnish(targets=[istio_target(cluster=EU)])
    alone.members.down.add(EU)
    await alone.visit()
    assert alone.condition("Ready")["reason"] == "TargetUnreachable", "without any evidence it waits"


async def test_a_target_that_cannot_be_read_does_not_end_the_visit() -> None:
    world = World().furnish(targets=[HTTP, dns_target()])
    world.cluster.put(DNS_ENDPOINTS, dns_endpoint())
    await settle(world)
    obj = world.store.get(DNS_ENDPOINTS, "shop", "shop")
    assert obj is not None
    await world.cluster.delete(DNS_ENDPOINTS, "shop", "shop", uid=obj["metadata"]["uid"])
    world.cluster.fail("get", UnavailableError("try later", status=503), resource=DNS_ENDPOINTS, times=1000)
    world.tracker.down(EU)
    await world.visit()
    assert world.weights() == {EU: 0, US: 100, AP: 0}
    assert rows(world)["DNSEndpoint/shop"] == "Failed"


async def test_a_webhook_is_told_once_and_again_after_a_restart() -> None:
    async with Receiver() as receiver:
        world = World().furnish(targets=[HTTP, {"webhook": {"url": f"{receiver.url}/T0K3N?key=secret"}}])
        await world.visit()
        world.tracker.down(EU)
        await world.visit()
        first, second = [message.json for message in receiver.messages]
        assert first["distribution"] == [
            {"region": EU, "weightPercent": 100},
            {"region": US, "weightPercent": 0},
            {"region": AP, "weightPercent": 0},
        ]
        assert [item["weightPercent"] for item in second["distribution"]] == [0, 100, 0]
        assert (second["policy"], second["epoch"]) == ("shop/shop", 2)
        assert second["fence"].startswith("2.1.")
        assert not is_signed(receiver.messages[0], b"k")
        for _ in range(5):
            world.clock.advance(30)
            world.tracker.fresh()
            await world.visit()
        assert len(receiver.messages) == 2, "nothing changed, nothing is told"
        world.boot()
        world.leadership.gain(transitions=2)
        world.tracker.up(US)
        await world.visit()
        third = receiver.messages[2].json
        assert third["distribution"] == second["distribution"]
        assert third["fence"] == "2.2.0", "a receiver that keeps the greatest fence takes it"
        ids = [message.headers["webhook-id"] for message in receiver.messages]
        assert len(set(ids)) == 3
        text = str(world.status())
        assert "T0K3N" not in text and "secret" not in text, "paths and queries of webhooks are often secrets"


async def test_a_webhook_that_refuses_stops_nobody_and_is_not_hammered() -> None:
    async with Receiver(lambda _: response(b"no", status="409 Conflict")) as receiver:
        world = World().furnish(targets=[HTTP, {"webhook": {"url": receiver.url}}])
        await world.visit()
        world.tracker.down(EU)
        await world.visit()
        assert world.weights() == {EU: 0, US: 100, AP: 0}
        assert world.runs()[-1]["status"]["phase"] == "Succeeded"
        before = len(receiver.messages)
        for _ in range(50):
            await world.visit(times=1)
        assert len(receiver.messages) - before <= 2
        assert world.condition("Ready")["reason"] == "WebhookRefused"


async def test_two_policies_may_tell_the_same_receiver() -> None:
    async with Receiver() as receiver:
        target = {"webhook": {"url": receiver.url}}
        world = World().furnish(targets=[HTTP, target])
        world.cluster.put(FAILOVER_POLICIES, policy("other", targets=[target]))
        await world.visit()
        await world.visit("other")
        assert {message.json["policy"] for message in receiver.messages} == {"shop/shop", "shop/other"}
        assert world.condition("Ready", "other")["status"] == "True"


def _spread() -> list[dict[str, Any]]:
    return [
        {"destination": {"host": f"shop-{name}"}, "weight": weight} for name, weight in ((EU, 40), (US, 30), (AP, 30))
    ]


def _key() -> Any:
    return Key(FAILOVER_POLICIES, "shop", "shop")
