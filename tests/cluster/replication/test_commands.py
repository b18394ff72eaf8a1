"""`regent replication` as people start it, with a real operator that copies to a real member cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.cluster.replication.bench import EU, HUB, US, Bench

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.xdist_group("replication")]

Regent = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def regent(bench: Bench, tmp_path: Path) -> Regent:
    """Run `regent` with a kubeconfig whose context names the test's namespace."""
    config = yaml.safe_load(bench.planes[HUB].kubeconfig.read_text(encoding="utf-8"))
    config["contexts"][0]["context"]["namespace"] = bench.namespace
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "regent", "--kubeconfig", str(kubeconfig), "replication", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    return run


def test_from_one_line_to_copies(bench: Bench, regent: Regent) -> None:
    """Fails when what the commands write is not what the API and the operator take, or what they show is not so."""
    bench.config_map(HUB, "one", {"color": "red"})
    for said in ("was set up", "is set up already"):
        made = regent("setup", HUB, f"{EU},{US}", "CONFIG")
        assert (made.returncode, said in made.stdout) == (0, True), made.stderr
    differing = regent("setup", HUB, f"{EU},{US}", "config,network")
    assert (differing.returncode, "differs in spec.resources" in differing.stderr) == (1, True), differing.stderr

    synced = regent("sync", "hub-to-eu-and-us", "--wait", "--timeout", "90s")
    assert synced.returncode == 0, synced.stderr + bench.operator.tail()
    assert [bench.data(region, "one") for region in (EU, US)] == [{"color": "red"}] * 2
    bench.in_state("InSync", "hub-to-eu-and-us")
    assert "2/2" in regent("status").stdout
    assert "InSync" in regent("status", "hub-to-eu-and-us").stdout
    same = regent("diff", "hub-to-eu-and-us")
    assert (same.returncode, "Nothing differs" in same.stdout) == (0, True), same.stdout + same.stderr


def test_a_pass_by_hand_and_what_differs_after_it(bench: Bench, regent: Regent) -> None:
    """Fails when sync --wait returns before the copies are there, or calls a pass good that left something out."""
    bench.config_map(HUB, "one", {"color": "red"})
    bench.policy(trigger={"mode": "Interval", "interval": "1h"})
    bench.until(lambda: bench.data(EU, "one") == {"color": "red"}, "the first pass")
    bench.config_map(HUB, "one", {"color": "blue"})
    assert regent("sync", "shop", "--wait", "--timeout", "90s").returncode == 0
    assert bench.data(EU, "one") == {"color": "blue"}

    bench.config_map(EU, "foreign", {"mine": "yes"})
    bench.config_map(HUB, "foreign", {"theirs": "no"})
    left = regent("sync", "shop", "--wait", "--timeout", "90s", "-o", "json")
    assert (left.returncode, "left out" in left.stderr) == (1, True), left.stderr
    (row,) = json.loads(left.stdout)["status"]["targets"]
    assert row["syncToken"] == json.loads(left.stdout)["spec"]["trigger"]["syncToken"]
    differing = regent("diff", "shop")
    assert differing.returncode == 1
    assert "ConfigMap/foreign" in differing.stdout
    assert bench.data(EU, "foreign") == {"mine": "yes"}
