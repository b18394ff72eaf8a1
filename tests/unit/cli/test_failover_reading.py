"""`regent failover history`, `status`, `analytics`: filters, order, steps with their times, documents."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml

from regent.engine.resources import FAILOVERS
from tests.fakes.cli import CommandLine, put_shop, run


def put_run(shop: CommandLine, name: str, minute: int, **changed: Any) -> None:
    made = copy.deepcopy(run())
    made["metadata"] = {
        "name": name,
        "namespace": changed.pop("namespace", "shop"),
        "creationTimestamp": f"2026-11-21T11:{minute:02}:00Z",
    }
    made["spec"].update(changed.pop("spec", {}))
    made["status"].update(changed)
    shop.cluster.put(FAILOVERS, made)


@pytest.fixture
def shop() -> CommandLine:
    command_line = CommandLine()
    put_shop(command_line)
    shop9 = command_line.cluster._objects[FAILOVERS][("shop", "shop-9")]
    shop9["metadata"]["creationTimestamp"] = "2026-11-21T11:59:00Z"
    shop9["status"]["epoch"] = 8
    shop9["status"]["completionTime"] = "2026-11-21T11:59:00.812Z"
    put_run(command_line, "shop-8", 30, phase="Failed", epoch=7, spec={"from": "us-east-1"})
    put_run(command_line, "cart-1", 40, spec={"policyRef": {"name": "cart"}})
    put_run(command_line, "shop-dry", 50, spec={"dryRun": True})
    put_run(command_line, "far-1", 55, namespace="far")
    return command_line


def names(output: str) -> list[str]:
    return [line.split()[1] for line in output.splitlines()[1:]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), ["shop-9", "cart-1", "shop-8"]),
        (("--dry-runs",), ["shop-9", "shop-dry", "cart-1", "shop-8"]),
        (("--limit", "1"), ["shop-9"]),
        (("--policy", "cart"), ["cart-1"]),
        (("--region", "us-east-1"), ["shop-8"]),
        (("--region", "eu-west-1", "--policy", "shop"), ["shop-9"]),
        (("-A",), ["shop-9", "far-1", "cart-1", "shop-8"]),
    ],
)
def test_history_filters_the_newest_first(shop: CommandLine, arguments: tuple[str, ...], expected: list[str]) -> None:
    assert names(shop.read("failover", "history", *arguments)) == expected


def test_history_knows_the_regions_that_were_tried(shop: CommandLine) -> None:
    put_run(shop, "shop-10", 59, attempts=[{"region": "ap-south-1", "result": "Failed"}])
    assert names(shop.read("failover", "history", "--region", "ap-south-1")) == ["shop-10"]


def test_history_of_nothing_says_so(shop: CommandLine) -> None:
    assert "No runs match" in shop.read("failover", "history", "--region", "mars")
    assert "No runs yet" in shop.read("failover", "history", "-n", "empty")


@pytest.mark.parametrize("limit", ["0", "-1", "x", "99999999"])
def test_a_limit_is_a_number_of_runs(shop: CommandLine, limit: str) -> None:
    assert shop.run("failover", "history", "--limit", limit).exit_code == 2


def test_status_shows_every_step_with_its_time(shop: CommandLine) -> None:
    lines = [line.split() for line in shop.read("failover", "status", "shop-9").splitlines()]
    assert ["1", "Commit", "Succeeded", "15", "ms", "epoch", "8"] in lines
    assert ["Took", "812", "ms"] in lines


def test_status_without_a_name_shows_what_is_under_way(shop: CommandLine) -> None:
    idle = shop.read("failover", "status")
    assert "No run is under way" in idle
    assert "shop-9" in idle  # the last one, and no dry run
    put_run(shop, "shop-11", 59, phase="Running", currentStep="Promote/db")
    busy = shop.read("failover", "status")
    assert names(busy) == ["shop-11"]
    assert "Promote/db" in busy


def test_status_follows(shop: CommandLine) -> None:
    put_run(shop, "shop-11", 59, phase="Running")

    def end() -> None:
        put_run(shop, "shop-11", 59, phase="RolledBack")

    shop.meanwhile = end
    assert shop.run("failover", "status", "shop-11", "--follow").exit_code == 1
    assert shop.run("failover", "status", "shop-9", "--follow").exit_code == 0
    assert shop.run("failover", "status", "--follow").exit_code == 2


def test_analytics_are_tables(shop: CommandLine) -> None:
    lines = [line.split() for line in shop.read("failover", "analytics").splitlines()]
    assert ["all", "14", "93%", "13", "1", "0", "0", "0", "0", "0"] in lines
    assert ["Unreachable", "3", "67%", "2", "1", "0", "0", "0", "0", "0"] in lines
    assert ["Commit", "3", "15", "ms", "15", "ms", "15", "ms"] in lines


def test_analytics_mark_what_was_pruned(shop: CommandLine) -> None:
    assert "11 of them were pruned (11 Succeeded)" in shop.read("failover", "analytics")
    document = json.loads(shop.read("failover", "analytics", "-o", "json"))
    assert (document["runs"]["runs"], document["prunedRuns"]["runs"]) == (14, 11)


def test_analytics_since_leave_out_what_has_no_date(shop: CommandLine) -> None:
    document = yaml.safe_load(shop.read("failover", "analytics", "--policy", "shop", "--since", "10s", "-o", "yaml"))
    assert document["prunedRuns"]["runs"] == 0
    assert document["runs"]["runs"] == 1  # shop-8 has no completionTime, so it counts as now


def test_analytics_of_one_policy(shop: CommandLine) -> None:
    document = json.loads(shop.read("failover", "analytics", "--policy", "cart", "-o", "json"))
    assert (document["runs"]["runs"], document["prunedRuns"]["runs"]) == (1, 0)


def test_analytics_of_nothing(shop: CommandLine) -> None:
    assert shop.read("failover", "analytics", "-n", "empty") == "No runs yet.\n"
