"""A switchover of an application that both of its regions write to: it runs in one, its objects follow in both ways."""

from __future__ import annotations

import pytest

from tests.cluster.replication.bench import EU, US, Bench
from tests.cluster.replication.test_failover import failover_policy, switch
from tests.cluster.replication.test_kinds import deployment
from tests.cluster.replication.test_losers import records

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.xdist_group("replication")]


def replicas(bench: Bench, region: str) -> int | None:
    found = bench.get(region, "deployments", "web", api="apps/v1")
    return None if found is None else int(found["spec"]["replicas"])


def edit(bench: Bench, region: str, color: str) -> None:
    """Change it in a region, and wait for it in the other one."""
    bench.planes[region].api.patch(bench.path("configmaps", "settings"), {"data": {"color": color}})
    other = US if region == EU else EU
    bench.until(lambda: bench.data(other, "settings") == {"color": color}, f"{color} in {other}")


def test_the_standby_may_be_changed_and_the_two_change_places(bench: Bench) -> None:
    """Fails when both regions run at once, when neither does, or when a change of the standby is lost by the turn."""
    bench.config_map(EU, "settings", {"color": "red"})
    bench.apply(EU, deployment("web", 3))
    bench.policy(
        source={"followPolicy": "shop"},
        targets=[{"region": EU}, {"region": US}],
        resources=[{"category": "Config"}, {"category": "Workload"}],
        direction="Bidirectional",
    )
    failover_policy(bench)
    bench.in_state("InSync")
    assert (replicas(bench, EU), replicas(bench, US)) == (3, 0)
    edit(bench, US, "blue")
    bench.in_state("InSync")
    for source, to, name in ((EU, US, "over"), (US, EU, "back")):
        ended = switch(bench, source, to, name)
        assert ended["phase"] == "Succeeded", ended
        assert replicas(bench, to) == 3
        bench.until(lambda to=to: bench.status().get("sourceRegion") == to, "the other direction")
        bench.until(lambda source=source: replicas(bench, source) == 0, "the old side asleep")
        edit(bench, source, f"changed in {source}")
        edit(bench, to, f"changed in {to}")
        bench.in_state("InSync")
        assert replicas(bench, to) == 3
    assert records(bench, EU) == records(bench, US) == []
