"""What an outage does: of the target, of the source, of the operator itself."""

from __future__ import annotations

import signal

import pytest

from testbed.controlplane import Component
from tests.cluster.replication.bench import API, EU, HUB, US, Bench

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.xdist_group("replication")]


def test_a_target_that_was_away_is_caught_up_with(bench: Bench) -> None:
    """Fails when a target stays behind after an outage, or is written from end to end for it."""
    for number in range(20):
        bench.config_map(HUB, f"item-{number}")
    bench.policy()
    bench.in_state("InSync")
    written = bench.operator.metrics("regent_replication_writes_total", namespace=bench.namespace, result="written")
    bench.planes[EU].stop_apiserver(how=signal.SIGKILL)
    try:
        bench.config_map(HUB, "item-0", {"key": "changed"})
        bench.config_map(HUB, "late")
        bench.in_state("Failed")
    finally:
        bench.planes[EU].start_apiserver()
    bench.until(lambda: bench.data(EU, "late") is not None, "the new object")
    bench.until(lambda: bench.data(EU, "item-0") == {"key": "changed"}, "the change")
    bench.in_state("InSync")
    after = bench.operator.metrics("regent_replication_writes_total", namespace=bench.namespace, result="written")
    assert after - written == 2


def test_a_source_that_is_away_prunes_nothing(bench: Bench) -> None:
    """Fails when copies go because their source cannot be seen, or a lag looks small because nobody is heard."""
    for number in range(3):
        bench.config_map(EU, f"item-{number}")
    bench.policy(source={"region": EU}, targets=[{"region": US}], outOfSyncAfter="3s")
    bench.in_state("InSync")
    bench.planes[EU].stop_apiserver(how=signal.SIGKILL)
    try:
        bench.in_state("OutOfSync")
        bench.until(lambda: bench.condition("SourceReachable").get("status") == "False", "SourceReachable")
        bench.until(lambda: (bench.row(US).get("lagMilliseconds") or 0) >= 10_000, "a lag that grows")
        assert all(bench.data(US, f"item-{number}") is not None for number in range(3))
    finally:
        bench.planes[EU].start_apiserver()
    bench.in_state("InSync")
    assert all(bench.data(US, f"item-{number}") is not None for number in range(3))


def test_a_frozen_target_holds_up_no_other(bench: Bench) -> None:
    """Fails when one silent target delays the copies in another."""
    bench.config_map(HUB, "one", {"a": "1"})
    bench.policy(targets=[{"region": EU}, {"region": US}])
    bench.in_state("InSync")
    bench.planes[EU].freeze(Component.API_SERVER)
    try:
        bench.config_map(HUB, "one", {"a": "2"})
        bench.until(lambda: bench.data(US, "one") == {"a": "2"}, "the change in the other target", within=20)
        bench.until(lambda: bench.row(EU).get("state") == "Failed", "the silent one")
    finally:
        bench.planes[EU].thaw(Component.API_SERVER)
    bench.until(lambda: bench.data(EU, "one") == {"a": "2"}, "the change in the silent one")
    bench.in_state("InSync")


def test_the_operator_is_killed_in_the_middle(bench: Bench) -> None:
    """Fails when copies are lost, doubled or deleted because the operator ended between two writes."""
    bench.policy()
    for number in range(60):
        bench.config_map(HUB, f"item-{number:02d}")
        if number in (20, 40):
            bench.until(lambda: bench.data(EU, "item-01") is not None, "the first copies")
            bench.operator.stop(signal.SIGKILL)
            bench.operator.start()
    bench.until(lambda: all(bench.data(EU, f"item-{number:02d}") for number in range(60)), "all copies")
    bench.delete(HUB, "configmaps", "item-05")
    bench.operator.stop(signal.SIGKILL)
    bench.operator.start()
    bench.until(lambda: bench.data(EU, "item-05") is None, "a deletion that nobody saw")
    bench.in_state("InSync")
    copies = bench.planes[EU].api.get(bench.path("configmaps"))["items"]
    assert len([item for item in copies if item["metadata"]["name"].startswith("item-")]) == 59


def test_a_pass_by_hand_echoes_its_token(bench: Bench) -> None:
    """Fails when a manual policy copies by itself, or says that a pass is complete before it is."""
    bench.config_map(HUB, "one", {"a": "1"})
    bench.policy(trigger={"mode": "Manual", "syncToken": "first"})
    bench.until(lambda: bench.row().get("syncToken") == "first", "the first pass")
    assert bench.data(EU, "one") == {"a": "1"}
    bench.config_map(HUB, "one", {"a": "2"})
    bench.policy(trigger={"mode": "Manual", "syncToken": "second"})
    bench.until(lambda: bench.row().get("syncToken") == "second", "the second pass")
    assert bench.data(EU, "one") == {"a": "2"}
    path = bench.path("replicationpolicies", "shop", api=API)
    bench.planes[HUB].api.patch(path, {"spec": {"suspend": True}})
    assert bench.in_state("Paused")["targets"][0]["errors"] == ["spec.suspend is true"]
