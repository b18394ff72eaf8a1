"""`regent simulate`: which policies are asked, what is shown, the exit code, and that nothing is written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.domain.errors import ForbiddenError
from regent.domain.failover.isolation import guard
from regent.engine.agent_objects import LIMIT_ANNOTATION, agent_name, config_map
from regent.engine.resources import CONFIG_MAPS, FAILOVER_POLICIES, LEASES, REGIONS
from tests.fakes.cli import CommandLine, policy, put_shop, region


@pytest.fixture
def shop() -> CommandLine:
    command_line = CommandLine()
    put_shop(command_line)
    command_line.cluster.put(REGIONS, region("us-east-1", "Healthy"))
    return command_line


def test_a_region_that_serves_would_be_left(shop: CommandLine) -> None:
    result = shop.run("simulate", "--region", "eu-central-1")
    assert result.exit_code == 0, result.output
    assert "eu-central-1 100 % → us-east-1 100 %" in result.stdout
    assert ["eu-west-1", "no", "-", "-", "Unreachable"] in [line.split() for line in result.stdout.splitlines()]
    assert "Isolate" in result.stdout
    assert shop.cluster.writes == []


def test_a_failover_that_would_be_held_ends_with_1(shop: CommandLine) -> None:
    shop.cluster.put(REGIONS, region("us-east-1", "Unreachable"))
    result = shop.run("simulate", "--region", "eu-central-1", "-o", "json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["wouldSucceed"] is False
    assert document["policies"][0]["outcome"] == "Held"


def test_a_fault_that_nothing_notices_ends_with_1(shop: CommandLine) -> None:
    result = shop.run("simulate", "--region", "eu-central-1", "--fault", "slow")
    assert result.exit_code == 1
    assert "spec.triggers.latency is Disabled" in result.stdout


def test_a_region_that_serves_nobody_ends_with_0(shop: CommandLine) -> None:
    result = shop.run("simulate", "--region", "us-east-1")
    assert (result.exit_code, "Unaffected" in result.stdout) == (0, True)


def test_policies_that_do_not_list_it_are_left_out(shop: CommandLine) -> None:
    shop.cluster.put(REGIONS, region("ap-south-1", "Healthy"))
    result = shop.run("simulate", "--region", "ap-south-1")
    assert (result.exit_code, "No policy that you may see lists it" in result.stdout) == (0, True)


def test_a_tenant_asks_for_the_own_namespace(shop: CommandLine) -> None:
    shop.cluster.fail("list", ForbiddenError("no", status=403), resource=FAILOVER_POLICIES)
    assert "shop/shop" in shop.run("simulate", "--region", "eu-central-1").stdout


def test_one_policy(shop: CommandLine) -> None:
    second = policy()
    second["metadata"]["name"] = "cart"
    shop.cluster.put(FAILOVER_POLICIES, second)
    document = json.loads(shop.run("simulate", "--region", "eu-central-1", "-o", "json").stdout)
    assert [item["policy"] for item in document["policies"]] == ["shop/cart", "shop/shop"]
    one = json.loads(shop.run("simulate", "--region", "eu-central-1", "--policy", "cart", "-o", "json").stdout)
    assert [item["policy"] for item in one["policies"]] == ["shop/cart"]


def stateful() -> dict[str, Any]:
    made = dict(policy())
    clusters = [{"region": item["name"], "url": f"https://{item['name']}:8008"} for item in made["spec"]["regions"]]
    database = {"name": "db", "type": "Patroni", "patroni": {"clusters": clusters}}
    return {**made, "spec": {**made["spec"], "promotion": {"steps": [database]}}}


def test_the_agent_of_the_region_is_asked_by_its_objects(shop: CommandLine) -> None:
    made = shop.cluster.put(FAILOVER_POLICIES, stateful())
    asked = ("simulate", "--region", "eu-central-1", "--operator-namespace", "ops")
    missing = shop.run(*asked)
    assert missing.exit_code == 1
    assert "no agent is known in region eu-central-1" in missing.stdout

    name, spec = agent_name("eu-central-1"), {"holderIdentity": "a", "leaseDurationSeconds": 10}
    annotations = {LIMIT_ANNOTATION: "5"}
    lease = {"metadata": {"namespace": "ops", "name": name, "annotations": annotations}, "spec": spec}
    shop.cluster.put(LEASES, lease)
    guards = {"guards": json.dumps({"shop/shop": guard(policy_spec(made)[0])})}
    shop.cluster.put(CONFIG_MAPS, config_map("ops", name, guards))
    there = shop.run(*asked)
    assert there.exit_code == 0, there.stdout
    assert "would have fenced it 23s500ms after it was last heard" in there.stdout
    document = json.loads(shop.run(*asked, "-o", "json").stdout)["policies"][0]
    assert [(row["region"], row["proved"]) for row in document["isolation"]] == [("eu-central-1", True)]

    shop.cluster.fail("get", ForbiddenError("no", status=403), resource=LEASES)
    hidden = shop.run(*asked)
    assert hidden.exit_code == 1
    assert "you may not read Leases and ConfigMaps in namespace ops" in hidden.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--region", "mars"), 1, "there is no Region mars"),
        (("--region", "eu-west-1", "--policy", "mars"), 1, "not found"),
        (("--region", "eu-west-1", "--fault", "meteor"), 2, "meteor"),
        ((), 2, "--region"),
    ],
)
def test_wrong_use(shop: CommandLine, arguments: tuple[str, ...], code: int, said: str) -> None:
    result = shop.run("simulate", *arguments)
    assert (result.exit_code, said in result.output) == (code, True), result.output
