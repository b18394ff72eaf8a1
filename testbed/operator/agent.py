"""`regent agent --fence` as a process inside its region, and the objects that its chart makes on both sides.

The agent runs in its region's network namespace, so a cut link takes the hub away from it and leaves it the region.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from testbed.network import NetworkNamespace, spawn
from testbed.network.processes import stop
from testbed.toolchain import ensure

Json = dict[str, Any]
SYSTEM = "regent-system"
_REPOSITORY = Path(__file__).resolve().parents[2]
_CHART = _REPOSITORY / "charts" / "regent-agent"
_PORT = 8091
_NOT_RUN = frozenset({"Deployment", "PodDisruptionBudget", "Service"})
"""There is no kubelet: the pods are the processes of this module."""


def agent_objects(side: str, region: str, *, secret_namespaces: Sequence[str] = ()) -> list[Json]:
    """What the agent's chart makes on `side` ("Hub" or "Region"), but for the pods."""
    argv = [str(ensure("helm")), "template", "agent", str(_CHART), "--namespace", SYSTEM, f"--set=side={side}"]
    argv += [f"--set=region={region}", f"--set=secretNamespaces={{{','.join(secret_namespaces)}}}"]
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return [document for document in yaml.safe_load_all(text) if document and document["kind"] not in _NOT_RUN]


class AgentProcess:
    """The agent of one region; `start` it.

    Args:
        region: which it guards.
        namespace: where it runs.
        own: kubeconfig of the region's own cluster, as reached from there.
        hub: kubeconfig of the hub, as reached from there.
        directory: where its log goes.
        fence_after: seconds without the hub after which it fences; whole.
        demotion_limit: seconds within which it promises to be done.
    """

    def __init__(
        self,
        region: str,
        *,
        namespace: NetworkNamespace,
        own: Path,
        hub: Path,
        directory: Path,
        fence_after: float = 3.0,
        demotion_limit: float = 5.0,
    ) -> None:
        self.region = region
        self.log = directory / f"agent-{region}.log"
        self._namespace = namespace
        self._arguments = ["--region", region, "--kubeconfig", str(own), "--hub-kubeconfig", str(hub)]
        self._arguments += ["--fence-after", f"{fence_after:.0f}s", "--demotion-limit", f"{demotion_limit:g}s"]
        self._arguments += ["--http-address", f"127.0.0.1:{_PORT}", "--log-format", "text"]
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0

    @property
    def url(self) -> str:
        """Its HTTP endpoint, as reached from inside the region."""
        return f"http://127.0.0.1:{_PORT}"

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, unless it runs; returns before it is connected."""
        if self.running:
            return
        self._started += 1
        argv = [sys.executable, "-m", "regent", "agent", "--fence", "--vantage", f"agent-{self._started}"]
        with self.log.open("ab") as log:
            self._process = spawn(
                self._namespace.command([*argv, *self._arguments]),
                stdout=log,
                stderr=log,
                environment={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(_REPOSITORY / "operator")},
                directory=self.log.parent,
            )

    def kill(self) -> None:
        """SIGKILL: it falls silent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """SIGTERM: it takes its leave, so that its silence proves nothing."""
        if self._process is not None:
            stop(self._process, grace=15.0)

    def log_text(self) -> str:
        """The whole log, of all its processes."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
