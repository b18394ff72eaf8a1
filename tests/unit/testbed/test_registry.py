"""Clearing up after a killed run: real child processes, and process ids that belong to somebody else by now."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.controlplane import registry
from testbed.controlplane.registry import ProcessIdentity, Record

SLEEP = ("sleep", "300")
Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGENT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def one() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(SLEEP)
        started.append(process)
        # Popen returns while the kernel still sets the new program up: for a moment its command line is empty.
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
            assert process.poll() is None
        return process

    yield one
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def gone(start: Start) -> ProcessIdentity:
    """The identity of an owner that was killed."""
    process = start()
    identity = ProcessIdentity.of(process.pid, SLEEP)
    process.kill()
    process.wait()
    return identity


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    directory = tmp_path / "work"
    directory.mkdir()
    (directory / registry.MARKER).touch()
    (directory / "data").write_text("x")
    return directory


def record(owner: ProcessIdentity, workdir: Path, *programs: ProcessIdentity) -> Path:
    path = registry.records_directory() / "one.json"
    Record(name="one", directory=workdir, owner=owner, programs=programs, kubeconfig=workdir / "k").write(path)
    return path


def test_a_stray_program_of_a_dead_owner_is_killed_and_its_directory_removed(
    start: Start, gone: ProcessIdentity, workdir: Path
) -> None:
    stray = start()
    path = record(gone, workdir, ProcessIdentity.of(stray.pid, SLEEP))
    assert [entry.name for entry in registry.reap()] == ["one"]
    assert stray.wait(timeout=10) == -9
    assert not workdir.exists()
    assert not path.exists()


@pytest.mark.parametrize(
    "difference",
    [{"started": 1}, {"argv": ("sleep", "301")}, {"argv": ()}, {"boot": "another"}],
    ids=["start time", "command line", "no command line", "boot"],
)
def test_an_innocent_process_with_a_recycled_id_is_left_alone(
    start: Start, gone: ProcessIdentity, workdir: Path, difference: dict[str, object]
) -> None:
    innocent = start()
    recorded = dataclasses.replace(ProcessIdentity.of(innocent.pid, SLEEP), **difference)
    record(gone, workdir, recorded)
    registry.reap()
    assert innocent.poll() is None
    assert ProcessIdentity.of(innocent.pid, SLEEP).is_alive()


def test_a_control_plane_whose_owner_lives_is_left_alone(start: Start, workdir: Path) -> None:
    program = start()
    path = record(registry.own_identity(), workdir, ProcessIdentity.of(program.pid, SLEEP))
    assert registry.reap() == []
    assert program.poll() is None
    assert workdir.is_dir()
    assert path.is_file()
    assert [entry.name for entry in registry.running()] == ["one"]


def test_a_directory_without_our_mark_is_never_removed(gone: ProcessIdentity, workdir: Path) -> None:
    (workdir / registry.MARKER).unlink()
    path = record(gone, workdir)
    registry.reap()
    assert (workdir / "data").read_text() == "x"
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "x"}', '{"name": 1, "directory": 2}'])
def test_an_unreadable_record_is_dropped_and_does_not_stop_the_others(
    content: str, gone: ProcessIdentity, workdir: Path
) -> None:
    broken = registry.records_directory() / "a-broken.json"
    broken.write_text(content)
    record(gone, workdir)
    assert [entry.name for entry in registry.reap()] == ["one"]
    assert not broken.exists()


def test_a_process_that_waits_to_be_reaped_counts_as_gone(start: Start) -> None:
    process = start()
    identity = ProcessIdentity.of(process.pid, SLEEP)
    assert identity.is_alive()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert registry.start_ticks(process.pid) is None
    assert not identity.is_alive()
    assert not identity.kill()


def test_a_launcher_before_the_command_line_still_matches(start: Start) -> None:
    process = start()
    assert ProcessIdentity.of(process.pid, ("300",)).is_alive()


def test_the_identity_of_nobody_cannot_be_had(gone: ProcessIdentity) -> None:
    with pytest.raises(ProcessLookupError):
        ProcessIdentity.of(gone.pid, SLEEP)
