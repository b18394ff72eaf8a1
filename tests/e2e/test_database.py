"""PostgreSQL under Patroni moved by the operator, with a client that writes through the gateway every 20 ms."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.database import Writes
from testbed.database.scene import CREDENTIALS, DatabaseScene
from testbed.operator import OperatorReplicas
from testbed.scene import eventually, failover
from tests.e2e.conftest import Stage

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        os.geteuid() != 0 or not any(Path("/usr/lib/postgresql").glob("*/bin/postgres")),
        reason="needs root and a PostgreSQL server (make system-packages)",
    ),
]
Json = dict[str, Any]


def grant(scene: DatabaseScene) -> None:
    """What a user does who gives Regent this one Secret and nothing more."""
    meta = {"name": "regent-patroni", "namespace": scene.namespace}
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [CREDENTIALS], "verbs": ["get"]}
    api = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": meta, "rules": [rule]}
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": api, "kind": "Role", "name": "regent-patroni"},
        "subjects": [{"kind": "ServiceAccount", "name": "regent", "namespace": "regent-system"}],
    }
    scene.cluster.apply([role, binding])


@pytest.fixture(scope="module")
def scene(stage: Stage, operators: OperatorReplicas) -> Iterator[DatabaseScene]:
    operators.leader(timeout=60)
    word = f"t{secrets.token_hex(2)}"
    with DatabaseScene(stage.cluster, stage.gateway, [f"{word}-west", f"{word}-central"], namespace=word) as scene:
        grant(scene)
        scene.apply_regions()
        # An old side that is dead cannot prove anything; these tests have no agent that could.
        scene.apply_policy(safety={"fencing": "BestEffort", "cooldown": "0s"}, failback={"mode": "Never"})
        scene.wait_adopted()
        yield scene


def steps_of(run: Json) -> str:
    return "; ".join(f"{item['name']} {item['state']} {item.get('message', '')}" for item in run["status"]["steps"])


def ended(scene: DatabaseScene, name: str, *, timeout: float = 60.0) -> Json:
    def over() -> Json | None:
        run = scene.cluster.api.get(scene.path("failovers", name))
        return run if (run.get("status") or {}).get("completionTime") else None

    found = eventually(over, what=f"{name} to end", timeout=timeout)
    assert found is not None
    return found


def told(writes: Writes, *, since: float, run: Json) -> str:
    return f"{writes.pause(since=since):.2f} s without writes, {writes.by_outcome()}, {steps_of(run)}"


def test_a_switchover_loses_no_acknowledged_write(scene: DatabaseScene) -> None:
    # Promotes too early, or moves traffic before the promotion: writes are lost, or fail long after.
    source, to = scene.primary(), next(item for item in scene.databases if item is not scene.primary())
    with scene.writer(first=1) as writer:
        first = writer.wait_acknowledged_by(source.name, timeout=20)
        writer.wait_acknowledged_by(source.name, timeout=20, since=first.sent + 1.0)
        scene.cluster.apply(
            failover(
                scene.app, namespace=scene.namespace, name="planned", type="Switchover", from_=source.name, to=to.name
            )
        )
        served = writer.wait_acknowledged_by(to.name, timeout=60, since=first.sent)
        writer.wait_acknowledged_by(to.name, timeout=20, since=served.sent + 1.0)
        run = ended(scene, "planned")
    writes = writer.writes()
    print(told(writes, since=first.sent, run=run))
    assert run["status"]["phase"] == "Succeeded", steps_of(run)
    assert scene.primary() is to
    assert writes.lost(to.numbers()) == []
    assert writes.resurrected(to.numbers()) == []
    assert scene.status()["activeRegion"] == to.name
    eventually(lambda: source.status()[1].get("replication_state") == "streaming", what="it to follow", timeout=30)


def test_a_dead_primary_is_replaced_and_the_loss_is_within_what_was_told(scene: DatabaseScene) -> None:
    source, to = scene.primary(), next(item for item in scene.databases if item is not scene.primary())
    with scene.writer(first=1_000_000) as writer:
        first = writer.wait_acknowledged_by(source.name, timeout=20)
        writer.wait_acknowledged_by(source.name, timeout=20, since=first.sent + 1.0)
        before = {run["metadata"]["name"] for run in scene.runs()}
        killed = source.kill()
        writer.wait_acknowledged_by(to.name, timeout=90, since=killed)
        [name] = {run["metadata"]["name"] for run in scene.runs()} - before
        run = ended(scene, name)
    writes = writer.writes()
    lost = writes.lost(to.numbers())
    print(told(writes, since=first.sent, run=run), run["status"].get("estimatedDataLoss"), len(lost))
    assert run["status"]["phase"] == "Succeeded", steps_of(run)
    assert scene.primary() is to
    # The old side was killed with its writes in flight: what is lost was acknowledged in its last moments.
    assert all(killed - write.done < 1.0 for write in lost)
    assert run["status"].get("estimatedDataLoss"), run["status"]

    # It comes back as a primary, as its own configuration store knows it; Regent reports, asks, and takes it back.
    source.start_patroni()
    source.wait_role("primary", timeout=30)

    def reported() -> Json | None:
        rows = scene.status().get("rejoin") or []
        return next((row for row in rows if "of WAL on timeline" in row["message"]), None)

    row = eventually(reported, what="the divergence to be reported", timeout=30)
    assert row is not None and row["region"] == source.name
    annotation = {"metadata": {"annotations": {"regent.dev/rejoin": source.name}}}
    scene.cluster.api.patch(scene.path("failoverpolicies", scene.app), annotation)
    source.wait_role("standby-leader", timeout=60)
    source.wait_streaming(timeout=60)
    eventually(lambda: not scene.status().get("rejoin"), what="the region to be taken back", timeout=30)
    eventually(lambda: source.numbers() == to.numbers(), what="it to have what the new primary has", timeout=30)
