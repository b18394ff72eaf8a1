"""The cache of programs under several builders, failing builds and killed builders: real processes and real files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.toolchain import builder, store
from testbed.toolchain.catalog import CommittedModule, Tool
from testbed.toolchain.errors import ToolchainError

REPOSITORY = Path(__file__).resolve().parents[3]
FAKE = Tool(
    name="fake",
    module="example.com/fake",
    version="v1.0.0",
    package="example.com/fake",
    source=CommittedModule("fake"),
    first_build_seconds=1,
)

# One builder: announces itself, waits until it is told to go on, writes the program and counts the build.
BUILDER = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {repository!r})
from testbed.toolchain import store
from testbed.toolchain.catalog import CommittedModule, Tool
meeting = Path({meeting!r})
tool = Tool(name="fake", module="m", version="v1", package="p", source=CommittedModule("x"), first_build_seconds=1)
def build(tool, *, directory, log):
    (meeting / f"built-{{os.getpid()}}").touch()
    while not (meeting / "go-on").exists():
        time.sleep(0.01)
    program = directory / tool.name
    program.write_text("#!/bin/sh\\n")
    return program
(meeting / f"asked-{{os.getpid()}}").touch()
print(store.place(tool, key="abc", build=build))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REGENT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "regent" / "tools"


def start_builder(meeting: Path) -> subprocess.Popen[str]:
    code = BUILDER.format(repository=str(REPOSITORY), meeting=str(meeting))
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy()
    )


def files(meeting: Path, prefix: str) -> int:
    return len(list(meeting.glob(f"{prefix}-*")))


def wait_for_files(meeting: Path, prefix: str, number: int) -> None:
    import time

    deadline = time.monotonic() + 20
    while files(meeting, prefix) < number:
        assert time.monotonic() < deadline, f"{files(meeting, prefix)} of {number} {prefix}"
        time.sleep(0.01)


def test_two_processes_that_ask_at_once_build_once(tmp_path: Path) -> None:
    first, second = start_builder(tmp_path), start_builder(tmp_path)
    wait_for_files(tmp_path, "asked", 2)
    wait_for_files(tmp_path, "built", 1)
    (tmp_path / "go-on").touch()
    answers = [process.communicate(timeout=20) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], answers
    assert answers[0][0] == answers[1][0] != ""
    assert files(tmp_path, "built") == 1
    assert Path(answers[0][0].strip()).is_file()


def test_the_one_that_waits_says_who_builds(tmp_path: Path) -> None:
    first = start_builder(tmp_path)
    wait_for_files(tmp_path, "built", 1)
    second = start_builder(tmp_path)
    assert second.stderr is not None
    line = second.stderr.readline()
    (tmp_path / "go-on").touch()
    first.communicate(timeout=20)
    second.communicate(timeout=20)
    assert line.startswith(f"waiting for fake: process {first.pid} is building")


def test_a_killed_builder_frees_the_lock_and_the_next_clears_up(tmp_path: Path, cache: Path) -> None:
    killed = start_builder(tmp_path)
    wait_for_files(tmp_path, "built", 1)
    killed.kill()
    killed.communicate(timeout=20)
    assert list(cache.glob(".building-*"))
    (tmp_path / "go-on").touch()
    next_one = start_builder(tmp_path)
    output, errors = next_one.communicate(timeout=20)
    assert next_one.returncode == 0, errors
    assert Path(output.strip()).is_file()
    assert list(cache.glob(".building-*")) == []


def test_a_failed_build_leaves_its_log_and_nothing_else(cache: Path) -> None:
    def failing(tool: Tool, *, directory: Path, log: Path) -> Path:
        command = [sys.executable, "-c", "print('undefined: Foo'); raise SystemExit(2)"]
        builder.run_logged(command, directory=directory, environment=os.environ, log=log, what="building fake")
        raise AssertionError("run_logged must raise")

    with pytest.raises(ToolchainError, match="building fake failed with code 2") as caught:
        store.place(FAKE, key="abc", build=failing)
    log = cache / "logs" / "fake-abc.log"
    assert "undefined: Foo" in str(caught.value)
    assert str(log) in str(caught.value)
    assert "undefined: Foo" in log.read_text()
    assert not (cache / "fake-abc").exists()
    assert list(cache.glob(".building-*")) == []


def test_a_directory_without_its_program_is_built_again(cache: Path) -> None:
    def build(tool: Tool, *, directory: Path, log: Path) -> Path:
        (directory / tool.name).write_text("program")
        return directory / tool.name

    program = store.place(FAKE, key="abc", build=build)
    program.unlink()
    assert store.place(FAKE, key="abc", build=build) == program
    assert program.read_text() == "program"
    assert os.access(program, os.X_OK)


def test_an_unknown_tool_is_refused_with_the_names_of_the_known() -> None:
    with pytest.raises(ToolchainError, match="no tool 'kubelet'; the tools are etcd, "):
        store.ensure("kubelet")


def test_kubebuilder_assets_come_first_and_what_they_lack_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "etcd").write_text("#!/bin/sh\n")
    (assets / "etcd").chmod(0o755)
    (assets / "kubectl").write_text("not executable")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    monkeypatch.setattr(store, "ensure", lambda name: Path("/built") / name)
    assert store.control_plane_binary("etcd") == assets / "etcd"
    assert store.control_plane_binary("kube-controller-manager") == Path("/built/kube-controller-manager")
    assert store.control_plane_binary("kubectl") == Path("/built/kubectl")


def test_kubebuilder_assets_that_are_no_directory_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "missing"))
    with pytest.raises(ToolchainError, match=r"KUBEBUILDER_ASSETS is .* which is no directory: correct it, or unset"):
        store.control_plane_binary("etcd")
