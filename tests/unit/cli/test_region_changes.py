"""`regent region add|enable|drain|disable|recover`: what is written, what twice does, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from regent.domain.errors import ForbiddenError
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS, REGIONS
from tests.fakes.cli import CommandLine, condition, policy, put_shop

ADD = ("region", "add", "ap-south-1", "Asia (Mumbai)", "https://ap.example.com")


@pytest.fixture
def shop() -> CommandLine:
    command_line = CommandLine()
    put_shop(command_line)
    return command_line


def region(shop: CommandLine, name: str) -> dict[str, Any]:
    return shop.cluster._objects[REGIONS][("", name)]


def test_a_region_is_added_with_a_default_probe(shop: CommandLine) -> None:
    assert "was registered" in shop.read(*ADD)
    assert region(shop, "ap-south-1")["spec"] == {
        "displayName": "Asia (Mumbai)",
        "endpoint": "https://ap.example.com",
        "probes": [{"name": "http", "http": {"path": "/healthz"}}],
    }


def test_a_region_is_added_with_all_that_can_be_said(shop: CommandLine) -> None:
    options = ["--primary", "--capacity", "500", "--priority", "7", "--provider", "AWS", "--cost", "1.1"]
    options += ["--compliance", "GDPR", "--compliance", "SOC2"]
    options += ["--probe", "tcp:5432", "--probe", "grpc:9000/shop.v1.Cart", "--probe", "tcp:6432"]
    shop.read(*ADD, *options)
    spec = region(shop, "ap-south-1")["spec"]
    assert (spec["tier"], spec["capacity"], spec["priority"]) == ("Primary", {"total": 500}, 7)
    assert (spec["provider"], spec["cost"], spec["compliance"]) == ("AWS", {"multiplier": "1.1"}, ["GDPR", "SOC2"])
    assert spec["probes"] == [
        {"name": "tcp", "tcp": {"port": 5432}},
        {"name": "grpc", "grpc": {"port": 9000, "service": "shop.v1.Cart"}},
        {"name": "tcp-2", "tcp": {"port": 6432}},
    ]


def test_adding_twice_is_harmless_though_the_server_has_filled_in_defaults(shop: CommandLine) -> None:
    shop.read(*ADD)
    spec = region(shop, "ap-south-1")["spec"]
    spec["priority"], spec["probes"][0]["interval"] = 100, "1s"
    assert "is registered already" in shop.read(*ADD)


def test_a_region_that_differs_is_left_as_it_is(shop: CommandLine) -> None:
    shop.read(*ADD)
    result = shop.run(*ADD, "--primary", "--probe", "tcp:80")
    assert result.exit_code == 1
    assert "differs in spec.tier, spec.probes[0].name, spec.probes[0].tcp" in result.output
    assert "tier" not in region(shop, "ap-south-1")["spec"]


@pytest.mark.parametrize(
    "options",
    [
        ("--probe", "http"),
        ("--probe", "tcp:0"),
        ("--probe", "tcp:65536"),
        ("--probe", "tcp:80/x"),
        ("--probe", "icmp:1"),
        ("--capacity", "-1"),
        ("--priority", "1001"),
        ("--primary", "--tier", "Tertiary"),
    ],
)
def test_wrong_values_are_refused(shop: CommandLine, options: tuple[str, ...]) -> None:
    assert shop.run(*ADD, *options).exit_code == 2
    assert shop.cluster.writes == []


@pytest.mark.parametrize(("command", "state"), [("drain", "Drained"), ("disable", "Disabled"), ("enable", "Enabled")])
def test_the_state_is_set_once(shop: CommandLine, command: str, state: str) -> None:
    found = region(shop, "eu-central-1")
    shop.cluster.put(REGIONS, {**found, "spec": {**found["spec"], "adminState": "Other"}})
    screen = shop.read("region", command, "eu-central-1")
    assert f"is now {state}" in screen
    assert ("It is active in shop/shop" in screen) is (command != "enable")
    assert region(shop, "eu-central-1")["spec"]["adminState"] == state
    assert f"was already {state}" in shop.read("region", command, "eu-central-1")
    assert len(shop.cluster.writes) == 1


def test_draining_without_seeing_the_policies_says_so(shop: CommandLine) -> None:
    shop.cluster.fail("list", ForbiddenError("no", status=403), resource=FAILOVER_POLICIES)
    assert "you may not list them" in shop.read("region", "drain", "eu-west-1")


def test_a_region_that_does_not_exist(shop: CommandLine) -> None:
    for command in ("enable", "drain", "disable", "recover"):
        assert shop.run("region", command, "mars").exit_code == 1


def away(shop: CommandLine, **status: Any) -> None:
    waiting = condition("FailbackPending", "True", "Waiting", "eu-west-1 has to stay healthy for 2m")
    shop.cluster.put(FAILOVER_POLICIES, policy(failbackRegion="eu-west-1", conditions=[waiting], **status))


def test_recover_enables_ends_the_cooldown_and_shows_the_way_home(shop: CommandLine) -> None:
    away(shop)
    found = region(shop, "eu-west-1")
    shop.cluster.put(REGIONS, {**found, "spec": {**found["spec"], "adminState": "Drained"}})
    screen = shop.read("region", "recover", "eu-west-1")
    assert "Enabled now" in screen
    assert "ended for shop/shop" in screen
    assert "eu-west-1 has to stay healthy for 2m" in screen
    assert "regent failover execute eu-central-1 eu-west-1 --policy shop -n shop --type Failback" in screen
    stored = shop.cluster._objects[FAILOVER_POLICIES][("shop", "shop")]
    assert stored["metadata"]["annotations"] == {"regent.dev/acknowledge": "8"}
    assert region(shop, "eu-west-1")["spec"]["adminState"] == "Enabled"
    writes = len(shop.cluster.writes)
    assert "Enabled already" in shop.read("region", "recover", "eu-west-1")
    assert len(shop.cluster.writes) == writes


def test_recover_leaves_the_cooldown_of_the_region_that_serves(shop: CommandLine) -> None:
    away(shop)
    assert "ended for" not in shop.read("region", "recover", "eu-central-1")


def test_recover_leads_the_traffic_home(shop: CommandLine) -> None:
    away(shop)

    def operator() -> None:
        for run in list(shop.cluster._objects[FAILOVERS].values()):
            if run["spec"]["type"] == "Failback":
                shop.cluster.put(FAILOVERS, {**run, "status": {"phase": phase}})

    shop.meanwhile = operator
    phase = "Failed"
    assert shop.run("region", "recover", "eu-west-1", "--failback").exit_code == 1
    phase = "Succeeded"
    result = shop.run("region", "recover", "eu-west-1", "--failback", "-o", "json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert [run["phase"] for run in document["runs"]] == ["Succeeded"]


def test_recover_of_a_region_where_nothing_is_missing(shop: CommandLine) -> None:
    result = shop.run("region", "recover", "us-east-1", "--failback")
    assert result.exit_code == 0
    assert "To lead the traffic home" not in result.stdout


@pytest.mark.parametrize(
    ("spec", "status", "offered"),
    [
        (
            {"topology": "BlueGreen", "blueGreen": {"blue": ["eu-west-1"], "green": ["eu-central-1", "us-east-1"]}},
            {"blueGreen": {"group": "Green", "latchedGroup": "Blue", "latchReason": "FailedOver"}},
            True,
        ),
        (
            {"topology": "BlueGreen", "blueGreen": {"blue": ["eu-west-1"], "green": ["eu-central-1", "us-east-1"]}},
            {"blueGreen": {"group": "Green"}},
            False,
        ),
        ({"topology": "ActiveActive"}, {"activeRegion": "", "activeRegions": ["eu-central-1"]}, True),
        (
            {"topology": "ActiveActive", "regions": [{"name": "eu-west-1", "weightPercent": 0}, {"name": "x"}]},
            {"activeRegion": "", "activeRegions": ["eu-central-1"]},
            False,
        ),
        ({"topology": "LeaderElection"}, {}, False),
    ],
)
def test_recover_knows_the_way_home_in_every_topology(
    shop: CommandLine, spec: dict[str, Any], status: dict[str, Any], *, offered: bool
) -> None:
    made = policy(**status)
    shop.cluster.put(FAILOVER_POLICIES, {**made, "spec": {**made["spec"], **spec}})
    screen = shop.read("region", "recover", "eu-west-1")
    command = "regent failover execute eu-central-1 eu-west-1 --policy shop -n shop --type Failback"
    assert (command in screen) is offered, screen


def test_recover_tells_what_a_region_wrote_after_it_was_left(shop: CommandLine) -> None:
    row = {"region": "eu-west-1", "message": 'wrote 3 rows. Annotate with regent.dev/rejoin="eu-west-1"'}
    away(shop, rejoin=[row])
    screen = shop.read("region", "recover", "eu-west-1")
    assert 'to be a standby again: wrote 3 rows. Annotate with regent.dev/rejoin="eu-west-1"' in screen
