"""One replica: `regent run` as a process, with its log in a file, watched and restarted as the kubelet would.

Everything that a test does to a replica is a signal: SIGKILL, SIGSTOP, SIGTERM. Nothing of the operator is patched.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed.gateway import Sample, parse_metrics
from testbed.network import spawn
from testbed.network.processes import stop, wait_stopped

_REPOSITORY = Path(__file__).resolve().parents[2]
_POLL = 0.02
_BACKOFF = (0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
"""Seconds before each restart in a row; the kubelet starts a container again at once, then waits longer and longer."""
_HEALTHY = 600.0
"""Seconds after which a container that ran on begins with no wait again."""


class OperatorError(RuntimeError):
    """The operator did not start or did not get ready; the message has the end of its log."""


class Restart(Enum):
    """What happens when the process ends by itself."""

    NEVER = "Never"
    ALWAYS = "Always"


class OperatorProcess:
    """Context manager: one replica of the operator.

    Args:
        kubeconfig: whom it signs in as.
        name: for its log file and for people, such as `regent-0`.
        args: arguments after `regent run`; kubeconfig and HTTP address are added.
        settings: by dotted key, such as {"failover.startupGrace": "1s"}; they become REGENT_* variables.
        environment: further variables, as the chart gives them.
        directory: where the log goes; a temporary one when there is none.
        restart: ALWAYS starts it again when it ends by itself, as a Deployment's pods are.
        program: the module that is run; another one than Regent's own wraps it.
    """

    def __init__(
        self,
        kubeconfig: Path,
        *,
        name: str = "regent-0",
        args: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        restart: Restart = Restart.NEVER,
        program: str = "regent",
    ) -> None:
        self.name = name
        self.kubeconfig = kubeconfig
        self.port = 0
        self.exits: list[int] = []
        """Exit codes of the processes that ended, signals negative, oldest first."""
        self._args = list(args)
        self._variables = {**(environment or {}), **_variables(settings or {})}
        self._temporary = None if directory else tempfile.TemporaryDirectory(prefix="regent-operator-")
        self._directory = directory or Path(self._temporary.name if self._temporary else "")
        self.log = self._directory / f"{name}.log"
        self._restart = restart
        self._program = program
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._keeper: threading.Thread | None = None
        self._ended = threading.Event()

    # -- life ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the process; returns before it is ready."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                raise RuntimeError(f"{self.name} runs already")
            self.port = self.port or _free_port()
            self._wanted = True
            self._launch()
        if self._restart is Restart.ALWAYS and self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name=f"keep-{self.name}", daemon=True)
            self._keeper.start()

    def _launch(self) -> None:
        argv = [sys.executable, "-m", self._program, "run", *self._args]
        argv += ["--kubeconfig", str(self.kubeconfig), "--http-address", f"127.0.0.1:{self.port}"]
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("REGENT_")}
        # A program that wraps Regent's is one of the testbed's.
        paths = [str(_REPOSITORY / "operator"), *([str(_REPOSITORY)] if self._program != "regent" else [])]
        environment = {**inherited, "PYTHONPATH": os.pathsep.join(paths), **self._variables}
        self._directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = spawn(argv, stdout=log, stderr=log, environment=environment, directory=self._directory)

    def _keep(self) -> None:
        """Wait for the process to end and start it again, for as long as it is wanted."""
        restarts = 0
        while self._wanted:
            process, began = self._process, time.monotonic()
            if process is None:
                return
            code = process.wait()
            self.exits.append(code)
            restarts = 0 if time.monotonic() - began > _HEALTHY else restarts
            if self._ended.wait(_BACKOFF[min(restarts, len(_BACKOFF) - 1)]):
                return
            restarts += 1
            with self._lock:
                if self._wanted:
                    self._launch()

    def close(self) -> None:
        """End it for good (SIGTERM, then SIGKILL) and forget its temporary files."""
        self.terminate()
        if self._temporary is not None:
            self._temporary.cleanup()

    def terminate(self, *, grace: float = 6.0) -> int:
        """SIGTERM and no restart; returns the exit code. SIGKILL after `grace` seconds."""
        with self._lock:
            self._wanted = False
            self._ended.set()
            process = self._process
        code = 0 if process is None else stop(process, grace=grace)
        if self._keeper is not None:
            self._keeper.join()
            self._keeper = None
        self._ended.clear()
        return code

    # -- what tests do to it ------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process id of the replica as it runs now."""
        with self._lock:
            if self._process is None:
                raise RuntimeError(f"{self.name} was not started")
            return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process is alive (stopped by SIGSTOP counts)."""
        with self._lock:
            return self._process is not None and self._process.poll() is None

    def kill(self) -> float:
        """SIGKILL, as the kernel's OOM killer does; gives the monotonic time. It is restarted if that was asked for."""
        with self._lock:
            if self._process is None:
                raise RuntimeError(f"{self.name} was not started")
            process = self._process
            process.kill()
        process.wait()
        return time.monotonic()

    def freeze(self) -> float:
        """SIGSTOP: nothing of it runs until `thaw`; gives the monotonic time at which it stood still."""
        with self._lock:
            if self._process is None:
                raise RuntimeError(f"{self.name} was not started")
            self._process.send_signal(signal.SIGSTOP)
            wait_stopped(self._process)
        return time.monotonic()

    def wait_stopped(self) -> None:
        """Wait until it stands still of its own doing, or has ended."""
        with self._lock:
            if self._process is not None:
                wait_stopped(self._process)

    def thaw(self) -> float:
        """SIGCONT after `freeze`."""
        os.kill(self.pid, signal.SIGCONT)
        return time.monotonic()

    def wait_ended(self, *, timeout: float) -> int:
        """Wait until the process has ended by itself; gives its exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        with self._lock:
            if self._process is None:
                raise RuntimeError(f"{self.name} was not started")
            process = self._process
        return process.wait(timeout=timeout)

    # -- what it says -------------------------------------------------------------------------------------------

    def wait_ready(self, *, timeout: float = 30.0) -> None:
        """Wait until /readyz says yes.

        Raises:
            OperatorError: it ended, or is not ready after `timeout` seconds.
        """
        self.wait(lambda: self.fetch("/readyz")[0] == 200, what="be ready", timeout=timeout)

    def wait(self, condition: Callable[[], bool], *, what: str, timeout: float) -> None:
        """Wait for a condition of this replica; a process that ended for good ends the wait."""
        deadline = time.monotonic() + timeout
        while not condition():
            gone = self._restart is Restart.NEVER and not self.running
            if gone or time.monotonic() >= deadline:
                _, body = self.fetch("/readyz") if not gone else (0, "it has ended")
                raise OperatorError(f"{self.name} did not {what} within {timeout:.0f} s ({body}):\n{self.tail()}")
            time.sleep(_POLL)

    def fetch(self, path: str) -> tuple[int, str]:
        """GET from its operational endpoint: status and text; (0, why) when it does not answer within a second."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=1.0) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def metrics(self) -> list[Sample]:
        """Its metrics now; empty when it does not answer."""
        status, text = self.fetch("/metrics")
        return parse_metrics(text) if status == 200 else []

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels; 0 when there are none."""
        return sum(
            sample.value
            for sample in self.metrics()
            if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())
        )

    def leads(self) -> bool:
        """Whether it says that it holds the lease."""
        return self.metric("regent_leader") == 1.0

    def log_text(self) -> str:
        """The whole log, of all its processes."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = 25) -> str:
        """The last lines of the log."""
        return "\n".join(self.log_text().splitlines()[-lines:])


def _variables(settings: Mapping[str, str]) -> dict[str, str]:
    """`failover.startupGrace` → `REGENT_FAILOVER__STARTUP_GRACE`."""
    return {
        "REGENT_" + "__".join(re.sub(r"(?<!^)(?=[A-Z])", "_", part).upper() for part in key.split(".")): value
        for key, value in settings.items()
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
