"""Changes in both directions between real API servers: edits, conflicts, deletions, outages, a death in the middle."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest

from testbed.controlplane import ApiError
from tests.cluster.replication.bench import EU, HUB, Bench, Json

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.xdist_group("replication")]
SIDES = (HUB, EU)


def both_ways(bench: Bench, **spec: Any) -> None:
    bench.policy(direction="Bidirectional", **spec)


def edit(bench: Bench, region: str, name: str, **data: str | None) -> None:
    bench.planes[region].api.patch(bench.path("configmaps", name), {"data": data})


def edit_in_a_second_of_its_own(bench: Bench, region: str, name: str, **data: str) -> None:
    """API servers note changes by the second."""
    before = int(time.time())
    bench.until(lambda: int(time.time()) > before, "the next second")
    edit(bench, region, name, **data)


def both_have(bench: Bench, name: str, data: Json | None) -> None:
    bench.until(
        lambda: all(bench.data(region, name) == data for region in SIDES),
        f"{name} {data} on both sides",
        show=lambda: [bench.data(region, name) for region in SIDES] + [bench.status()],
    )


def kept(bench: Bench, region: str) -> list[Any]:
    found = bench.planes[region].api.get(bench.path("configmaps") + "?labelSelector=regent.dev/kept-for")["items"]
    return [json.loads(item["data"]["object.json"])["data"] for item in found]


def versions(bench: Bench) -> list[dict[str, str]]:
    plurals = (("configmaps", "v1"), ("services", "v1"), ("deployments", "apps/v1"))
    paths = [bench.path(plural, api=api) for plural, api in plurals]
    found = [bench.planes[region].api.get(path)["items"] for region in SIDES for path in paths]
    return [{item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items} for items in found]


def test_what_either_side_says_is_on_both(bench: Bench) -> None:
    """Fails when a kind with defaults, lists and fields of the cluster's own goes round in circles, or when what was
    taken out on one side comes back from the other."""
    bench.config_map(HUB, "ours", {"a": "1"})
    bench.config_map(EU, "theirs", {"a": "1", "b": "1"})
    port = {"name": "http", "port": 80, "protocol": "TCP"}
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [port, {"name": "more", "port": 81}]},
    }  # fmt: skip
    container = {"name": "web", "image": "web:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]}
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        },
    }  # fmt: skip
    bench.apply(EU, service)
    bench.apply(HUB, deployment)
    resources = [{"category": name} for name in ("Config", "Network", "Workload")]
    both_ways(bench, resources=resources, verifyInterval="10s")
    bench.in_state("InSync")
    both_have(bench, "ours", {"a": "1"})
    copy = bench.get(EU, "deployments", "web", api="apps/v1")
    assert copy is not None
    assert copy["spec"]["replicas"] == 0
    edit(bench, HUB, "theirs", b=None)
    edit(bench, EU, "ours", a="2", c="3")
    bench.planes[HUB].api.patch(bench.path("services", "web"), {"spec": {"ports": [port]}})
    template = {"spec": {"containers": [{**container, "image": "web:2", "env": container["env"][:1]}]}}
    bench.planes[EU].api.patch(bench.path("deployments", "web", api="apps/v1"), {"spec": {"template": template}})
    both_have(bench, "theirs", {"a": "1"})
    both_have(bench, "ours", {"a": "2", "c": "3"})
    for region in SIDES:
        found = bench.until(lambda region=region: one_port(bench, region), f"one port in {region}")
        assert found["spec"]["clusterIP"]
    bench.until(lambda: image(bench, HUB) == ("web:2", 1, 2), "the image", show=lambda: image(bench, HUB))
    assert image(bench, EU) == ("web:2", 1, 0)
    bench.in_state("InSync")
    bench.until(lambda: controlled(bench), "the clusters' own controllers to have seen all")
    before, verified = versions(bench), bench.row()["lastVerifiedTime"]
    bench.until(lambda: bench.row().get("lastVerifiedTime", verified) > verified, "another verification")
    assert versions(bench) == before, "nothing is written while nothing happens"
    moved = bench.operator.metrics
    assert moved("regent_replication_transferred_objects_total", source=EU, target=HUB) >= 4
    assert moved("regent_replication_transferred_objects_total", source=HUB, target=EU) >= 4


def controlled(bench: Bench) -> bool:
    """Whether what the Deployment's controller writes is written."""
    found = [bench.get(region, "deployments", "web", api="apps/v1") or {} for region in SIDES]
    return all((item.get("status") or {}).get("observedGeneration") == item["metadata"]["generation"] for item in found)


def one_port(bench: Bench, region: str) -> Json | None:
    found = bench.get(region, "services", "web")
    return found if found is not None and [port["port"] for port in found["spec"]["ports"]] == [80] else None


def image(bench: Bench, region: str) -> tuple[str, int, int]:
    found = bench.get(region, "deployments", "web", api="apps/v1") or {}
    (container,) = found["spec"]["template"]["spec"]["containers"]
    return container["image"], len(container["env"]), found["spec"]["replicas"]


@pytest.mark.parametrize("rule", ["SourceWins", "TargetWins", "NewestWins", "Manual"])
def test_both_sides_change_the_same_object(bench: Bench, rule: str) -> None:
    """Fails when the wrong side wins, or what lost is nowhere."""
    bench.config_map(HUB, "one", {"a": "1"})
    both_ways(bench, conflictPolicy=rule)
    bench.in_state("InSync")
    both_ways(bench, conflictPolicy=rule, suspend=True)
    bench.in_state("Paused")
    edit(bench, EU, "one", a="target")
    edit_in_a_second_of_its_own(bench, HUB, "one", a="source")
    both_ways(bench, conflictPolicy=rule, suspend=False)
    if rule == "Manual":
        bench.until(lambda: bench.row().get("objects", {}).get("conflicted") == 1, "the conflict")
        assert (bench.data(HUB, "one"), bench.data(EU, "one")) == ({"a": "source"}, {"a": "target"})
        assert any("ConfigMap/one" in text and "both sides" in text for text in bench.row()["errors"])
        edit(bench, HUB, "one", a="target")
        bench.in_state("InSync")
        return
    winner, loser = ("target", HUB) if rule == "TargetWins" else ("source", EU)
    both_have(bench, "one", {"a": winner})
    assert kept(bench, loser) == [{"a": "source" if winner == "target" else "target"}]
    bench.in_state("InSync")
    assert any("is kept in" in text for text in bench.row()["errors"])


def test_deletions_are_carried_over_from_either_side(bench: Bench) -> None:
    """Fails when a deletion is undone, or when a side that lost too much at once takes the other one along."""
    for number in range(10):
        bench.config_map(HUB if number % 2 else EU, f"item-{number}")
    prune = {"gracePeriod": "0s", "maxPercent": 20}
    both_ways(bench, prune=prune)
    bench.in_state("InSync")
    bench.delete(HUB, "configmaps", "item-0")
    both_have(bench, "item-0", None)
    bench.delete(EU, "configmaps", "item-1")
    both_have(bench, "item-1", None)
    bench.in_state("InSync")
    for region, numbers in ((EU, (2, 3, 4)), (HUB, (5, 6, 7))):
        both_ways(bench, prune=prune, suspend=True)
        bench.in_state("Paused")
        for number in numbers:
            bench.delete(region, "configmaps", f"item-{number}")
        both_ways(bench, prune=prune, suspend=False)
        bench.until(lambda: bench.condition("PruneBlocked").get("status") == "True", "the brake")
        other = EU if region == HUB else HUB
        assert all(bench.data(other, f"item-{number}") is not None for number in numbers)
        for number in numbers:
            bench.config_map(region, f"item-{number}")
        bench.in_state("InSync")
    assert all(bench.data(region, f"item-{number}") is not None for region in SIDES for number in range(2, 10))


def test_a_target_that_was_away_and_both_sides_edited(bench: Bench) -> None:
    """Fails when an outage makes a deletion, or loses what either side did meanwhile."""
    for name in ("one", "two", "three", "four"):
        bench.config_map(HUB, name, {"a": "1"})
    both_ways(bench)
    bench.in_state("InSync")
    bench.operator.stop(signal.SIGKILL)
    edit(bench, EU, "two", a="target")
    bench.delete(EU, "configmaps", "three")
    bench.config_map(EU, "new", {"a": "target"})
    bench.planes[EU].stop_apiserver(how=signal.SIGKILL)
    try:
        bench.operator.start()
        edit(bench, HUB, "one", a="source")
        bench.delete(HUB, "configmaps", "four")
        bench.until(lambda: bench.row().get("state") != "InSync", "that it is noticed")
    finally:
        bench.planes[EU].start_apiserver()
    both_have(bench, "one", {"a": "source"})
    both_have(bench, "two", {"a": "target"})
    both_have(bench, "three", None)
    both_have(bench, "four", None)
    both_have(bench, "new", {"a": "target"})
    bench.in_state("InSync")


def test_the_operator_is_killed_while_both_sides_write(bench: Bench) -> None:
    """Fails when a death between two writes leaves something that reads as a change or a deletion of somebody."""
    both_ways(bench)
    for number in range(40):
        bench.config_map(SIDES[number % 2], f"item-{number:02d}", {"round": "0"})
        if number == 25:
            bench.until(lambda: bench.data(EU, "item-00") and bench.data(HUB, "item-01"), "the first copies")
            bench.operator.stop(signal.SIGKILL)
            bench.operator.start()
    for turn in ("1", "2"):
        for number in range(40):
            found = bench.data(SIDES[(number + int(turn)) % 2], f"item-{number:02d}")
            if found is not None:
                edit(bench, SIDES[(number + int(turn)) % 2], f"item-{number:02d}", round=turn)
            if number == 20:
                bench.operator.stop(signal.SIGKILL)
                bench.operator.start()
        bench.until(lambda: same(bench), "equal sides", show=bench.status)
    with_round_two = {name: data for name, data in everything(bench, HUB).items() if data == {"round": "2"}}
    assert len(everything(bench, HUB)) == 40, "nothing was deleted"
    assert len(with_round_two) == 40
    assert kept(bench, HUB) == kept(bench, EU) == [], "nobody changed the same object on both sides"
    bench.in_state("InSync")


def everything(bench: Bench, region: str) -> dict[str, Json]:
    try:
        items = bench.planes[region].api.get(bench.path("configmaps"))["items"]
    except ApiError:
        return {}
    names = {item["metadata"]["name"]: item.get("data") or {} for item in items}
    return {name: data for name, data in names.items() if name.startswith("item-")}


def same(bench: Bench) -> bool:
    left, right = everything(bench, HUB), everything(bench, EU)
    return len(left) == 40 and left == right
