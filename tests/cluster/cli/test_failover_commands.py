"""`regent failover` as people start it, against a real API server and a real operator that carries the runs out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.scene import eventually
from tests.cluster.cli.conftest import Desk

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cli"), pytest.mark.timeout(300)]


def test_a_move_there_and_back(desk: Desk) -> None:
    desk.put_policy()
    planned = desk.run("failover", "plan", "west", "central")
    assert planned.returncode == 0, planned.stderr
    assert "west 100 % → central 100 %" in planned.stdout
    assert "sha256:" in planned.stdout
    assert desk.runs() == []

    moved = desk.run("failover", "execute", "west", "central", "--type", "switchover", "--reason", "rehearsal")
    assert moved.returncode == 0, moved.stderr
    assert desk.active() == "central"
    assert "Commit Succeeded" in moved.stderr  # the progress
    assert "Finalize" in moved.stdout  # the steps

    again = desk.run("failover", "execute", "west", "central", "--type", "switchover")
    assert again.returncode == 0
    assert "central is active already" in again.stderr
    (run,) = desk.runs()
    assert run["spec"]["reason"] == "rehearsal"

    name = run["metadata"]["name"]
    assert "Commit" in desk.run("failover", "status", name).stdout
    refused = desk.run("failover", "rollback", name)
    assert refused.returncode == 1
    command = refused.stderr.partition("To go back: regent ")[2].split()
    assert desk.run(*command).returncode == 0  # what is shown works as it is
    assert desk.active() == "west"

    history = json.loads(desk.run("failover", "history", "--limit", "5", "-o", "json").stdout)["items"]
    assert [item["spec"]["type"] for item in history] == ["Failback", "Switchover"]
    counted = json.loads(desk.run("failover", "analytics", "-o", "json").stdout)
    assert (counted["runs"]["succeeded"], counted["runs"]["successPercent"]) == (2, 100.0)
    assert {"step": "Commit"}.items() <= next(row for row in counted["steps"] if row["step"] == "Commit").items()
    assert [point["distribution"] for point in counted["traffic"][0]["points"]]


def test_two_people_at_the_same_moment_make_one_run(desk: Desk) -> None:
    desk.put_policy()
    command = desk.command("failover", "execute", "west", "east")
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [(process.communicate(timeout=60)[1], process.returncode) for process in both]
    assert [code for _, code in ends] == [0, 0], ends
    assert len(desk.runs()) == 1
    assert desk.active() == "east"


def test_which_policy_is_asked_when_several_could_be_meant(desk: Desk) -> None:
    desk.put_policy("cart")
    desk.put_policy("shop")
    asked = desk.run("failover", "execute", "west", "central")
    assert asked.returncode == 2
    assert f"{desk.namespace}/cart (west), {desk.namespace}/shop (west)" in asked.stderr
    assert desk.runs() == []
    assert desk.run("failover", "execute", "west", "central", "--all-policies").returncode == 0
    assert (desk.active("cart"), desk.active("shop")) == ("central", "central")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("west", "mars"), "spec.regions does not list mars"),
        (("central", "east"), "central is active in no policy here. Active are:"),
        (("west", "central", "--policy", "mars"), "there is no FailoverPolicy mars"),
    ],
)
def test_what_cannot_be_is_refused(desk: Desk, arguments: tuple[str, ...], said: str) -> None:
    desk.put_policy()
    refused = desk.run("failover", "execute", *arguments)
    assert (refused.returncode, said in refused.stderr) == (1, True), refused.stderr
    assert desk.runs() == []


def test_a_target_that_is_not_eligible_blocks_until_it_is_cancelled(desk: Desk) -> None:
    desk.put_policy(regions=[{"name": "west"}, {"name": "east", "promotion": "Never"}])
    planned = desk.run("failover", "plan", "west", "east")
    assert planned.returncode == 1
    assert "PromotionNever" in planned.stdout
    waiting = desk.run("failover", "execute", "west", "east", "--timeout", "1s")
    assert waiting.returncode == 1
    assert "Blocked: east cannot take over: PromotionNever" in waiting.stderr
    (run,) = desk.runs()
    name = run["metadata"]["name"]
    assert name in desk.run("failover", "status").stdout
    for _ in range(2):
        cancelled = desk.run("failover", "cancel", name)
        assert cancelled.returncode == 0, cancelled.stderr
    assert desk.get("failovers", name)["status"]["phase"] == "Cancelled"
    assert "is over: Cancelled" in desk.run("failover", "pause", name).stderr
    assert desk.active() == "west"


def test_a_plan_is_approved_by_the_hash_that_was_shown(desk: Desk) -> None:
    desk.put_policy(safety={"approval": "Always", "cooldown": "1s"})
    waiting = desk.run("failover", "execute", "west", "central", "--timeout", "2s")
    assert "AwaitingApproval" in waiting.stderr
    (run,) = desk.runs()
    name = run["metadata"]["name"]

    before = desk.get("failovers", name)["metadata"]["resourceVersion"]
    stale = desk.run("failover", "approve", name, "--yes", "--hash", "sha256:0000")
    assert stale.returncode == 1
    assert desk.get("failovers", name)["metadata"]["resourceVersion"] == before, "a run that waits is not rewritten"
    assert "the plan of" in stale.stderr
    unanswered = desk.run("failover", "approve", name)  # nobody is there to say yes
    assert unanswered.returncode == 1
    assert "west 100 % → central 100 %" in unanswered.stderr
    assert (
        "approvedPlan" not in (desk.get("failovers", name)["spec"].get("control") or {})
        or not (desk.get("failovers", name)["spec"]["control"]["approvedPlan"])
    )
    assert desk.active() == "west"

    approved = desk.run("failover", "approve", name, typed="y\n")
    assert approved.returncode == 0, approved.stderr
    assert desk.run("failover", "status", name, "--follow").returncode == 0
    assert desk.active() == "central"
    assert desk.get("failovers", name)["spec"]["control"]["approvedPlan"] == run["status"]["plan"]["hash"]


def test_a_scheduled_run_waits_and_is_not_doubled(desk: Desk) -> None:
    desk.put_policy()
    for _ in range(2):
        asked = desk.run("failover", "execute", "west", "central", "--schedule", "2100-01-01T00:00:00Z")
        assert asked.returncode == 0, asked.stderr
    (run,) = desk.runs()
    assert run["spec"]["scheduleTime"] == "2100-01-01T00:00:00Z"
    assert desk.run("failover", "cancel", run["metadata"]["name"]).returncode == 0


def test_pruned_runs_are_counted_and_marked(desk: Desk) -> None:
    desk.put_policy(historyLimit=1)
    for source, to in (("west", "central"), ("central", "west")):
        moved = desk.run("failover", "execute", source, to)
        assert moved.returncode == 0, moved.stderr
    eventually(lambda: len(desk.runs()) == 1, what="the first run to be pruned", timeout=60)
    counted = json.loads(desk.run("failover", "analytics", "-o", "json").stdout)
    assert (counted["runs"]["succeeded"], counted["prunedRuns"]["succeeded"]) == (2, 1)
    assert "1 of them were pruned" in desk.run("failover", "analytics").stdout


def test_the_missing_permission_is_named(desk: Desk, signed_in: Callable[[str], Path]) -> None:
    desk.put_policy()
    viewer = signed_in("regent-viewer")
    refused = desk.run("failover", "execute", "west", "central", kubeconfig=viewer)
    assert refused.returncode == 1
    assert f"you may not create failovers.regent.dev in namespace {desk.namespace}" in refused.stderr
    assert "-editor (part of edit and admin)" in refused.stderr
    assert desk.run("failover", "history", kubeconfig=viewer).returncode == 0

    nobody = desk.run("failover", "history", kubeconfig=signed_in(""))
    assert f"you may not list failovers.regent.dev in namespace {desk.namespace}" in nobody.stderr
    assert "-viewer" in nobody.stderr
    assert desk.runs() == []


def test_the_roles_of_the_chart_are_enough(desk: Desk, signed_in: Callable[[str], Path]) -> None:
    """Viewer and editor are parts of the built-in edit, which no aggregation fills here."""
    desk.put_policy()
    subjects = desk.stage.cluster
    editor = signed_in("regent-editor")
    account = json.loads(json.dumps(editor.name))
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{account}-reads", "namespace": desk.namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "regent-viewer"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": desk.namespace}],
    }
    subjects.apply(binding)
    moved = desk.run("failover", "execute", "west", "central", kubeconfig=editor)
    assert moved.returncode == 0, moved.stderr
    (run,) = desk.runs()
    assert "regent-cli" in {entry["manager"] for entry in run["metadata"]["managedFields"]}
