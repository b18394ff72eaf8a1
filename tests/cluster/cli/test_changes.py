"""What people set and ask about regions and shares, against a real API server and a real operator."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.scene import eventually
from tests.cluster.cli.conftest import GROUP, Desk, delete

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cli"), pytest.mark.timeout(300)]


@pytest.fixture
def whole(desk: Desk) -> Iterator[Desk]:
    """A desk whose regions are put right again, in service and healthy."""
    yield desk
    for plural in ("failoverpolicies",):
        for item in desk.stage.cluster.api.get(desk.path(plural))["items"]:
            delete(desk.stage, desk.path(plural, item["metadata"]["name"]))
    desk.stage.regions["west"].heal()
    desk.run("region", "enable", "west")
    eventually(lambda: health(desk, "west") == "Healthy", what="west to be healthy", timeout=60)


def health(desk: Desk, name: str) -> str:
    return str(desk.stage.cluster.api.get(f"{GROUP}/regions/{name}")["status"]["health"])


def test_what_is_simulated_is_what_happens(whole: Desk) -> None:
    whole.put_policy(failback={"mode": "Manual"})
    asked = whole.run("simulate", "--region", "west", "--policy", "shop", "-o", "json")
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert whole.runs() == []
    (foreseen,) = json.loads(asked.stdout)["policies"]

    whole.stage.regions["west"].kill()
    eventually(lambda: whole.active() == foreseen["to"], what="the failover", timeout=60)
    (run,) = eventually(
        lambda: [item for item in whole.runs() if item.get("status", {}).get("phase") == "Succeeded"],
        what="the run to end",
        timeout=15,
    )
    assert run["spec"]["type"] == foreseen["type"]
    assert run["status"]["trigger"] == foreseen["trigger"]
    assert run["status"]["plan"]["order"] == foreseen["steps"]
    assert run["status"]["plan"]["transition"] == foreseen["transition"]
    assert run["status"]["plan"]["after"] == foreseen["after"]

    held = whole.run("simulate", "--region", "central", "--region", "east", "--policy", "shop")
    assert held.returncode == 1
    assert "Held" in held.stdout
    assert "west" in held.stdout

    # And back: the way home is offered once west answers again.
    whole.stage.regions["west"].heal()
    eventually(lambda: health(whole, "west") == "Healthy", what="west to be healthy", timeout=60)
    home = whole.run("region", "recover", "west", "-n", whole.namespace)
    assert home.returncode == 0, home.stderr
    assert f"regent failover execute central west --policy shop -n {whole.namespace} --type Failback" in home.stdout
    done = whole.run("region", "recover", "west", "-n", whole.namespace, "--failback")
    assert done.returncode == 0, done.stdout + done.stderr
    assert whole.active() == "west"


def test_recover_ends_the_cooldown(whole: Desk) -> None:
    whole.put_policy(safety={"cooldown": "1h"}, failback={"mode": "Manual"})
    assert whole.run("failover", "execute", "west", "central").returncode == 0
    eventually(
        lambda: whole.get("failoverpolicies", "shop")["status"].get("cooldownUntil"), what="a cooldown", timeout=10
    )
    done = whole.run("region", "recover", "west", "-n", whole.namespace)
    assert f"ended for {whole.namespace}/shop" in done.stdout, done.stdout + done.stderr
    eventually(
        lambda: not whole.get("failoverpolicies", "shop")["status"].get("cooldownUntil"),
        what="the cooldown to end",
        timeout=10,
    )


def test_draining_moves_and_enabling_brings_back_into_service(whole: Desk) -> None:
    whole.put_policy(failback={"mode": "Manual"})
    for said in ("is now Drained", "was already Drained"):
        drained = whole.run("region", "drain", "west")
        assert said in drained.stdout, drained.stderr
    eventually(lambda: whole.active() == "central", what="the switchover", timeout=60)
    assert whole.run("region", "enable", "west").returncode == 0
    rows = whole.get("failoverpolicies", "shop")["status"]["candidates"]
    assert {row["region"] for row in rows} == {"west", "east"}


def test_shares_of_an_active_active_policy(desk: Desk) -> None:
    desk.put_policy(topology="ActiveActive")
    short = desk.run("traffic", "set", "west=60", "central=30")
    assert (short.returncode, "the shares add up to 90, not to 100 (60 + 30)" in short.stderr) == (2, True)
    assert desk.run("traffic", "set", "west=60", "central=30", "east=10").returncode == 0

    def decided() -> bool:
        document = json.loads(desk.run("traffic", "get", "-o", "json").stdout)["items"][0]
        return [row["weightPercent"] for row in document["distribution"]] == [60, 30, 10]

    eventually(decided, what="the shares to be carried out", timeout=60)
    assert "nothing to change" in desk.run("traffic", "set", "west=60", "central=30", "east=10").stdout


def test_an_override_is_accepted_by_the_api_and_taken_back(desk: Desk) -> None:
    desk.put_policy()
    made = desk.run("traffic", "set", "central=100", "--for", "1h")
    assert made.returncode == 0, made.stderr
    assert "100% until" in desk.run("traffic", "get").stdout
    assert desk.run("traffic", "set", "--clear").returncode == 0
    assert "trafficOverride" not in desk.get("failoverpolicies", "shop")["spec"]


def test_a_region_is_registered_once(desk: Desk) -> None:
    name = f"added-{secrets.token_hex(3)}"
    command = ("region", "add", name, "Somewhere", "http://127.0.0.1:9", "--capacity", "10", "--probe", "tcp:9")
    try:
        for said in ("was registered", "is registered already"):
            done = desk.run(*command)
            assert (done.returncode, said in done.stdout) == (0, True), done.stderr
        assert "differs in spec.tier" in desk.run(*command, "--primary").stderr
    finally:
        delete(desk.stage, f"{GROUP}/regions/{name}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("Bad_Name", "x", "http://127.0.0.1:9"), "metadata.name"),
        (("good", "x", "not a url"), "spec.endpoint"),
        (("good", "x", "http://127.0.0.1:9", "--cost", "much"), "spec.cost.multiplier"),
    ],
)
def test_what_the_api_refuses_is_told_in_its_words(desk: Desk, arguments: tuple[str, ...], said: str) -> None:
    refused = desk.run("region", "add", *arguments)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert said in refused.stderr


def test_regions_need_a_permission_of_their_own(desk: Desk, signed_in: Callable[[str], Path]) -> None:
    editor = signed_in("regent-editor")
    refused = desk.run("region", "add", "x", "X", "http://127.0.0.1:9", kubeconfig=editor)
    assert refused.returncode == 1
    assert "you may not create regions.regent.dev in all namespaces" in refused.stderr
    assert "-operator (bound cluster-wide)" in refused.stderr
