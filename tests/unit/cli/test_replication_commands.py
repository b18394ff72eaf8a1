"""`regent replication` and `regent vm`: what is written, what twice does, how a pass is waited for, what is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from regent.domain.errors import ForbiddenError, UnavailableError
from regent.engine.resources import REGIONS, REPLICATION_POLICIES
from tests.fakes.cli import CommandLine, condition, put_shop

SETUP = ("replication", "setup", "eu-west-1", "eu-central-1")
NAME = "eu-west-1-to-eu-central-1"


@pytest.fixture
def shop() -> CommandLine:
    command_line = CommandLine()
    put_shop(command_line)
    return command_line


def found(shop: CommandLine, name: str = NAME) -> dict[str, Any]:
    return shop.cluster._objects[REPLICATION_POLICIES][("shop", name)]


def row(region: str = "eu-central-1", state: str = "InSync", **fields: Any) -> dict[str, Any]:
    counts = {"desired": 3, "inSync": 3, "pending": 0, "drifted": 0, "conflicted": 0, "failed": 0}
    objects = {**counts, **fields.pop("objects", {})}
    return {"region": region, "state": state, "lagMilliseconds": 2000, "objects": objects, **fields}


def put(shop: CommandLine, name: str = "copies", **status: Any) -> None:
    spec = {
        "source": {"region": "eu-west-1"},
        "targets": [{"region": "eu-central-1"}],
        "resources": [{"category": "Config", "includeSecrets": True}],
        "trigger": {"mode": "Watch", "syncToken": "old"},
        "suspend": status.pop("suspend", False),
    }
    given = {
        "observedGeneration": 1, "state": "InSync", "sourceRegion": "eu-west-1", "targetRegions": "eu-central-1",
        "inSyncTargets": "1/1", "lagMilliseconds": 2000, "objects": 3, "lastVerifiedTime": "2026-11-21T11:59:00Z",
        "targets": [row(syncToken="old")], "conditions": [condition("Ready", "True", "Reconciled")], **status,
    }  # fmt: skip
    shop.cluster.put(
        REPLICATION_POLICIES,
        {"metadata": {"name": name, "namespace": "shop", "generation": 1}, "spec": spec, "status": given},
    )


def test_a_policy_is_made_of_one_line(shop: CommandLine) -> None:
    assert "was set up" in shop.read(*SETUP, "config,WORKLOAD")
    assert found(shop)["spec"] == {
        "source": {"region": "eu-west-1"},
        "targets": [{"region": "eu-central-1"}],
        "resources": [{"category": "Config"}, {"category": "Workload"}],
        "direction": "OneWay",
        "trigger": {"mode": "Watch"},
    }


def test_all_that_can_be_said(shop: CommandLine) -> None:
    options = ["--interval", "300", "--name", "all", "--include-secrets", "-l", "app=shop,tier=web"]
    options += ["--kind", "shop.example.com/v1/Cart", "--kind", "v1/Endpoints", "--target-namespace", "standby"]
    shop.read("replication", "setup", "eu-west-1", "eu-central-1, us-east-1", "Config,State,config", *options)
    spec, labels = found(shop, "all")["spec"], {"matchLabels": {"app": "shop", "tier": "web"}}
    assert [item["region"] for item in spec["targets"]] == ["eu-central-1", "us-east-1"]
    assert {item["namespace"] for item in spec["targets"]} == {"standby"}
    assert spec["resources"] == [
        {"category": "Config", "includeSecrets": True, "selector": labels},
        {
            "category": "State",
            "kinds": [
                {"group": "shop.example.com", "version": "v1", "kind": "Cart"},
                {"version": "v1", "kind": "Endpoints"},
            ],
            "selector": labels,
        },
    ]
    assert (spec["direction"], spec["trigger"]) == ("OneWay", {"mode": "Interval", "interval": "5m"})


def test_both_directions_are_between_two_regions(shop: CommandLine) -> None:
    """Fails when a policy is made that the operator refuses."""
    refused = shop.run("replication", "setup", "eu-west-1", "eu-central-1,us-east-1", "config", "--bidirectional")
    assert (refused.exit_code, "takes one target" in refused.output) == (2, True), refused.output
    shop.read("replication", "setup", "eu-west-1", "eu-central-1", "config", "--bidirectional", "--name", "both")
    assert found(shop, "both")["spec"]["direction"] == "Bidirectional"


def test_twice_is_harmless_and_another_one_is_left_alone(shop: CommandLine) -> None:
    shop.read(*SETUP, "config")
    found(shop)["spec"]["trigger"] |= {"interval": "5m"}  # as the API server fills it in
    assert "is set up already" in shop.read(*SETUP, "config")
    for other in (("network",), ("config", "--bidirectional"), ("config", "--interval", "60")):
        refused = shop.run(*SETUP, *other)
        assert (refused.exit_code, "exists and differs in spec." in refused.output) == (1, True), refused.output
    assert found(shop)["spec"]["resources"] == [{"category": "Config"}]


@pytest.mark.parametrize(
    "arguments",
    [
        ("eu-west-1", "eu-central-1", "everything"),
        ("eu-west-1", "eu-central-1", ","),
        ("eu-west-1", "eu-west-1", "config"),
        ("eu-west-1", "us-east-1,us-east-1", "config"),
        ("eu-west-1", ",", "config"),
        ("eu-west-1", "us-east-1", "state"),
        ("eu-west-1", "us-east-1", "config", "--kind", "a/v1/B"),
        ("eu-west-1", "us-east-1", "state", "--kind", "Cart"),
        ("eu-west-1", "us-east-1", "network", "--include-secrets"),
        ("eu-west-1", "us-east-1", "config", "--interval", "0"),
        ("eu-west-1", "us-east-1", "config", "--interval", "604801"),
        ("eu-west-1", "us-east-1", "config", "--interval", "often"),
        ("eu-west-1", "us-east-1", "config", "-l", "app"),
    ],
)
def test_wrong_values_are_refused(shop: CommandLine, arguments: tuple[str, ...]) -> None:
    assert shop.run("replication", "setup", *arguments).exit_code == 2
    assert shop.cluster.writes == []


def test_a_region_that_does_not_exist_is_refused_where_regions_may_be_read(shop: CommandLine) -> None:
    refused = shop.run("replication", "setup", "eu-west-1", "mars", "config")
    assert refused.exit_code == 1
    assert "there is no Region mars; there are: eu-central-1" in refused.output
    assert shop.cluster.writes == []
    shop.cluster.fail("list", ForbiddenError("no"), resource=REGIONS)
    shop.read("replication", "setup", "eu-west-1", "mars", "config")


def test_a_virtual_machine_is_copied_by_name(shop: CommandLine) -> None:
    shop.read("vm", "replicate", "web-1", "eu-west-1", "eu-central-1,us-east-1", "--with", "web-1-data")
    spec = found(shop, "vm-web-1")["spec"]
    assert spec["resources"] == [{"category": "VM", "names": ["web-1", "web-1-data"]}]
    assert ([item["region"] for item in spec["targets"]], spec["standby"]) == (["eu-central-1", "us-east-1"], "Scaled0")
    again = shop.run("vm", "replicate", "web-1", "eu-west-1", "eu-central-1,us-east-1", "--with", "web-1-data")
    assert (again.exit_code, "is set up already" in again.output) == (0, True)


def test_a_lag_that_is_not_known_is_not_shown_as_none(shop: CommandLine) -> None:
    put(shop)
    assert "2.0 s" in shop.read("replication", "status")
    silent = row(state="Unknown", errors=["the region does not answer"])
    del silent["lagMilliseconds"]
    put(shop, "silent", state="Unknown", lagMilliseconds=None, targets=[silent])
    table = shop.read("replication", "status").splitlines()
    assert "not known" in next(line for line in table if "silent" in line)
    screen = shop.read("replication", "status", "silent")
    assert any(line.split() == ["Lag", "not", "known"] for line in screen.splitlines())
    assert "the region does not answer" in screen
    assert "Config (Secrets)" in screen


def test_what_went_between_regions_is_shown(shop: CommandLine) -> None:
    put(shop)
    assert "Transferred" not in shop.read("replication", "status", "copies")
    pairs = [("eu-west-1", "eu-central-1", 412, 5 * 2**20 // 2), ("eu-central-1", "eu-west-1", 1, 900)]
    rows = [dict(zip(("source", "target", "objects", "bytes"), pair, strict=True)) for pair in pairs]
    put(shop, transferred=rows)
    lines = [line.split() for line in shop.read("replication", "status", "copies").splitlines()]
    assert ["eu-west-1", "eu-central-1", "412", "2.5", "MiB"] in lines
    assert ["eu-central-1", "eu-west-1", "1", "900", "B"] in lines


def test_volumes_are_shown_where_there_are_any(shop: CommandLine) -> None:
    """Fails when volumes of which nothing is known look current."""
    put(shop)
    assert "volumes" not in shop.read("replication", "status", "copies")
    synced = {"volumes": 2, "lastSyncTime": "2026-11-21T11:56:00Z", "lagMilliseconds": 500_000}
    put(shop, targets=[row(storage=synced), row("us-east-1", storage={"volumes": 1}), row("us-west-1")])
    screen = shop.read("replication", "status", "copies")
    assert "2, lag 4m" in screen
    assert "1, lag not known" in screen


def test_a_pass_is_asked_for_and_its_end_waited_for(shop: CommandLine) -> None:
    put(shop)
    assert "Asked for a pass" in shop.read("replication", "sync", "copies")
    first = found(shop, "copies")["spec"]["trigger"]["syncToken"]
    assert first not in ("", "old")
    late = shop.run("replication", "sync", "copies", "--wait", "--timeout", "5s")
    assert (late.exit_code, "not complete within the time" in late.output) == (1, True)
    assert found(shop, "copies")["spec"]["trigger"]["syncToken"] not in (first, "old")

    def answer() -> None:
        policy = found(shop, "copies")
        status = policy["status"]
        if status["observedGeneration"] == policy["metadata"]["generation"]:
            status["targets"] = [row(syncToken=policy["spec"]["trigger"]["syncToken"])]
        status["observedGeneration"] = policy["metadata"]["generation"]

    shop.meanwhile = answer
    assert "InSync" in shop.read("replication", "sync", "copies", "--wait")


def test_the_answer_of_an_older_generation_does_not_count(shop: CommandLine) -> None:
    """Rows of another set of targets say nothing about the targets that the spec has now."""
    put(shop, observedGeneration=0)

    def answer() -> None:
        policy = found(shop, "copies")
        policy["status"]["targets"] = [row(syncToken=policy["spec"]["trigger"]["syncToken"])]

    shop.meanwhile = answer
    assert shop.run("replication", "sync", "copies", "--wait", "--timeout", "3s").exit_code == 1


@pytest.mark.parametrize(("count", "code"), [("failed", 1), ("conflicted", 1), ("drifted", 0)])
def test_a_pass_that_leaves_objects_out_is_no_success(shop: CommandLine, count: str, code: int) -> None:
    put(shop)

    def answer() -> None:
        policy = found(shop, "copies")
        policy["status"]["observedGeneration"] = policy["metadata"]["generation"]
        token = policy["spec"]["trigger"]["syncToken"]
        policy["status"]["targets"] = [row(syncToken=token, objects={count: 1})]

    shop.meanwhile = answer
    assert shop.run("replication", "sync", "copies", "--wait").exit_code == code


def test_a_request_that_somebody_takes_back_is_no_success(shop: CommandLine) -> None:
    put(shop)

    def restore() -> None:
        policy = found(shop, "copies")
        policy["status"]["observedGeneration"] = policy["metadata"]["generation"]
        policy["spec"]["trigger"]["syncToken"] = "old"

    shop.meanwhile = restore
    refused = shop.run("replication", "sync", "copies", "--wait")
    assert (refused.exit_code, "set back by somebody else" in refused.output) == (1, True)


def test_what_holds_a_pass_is_said(shop: CommandLine) -> None:
    put(shop, suspend=True)
    assert "It will wait: spec.suspend is true" in shop.read("replication", "sync", "copies")
    shop.meanwhile = lambda: shop.cluster.fail("get", UnavailableError("gone"), resource=REPLICATION_POLICIES)
    late = shop.run("replication", "sync", "copies", "--wait", "--timeout", "2s")
    assert (late.exit_code, "spec.suspend is true" in late.output) == (1, True)


def test_what_differs(shop: CommandLine) -> None:
    put(shop)
    assert "Nothing differs" in shop.read("replication", "diff", "copies")
    errors = ["ConfigMap/settings: it is not a copy of this policy"]
    behind = row(state="OutOfSync", objects={"conflicted": 1}, errors=errors)
    conflicts = condition("Conflicts", "True", "Conflicts", "1 objects are left alone")
    put(shop, targets=[behind], targetRegions="eu-central-1,us-east-1", conditions=[conflicts])
    shown = shop.run("replication", "diff", "copies")
    assert shown.exit_code == 1
    assert "ConfigMap/settings: it is not a copy" in shown.output
    assert "us-east-1" in shown.output  # a target without figures is not left out
    document = json.loads(shop.run("replication", "diff", "copies", "-o", "json").output)
    assert document["equal"] is False
    assert document["findings"][0]["type"] == "Conflicts"
    assert document["targets"][0]["objects"]["conflicted"] == 1


def test_a_status_of_an_older_spec_is_not_taken_for_equal(shop: CommandLine) -> None:
    put(shop, observedGeneration=0)
    assert shop.run("replication", "diff", "copies").exit_code == 1
