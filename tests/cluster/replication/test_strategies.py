"""Strategies that spread objects, between real clusters: Partial by heat, Sharded over two members."""

from __future__ import annotations

import pytest

from tests.cluster.replication.bench import EU, HUB, US, Bench

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240), pytest.mark.xdist_group("replication")]
ACCESSES = "regent.dev/accesses-per-day"


def test_only_hot_objects_leave_with_partial(bench: Bench) -> None:
    """Fails when a cold object is copied, or a copy stays whose source has become cold."""
    bench.config_map(HUB, "hot", annotations={ACCESSES: "50"})
    bench.config_map(HUB, "cold", annotations={ACCESSES: "3"})
    bench.config_map(HUB, "pinned", labels={"regent.dev/hot": "true"})
    bench.policy(strategy="Partial", prune={"gracePeriod": "0s", "maxPercent": 20})
    bench.in_state("InSync")
    assert bench.row()["objects"]["desired"] == 2
    assert [bench.data(EU, name) is not None for name in ("hot", "cold", "pinned")] == [True, False, True]
    for name, accesses in (("hot", "1"), ("cold", "99")):
        change = {"metadata": {"annotations": {ACCESSES: accesses}}}
        bench.planes[HUB].api.patch(bench.path("configmaps", name), change)
    bench.until(lambda: bench.data(EU, "cold") is not None, "the copy of what has become hot")
    # Half of the copies, but none is lost by it: the source has them all, so the brake is not for them.
    bench.until(lambda: bench.data(EU, "hot") is None, "the end of the copy of what has become cold")
    assert bench.data(HUB, "hot") is not None
    bench.in_state("InSync")


def test_sharded_objects_are_each_on_one_of_the_targets(bench: Bench) -> None:
    """Fails when an object is on no target or on both, or when a target does not come to be in sync with its part."""
    names = [f"item-{number}" for number in range(24)]
    for name in names:
        bench.config_map(HUB, name, {"name": name})
    bench.policy(strategy="Sharded", sharding={"replicas": 1}, targets=[{"region": EU}, {"region": US}])
    bench.in_state("InSync")
    held = {region: {name for name in names if bench.data(region, name) is not None} for region in (EU, US)}
    assert held[EU] | held[US] == set(names)
    assert not held[EU] & held[US]
    assert held[EU] and held[US], held
    moved = sorted(held[EU])[0]
    bench.planes[HUB].api.patch(bench.path("configmaps", moved), {"data": {"name": "changed"}})
    bench.until(lambda: (bench.data(EU, moved) or {}).get("name") == "changed", "the change where the object is")
    assert bench.data(US, moved) is None
    bench.policy(strategy="Sharded", sharding={"replicas": 2}, targets=[{"region": EU}, {"region": US}])
    for region in (EU, US):
        bench.until(lambda region=region: all(bench.data(region, name) for name in names), f"all of them in {region}")
