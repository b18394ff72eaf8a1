"""`regent region stats|compare|recommend|capacity`: regions side by side."""

from __future__ import annotations

import json
from typing import Any

import pytest

from regent.domain.errors import ForbiddenError
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS, REGIONS
from tests.fakes.cli import CommandLine, put_shop, region


@pytest.fixture
def shop() -> CommandLine:
    command_line = CommandLine()
    put_shop(command_line)
    return command_line


def measured(shop: CommandLine, name: str, total: int, free: int, health: str = "Healthy", **spec: Any) -> None:
    made = region(name, health)
    made["spec"].update(capacity={"total": total}, **spec)
    made["status"]["capacityAvailablePercent"] = free
    shop.cluster.put(REGIONS, made)


def test_stats_count_everything(shop: CommandLine) -> None:
    document = json.loads(shop.read("region", "stats", "-o", "json"))
    assert document["byHealth"] == {"Healthy": 1, "Unreachable": 1, "Degraded": 1}
    assert (document["regions"], document["policies"], document["faults"]) == (3, 1, 1)


def test_stats_of_one_region(shop: CommandLine) -> None:
    document = json.loads(shop.read("region", "stats", "eu-west-1", "-o", "json"))
    assert (document["health"], document["runs"]["faults"], document["activeIn"]) == ("Unreachable", 1, 0)
    assert ["Faults", "1"] in [line.split() for line in shop.read("region", "stats", "eu-west-1").splitlines()]


def test_what_may_not_be_read_is_said_and_not_counted_as_none(shop: CommandLine) -> None:
    for resource in (FAILOVER_POLICIES, FAILOVERS):
        shop.cluster.fail("list", ForbiddenError("no", status=403), resource=resource)
    assert "not readable with your permissions" in shop.read("region", "stats")


def test_compare_lays_them_side_by_side(shop: CommandLine) -> None:
    measured(shop, "us-east-1", 500, 40, compliance=["SOC2"], cost={"multiplier": "1.1"})
    lines = shop.read("region", "compare", "us-east-1", "eu-west-1").splitlines()
    assert [line.split()[0] for line in lines] == ["REGION", "us-east-1", "eu-west-1"]
    assert lines[1].split()[-5:] == ["500", "1.1", "0", "0", "SOC2"]
    assert shop.run("region", "compare", "mars").exit_code == 1


def test_the_best_is_recommended_with_reasons_for_the_rest(shop: CommandLine) -> None:
    screen = shop.read("region", "recommend")
    assert "Recommended: eu-central-1" in screen
    assert ["-", "eu-west-1", "no", "Unreachable"] in [line.split() for line in screen.splitlines()]


def test_a_recommendation_obeys_what_is_asked(shop: CommandLine) -> None:
    measured(shop, "ap-south-1", 10, 90, compliance=["GDPR"])
    document = json.loads(shop.read("region", "recommend", "--compliance", "GDPR", "-o", "json"))
    assert document["recommended"] == "ap-south-1"
    none = shop.run("region", "recommend", "--compliance", "GDPR", "--exclude", "ap-south-1")
    assert (none.exit_code, "Recommended: none" in none.output) == (1, True)


def test_capacity_says_what_would_find_no_room(shop: CommandLine) -> None:
    measured(shop, "eu-central-1", 1_000, 10)
    measured(shop, "us-east-1", 500, 40)
    result = shop.run("region", "capacity")
    assert result.exit_code == 1
    assert "700 of its 900 would find no room" in result.output
    measured(shop, "us-east-1", 5_000, 40)
    assert "its 900 fit into 2 000 elsewhere" in shop.run("region", "capacity").output


def test_capacity_without_figures_is_not_known(shop: CommandLine) -> None:
    result = shop.run("region", "capacity")
    assert (result.exit_code, "not known" in result.output) == (0, True)
    assert "it serves nothing" in result.output  # eu-west-1, which is down
