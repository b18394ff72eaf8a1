"""One cluster for all processes of a test run: the first that asks starts it, a process of its own holds it.

Test workers come and go, so none of them can own the cluster: programs die with their owner. The holder owns it. It
ends with the test run's main process, also when that is killed, because it waits on that process itself.

    python -m testbed.controlplane.shared DIRECTORY WATCHED_PID     (started by `acquire`, not by people)
"""

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from testbed.controlplane.cluster import Cluster
from testbed.controlplane.components import ControlPlaneError
from testbed.controlplane.registry import ProcessIdentity, start_ticks
from testbed.controlplane.select import start_cluster
from testbed.locks import file_lock
from testbed.paths import cache_root

_REPOSITORY = Path(__file__).resolve().parents[2]
_START_TIMEOUT = 120.0
_STOP_TIMEOUT = 30.0


def session_directory(session: str) -> Path:
    """Where the processes of one test run meet; `session` is any word that they share."""
    return cache_root() / "sessions" / session


def acquire(session: str, *, watched: int) -> Cluster:
    """The test run's cluster, started by the first caller; it ends when the process `watched` does.

    Raises:
        ControlPlaneError: it did not start; the message is the holder's.
    """
    directory = session_directory(session)
    with file_lock(directory / "lock"):
        state = _read_state(directory)
        if state is None:
            _sweep()
            _start_holder(directory, watched)
            state = _read_state(directory)
    if state is None:
        raise ControlPlaneError(f"the process that holds the cluster wrote nothing into {directory}")
    return Cluster(name=state["name"], kubeconfig=Path(state["kubeconfig"]), directory=directory)


def release(session: str, *, keep_logs: bool) -> None:
    """End the test run's cluster, if it has one, and wait until it is gone."""
    directory = session_directory(session)
    state = _read_state(directory)
    if state is None:
        return
    if keep_logs:
        (directory / "keep-logs").touch()
    holder = ProcessIdentity(**{**state["holder"], "argv": tuple(state["holder"]["argv"])})
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(holder.pid)
        try:
            if holder.is_alive():
                signal.pidfd_send_signal(handle, signal.SIGTERM)
                _, _, _ = select.select([handle], [], [], _STOP_TIMEOUT)
        finally:
            os.close(handle)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(holder.pid, os.WNOHANG)
    shutil.rmtree(directory, ignore_errors=True)


def _sweep() -> None:
    """Remove what test runs left whose holder was killed; the directories' names begin with the run's process id."""
    for leftover in session_directory("").glob("*-*"):
        owner = leftover.name.partition("-")[0]
        if owner.isdigit() and start_ticks(int(owner)) is None:
            shutil.rmtree(leftover, ignore_errors=True)


def _read_state(directory: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads((directory / "state.json").read_text()))
    except (OSError, ValueError):
        return None


def _holder_command(directory: Path, watched: int) -> list[str]:
    return [sys.executable, "-m", "testbed.controlplane.shared", str(directory), str(watched)]


def _start_holder(directory: Path, watched: int) -> None:
    command = _holder_command(directory, watched)
    log = directory / "holder.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY), "PYTHONWARNINGS": "default"}
    # Not tied to the life of this worker, and in a session of its own: a Ctrl-C at the terminal is for the tests.
    pid = os.posix_spawn(
        command[0],
        command,
        environment,
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    deadline = time.monotonic() + _START_TIMEOUT
    while _read_state(directory) is None:
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended or time.monotonic() >= deadline:
            if not ended:
                os.kill(pid, signal.SIGTERM)
            reason = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
            raise ControlPlaneError(f"the cluster for the tests did not start:\n{reason}")
        time.sleep(0.05)


def _hold(directory: Path, watched: int) -> None:
    try:
        handle = os.pidfd_open(watched)
    except ProcessLookupError:
        return  # the test run ended before this process began
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGTERM, lambda *_: None)
    cluster = start_cluster(name="tests")
    try:
        holder = ProcessIdentity.of(os.getpid(), ("-m", "testbed.controlplane.shared", str(directory), str(watched)))
        state = {
            "name": cluster.name,
            "kubeconfig": str(cluster.kubeconfig),
            "holder": {"pid": holder.pid, "started": holder.started, "boot": holder.boot, "argv": holder.argv},
        }
        draft = directory / "state.new"
        draft.write_text(json.dumps(state))
        draft.replace(directory / "state.json")
        select.select([handle, reader], [], [])
    finally:
        cluster.stop(keep_logs=(directory / "keep-logs").exists())
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    _hold(Path(sys.argv[1]), int(sys.argv[2]))
