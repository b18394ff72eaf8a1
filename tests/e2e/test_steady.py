"""What must not lead to a failover, or not to a wrong one."""

from __future__ import annotations

import time

import pytest

from testbed.operator import OperatorReplicas
from testbed.regions import Scope
from testbed.scene import Scene, eventually, never
from tests.e2e.claims import claim_events, claim_policy, claim_run, no_run

QUIET = 2.0
"""Seconds to watch for something that must not happen: four times what a failover takes with these probes."""


def test_a_slow_region_is_not_left(scene: Scene) -> None:
    """100 ms is slow for a region next door, and below every threshold and time-out."""
    scene.region(scene.names[0]).slow(100.0)
    never(scene.runs, what="a run for a slow region", during=QUIET)
    no_run(scene)
    assert scene.health(scene.names[0]) == "Healthy"


def test_one_lost_probe_is_not_a_failure(scene: Scene, operators: OperatorReplicas) -> None:
    region = scene.region(scene.names[0])
    failed = _failed_probes(operators, scene.names[0])
    asked = region.counters()["health"]
    region.status(503, scope=Scope.HEALTH)
    eventually(lambda: region.counters()["health"] > asked, what="a probe to be refused", timeout=5, poll=0.002)
    region.status(200, scope=Scope.HEALTH)
    eventually(lambda: _failed_probes(operators, scene.names[0]) > failed, what="a probe to fail", timeout=5)
    never(scene.runs, what="a run for one lost probe", during=QUIET)
    no_run(scene)


@pytest.mark.parametrize(("who", "seconds"), [("leader", 0.3), ("both", 0.5)])
def test_a_stopped_operator_sees_no_failure(
    scene: Scene, operators: OperatorReplicas, who: str, seconds: float
) -> None:
    """When it wakes, its probes are late and their time-outs have passed: its own fault, and it has to know that."""
    pids = [member.pid for member in operators]
    stopped = [operators.leader()] if who == "leader" else list(operators)
    for _ in range(3):
        began = [member.freeze() for member in stopped]
        # The time of being stopped is the fault itself; there is no condition to wait for.
        time.sleep(max(0.0, began[0] + seconds - time.monotonic()))
        for member in stopped:
            member.thaw()
        never(scene.runs, what="a run after the operator slept", during=0.8)
    no_run(scene)
    operators.leader(timeout=5)
    assert [member.running and member.pid for member in operators] == pids, "a short sleep must not cost the lease"


def test_all_regions_down_keeps_the_weights(scene: Scene, operators: OperatorReplicas) -> None:
    """Fail open: a region that may answer is better than none; and the first that comes back gets the traffic."""
    west, central, east = scene.names
    for name in (central, east):
        scene.region(name).kill()
    eventually(lambda: scene.health(east) == "Unreachable", what="east to be down", timeout=10)
    eventually(lambda: scene.health(central) == "Unreachable", what="central to be down", timeout=10)
    scene.region(west).kill()
    eventually(lambda: scene.condition("Progressing").get("reason") == "AllRegionsDown", what="the hold", timeout=10)
    never(scene.runs, what="a run to a dead region", during=QUIET)
    no_run(scene)
    assert scene.condition("ActiveRegionHealthy")["status"] == "False"
    assert scene.condition("FailoverReady")["status"] == "False"
    assert scene.condition("Ready")["status"] == "True", "an outage is nothing to fix in the spec"
    claim_events(scene, "AllRegionsDown")
    scene.region(east).heal()
    scene.wait_active(east)
    claim_run(scene.wait_run(), source=west, to=east, trigger="Unreachable", epoch=2)
    claim_policy(scene, active=east, epoch=2)


def test_a_crash_of_both_operators_changes_nothing(scene: Scene, operators: OperatorReplicas) -> None:
    before = scene.status()
    generation = scene.route()["metadata"]["generation"]
    for member in operators:
        member.kill()
        member.start()
    for member in operators:
        member.wait_ready()
    operators.leader()
    never(scene.runs, what="a run after a restart", during=QUIET)
    no_run(scene)
    assert scene.status()["distribution"] == before["distribution"]
    assert scene.route()["metadata"]["generation"] == generation


def _failed_probes(operators: OperatorReplicas, region: str) -> float:
    return sum(
        sample.value
        for member in operators
        for sample in member.metrics()
        if sample.name == "regent_probe_results_total"
        and sample.labels.get("region") == region
        and sample.labels.get("outcome", "").lower() not in ("success", "ok")
    )
