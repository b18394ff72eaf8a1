"""A test run or a developer's cluster that ends badly leaves no program and no directory behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.controlplane import ControlPlane, registry
from testbed.controlplane.registry import ProcessIdentity
from testbed.paths import cache_root

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]
REPOSITORY = Path(__file__).resolve().parents[3]

INNER_TEST = """
import time
from pathlib import Path

def test_use(control_plane, namespace):
    assert control_plane.api.get(f"/api/v1/namespaces/{namespace}")
    Path(MEETING, f"ready-{control_plane.kubeconfig.parent.name}").touch()
    deadline = time.monotonic() + 60
    while not Path(MEETING, "go-on").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert OUTCOME
"""


def wait(condition: Callable[[], bool], what: str, process: subprocess.Popen[str], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline or process.poll() not in (None, -9):
            output = process.communicate()[0] if process.poll() is not None else ""
            raise AssertionError(f"waited for {what}: {output}")
        time.sleep(0.02)


def python(*arguments: str, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def inner_run(directory: Path, *, workers: int, outcome: bool = True) -> subprocess.Popen[str]:
    """A pytest run of its own whose tests use the shared control plane until `go-on` appears."""
    for number in range(workers):
        text = INNER_TEST.replace("MEETING", repr(str(directory))).replace("OUTCOME", repr(outcome))
        (directory / f"test_inner{number}.py").write_text(text)
    flags = ["-p", "tests.cluster_fixtures", "-p", "no:cacheprovider", "-n", str(workers), "--dist", "loadfile"]
    return python("-m", "pytest", "-q", *flags, str(directory), "--rootdir", str(directory), directory=REPOSITORY)


def records_of(name: str) -> list[registry.Record]:
    return [record for record in registry.running() if record.name == name]


def shared_by(directory: Path) -> registry.Record | None:
    """The record of the control plane that the inner run uses, once all its tests do."""
    names = {path.name.removeprefix("ready-") for path in directory.glob("ready-*")}
    return next((record for record in records_of("tests") if record.directory.name in names), None)


def all_gone(record: registry.Record) -> bool:
    identities = (*record.programs, record.owner)
    return not any(identity.is_alive() for identity in identities) and not record.directory.exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_test_run_leaves_nothing(tmp_path: Path, workers: int) -> None:
    run = inner_run(tmp_path, workers=workers)
    wait(lambda: shared_by(tmp_path) is not None, "the inner run's cluster", run)
    record = shared_by(tmp_path)
    assert record is not None
    assert len(record.programs) == 3
    assert all(program.is_alive() for program in record.programs)
    run.kill()
    wait(lambda: all_gone(record), "the end of all programs", run)
    run.communicate(timeout=30)


def test_workers_share_one_control_plane_and_it_ends_with_the_run(tmp_path: Path) -> None:
    run = inner_run(tmp_path, workers=2)
    wait(lambda: shared_by(tmp_path) is not None, "the inner run's cluster", run)
    record = shared_by(tmp_path)
    assert record is not None
    (tmp_path / "go-on").touch()
    output = run.communicate(timeout=60)[0]
    assert run.returncode == 0, output
    assert "2 passed" in output
    assert len(list(tmp_path.glob("ready-*"))) == 1
    assert all_gone(record)
    assert not (cache_root() / "logs" / record.directory.name).exists()


def test_a_failed_run_keeps_the_logs(tmp_path: Path) -> None:
    run = inner_run(tmp_path, workers=1, outcome=False)
    wait(lambda: shared_by(tmp_path) is not None, "the inner run's cluster", run)
    record = shared_by(tmp_path)
    assert record is not None
    (tmp_path / "go-on").touch()
    output = run.communicate(timeout=60)[0]
    assert run.returncode == 1, output
    assert all_gone(record)
    assert (cache_root() / "logs" / record.directory.name / "etcd.log").is_file()


OWNER = """
import sys, time
from testbed.controlplane import ControlPlane
plane = ControlPlane.start(name=sys.argv[1])
print("up", flush=True)
time.sleep(300)
"""


def test_the_next_start_removes_what_a_killed_owner_left(tmp_path: Path) -> None:
    owner = python("-c", OWNER, tmp_path.name[:20], directory=REPOSITORY)
    assert owner.stdout is not None
    assert owner.stdout.readline().strip() == "up"
    (record,) = [entry for entry in registry.running() if entry.owner.pid == owner.pid]
    owner.kill()
    owner.communicate(timeout=30)
    wait(lambda: not any(p.is_alive() for p in record.programs), "the kernel's SIGKILL", owner)
    assert record.directory.exists()
    with ControlPlane.start(name="next"):
        assert not record.directory.exists()
        assert not (registry.records_directory() / f"{record.directory.name}.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_kubeconfigs_and_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    name = f"cli{os.getpid()}-{number.name.lower()}"
    command = python("-m", "testbed", "cluster", "up", "--name", name, "--count", "2", directory=REPOSITORY)
    wait(lambda: len([r for n in (1, 2) for r in records_of(f"{name}-{n}")]) == 2, "two records", command)
    assert command.stdout is not None
    lines: list[str] = []
    while not lines or "Ctrl-C stops" not in lines[-1]:
        lines.append(command.stdout.readline())
        assert lines[-1], lines
    exports = [line.strip().removeprefix("export KUBECONFIG=") for line in lines if line.startswith("export ")]
    records = [record for n in (1, 2) for record in records_of(f"{name}-{n}")]
    assert exports == [str(record.kubeconfig) for record in records]
    path = python("-m", "testbed", "cluster", "path", f"{name}-1", directory=REPOSITORY)
    assert path.communicate(timeout=30)[0].strip() == exports[0]
    again = python("-m", "testbed", "cluster", "up", "--name", name, "--count", "2", directory=REPOSITORY)
    assert "runs already: choose another --name" in again.communicate(timeout=30)[0]
    assert again.returncode == 1
    command.send_signal(number)
    output = command.communicate(timeout=60)[0]
    assert command.returncode == 0, output
    assert all(all_gone(record) for record in records)
    gone = python("-m", "testbed", "cluster", "path", f"{name}-1", directory=REPOSITORY)
    assert "start it with `make cluster`" in gone.communicate(timeout=30)[0]


def test_an_owner_is_known_by_more_than_its_id() -> None:
    mine = registry.own_identity()
    assert mine.is_alive()
    assert not ProcessIdentity(mine.pid, mine.started + 1, mine.boot, mine.argv).is_alive()
