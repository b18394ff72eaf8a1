"""The rules that hold a move back or divide it, and drills: on a real API server, by a real operator, as people see it.

Each test has Regions of its own over the servers of the session, so that it may drain and suspend them.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from testbed.scene import eventually, manifests, never
from tests.cluster.cli.conftest import GROUP, NAMES, Desk, Stage, delete
from tests.cluster.cli.rules import WAIT, Doors, health, held, lifted, progressing, put_policy

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cli"), pytest.mark.timeout(400)]

Places = Callable[..., list[str]]


@pytest.fixture
def places(desk: Desk) -> Iterator[Places]:
    """Make three Regions whose names nobody else uses, the first one the most preferred; wait until they are healthy.

    `common` are fields of all of them, `by_region` of single ones by `west`, `central` and `east`.
    """
    made: list[str] = []

    def make(common: dict[str, Any] | None = None, by_region: dict[str, dict[str, Any]] | None = None) -> list[str]:
        mark = f"r{secrets.token_hex(3)}"
        for place, name in enumerate(NAMES):
            made.append(f"{mark}-{name}")
            fields = {**(common or {}), **(by_region or {}).get(name, {})}
            endpoint = desk.stage.regions[name].http_url
            desk.stage.cluster.apply(manifests.region(made[-1], endpoint=endpoint, priority=100 - place, **fields))
        for name in made:
            eventually(lambda name=name: health(desk, name) == "Healthy", what=f"{name} to be healthy", timeout=WAIT)
        return made

    yield make
    for item in desk.stage.cluster.api.get(desk.path("failoverpolicies"))["items"]:
        delete(desk.stage, desk.path("failoverpolicies", item["metadata"]["name"]))
    for name in NAMES:
        desk.stage.regions[name].heal()
    for name in made:
        delete(desk.stage, f"{GROUP}/regions/{name}")


@pytest.fixture(scope="module", autouse=True)
def rehearsed(stage: Stage) -> Iterator[Desk]:
    """A policy that is drilled every minute while the tests here go on."""
    namespace = stage.cluster.create_namespace(f"drill-{secrets.token_hex(3)}")
    made = Desk(stage, namespace, stage.cluster.kubeconfig)
    made.put_policy(drills={"schedule": "* * * * *"})
    yield made
    delete(stage, made.path("failoverpolicies", "shop"))
    stage.cluster.delete_namespace(namespace)


def room(desk: Desk, name: str) -> int | None:
    status = desk.stage.cluster.api.get(f"{GROUP}/regions/{name}").get("status") or {}
    return status.get("capacityAvailablePercent")


def shares(desk: Desk) -> list[int]:
    return [row["weightPercent"] for row in desk.get("failoverpolicies", "shop")["status"]["distribution"]]


def patch(desk: Desk, **spec: Any) -> None:
    desk.stage.cluster.api.patch(desk.path("failoverpolicies", "shop"), {"spec": spec})


@pytest.mark.parametrize(
    ("spec", "reason", "said", "change"),
    [
        (
            {"safety": {"minActiveRegions": 2, "cooldown": "1s"}},
            "MinActiveRegions",
            ["1 region would be left with traffic", "safety.minActiveRegions is 2", "Lower it"],
            {"safety": {"minActiveRegions": 1}},
        ),
        (
            {"safety": {"windows": [{"start": "0 0 29 2 *", "duration": "1m", "allow": ["Switchover"]}]}},
            "OutsideWindow",
            ["runs of type Switchover wait for a window of safety.windows", "the next one opens at 2028-02-29T00:00"],
            {"safety": {"windows": []}},
        ),
    ],
)
def test_a_rule_holds_until_it_is_lifted_and_says_so_everywhere(  # noqa: PLR0917
    desk: Desk, places: Places, spec: dict[str, Any], reason: str, said: list[str], change: dict[str, Any]
) -> None:
    """Fails when the rule is not obeyed, is not named with its figure and remedy, or when its end is not noticed."""
    names = places()
    put_policy(desk, names, **spec)
    foreseen = desk.run("simulate", "--region", names[0], "--fault", "drained", "--policy", "shop", "-o", "json")
    assert json.loads(foreseen.stdout)["policies"][0]["reason"] == reason, foreseen.stdout
    assert desk.run("region", "drain", names[0]).returncode == 0
    held(desk, reason, *said)
    assert desk.active() == names[0]
    assert desk.runs() == []
    patch(desk, **change)
    eventually(lambda: desk.active() == names[1], what="the move once the rule is lifted", timeout=WAIT)
    lifted(desk, reason)


def test_a_missing_vote_holds_a_failover(desk: Desk) -> None:
    """Fails when one vantage's word is enough for two, or when the rule stays once one is enough."""
    doors = Doors(desk, "one", "two")
    try:
        doors.wait_healthy()
        put_policy(desk, doors.names, safety={"quorum": 2, "cooldown": "1s"})
        doors.shut(doors.names[0])
        held(desk, "QuorumMissing", "1 of the 2 vantages that safety.quorum asks for say Down")
        never(desk.runs, what="a run", during=1.0)
        patch(desk, safety={"quorum": 1})
        eventually(lambda: desk.active() == doors.names[1], what="the failover", timeout=WAIT)
        lifted(desk, "QuorumMissing")
    finally:
        delete(desk.stage, desk.path("failoverpolicies", "shop"))
        doors.close()


def test_a_suspended_region_is_neither_left_nor_entered(desk: Desk, places: Places) -> None:
    names = places(by_region={"central": {"suspend": True}})
    put_policy(desk, names)
    assert desk.run("region", "drain", names[0]).returncode == 0
    eventually(lambda: desk.active() == names[2], what="the region that is not suspended", timeout=WAIT)
    desk.stage.cluster.api.patch(f"{GROUP}/regions/{names[2]}", {"spec": {"suspend": True, "adminState": "Drained"}})
    assert desk.run("region", "enable", names[0]).returncode == 0
    eventually(lambda: progressing(desk)["reason"] == "RegionSuspended", what="the hold", timeout=WAIT)
    assert "No automatic run starts" not in desk.run("status", "shop").stdout  # only this region rests
    assert desk.active() == names[2]


def test_a_large_move_is_divided(desk: Desk, places: Places) -> None:
    names = places()
    put_policy(desk, names, safety={"maxShift": {"percent": 50, "per": "8s"}, "cooldown": "1s"})
    assert desk.run("region", "drain", names[0]).returncode == 0
    eventually(lambda: shares(desk) == [50, 50, 0], what="the first half", timeout=WAIT)
    held = eventually(
        lambda: found if (found := progressing(desk))["reason"] == "MaxShift" else None, what="the hold", timeout=WAIT
    )
    assert "safety.maxShift is 50 % per 8s: it goes on at" in held["message"]
    eventually(lambda: shares(desk) == [0, 100, 0], what="the second half", timeout=WAIT)
    kinds = sorted((run["spec"]["type"], run["status"]["phase"]) for run in desk.runs())
    assert kinds == [("Rebalance", "Succeeded"), ("Switchover", "Succeeded")]
    first, second = sorted(desk.runs(), key=lambda run: str(run["status"]["completionTime"]))
    assert second["status"]["startTime"] > first["status"]["completionTime"]


def test_a_region_is_sent_no_more_than_it_has_room_for(desk: Desk, places: Places) -> None:
    """Fails when shares ignore free capacity, or when what had to stay does not follow once there is room."""
    for name, free in zip(NAMES, (55, 60, 60), strict=True):
        desk.stage.regions[name].load(errors=0, free=free)
    sizes = {name: {"capacity": {"total": total}} for name, total in zip(NAMES, (1000, 100, 100), strict=True)}
    names = places({"load": {"healthBody": {"capacityAvailablePercent": ".free"}}}, sizes)
    for name in names:  # a region whose figure is not known yet has no limit
        eventually(lambda name=name: room(desk, name) is not None, what=f"the free capacity of {name}", timeout=WAIT)
    put_policy(desk, names, topology="ActiveActive")
    eventually(lambda: shares(desk) == [34, 33, 33], what="equal shares", timeout=WAIT)
    # The policy uses 450 + 40 + 40 units for 100 %: 5.3 for one. The two have 60 units free each, which is 11 %.
    assert desk.run("region", "drain", names[0]).returncode == 0
    eventually(lambda: shares(desk) == [12, 44, 44], what="what there is room for", timeout=WAIT)
    held = eventually(
        lambda: found if (found := progressing(desk))["reason"] == "CapacityShort" else None,
        what="the rest to be reported",
        timeout=WAIT,
    )
    assert names[0] in held["message"]
    desk.stage.cluster.api.patch(f"{GROUP}/regions/{names[1]}", {"spec": {"capacity": {"total": 2000}}})
    eventually(lambda: shares(desk)[0] == 0, what="the rest to follow", timeout=60)


def test_a_drill_by_hand_is_recorded_and_no_failover(desk: Desk, places: Places) -> None:
    """Fails when a drill touches anything, is counted as a failover, or when its failure is not told."""
    names = places()
    put_policy(desk, names)
    passed = desk.run("failover", "execute", names[0], "--policy", "shop", "--type", "Drill")
    assert passed.returncode == 0, passed.stderr
    eventually(lambda: last_drill(desk).get("result") == "Succeeded", what="the success to be recorded", timeout=WAIT)
    assert f"would move {names[0]} 100 %" in last_drill(desk)["message"]
    for name in names[1:]:
        assert desk.run("region", "drain", name).returncode == 0
    failed = desk.run("failover", "execute", names[0], "--policy", "shop", "--type", "Drill")
    assert failed.returncode == 1
    eventually(lambda: last_drill(desk).get("result") == "Failed", what="the failure to be recorded", timeout=WAIT)
    last = last_drill(desk)
    assert "AdminStateDrained" in last["message"]
    assert f"{last['name']} failed at {last['completionTime']}" in " ".join(desk.run("status", "shop").stdout.split())
    counted = json.loads(desk.run("failover", "analytics", "-o", "json").stdout)
    assert (counted["runs"]["runs"], counted["traffic"]) == (0, [])
    assert (counted["drills"]["succeeded"], counted["drills"]["failed"]) == (1, 1)
    assert counted["drills"]["last"][0]["result"] == "Failed"
    assert (desk.active(), desk.get("failoverpolicies", "shop")["status"]["epoch"]) == (names[0], 1)


def last_drill(desk: Desk) -> dict[str, Any]:
    return dict(desk.get("failoverpolicies", "shop")["status"].get("lastDrill") or {})


@pytest.fixture
def crowd(desk: Desk) -> Iterator[tuple[list[str], list[socket.socket]]]:
    """Five more Regions, which answer as long as the sockets are open."""
    mark = f"r{secrets.token_hex(3)}"
    names = [f"{mark}-{number}" for number in range(5)]
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    for place, (name, listener) in enumerate(zip(names, sockets, strict=True)):
        probe = {"tcp": {"port": listener.getsockname()[1]}}
        endpoint = "https://127.0.0.1"
        desk.stage.cluster.apply(manifests.region(name, endpoint=endpoint, probe=probe, priority=100 - place))
    yield names, sockets
    delete(desk.stage, desk.path("failoverpolicies", "shop"))
    for name, listener in zip(names, sockets, strict=True):
        listener.close()
        delete(desk.stage, f"{GROUP}/regions/{name}")


def test_when_most_regions_vanish_at_once_the_operator_doubts_itself(
    desk: Desk, crowd: tuple[list[str], list[socket.socket]]
) -> None:
    """Fails when a policy moves though it is likelier that the operator is cut off, or does not say why it holds."""
    names, sockets = crowd
    for name in names:
        eventually(lambda name=name: health(desk, name) == "Healthy", what=f"{name} to be healthy", timeout=WAIT)
    put_policy(desk, names)
    # The active one last: what is judged before the others are known to be down is judged without them.
    for listener in sockets[1:]:
        listener.close()
    for name in names[1:]:
        eventually(lambda name=name: health(desk, name) == "Unreachable", what=f"{name} to be down", timeout=WAIT)
    sockets[0].close()
    held = eventually(
        lambda: found if (found := progressing(desk))["reason"] == "Panic" else None, what="the panic", timeout=WAIT
    )
    assert "5 of 8 regions went down within 10 s, more than 50%" in held["message"]
    assert "It ends when regions come back" in held["message"]
    never(desk.runs, what="a run", during=1.5)
    assert desk.active() == names[0]


def test_a_hub_that_lives_inside_a_region_is_told(desk: Desk) -> None:
    """Fails when the operator's account may not find out which cluster its own is, or when nobody is told."""
    name, cluster = f"r{secrets.token_hex(3)}", desk.stage.cluster
    data = {"kubeconfig": base64.b64encode(cluster.kubeconfig.read_bytes()).decode()}
    metadata = {"namespace": "regent-system", "name": name}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    member = {"kubeconfigSecretRef": {"name": name, "namespace": "regent-system"}}
    cluster.apply(manifests.region(name, endpoint=desk.stage.regions["west"].http_url, cluster=member))

    def told() -> dict[str, Any] | None:
        status = cluster.api.get(f"{GROUP}/regions/{name}").get("status") or {}
        return next((item for item in status.get("conditions") or () if item["type"] == "HubInsideRegion"), None)

    try:
        found = eventually(told, what="the condition", timeout=WAIT)
        assert (found["status"], found["reason"]) == ("True", "SameCluster")
        assert "a cluster of its own" in found["message"]
    finally:
        delete(desk.stage, f"{GROUP}/regions/{name}")
        delete(desk.stage, f"/api/v1/namespaces/regent-system/secrets/{name}")


def test_a_drill_by_schedule_is_made_at_its_time_and_recorded(rehearsed: Desk) -> None:
    """The last one here: its minute has passed meanwhile. Fails when no drill is made, or when it touches anything."""
    passed = eventually(lambda: last_drill(rehearsed), what="the drill of a minute", timeout=90)
    assert (passed["result"], passed["to"]) == ("Succeeded", "central")
    assert "would move west 100 % to central 100 %" in passed["message"]
    drills = [run for run in rehearsed.runs() if run["spec"]["type"] == "Drill"]
    assert {run["status"]["trigger"] for run in drills} == {"Schedule"}
    assert len({run["metadata"]["name"] for run in drills}) == len(drills) == len(rehearsed.runs())
    assert (rehearsed.active(), rehearsed.get("failoverpolicies", "shop")["status"]["epoch"]) == ("west", 1)
