"""PostgreSQL under Patroni moved by the operator, with a client that writes through the gateway every 20 ms."""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from testbed.database import Database, Writes
from testbed.database.agents import Agents
from testbed.database.scene import DatabaseScene
from testbed.operator import OperatorReplicas, Restart
from testbed.operator.link import Link
from testbed.scene import eventually, failover, never
from tests.e2e.conftest import Stage, claim_logs
from tests.e2e.database_rounds import SHOWN, Fault, Round, Rounds, bound_of, draw

pytestmark = [
    pytest.mark.timeout(300),
]
Json = dict[str, Any]
ROUNDS = int(os.environ.get("REGENT_ROUNDS") or 3)
SEED = int(os.environ.get("REGENT_SEED") or (secrets.randbelow(10**6) if "REGENT_ROUNDS" in os.environ else 4))
"""The sample of `make test` is always the same; `make test-database` draws another one each time, and prints it."""


@pytest.fixture(scope="module")
def links(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Link]]:
    """The way of each replica of the operator to the API server."""
    directory = tmp_path_factory.mktemp("links")
    with ExitStack() as stack:
        yield [stack.enter_context(Link(stage.installation.kubeconfig, directory)) for _ in range(2)]


@pytest.fixture(scope="module")
def operators(stage: Stage, links: list[Link], tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorReplicas]:
    """As for the other modules, and each replica can be cut from the API server; those that end are started again."""
    with OperatorReplicas(
        stage.installation,
        restart=Restart.ALWAYS,
        directory=tmp_path_factory.mktemp("operators"),
        kubeconfig_for=lambda number: links[number].kubeconfig,
    ) as replicas:
        yield replicas
        claim_logs(replicas)


@pytest.fixture(scope="module")
def scene(stage: Stage, operators: OperatorReplicas) -> Iterator[DatabaseScene]:
    operators.leader(timeout=60)
    word = f"t{secrets.token_hex(2)}"
    with DatabaseScene(stage.cluster, stage.gateway, [f"{word}-west", f"{word}-central"], namespace=word) as scene:
        scene.grant()
        scene.apply_regions()
        # An old side that is dead cannot prove anything; these tests have no agent that could.
        scene.apply_policy(safety={"fencing": "BestEffort", "cooldown": "0s"}, failback={"mode": "Never"})
        scene.wait_adopted()
        yield scene


@pytest.fixture(scope="module")
def agents(scene: DatabaseScene) -> Iterator[Agents]:
    with Agents(scene, fence_after=5.0, demotion_limit=8.0) as agents:
        yield agents
        assert "Traceback" not in agents.logs(), agents.logs()
        assert "Forbidden" not in agents.logs(), agents.logs()


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
    bound = bound_of(run)
    assert bound is not None, run["status"]
    assert all(write.done >= bound.since for write in lost), (bound, lost)

    # It comes back as a primary, as its own configuration store knows it, on a timeline of the number that the new
    # primary's has: Regent reports it and does not let the one follow the other, whatever a person says.
    source.start_patroni()
    source.wait_role("primary", timeout=60)
    reported(scene, source, "It promoted itself since")
    change_policy(scene, permission(scene, source))
    never(lambda: source.status("/config")[1].get("standby_cluster"), what="it is told to follow", during=3.0)
    eventually(
        lambda: "remove its data directory" in scene.condition("ActionRequired").get("message", ""),
        what="the remedy to be shown",
        timeout=60,
    )
    source.rebuild(to)
    rejoined(scene, source)


def test_a_standby_that_is_behind_takes_over_once_it_has_caught_up(
    scene: DatabaseScene, operators: OperatorReplicas
) -> None:
    """Fails when a lag is not seen, or does not hold a run that could lose writes, and when its end is not noticed."""
    source, to = scene.primary(), next(item for item in scene.databases if item is not scene.primary())
    settled(scene)
    change_policy(scene, {"spec": {"safety": {"maxReplicationLag": "2s"}}})
    before = len(scene.runs())
    with scene.writer(first=3_000_000) as writer:
        writer.wait_acknowledged_by(source.name, timeout=20)
        to.namespace.drop(source=source.address)
        eventually(lambda: "ReplicationLag" in reasons(scene, to.name), what="the lag to be seen", timeout=60)
        order(scene, source, "Drained")
        told = held(scene, operators, "NoCandidate", f"{to.name}: ReplicationLag (", "safety.maxReplicationLag is 2s")
        assert "by the promotion steps" in told
        never(lambda: len(scene.runs()) > before, what="a run", during=1.0)
        to.namespace.heal()
        writer.wait_acknowledged_by(to.name, timeout=90)
    scene.wait_run(number=before + 1, timeout=60)
    assert scene.primary() is to
    assert writer.writes().lost(to.numbers()) == []
    order(scene, source, "Enabled")
    change_policy(scene, {"spec": {"safety": {"maxReplicationLag": "30s"}}})


def test_a_primary_that_was_cut_off_is_reported_and_follows_when_a_person_allows_it(
    scene: DatabaseScene, operators: OperatorReplicas
) -> None:
    source, to = scene.primary(), next(item for item in scene.databases if item is not scene.primary())
    settled(scene)
    before = len(scene.runs())
    source.namespace.cut()
    scene.wait_run(number=before + 1, timeout=90)
    source.query("INSERT INTO writes SELECT n, 'isolated' FROM generate_series(2000000, 2000099) AS n")
    source.namespace.heal()
    row = reported(scene, source, "they are undone when it follows")
    assert int(row["message"].split(" wrote ")[1].split()[0]) > 100 * 100, row

    # Two primaries: nothing begins by itself, also no order of a person's, until there is one again.
    suspected = f"step db is active in {' and '.join(sorted([source.name, to.name]))}"
    order(scene, to, "Drained")
    told = held(scene, operators, "SplitBrainSuspected", suspected, "demote the other one by hand")
    assert "No run starts by itself while this lasts" in told
    assert scene.condition("SplitBrainSuspected")["status"] == "True"
    assert metric(scene, operators, "regent_policy_split_brain") == 1
    never(lambda: len(scene.runs()) > before + 1, what="a run between two primaries", during=2.0)

    change_policy(scene, permission(scene, source))
    eventually(lambda: scene.condition("SplitBrainSuspected")["status"] == "False", what="its end", timeout=90)
    # And what was held goes on: the active region is drained.
    scene.wait_run(number=before + 2, timeout=90)
    assert scene.primary() is source
    assert not scene.status().get("rejoin")
    assert metric(scene, operators, "regent_policy_split_brain") == 0
    order(scene, to, "Enabled")
    eventually(scene.alike, what="both to have the same integers", timeout=60)
    assert not {n for n in source.numbers() if 2_000_000 <= n < 2_000_100}


def permission(scene: DatabaseScene, source: Database) -> Json:
    """A person allows that what the region wrote alone is dropped: this once. It stays on the policy."""
    return {"metadata": {"annotations": {"regent.dev/rejoin": f"{source.name}@{scene.status()['epoch']}"}}}


def change_policy(scene: DatabaseScene, change: Json) -> None:
    scene.cluster.api.patch(scene.path("failoverpolicies", scene.app), change)


def order(scene: DatabaseScene, database: Database, state: str) -> None:
    scene.cluster.api.patch(f"/apis/regent.dev/v1alpha1/regions/{database.name}", {"spec": {"adminState": state}})


def reasons(scene: DatabaseScene, region: str) -> list[str]:
    rows = scene.status().get("candidates") or []
    return next((list(row.get("reasons") or ()) for row in rows if row["region"] == region), [])


def metric(scene: DatabaseScene, operators: OperatorReplicas, name: str, **labels: str) -> float:
    return operators.leader(timeout=60).metric(name, namespace=scene.namespace, policy=scene.app, **labels)


def held(scene: DatabaseScene, operators: OperatorReplicas, reason: str, *said: str) -> str:
    """What the screen says, once the rule holds the policy back as condition and as metric, with all of `said`."""
    eventually(lambda: scene.condition("Progressing").get("reason") == reason, what=f"the hold {reason}", timeout=60)
    eventually(lambda: metric(scene, operators, "regent_policy_held", reason=reason) == 1, what="metric", timeout=60)
    command = ["--kubeconfig", str(scene.cluster.kubeconfig), "status", scene.app, "-n", scene.namespace]
    done = subprocess.run(
        [sys.executable, "-m", "regent", *command], capture_output=True, text=True, timeout=90, check=True
    )
    told = " ".join(done.stdout.split())
    assert [text for text in said if text not in told] == [], done.stdout
    return told


def settled(scene: DatabaseScene) -> None:
    """A region is there that could take over."""

    def eligible() -> bool:
        return any(row.get("eligible") for row in scene.status().get("candidates") or [])

    eventually(eligible, what="a region that could take over", timeout=60)


def reported(scene: DatabaseScene, source: Database, text: str) -> Json:
    def row() -> Json | None:
        rows = scene.status().get("rejoin") or []
        return next((row for row in rows if row["region"] == source.name and text in row["message"]), None)

    found = eventually(row, what=f"{text!r} to be reported", timeout=60)
    assert found is not None
    return found


def rejoined(scene: DatabaseScene, source: Database) -> None:
    source.wait_role("standby-leader", timeout=90)
    eventually(lambda: not scene.status().get("rejoin"), what="the region to be taken back", timeout=60)
    # Streaming for a moment proves nothing: a standby of another history streams for a moment, too.
    eventually(scene.alike, what="it to have what the new primary has", timeout=60)


@pytest.mark.skipif("REGENT_ROUNDS" not in os.environ, reason="a round of a minute: make test-database plays it")
@pytest.mark.timeout(420)
def test_a_region_that_died_whole_and_comes_back_by_itself_takes_no_write(
    scene: DatabaseScene, agents: Agents, operators: OperatorReplicas, links: list[Link]
) -> None:
    """Database, Patroni, its configuration store and its agent are killed, the other region is promoted, and all of it
    is started again, the agent last. Fails when the database does not ask before it promotes itself, when it is let,
    or when nobody makes it a standby afterwards."""
    rounds = Rounds(scene, agents=agents, operators=operators, links=links)
    item = Round(number=90, fault=Fault.RETURN, late=SHOWN + 1.0)
    try:
        print(rounds.play(item))
    except (AssertionError, OSError, RuntimeError) as error:
        raise AssertionError(f"{error}\n{rounds.situation()}") from error


@pytest.mark.timeout(180 + 240 * ROUNDS)
def test_faults_at_random_lose_no_more_than_is_told(
    scene: DatabaseScene, agents: Agents, operators: OperatorReplicas, links: list[Link]
) -> None:
    """Planned: nothing is lost. Unplanned: no more than the run tells. With agents never two primaries that take
    writes; without them no promotion that nobody allowed, and what the isolated side wrote stands in the report.

    `REGENT_SEED` draws the same rounds again, `REGENT_ROUNDS` more of them: `make test-database ROUNDS=20 SEED=7`.
    """
    print(f"\nseed {SEED}, {ROUNDS} rounds")
    rounds = Rounds(scene, agents=agents, operators=operators, links=links)
    for item in draw(random.Random(SEED), ROUNDS):
        try:
            print(rounds.play(item))
        except (AssertionError, OSError, RuntimeError) as error:
            raise AssertionError(f"seed {SEED}, {item}: {error}\n{rounds.situation()}") from error
