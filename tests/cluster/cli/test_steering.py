"""A person's word to a run that is under way, against a real API server and the operator that carries the run out."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from contextlib import suppress
from typing import Any

import pytest

from testbed.scene import eventually
from tests.cluster.cli.conftest import Desk

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cli"), pytest.mark.timeout(300)]


def shares(desk: Desk) -> dict[str, int]:
    rows = desk.get("failoverpolicies", "shop")["status"]["distribution"]
    return {row["region"]: row["weightPercent"] for row in rows}


def begin_gradual(desk: Desk) -> str:
    """A run that holds its first stage for long; gives its name once it is there."""
    desk.put_policy()
    asked = desk.run(
        "failover", "execute", "west", "central", "--type", "Switchover", "--strategy", "gradual", "--step", "10:1h",
        "--no-wait",
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr

    def stage() -> dict[str, Any] | None:
        (run,) = desk.runs()
        steps = (run.get("status") or {}).get("steps") or ()
        at = any(step["name"] == "Shift/10" and step["state"] in ("Running", "Succeeded") for step in steps)
        return run if at else None

    return str(eventually(stage, what="the first stage", timeout=60)["metadata"]["name"])


def test_a_gradual_run_is_paused_resumed_and_taken_back(desk: Desk) -> None:
    name = begin_gradual(desk)
    refused = desk.run("failover", "cancel", name)
    assert refused.returncode == 1
    assert "it has committed (epoch 2)" in refused.stderr

    for _ in range(2):
        paused = desk.run("failover", "pause", name, "--timeout", "60s")
        assert paused.returncode == 0, paused.stderr
    assert desk.get("failovers", name)["status"]["phase"] == "Paused"

    resumed = desk.run("failover", "resume", name, "--timeout", "60s")
    assert resumed.returncode == 0, resumed.stderr
    assert desk.get("failovers", name)["status"]["phase"] == "Running"

    back = desk.run("failover", "rollback", name)
    assert back.returncode == 0, back.stdout + back.stderr
    assert desk.get("failovers", name)["status"]["phase"] == "RolledBack"
    assert desk.active() == "west"
    assert shares(desk) == {"west": 100, "central": 0, "east": 0}
    assert desk.run("failover", "rollback", name).returncode == 0  # twice is harmless


def test_an_override_moves_the_shares_and_its_end_restores_them(desk: Desk) -> None:
    desk.put_policy()
    set_by_hand = desk.run("traffic", "set", "west=70", "central=30", "--for", "1h")
    assert set_by_hand.returncode == 0, set_by_hand.stderr
    eventually(lambda: shares(desk) == {"west": 70, "central": 30, "east": 0}, what="the override", timeout=60)
    assert desk.run("traffic", "set", "--clear").returncode == 0
    eventually(lambda: shares(desk) == {"west": 100, "central": 0, "east": 0}, what="its end", timeout=60)


def test_ctrl_c_stops_the_following_and_not_the_run(desk: Desk) -> None:
    desk.put_policy()
    command = desk.command("failover", "execute", "west", "central", "--schedule", "2100-01-01T00:00:00Z", "--wait")
    # What a shell starts in the background is made to ignore Ctrl-C, and so is all that it starts.
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    # Its first line of progress says that it follows: before that, Ctrl-C stops a command that has not asked yet.
    first = process.stderr.readline()
    (run,) = desk.runs()
    name = run["metadata"]["name"]
    assert first.startswith(name), first
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert f"{name} goes on. To stop it before it commits: regent failover cancel {name}" in said
    assert "Traceback" not in said
    assert desk.run("failover", "cancel", name).returncode == 0


def test_on_a_terminal_the_steps_are_shown_as_they_go(desk: Desk) -> None:
    desk.put_policy()
    ours, theirs = pty.openpty()
    command = desk.command("failover", "execute", "west", "central", "--output", "json")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the end of a terminal is an error on Linux
            while part := os.read(ours, 65_536):
                shown += part
        answer = process.stdout.read() if process.stdout else b""
    os.close(ours)
    assert process.returncode == 0
    assert "Commit" in shown.decode()
    assert "✓" in shown.decode()
    assert json.loads(answer)["status"]["phase"] == "Succeeded"  # the picture leaves the document alone
