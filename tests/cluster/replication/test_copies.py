"""ConfigMaps of a namespace, from the hub to a member cluster: copied, changed, repaired, pruned, and left alone."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.replication.content import canonical
from tests.cluster.replication.bench import EU, HUB, Bench

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240), pytest.mark.xdist_group("replication")]


def test_objects_are_copied_and_follow_their_source(bench: Bench) -> None:
    """Fails when a copy is missing, keeps what its source has lost, or is not marked as a copy."""
    source = bench.config_map(HUB, "one", {"color": "red", "gone": "soon"}, labels={"app": "shop"})
    bench.config_map(HUB, "two")
    bench.policy()
    status = bench.in_state("InSync")
    assert bench.data(EU, "one") == {"color": "red", "gone": "soon"}
    assert bench.data(EU, "two") == {"key": "value"}
    copy = bench.get(EU, "configmaps", "one")
    assert copy is not None
    assert copy["metadata"]["labels"]["app"] == "shop"
    assert copy["metadata"]["labels"]["regent.dev/source"] == HUB
    assert copy["metadata"]["annotations"]["regent.dev/source-uid"] == source["metadata"]["uid"]
    assert (status["sourceRegion"], status["targetRegions"], status["inSyncTargets"]) == (HUB, EU, "1/1")
    assert status["objects"] == 2
    assert status["targets"][0]["objects"]["inSync"] == 2
    assert bench.condition("Ready")["status"] == "True"
    assert bench.condition("Verified")["status"] == "True"

    bench.planes[HUB].api.patch(bench.path("configmaps", "one"), {"data": {"color": "blue", "gone": None}})
    bench.until(lambda: bench.data(EU, "one") == {"color": "blue"}, "the change in the copy")
    bench.planes[HUB].api.patch(bench.path("configmaps", "one"), {"metadata": {"labels": {"app": None}}})

    def unlabelled() -> bool:
        found = bench.get(EU, "configmaps", "one") or {}
        return "app" not in found["metadata"]["labels"] and found["data"] == {"color": "blue"}

    bench.until(unlabelled, "a label that is gone in the copy too")
    bench.config_map(HUB, "three")
    bench.until(lambda: bench.data(EU, "three") is not None, "a new object")
    bench.in_state("InSync")


def test_what_goes_from_region_to_region_is_counted(bench: Bench) -> None:
    """Fails when the figures are not those of what was written, or do not survive the operator."""
    names = ("one", "two", "three")
    for name in names:
        bench.config_map(HUB, name, {"text": "größer" * 20})
    bench.policy()
    bench.in_state("InSync")
    size = sum(len(canonical(sent(bench, name))) for name in names)
    first = {"source": HUB, "target": EU, "objects": 3, "bytes": size}
    assert bench.status()["transferred"] == [first]
    pair = {"namespace": bench.namespace, "policy": "shop", "source": HUB, "target": EU}
    assert bench.operator.metrics("regent_replication_transferred_objects_total", **pair) == 3
    assert bench.operator.metrics("regent_replication_transferred_bytes_total", **pair) == size
    bench.operator.stop()
    bench.operator.start()
    bench.planes[HUB].api.patch(bench.path("configmaps", "one"), {"data": {"text": "changed"}})
    bench.until(lambda: bench.data(EU, "one") == {"text": "changed"}, "the change in the copy")
    more = {**first, "objects": 4, "bytes": size + len(canonical(sent(bench, "one")))}
    bench.until(lambda: bench.status()["transferred"] == [more], "the figures")


def sent(bench: Bench, name: str) -> dict[str, Any]:
    """What was sent of a copy that nobody but Regent has written."""
    copy = bench.get(EU, "configmaps", name)
    assert copy is not None
    metadata = {field: copy["metadata"][field] for field in ("name", "namespace", "labels", "annotations")}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": copy["data"]}


def test_a_copy_that_somebody_changed_is_repaired_and_others_are_left_alone(bench: Bench) -> None:
    """Fails when drift stays, or when an object that is no copy is touched, or counted as one."""
    foreign = bench.config_map(EU, "foreign", {"mine": "yes"})
    alone = bench.config_map(EU, "alone", {"mine": "too"})
    bench.config_map(HUB, "shared", {"a": "1"})
    bench.config_map(HUB, "foreign", {"theirs": "no"})
    bench.policy()
    bench.until(lambda: bench.row().get("objects", {}).get("conflicted") == 1, "the conflict")
    assert bench.condition("Conflicts")["status"] == "True"
    assert any("foreign" in text for text in bench.row()["errors"])
    bench.planes[EU].api.patch(bench.path("configmaps", "shared"), {"data": {"a": "2", "b": "3"}})
    bench.until(lambda: bench.data(EU, "shared") == {"a": "1"}, "the repair")
    for before in (foreign, alone):
        name = before["metadata"]["name"]
        now = bench.get(EU, "configmaps", name)
        assert now is not None
        assert now["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"], name


def test_what_goes_in_the_source_goes_in_the_target(bench: Bench) -> None:
    """Fails when copies of deleted objects stay, or when more than these are deleted."""
    for number in range(4):
        bench.config_map(HUB, f"item-{number}")
    bench.config_map(EU, "bystander")
    bench.policy()
    bench.in_state("InSync")
    bench.delete(HUB, "configmaps", "item-1")
    bench.until(lambda: bench.data(EU, "item-1") is None, "the deletion")
    bench.in_state("InSync")
    assert {name for name in ("item-0", "item-2", "item-3", "bystander") if bench.data(EU, name) is None} == set()
    assert bench.status()["objects"] == 3


def test_nothing_is_pruned_when_too_much_would_go(bench: Bench) -> None:
    """Fails when a source that looks empty empties the target."""
    for number in range(5):
        bench.config_map(HUB, f"item-{number}")
    bench.policy(prune={"gracePeriod": "0s", "maxPercent": 20})
    bench.in_state("InSync")
    for number in range(2, 5):
        bench.delete(HUB, "configmaps", f"item-{number}")
    bench.until(lambda: bench.condition("PruneBlocked").get("status") == "True", "PruneBlocked")
    assert bench.status()["state"] == "OutOfSync"
    assert all(bench.data(EU, f"item-{number}") is not None for number in range(5))
    bench.policy(prune={"gracePeriod": "0s", "maxPercent": 100})
    bench.until(lambda: bench.data(EU, "item-4") is None, "the deletion with another limit")
    bench.in_state("InSync")


def test_nothing_is_written_or_listed_while_nothing_happens(bench: Bench) -> None:
    """Fails when a quiet policy costs writes or lists, or its status is rewritten."""
    bench.config_map(HUB, "one")
    bench.policy()
    bench.in_state("InSync")
    bench.until(lambda: bench.row().get("lagMilliseconds") is not None, "a lag")
    before = bench.get(HUB, "replicationpolicies", "shop", api="regent.dev/v1alpha1")
    copy = bench.get(EU, "configmaps", "one")
    lists = bench.operator.metrics("regent_replication_lists_total")
    applied = writes_of_config_maps(bench)
    visits = bench.operator.metrics("regent_reconcile_total", kind="ReplicationPolicy")
    bench.until(
        lambda: bench.operator.metrics("regent_reconcile_total", kind="ReplicationPolicy") >= visits + 3, "three visits"
    )
    assert bench.get(HUB, "replicationpolicies", "shop", api="regent.dev/v1alpha1") == before
    assert bench.get(EU, "configmaps", "one") == copy
    assert bench.operator.metrics("regent_replication_lists_total") == lists
    assert writes_of_config_maps(bench) == applied


def writes_of_config_maps(bench: Bench) -> float:
    """How many requests have written ConfigMaps."""
    verbs = ("post", "apply", "patch", "delete")
    return sum(bench.operator.metrics("regent_api_requests_total", verb=verb, kind="ConfigMap") for verb in verbs)
