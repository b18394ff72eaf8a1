"""`regent status`: everything in one screen, one policy in depth, and what happens next."""

from __future__ import annotations

import json
from typing import Any

import pytest

from regent.cli.outlook import outlook
from regent.domain.errors import ForbiddenError
from regent.domain.times import parse_rfc3339
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS, REGIONS, REPLICATION_POLICIES
from tests.fakes.cli import NOW, CommandLine, condition, policy, put_shop, run


@pytest.fixture
def shop() -> CommandLine:
    command_line = CommandLine()
    put_shop(command_line)
    return command_line


def test_all_on_one_screen(shop: CommandLine) -> None:
    screen = shop.read("status")
    lines = screen.splitlines()
    assert lines[0] == "3 regions (1 Healthy, 1 Unreachable, 1 Degraded)"
    assert any(line.split()[:5] == ["eu-central-1", "Secondary", "Enabled", "Healthy", "60s"] for line in lines)
    assert "1 policy (1 Cooldown) in all namespaces" in screen
    assert "eu-west-1→eu-central-1 0.8s" in screen
    assert "Asks for a person" not in screen


def test_what_asks_for_a_person_stands_out(shop: CommandLine) -> None:
    request = condition("ActionRequired", "True", "ManualMode", "run: kubectl create -f …")
    shop.cluster.put(FAILOVER_POLICIES, policy(conditions=[request]))
    lines = shop.read("status").splitlines()
    assert lines[-1].split(maxsplit=1) == ["shop/shop", "run: kubectl create -f …"]


def test_namespace_narrows(shop: CommandLine) -> None:
    assert "0 policies in namespace other" in shop.read("status", "-n", "other")


def test_a_tenant_sees_the_own_namespace(shop: CommandLine) -> None:
    shop.cluster.fail("list", ForbiddenError("no", status=403), resource=FAILOVER_POLICIES)
    shop.cluster.fail("list", ForbiddenError("no", status=403), resource=REGIONS)
    screen = shop.read("status")
    assert "1 policy (1 Cooldown) in namespace shop" in screen
    assert screen.startswith("Regions: not readable with your permissions")


def test_forbidden_in_the_named_namespace_is_an_error(shop: CommandLine) -> None:
    shop.cluster.fail("list", ForbiddenError("no", status=403), resource=FAILOVER_POLICIES, times=5)
    assert shop.run("status", "-n", "shop").exit_code == 1


def test_one_policy_in_depth(shop: CommandLine) -> None:
    screen = shop.read("status", "shop")
    lines = [line.split() for line in screen.splitlines()]
    assert ["eu-central-1", "Active", "100%", "Healthy", "Enabled", "-", "-", "-"] in lines
    assert ["us-east-1", "Standby", "0%", "Degraded", "Enabled", "-", "rank", "1", "-"] in lines
    assert "Unreachable; left 60 s ago" in screen
    assert ["HTTPRoute/shop", "8", "Verified", "-"] in lines
    assert "shop-9: Failover eu-west-1 → eu-central-1" in screen
    assert ["1", "Commit", "Succeeded", "15", "ms", "epoch", "8"] in lines
    assert "12 succeeded, 1 failed" in screen
    assert "rolled back" not in screen
    assert "CooldownActive" in screen
    assert "Reconciled" not in screen, "conditions in their good state are noise"
    assert "When eu-central-1 fails, us-east-1 takes over." in screen


def test_what_the_operator_sees_of_a_databases_lag_stands_beside_the_region(shop: CommandLine) -> None:
    rows = [{"region": "us-east-1", "eligible": True, "rank": 1, "reasons": [], "lag": "≤10s"}]
    shop.cluster.put(FAILOVER_POLICIES, policy(candidates=rows))
    lines = [line.split() for line in shop.read("status", "shop").splitlines()]
    assert ["us-east-1", "Standby", "0%", "Degraded", "Enabled", "≤10s", "rank", "1", "-"] in lines


def test_rules_in_their_good_state_are_no_news_and_in_their_bad_one_they_are(shop: CommandLine) -> None:
    calm = [condition("Suspended", "False", "Active"), condition("BudgetSpent", "False", "WithinBudget")]
    shop.cluster.put(FAILOVER_POLICIES, policy(conditions=calm))
    screen = shop.read("status", "shop")
    assert "Suspended" not in screen
    assert "BudgetSpent" not in screen
    rest = "the setting failover.suspendAll is true: no automatic run starts there"
    loud = [condition("Suspended", "True", "SuspendedGlobally", rest), condition("BudgetSpent", "True", "Spent", "3")]
    shop.cluster.put(FAILOVER_POLICIES, policy(conditions=loud))
    screen = shop.read("status", "shop")
    assert "SuspendedGlobally" in screen
    assert "BudgetSpent" in screen
    assert "No automatic run starts: the setting failover.suspendAll is true." in screen
    assert "takes over." not in screen


def test_the_last_drill_and_what_a_left_region_waits_for_are_told(shop: CommandLine) -> None:
    drill = {
        "name": "shop-d1", "to": "us-east-1", "completionTime": "2026-11-21T03:00:00Z", "result": "Failed",
        "message": "db is Absent in us-east-1",
    }  # fmt: skip
    rejoin = [{"region": "eu-west-1", "message": "wrote 12 kB since it was left. Save what you need"}]
    shop.cluster.put(FAILOVER_POLICIES, policy(lastDrill=drill, rejoin=rejoin))
    screen = shop.read("status", "shop")
    assert "shop-d1 failed at 2026-11-21T03:00:00Z: db is Absent in us-east-1" in screen
    assert "eu-west-1 is to come back as a standby: wrote 12 kB since it was left. Save what you need" in screen


def test_one_policy_for_programs(shop: CommandLine) -> None:
    document = json.loads(shop.read("status", "shop", "-o", "json"))
    assert document["policy"]["metadata"]["name"] == "shop"
    assert [item["metadata"]["name"] for item in document["regions"]] == ["eu-central-1", "eu-west-1", "us-east-1"]
    assert document["run"]["metadata"]["name"] == "shop-9"
    assert document["next"]


def test_a_run_that_was_pruned_leaves_its_summary(shop: CommandLine) -> None:
    shop.cluster.fail("get", ForbiddenError("no", status=403), resource=FAILOVERS)
    assert "its Failover object is gone" in shop.read("status", "shop")


def test_regions_that_do_not_exist_or_may_not_be_read(shop: CommandLine) -> None:
    strange = policy()
    strange["spec"]["regions"].append({"name": "mars"})
    shop.cluster.put(FAILOVER_POLICIES, strange)
    assert "no such Region" in shop.read("status", "shop")
    shop.cluster.fail("list", ForbiddenError("no", status=403), resource=REGIONS)
    assert "not readable" in shop.read("status", "shop")


def test_a_policy_that_does_not_exist(shop: CommandLine) -> None:
    result = shop.run("status", "nothing")
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1


def expected(spec: dict[str, Any] | None = None, **status: Any) -> str:
    obj = policy(**status)
    obj["spec"].update(spec or {})
    return " ".join(outlook(obj, run(), now=parse_rfc3339(NOW)))


def test_next_before_the_first_visit() -> None:
    assert "is it running?" in expected(phase="Unknown")


def test_next_during_a_run() -> None:
    said = expected(operation={"uid": "1", "name": "shop-9", "to": "eu-central-1"})
    assert said.startswith("shop-9 is moving it to eu-central-1: step Finalize.")
    assert "takes over" not in said


def test_next_when_held() -> None:
    suspended = expected({"suspend": True})
    assert "spec.suspend" in suspended
    assert "takes over" not in suspended
    manual = expected({"mode": "Manual"})
    assert "spec.mode is Manual" in manual
    assert "takes over" not in manual


def test_next_when_a_person_is_asked() -> None:
    asked = [condition("ActionRequired", "True", "ManualMode", "run this"), condition("FailbackPending", "False", "No")]
    assert expected(conditions=asked).startswith("run this")


def test_next_when_a_failback_waits_for_a_person() -> None:
    said = expected(
        conditions=[
            condition("ActionRequired", "False", "FailbackPossible", "eu-west-1 is healthy again. Run: kubectl …"),
            condition("FailbackPending", "True", "Waiting", "eu-west-1 is healthy again"),
            condition("Progressing", "False", "Steady"),
        ]
    )
    assert said.count("eu-west-1 is healthy again") == 1
    assert "Run: kubectl …" in said


def test_next_when_a_decision_is_held_back() -> None:
    said = expected(conditions=[condition("Progressing", "False", "Panic", "3 of 4 regions went down at once")])
    assert "Held back (Panic): 3 of 4 regions went down at once" in said


def test_next_without_a_candidate() -> None:
    assert "nothing can take over" in expected(candidates=[])


def test_next_in_cooldown_and_after() -> None:
    assert "cools down" in expected()
    assert "cools down" not in expected(cooldownUntil="2026-11-21T11:59:59Z")


def test_next_active_active() -> None:
    assert "the others take over its share" in expected({"topology": "ActiveActive"}, activeRegion="")


@pytest.mark.parametrize(("lag", "shown"), [(1_300, ["1.3", "s"]), (None, ["not", "known"])])
def test_the_lag_of_what_is_replicated_stands_beside_the_region(
    shop: CommandLine, lag: int | None, shown: list[str]
) -> None:
    made = policy()
    made["spec"]["replicationPolicyRefs"] = [{"name": "data"}]
    shop.cluster.put(FAILOVER_POLICIES, made)
    row = {"region": "us-east-1"} if lag is None else {"region": "us-east-1", "lagMilliseconds": lag}
    for name in ("data", "unrelated"):
        targets = [row if name == "data" else {"region": "us-east-1", "lagMilliseconds": 99_999_999}]
        shop.cluster.put(
            REPLICATION_POLICIES, {"metadata": {"name": name, "namespace": "shop"}, "status": {"targets": targets}}
        )
    (line,) = [line.split() for line in shop.read("status", "shop").splitlines() if line.startswith("us-east-1")][:1]
    assert line[5:7] == shown
