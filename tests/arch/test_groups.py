"""Tests of one xdist_group stay on one worker: they share clusters that two workers at a time would fight over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROBE = """
import os
from pathlib import Path

import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(8))
def test_probe(number):
    with Path(__file__).with_name("workers").open("a") as workers:
        workers.write(os.environ["PYTEST_XDIST_WORKER"] + "\\\\n")
"""


def test_a_group_is_played_by_one_worker(tmp_path: Path) -> None:
    """Fails with a pytest whose ids the plugin cannot mark, which nothing else would say."""
    (tmp_path / "test_probe.py").write_text(PROBE.replace("\\\\n", "\\n"), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "test_probe.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    workers = (tmp_path / "workers").read_text(encoding="utf-8").split()
    assert len(workers) == 8
    assert len(set(workers)) == 1, "the group was divided"
