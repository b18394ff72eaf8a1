"""`regent failover execute` and `plan`: which policies, which run, what it ends with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from regent.domain.errors import ForbiddenError, UnavailableError
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS
from tests.fakes.cli import CommandLine, policy, put_shop

FROM, TO = "eu-central-1", "us-east-1"


@pytest.fixture
def shop() -> CommandLine:
    command_line = CommandLine()
    put_shop(command_line)
    return command_line


def runs(shop: CommandLine) -> list[dict[str, Any]]:
    """Runs that people asked for."""
    shelf = shop.cluster._objects.get(FAILOVERS, {})
    return [run for run in shelf.values() if run["metadata"]["name"] != "shop-9"]


def operator(shop: CommandLine, *phases: str, **status: Any) -> None:
    """Stand in for the operator: each time the command waits, every open run goes one phase on."""
    left = {None: list(phases)}

    def act() -> None:
        for run in runs(shop):
            todo = left.setdefault(run["metadata"]["uid"], list(phases))
            if todo:
                shop.cluster.put(
                    FAILOVERS, {**run, "status": {**run.get("status", {}), "phase": todo.pop(0), **status}}
                )

    shop.meanwhile = act


def test_a_run_is_made_and_followed_to_its_success(shop: CommandLine) -> None:
    step = {"attempt": 1, "name": "Commit", "state": "Succeeded", "message": "epoch 9"}
    operator(shop, "Pending", "Running", "Succeeded", steps=[step])
    result = shop.run("failover", "execute", FROM, TO, "--reason", "test", "--type", "switchover")
    assert result.exit_code == 0, result.output
    (made,) = runs(shop)
    assert made["spec"] == {
        "policyRef": {"name": "shop"},
        "type": "Switchover",
        "from": FROM,
        "to": TO,
        "reason": "test",
    }
    assert made["metadata"]["name"].startswith("shop-")
    assert "Commit Succeeded: epoch 9" in result.stderr
    assert "Phase" in result.stdout
    assert "Succeeded" in result.stdout


@pytest.mark.parametrize("phase", ["Failed", "RolledBack", "Cancelled", "NotNeeded", "Superseded"])
def test_any_other_end_is_a_failure(shop: CommandLine, phase: str) -> None:
    operator(shop, "Running", phase)
    assert shop.run("failover", "execute", FROM, TO).exit_code == 1


def test_the_same_command_twice_follows_the_same_run(shop: CommandLine) -> None:
    assert shop.run("failover", "execute", FROM, TO, "--no-wait").exit_code == 0
    operator(shop, "Running", "Succeeded")
    second = shop.run("failover", "execute", FROM, TO)
    assert second.exit_code == 0
    assert len(runs(shop)) == 1


def test_two_commands_at_the_same_moment_make_one_run(shop: CommandLine) -> None:
    """The second one has listed the runs before the first one has made its own."""
    shop.run("failover", "execute", FROM, TO, "--no-wait")
    (made,) = runs(shop)
    shelf = shop.cluster._objects[FAILOVERS]
    hidden = shelf.pop(("shop", made["metadata"]["name"]))
    create = shop.cluster.create

    async def late(resource: Any, obj: Any) -> Any:
        shelf[("shop", made["metadata"]["name"])] = hidden
        return await create(resource, obj)

    shop.cluster.create = late  # type: ignore[method-assign]
    assert shop.run("failover", "execute", FROM, TO, "--no-wait").exit_code == 0
    assert len(runs(shop)) == 1


def test_an_answer_that_is_lost_makes_no_second_run(shop: CommandLine) -> None:
    shop.cluster.fail("create", UnavailableError("no answer in time"), after=True)
    assert shop.run("failover", "execute", FROM, TO, "--no-wait").exit_code == 0
    assert len(runs(shop)) == 1


def test_after_a_run_has_failed_the_command_makes_another(shop: CommandLine) -> None:
    operator(shop, "Failed")
    assert shop.run("failover", "execute", FROM, TO).exit_code == 1
    assert shop.run("failover", "execute", FROM, TO, "--no-wait").exit_code == 0
    assert len({run["metadata"]["name"] for run in runs(shop)}) == 2


def test_a_dry_run_is_not_taken_for_the_run(shop: CommandLine) -> None:
    shop.run("failover", "execute", FROM, TO, "--no-wait", "--dry-run")
    shop.run("failover", "execute", FROM, TO, "--no-wait")
    assert [bool(run["spec"].get("dryRun")) for run in runs(shop)].count(True) == 1
    assert len(runs(shop)) == 2


def test_a_scheduled_run_is_not_taken_for_one_at_once(shop: CommandLine) -> None:
    assert shop.run("failover", "execute", FROM, TO, "--schedule", "+30m").exit_code == 0  # does not wait
    shop.run("failover", "execute", FROM, TO, "--schedule", "+31m")  # another moment of typing, the same wish
    assert [run["spec"]["scheduleTime"] for run in runs(shop)] == ["2026-11-21T12:30:00Z"]
    shop.run("failover", "execute", FROM, TO, "--no-wait")
    assert len(runs(shop)) == 2


def test_force_reaches_the_run_that_waits(shop: CommandLine) -> None:
    shop.run("failover", "execute", FROM, TO, "--no-wait")
    shop.run("failover", "execute", FROM, TO, "--no-wait", "--force", "--accept-data-loss")
    (made,) = runs(shop)
    assert made["spec"]["control"] == {"force": True, "acceptDataLoss": True}


def test_when_to_is_active_already_there_is_nothing_to_do(shop: CommandLine) -> None:
    result = shop.run("failover", "execute", "eu-west-1", "eu-central-1")
    assert result.exit_code == 0
    assert "eu-central-1 is active already" in result.stderr
    assert runs(shop) == []


def test_an_automatic_run_that_has_committed_is_followed(shop: CommandLine) -> None:
    labels = {"regent.dev/managed-by": "regent"}
    status = {"phase": "Running", "epoch": 9, "plan": {"chosen": TO}}
    run = {"metadata": {"name": "shop-10", "namespace": "shop", "labels": labels}, "status": status}
    shop.cluster.put(FAILOVERS, {**run, "spec": {"policyRef": {"name": "shop"}, "type": "Failover", "from": FROM}})
    operator(shop, "Succeeded")
    assert shop.run("failover", "execute", FROM, TO).exit_code == 0
    assert [item["metadata"]["name"] for item in runs(shop)] == ["shop-10"]


def put_second(shop: CommandLine, name: str = "cart", **status: Any) -> None:
    second = policy(**status)
    second["metadata"]["name"] = name
    shop.cluster.put(FAILOVER_POLICIES, second)


def test_several_policies_are_listed(shop: CommandLine) -> None:
    put_second(shop)
    result = shop.run("failover", "execute", FROM, TO)
    assert result.exit_code == 2
    assert "shop/cart (eu-central-1), shop/shop (eu-central-1)" in result.output
    assert "--all-policies" in result.output
    assert runs(shop) == []


def test_all_policies_move_and_one_that_cannot_is_told(shop: CommandLine) -> None:
    put_second(shop)
    put_second(shop, "small")
    small = shop.cluster._objects[FAILOVER_POLICIES][("shop", "small")]
    shop.cluster.put(FAILOVER_POLICIES, {**small, "spec": {**small["spec"], "regions": [{"name": FROM}]}})
    operator(shop, "Succeeded")
    result = shop.run("failover", "execute", FROM, TO, "--all-policies")
    assert "small is left out: spec.regions does not list us-east-1 (eu-central-1)" in result.stderr
    assert sorted(run["spec"]["policyRef"]["name"] for run in runs(shop)) == ["cart", "shop"]
    assert result.exit_code == 1


def test_one_that_is_refused_does_not_keep_the_others(shop: CommandLine) -> None:
    put_second(shop)
    shop.cluster.fail("create", ForbiddenError("no", status=403))
    operator(shop, "Succeeded")
    result = shop.run("failover", "execute", FROM, TO, "--all-policies")
    assert result.exit_code == 1
    assert len(runs(shop)) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("us-east-1", "eu-west-1"), "us-east-1 is active in no policy here. Active are: shop/shop (eu-central-1)"),
        ((FROM, "mars"), "spec.regions does not list mars"),
        ((FROM, TO, "--policy", "mars"), "there is no FailoverPolicy mars"),
        (("us-east-1", "eu-west-1", "--policy", "shop"), "us-east-1 is not active in shop: eu-central-1 is"),
        ((FROM, TO, "-n", "empty"), "there is no FailoverPolicy here"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    shop: CommandLine, arguments: tuple[str, ...], said: str
) -> None:
    result = shop.run("failover", "execute", *arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert runs(shop) == []


@pytest.mark.parametrize(
    "arguments",
    [
        (FROM, FROM),
        (FROM, TO, "--policy", "shop", "--all-policies"),
        (FROM, TO, "-A"),
        (FROM, TO, "--step", "10:30s"),
        (FROM, TO, "--strategy", "gradual", "--step", "10"),
        (FROM, TO, "--strategy", "gradual", "--step", "100:30s"),
        (FROM, TO, "--strategy", "teleport"),
        (FROM, TO, "--schedule", "tomorrow"),
        (FROM, TO, "--schedule", "2026-11-22T02:00:00"),
        (FROM, TO, "--timeout", "10"),
        (),
    ],
)
def test_wrong_use_ends_with_2(shop: CommandLine, arguments: tuple[str, ...]) -> None:
    result = shop.run("failover", "execute", *arguments)
    assert (result.exit_code, runs(shop)) == (2, [])


def test_stages_come_from_the_command_then_the_policy_then_a_default(shop: CommandLine) -> None:
    shop.run("failover", "execute", FROM, TO, "--no-wait", "--strategy", "gradual", "--step", "5:10s")
    own = shop.cluster._objects[FAILOVER_POLICIES][("shop", "shop")]
    steps = [{"percent": 20, "hold": "1s"}]
    shop.cluster.put(
        FAILOVER_POLICIES, {**own, "spec": {**own["spec"], "transition": {"type": "Immediate", "steps": steps}}}
    )
    shop.run("failover", "execute", FROM, "--no-wait", "--strategy", "gradual", "--dry-run")
    made = [run["spec"]["transition"] for run in runs(shop)]
    assert {"type": "Gradual", "steps": [{"percent": 5, "hold": "10s"}]} in made
    assert {"type": "Gradual", "steps": steps} in made


def test_following_gives_up_in_time_and_says_how_to_look_again(shop: CommandLine) -> None:
    operator(
        shop, "Blocked", conditions=[{"type": "Accepted", "status": "Unknown", "message": "us-east-1 is Degraded"}]
    )
    result = shop.run("failover", "execute", FROM, TO, "--timeout", "5s")
    assert result.exit_code == 1
    assert 5 <= shop.slept < 7
    assert "Blocked: us-east-1 is Degraded" in result.stderr
    assert "regent failover status shop-" in result.stderr


def test_an_api_server_that_is_away_is_borne(shop: CommandLine) -> None:
    operator(shop, "Running", "Succeeded")
    shop.cluster.fail("get", UnavailableError("connection refused"), times=5)
    result = shop.run("failover", "execute", FROM, TO)
    assert result.exit_code == 0, result.output
    assert "connection refused; still trying" in result.stderr


def test_a_run_that_is_deleted_is_no_success(shop: CommandLine) -> None:
    def delete() -> None:
        shop.cluster._objects[FAILOVERS].clear()

    shop.meanwhile = delete
    result = shop.run("failover", "execute", FROM, TO)
    assert result.exit_code == 1
    assert "was deleted before it ended" in result.stderr


def test_json_is_one_document_whatever_the_progress(shop: CommandLine) -> None:
    operator(shop, "Running", "Succeeded")
    result = shop.run("failover", "execute", FROM, TO, "-o", "json")
    assert json.loads(result.stdout)["status"]["phase"] == "Succeeded"


def test_a_plan_is_shown_and_its_dry_run_removed(shop: CommandLine) -> None:
    plan = {
        "chosen": TO,
        "hash": "sha256:abc",
        "before": [{"region": FROM, "weightPercent": 100}],
        "after": [{"region": TO, "weightPercent": 100}],
        "candidates": [
            {"region": TO, "eligible": True, "rank": 1},
            {"region": "eu-west-1", "eligible": False, "reasons": ["Unreachable", "LeftWithinCooldown"]},
        ],
    }
    operator(shop, "Succeeded", plan=plan)
    result = shop.run("failover", "plan", FROM, TO)
    assert result.exit_code == 0, result.output
    assert "eu-central-1 100 % → us-east-1 100 %" in result.stdout
    assert "sha256:abc" in result.stdout
    assert "Unreachable; LeftWithinCooldown" in result.stdout
    assert runs(shop) == []
    assert shop.run("failover", "plan", FROM, TO, "--keep").exit_code == 0
    assert runs(shop)[0]["spec"]["dryRun"] is True


def test_a_plan_that_stays_blocked_is_an_answer_and_a_short_block_is_none(shop: CommandLine) -> None:
    why = [{"type": "Accepted", "status": "Unknown", "message": "us-east-1 cannot take over: HealthDegraded"}]
    operator(shop, "Blocked", "Succeeded", conditions=why)
    assert shop.run("failover", "plan", FROM, TO).exit_code == 0
    operator(shop, "Blocked", conditions=why)
    result = shop.run("failover", "plan", FROM, TO)
    assert result.exit_code == 1
    assert "us-east-1 cannot take over: HealthDegraded" in result.stdout
    assert shop.slept < 10
    assert runs(shop) == []


def test_a_plan_that_may_not_be_removed_is_shown_all_the_same(shop: CommandLine) -> None:
    operator(shop, "Succeeded")
    shop.cluster.fail("delete", ForbiddenError("no", status=403))
    result = shop.run("failover", "plan", FROM, TO)
    assert (result.exit_code, "stays: you may not delete it" in result.stderr) == (0, True)


def test_a_refusal_names_the_permission(shop: CommandLine) -> None:
    said = (
        'create Failover shop/x: failovers.regent.dev is forbidden: User "ann" cannot create resource "failovers" in '
        'API group "regent.dev" in the namespace "shop"'
    )
    shop.cluster.fail("create", ForbiddenError(said, status=403))
    result = shop.run("failover", "execute", FROM, TO)
    assert result.exit_code == 1
    assert "you may not create failovers.regent.dev in namespace shop" in result.output
    assert "-editor" in result.output


def test_another_run_of_the_same_name_is_not_taken_for_it(shop: CommandLine) -> None:
    """It was deleted and made anew by somebody else: its success is not ours."""

    def replaced() -> None:
        for run in runs(shop):
            shop.cluster._objects[FAILOVERS].clear()
            metadata = {"name": run["metadata"]["name"], "namespace": "shop", "uid": "another"}
            shop.cluster.put(FAILOVERS, {**run, "metadata": metadata, "status": {"phase": "Succeeded"}})

    shop.meanwhile = replaced
    result = shop.run("failover", "execute", FROM, TO)
    assert (result.exit_code, "was deleted before it ended" in result.stderr) == (1, True)
