"""One process of a control plane: its log, its readiness, its end, and stopping it in its tracks."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path

from testbed.network.commands import tool
from testbed.network.processes import spawn, wait_stopped

_POLL_SECONDS = 0.03
_LOG_TAIL_LINES = 20


class ControlPlaneError(RuntimeError):
    """A control plane's process did not start or died; the message has the end of its log and the log's path."""


class Component(Enum):
    """The processes of a control plane; the value is the program's name."""

    ETCD = "etcd"
    API_SERVER = "kube-apiserver"
    CONTROLLER_MANAGER = "kube-controller-manager"


class ComponentProcess:
    """A running program. It dies with this process at the latest (see `testbed.network.processes`)."""

    def __init__(self, component: Component, argv: Sequence[str], *, log: Path, netns: str | None = None) -> None:
        self.component = component
        self.argv = tuple(argv)
        self.log = log
        inside = () if netns is None else (tool("ip"), "netns", "exec", netns)
        log.parent.mkdir(parents=True, exist_ok=True)
        # Appended: a restarted API server keeps the log of the one before it.
        with log.open("ab") as output:
            self._process = spawn([*inside, *argv], stdout=output, stderr=subprocess.STDOUT, directory=log.parent)

    @property
    def pid(self) -> int:
        """The program's own process id, in a network namespace as well."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether it has not ended (a frozen process counts as running)."""
        return self._process.poll() is None

    def wait_ready(self, ready: Callable[[], bool], *, timeout: float) -> None:
        """Return as soon as `ready` holds.

        Raises:
            ControlPlaneError: the program ended before, or `timeout` seconds passed.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.is_running():
                raise ControlPlaneError(f"{self.component.value} ended with {self._process.returncode}. {self.tail()}")
            if time.monotonic() >= deadline:
                raise ControlPlaneError(f"{self.component.value} was not ready after {timeout:.0f} s. {self.tail()}")
            time.sleep(_POLL_SECONDS)

    def tail(self) -> str:
        """The end of the log, with its path, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return f"{self.log} ends with:\n" + "\n".join(lines)

    def freeze(self) -> None:
        """Stop it where it stands (SIGSTOP): connections stay open, nothing answers."""
        self._process.send_signal(signal.SIGSTOP)
        wait_stopped(self._process)

    def thaw(self) -> None:
        """Let a frozen process go on; for any other this does nothing."""
        self._process.send_signal(signal.SIGCONT)

    def end(self, *, how: signal.Signals = signal.SIGTERM, grace: float = 10.0) -> None:
        """End it with `how`, with SIGKILL after `grace` seconds; frozen or ended already is fine."""
        for number in (how, signal.SIGCONT):
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
        try:
            self._process.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def resident_bytes(pid: int) -> int:
    """Memory that a process holds in RAM, in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
