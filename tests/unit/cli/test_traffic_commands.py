"""`regent traffic`: shares read, and shares set by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from regent.domain.errors import ConflictError
from regent.engine.resources import FAILOVER_POLICIES
from tests.fakes.cli import CommandLine, policy, put_shop


@pytest.fixture
def shop() -> CommandLine:
    command_line = CommandLine()
    put_shop(command_line)
    return command_line


def stored(shop: CommandLine, name: str = "shop") -> dict[str, Any]:
    return shop.cluster._objects[FAILOVER_POLICIES][("shop", name)]


def spread(shop: CommandLine) -> None:
    made = policy(activeRegion="", distribution=[{"region": "eu-west-1", "weightPercent": 100}])
    made["spec"]["topology"] = "ActiveActive"
    shop.cluster.put(FAILOVER_POLICIES, made)


def test_get_shows_every_region(shop: CommandLine) -> None:
    lines = [line.split()[3:6] for line in shop.read("traffic", "get").splitlines()[1:]]
    assert lines == [["eu-west-1", "0%", "-"], ["eu-central-1", "100%", "-"], ["us-east-1", "0%", "-"]]


def test_an_override_is_set_for_a_while_and_shown(shop: CommandLine) -> None:
    assert "until 2026-11-21T13:00:00Z" in shop.read(
        "traffic", "set", "us-east-1=70", "eu-central-1=30%", "--for", "1h"
    )
    assert stored(shop)["spec"]["trafficOverride"] == {
        "distribution": [
            {"region": "eu-west-1", "weightPercent": 0},
            {"region": "eu-central-1", "weightPercent": 30},
            {"region": "us-east-1", "weightPercent": 70},
        ],
        "expirationTime": "2026-11-21T13:00:00Z",
    }
    document = json.loads(shop.read("traffic", "get", "--policy", "shop", "-o", "json"))["items"][0]
    assert document["expirationTime"] == "2026-11-21T13:00:00Z"
    assert document["wanted"][2] == {"region": "us-east-1", "weightPercent": 70}


def test_the_same_twice_writes_once(shop: CommandLine) -> None:
    for said in ("asked for", "nothing to change"):
        assert said in shop.read("traffic", "set", "us-east-1=100", "--for", "1h")
    assert len(shop.cluster.writes) == 1


def test_an_override_is_cleared(shop: CommandLine) -> None:
    shop.read("traffic", "set", "us-east-1=100", "--for", "1h")
    assert "the override has ended" in shop.read("traffic", "set", "--clear")
    assert "trafficOverride" not in stored(shop)["spec"]
    assert "nothing to change" in shop.read("traffic", "set", "--clear")


def test_an_override_that_is_over_is_not_wanted_any_more(shop: CommandLine) -> None:
    shop.read("traffic", "set", "us-east-1=100", "--for", "1h")
    stored(shop)["spec"]["trafficOverride"]["expirationTime"] = "2026-11-21T11:00:00Z"
    assert "100% until" not in shop.read("traffic", "get")


def test_active_active_takes_the_shares_for_its_own(shop: CommandLine) -> None:
    spread(shop)
    shop.read("traffic", "set", "eu-west-1=60", "us-east-1=40")
    assert [entry["weightPercent"] for entry in stored(shop)["spec"]["regions"]] == [60, 0, 40]
    assert "trafficOverride" not in stored(shop)["spec"]
    refused = shop.run("traffic", "set", "eu-west-1=50", "us-east-1=50", "--for", "1h")
    assert (refused.exit_code, "leave --for out" in refused.output) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("eu-west-1=60", "us-east-1=30", "--for", "1h"), "the shares add up to 90, not to 100 (60 + 30)"),
        (("eu-west-1=60", "eu-west-1=40", "--for", "1h"), "eu-west-1 is given twice"),
        (("eu-west-1=101", "--for", "1h"), "a share is 0-100 percent"),
        (("eu-west-1=-1", "us-east-1=101", "--for", "1h"), "write REGION=PERCENT"),
        (("eu-west-1=1٠0", "--for", "1h"), "write REGION=PERCENT"),
        (("eu-west-1", "--for", "1h"), "write REGION=PERCENT"),
        (("mars=100", "--for", "1h"), "shop does not list mars; its regions are eu-west-1, eu-central-1, us-east-1"),
        (("us-east-1=100",), "say for how long, such as --for 1h"),
        (("us-east-1=100", "--for", "25h"), "at most 24h"),
        (("us-east-1=100", "--for", "0s"), "write how long the shares hold"),
        (("us-east-1=100", "--for", "soon"), "is not a duration"),
        (("us-east-1=100", "--clear"), "--clear takes no shares"),
        ((), "the shares add up to 0"),
    ],
)
def test_wrong_shares_are_refused(shop: CommandLine, arguments: tuple[str, ...], said: str) -> None:
    result = shop.run("traffic", "set", *arguments)
    assert (result.exit_code, said in result.output) == (2, True), result.output
    assert shop.cluster.writes == []


def test_one_of_several_policies_has_to_be_named(shop: CommandLine) -> None:
    second = policy()
    second["metadata"]["name"] = "cart"
    shop.cluster.put(FAILOVER_POLICIES, second)
    result = shop.run("traffic", "set", "us-east-1=100", "--for", "1h")
    assert (result.exit_code, "--policy: cart, shop" in result.output) == (2, True)
    assert shop.run("traffic", "set", "us-east-1=100", "--for", "1h", "--policy", "cart").exit_code == 0


def test_somebody_elses_write_in_between_is_kept(shop: CommandLine) -> None:
    shop.cluster.fail("replace", ConflictError("somebody wrote", status=409), times=2)
    assert shop.run("traffic", "set", "us-east-1=100", "--for", "1h").exit_code == 0
    shop.cluster.fail("replace", ConflictError("somebody wrote", status=409), times=99)
    result = shop.run("traffic", "set", "us-east-1=100", "--for", "2h")
    assert (result.exit_code, "changes too often" in result.output) == (1, True)
