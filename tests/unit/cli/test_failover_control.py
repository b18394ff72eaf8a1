"""`regent failover approve|cancel|pause|resume|rollback`: what is written, what is refused, what is waited for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from regent.engine.resources import FAILOVERS
from tests.fakes.cli import CommandLine

HASH = "sha256:aaa"
PLAN = {
    "chosen": "us-east-1",
    "hash": HASH,
    "before": [{"region": "eu-central-1", "weightPercent": 100}],
    "after": [{"region": "us-east-1", "weightPercent": 100}],
    "candidates": [{"region": "us-east-1", "eligible": True, "rank": 1}],
}


def put(line: CommandLine, phase: str, *, control: dict[str, Any] | None = None, **status: Any) -> None:
    spec = {"policyRef": {"name": "shop"}, "type": "Failover", "from": "eu-central-1", "to": "us-east-1"}
    run = {"metadata": {"name": "shop-x", "namespace": "shop"}, "spec": {**spec, "control": control or {}}}
    line.cluster.put(FAILOVERS, {**run, "status": {"phase": phase, **status}})


def stored(line: CommandLine) -> dict[str, Any]:
    return line.cluster._objects[FAILOVERS][("shop", "shop-x")]


def control(line: CommandLine) -> dict[str, Any]:
    found: dict[str, Any] = stored(line)["spec"]["control"]
    return found


def phase_when_asked(line: CommandLine, phase: str) -> None:
    """The operator obeys as soon as something was asked."""

    def act() -> None:
        line.cluster.put(FAILOVERS, {**stored(line), "status": {**stored(line)["status"], "phase": phase}})

    line.meanwhile = act


@pytest.fixture
def line() -> CommandLine:
    return CommandLine()


def test_the_plan_that_was_shown_is_approved(line: CommandLine) -> None:
    put(line, "AwaitingApproval", plan=PLAN)
    phase_when_asked(line, "Running")
    result = line.run("failover", "approve", "shop-x", typed="y\n")
    assert result.exit_code == 0, result.output
    assert control(line) == {"approvedPlan": HASH}
    assert "eu-central-1 100 % → us-east-1 100 %" in result.stderr
    assert "Approve this plan?" in result.stderr


@pytest.mark.parametrize("typed", ["n\n", "\n", ""])
def test_without_a_yes_nothing_is_approved(line: CommandLine, typed: str) -> None:
    put(line, "AwaitingApproval", plan=PLAN)
    assert line.run("failover", "approve", "shop-x", typed=typed).exit_code == 1
    assert control(line) == {}


def test_a_stale_hash_is_refused(line: CommandLine) -> None:
    put(line, "AwaitingApproval", plan=PLAN)
    result = line.run("failover", "approve", "shop-x", "--yes", "--hash", "sha256:old")
    assert result.exit_code == 1
    assert f"nothing is approved: the plan of shop-x is not the one that you mean. Its hash is {HASH}" in result.output
    assert control(line) == {}


def before_the_write(line: CommandLine, change: Callable[[dict[str, Any]], None]) -> None:
    """Let somebody write the object after it was shown."""
    replace = line.cluster.replace

    async def late(resource: Any, obj: Any) -> Any:
        line.cluster.replace = replace  # type: ignore[method-assign]
        newer = json.loads(json.dumps(stored(line)))
        change(newer)
        line.cluster.put(FAILOVERS, newer)
        return await replace(resource, obj)

    line.cluster.replace = late  # type: ignore[method-assign]


def test_a_plan_that_changes_while_the_person_reads_is_not_approved(line: CommandLine) -> None:
    put(line, "AwaitingApproval", plan=PLAN)
    before_the_write(line, lambda run: run["status"]["plan"].update(hash="sha256:bbb"))
    result = line.run("failover", "approve", "shop-x", "--yes", "--hash", HASH)
    assert result.exit_code == 1
    assert "has changed since it was shown" in result.output
    assert control(line) == {}


def test_a_run_of_the_same_name_is_not_approved_in_its_place(line: CommandLine) -> None:
    put(line, "AwaitingApproval", plan=PLAN)
    before_the_write(line, lambda run: run["metadata"].update(uid="another"))
    result = line.run("failover", "approve", "shop-x", "--yes")
    assert "is another object now" in result.output
    assert control(line) == {}


def test_a_status_write_in_between_does_not_keep_the_same_plan_from_being_approved(line: CommandLine) -> None:
    put(line, "AwaitingApproval", plan=PLAN)
    before_the_write(line, lambda run: run["status"].update(currentStep="Approve"))
    assert line.run("failover", "approve", "shop-x", "--yes", "--no-wait").exit_code == 0
    assert control(line) == {"approvedPlan": HASH}


def test_what_the_run_was_allowed_before_stays(line: CommandLine) -> None:
    put(line, "AwaitingApproval", control={"force": True}, plan=PLAN)
    line.run("failover", "approve", "shop-x", "--yes", "--no-wait")
    assert control(line) == {"force": True, "approvedPlan": HASH}


def test_approving_twice_is_harmless(line: CommandLine) -> None:
    put(line, "Running", control={"approvedPlan": HASH}, plan=PLAN)
    assert line.run("failover", "approve", "shop-x").exit_code == 0
    assert line.cluster.writes == []


@pytest.mark.parametrize(
    ("phase", "status", "said"),
    [
        ("Succeeded", {"plan": PLAN}, "is over: Succeeded"),
        ("Running", {"plan": PLAN}, "does not wait for an approval"),
        ("Pending", {}, "has no plan yet"),
    ],
)
def test_what_cannot_be_approved_says_why(line: CommandLine, phase: str, status: dict[str, Any], said: str) -> None:
    put(line, phase, **status)
    result = line.run("failover", "approve", "shop-x", "--yes")
    assert result.exit_code == 1
    assert said in result.output
    assert control(line) == {}


@pytest.mark.parametrize(
    ("command", "phase", "desired", "reached"),
    [
        ("cancel", "Blocked", "Cancel", "Cancelled"),
        ("pause", "Running", "Pause", "Paused"),
        ("resume", "Paused", "Run", "Running"),
        ("rollback", "Running", "Rollback", "RolledBack"),
    ],
)
def test_a_wish_is_written_and_waited_for(
    line: CommandLine, command: str, phase: str, desired: str, reached: str
) -> None:
    put(line, phase, control={"desired": "Pause" if command == "resume" else "Run", "force": True})
    phase_when_asked(line, reached)
    result = line.run("failover", command, "shop-x")
    assert result.exit_code == 0, result.output
    assert control(line) == {"desired": desired, "force": True}
    assert line.run("failover", command, "shop-x").exit_code == 0  # twice is harmless
    assert len(line.cluster.writes) == 1


@pytest.mark.parametrize("command", ["cancel", "pause", "rollback"])
def test_a_run_that_ends_otherwise_is_told(line: CommandLine, command: str) -> None:
    put(line, "Running")
    phase_when_asked(line, "Succeeded")
    result = line.run("failover", command, "shop-x")
    assert result.exit_code == 1
    assert "ended otherwise: Succeeded" in result.stderr


def test_a_wish_that_nobody_fulfils_is_told(line: CommandLine) -> None:
    put(line, "Running")
    result = line.run("failover", "pause", "shop-x", "--timeout", "3s")
    assert result.exit_code == 1
    assert "was told to pause, but has not done so in time (it is Running" in result.output


def test_a_committed_run_is_not_cancelled(line: CommandLine) -> None:
    put(line, "Running", epoch=9)
    result = line.run("failover", "cancel", "shop-x")
    assert result.exit_code == 1
    assert "it has committed (epoch 9). To take it back: regent failover rollback shop-x" in result.output
    assert line.cluster.writes == []


def test_a_run_that_is_over_is_taken_back_by_another(line: CommandLine) -> None:
    put(line, "Succeeded", plan=PLAN)
    result = line.run("failover", "rollback", "shop-x")
    assert result.exit_code == 1
    assert "regent failover execute us-east-1 eu-central-1 --policy shop --type Failback" in result.output


def test_rollback_carries_the_consent(line: CommandLine) -> None:
    put(line, "Running")
    line.run("failover", "rollback", "shop-x", "--accept-data-loss", "--no-wait")
    assert control(line) == {"desired": "Rollback", "acceptDataLoss": True}


@pytest.mark.parametrize("command", ["approve", "cancel", "pause", "resume", "rollback", "status"])
def test_a_run_that_does_not_exist(line: CommandLine, command: str) -> None:
    result = line.run("failover", command, "nothing")
    assert result.exit_code == 1
    assert "not found" in result.output


def test_the_document_is_the_run(line: CommandLine) -> None:
    put(line, "Running")
    phase_when_asked(line, "Paused")
    assert json.loads(line.run("failover", "pause", "shop-x", "-o", "json").stdout)["status"]["phase"] == "Paused"
