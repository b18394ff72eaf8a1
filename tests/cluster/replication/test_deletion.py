"""What becomes of the copies when their policy is deleted, on real API servers."""

from __future__ import annotations

import pytest

from tests.cluster.replication.admission import refused
from tests.cluster.replication.bench import API, EU, HUB, US, Bench

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240), pytest.mark.xdist_group("replication")]


def gone(bench: Bench) -> bool:
    return bench.get(HUB, "replicationpolicies", "shop", api=API) is None


def test_copies_go_with_their_policy_or_stay(bench: Bench) -> None:
    """Fails when copies outlive a policy that takes them along, when anything else goes, or when Orphan waits."""
    for number in range(12):
        bench.config_map(HUB, f"item-{number}")
    bench.config_map(EU, "foreign")
    bench.policy(targets=[{"region": EU}, {"region": US}], deletionPolicy="Delete", batchSize=5)
    bench.in_state("InSync")
    bench.delete(HUB, "replicationpolicies", "shop", api=API)
    bench.until(lambda: gone(bench), "the end of the policy")
    for region in (EU, US):
        assert [number for number in range(12) if bench.data(region, f"item-{number}") is not None] == []
    assert bench.data(EU, "foreign") is not None
    assert bench.data(HUB, "item-0") is not None

    bench.policy()
    bench.in_state("InSync")
    bench.delete(HUB, "replicationpolicies", "shop", api=API)
    bench.until(lambda: gone(bench), "the end of the policy")
    assert bench.data(EU, "item-0") is not None

    # A policy of the same name takes up what the first has left.
    bench.policy(deletionPolicy="Delete")
    assert bench.in_state("InSync")["targets"][0]["objects"]["conflicted"] == 0
    bench.delete(HUB, "replicationpolicies", "shop", api=API)
    bench.until(lambda: gone(bench), "the end of the policy")
    assert bench.data(EU, "item-0") is None


def test_an_object_that_the_target_keeps_holds_the_policy(bench: Bench) -> None:
    """Fails when the policy goes while a copy is still there, or does not say what it waits for."""
    bench.config_map(HUB, "one")
    bench.policy(deletionPolicy="Delete")
    bench.in_state("InSync")
    bench.config_map(EU, "canary")
    stays = {"operation": "DELETE", "group": "", "plural": "configmaps", "message": "this one stays"}
    path = bench.path("configmaps", "canary")
    with refused(bench, EU, **stays, canary=lambda: bench.planes[EU].api.delete(path, dryRun="All")):
        bench.delete(HUB, "replicationpolicies", "shop", api=API)
        bench.until(lambda: "this one stays" in bench.condition("Ready").get("message", ""), "the reason")
        assert bench.condition("Ready")["reason"] == "CopiesRemain"
        assert bench.data(EU, "one") is not None
    bench.until(lambda: gone(bench), "the end of the policy")
    assert bench.data(EU, "one") is None
