"""`regent run` as a process of its own, against a control plane whose API server the tests may stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from testbed.controlplane import ControlPlane

CRDS = Path(__file__).parents[3] / "crds"
LEASE = {"REGENT_LEADER_ELECTION__LEASE_DURATION": "2s", "REGENT_LEADER_ELECTION__RENEW_INTERVAL": "400ms"}
SYSTEM = "regent-system"


def until(true: Callable[[], Any], what: str, *, within: float = 20.0) -> Any:
    """Wait until `true()` is truthy, and return that; connection errors count as not yet."""
    deadline = time.monotonic() + within
    while True:
        with contextlib.suppress(httpx.TransportError):
            if result := true():
                return result
        assert time.monotonic() < deadline, f"not within {within:.0f}s: {what}"
        time.sleep(0.02)


@dataclass
class Replica:
    """One running `regent run`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=2, trust_env=False))

    def get(self, path: str) -> httpx.Response:
        assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.text()}"
        return self.http.get(f"http://127.0.0.1:{self.port}{path}")

    def ready(self) -> bool:
        return self.get("/readyz").status_code == 200

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def leads(self) -> bool:
        return self.metric("regent_leader") == 1

    def wait(self, within: float) -> int:
        return self.process.wait(within)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def text(self) -> str:
        return self.log.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane.start(name="runtime") as plane:
        plane.install_crds(CRDS)
        plane.create_namespace(SYSTEM)
        yield plane


@pytest.fixture
def start(plane: ControlPlane, tmp_path: Path) -> Iterator[Callable[..., Replica]]:
    replicas: list[Replica] = []

    def run(*arguments: str, **environment: str) -> Replica:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        log = tmp_path / f"{len(replicas)}.log"
        command = [sys.executable, "-m", "regent", "run", "--kubeconfig", str(plane.kubeconfig)]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*command, "--http-address", f"127.0.0.1:{port}", *arguments],
                stderr=stream,
                stdout=stream,
                env={**os.environ, **LEASE, **environment},
            )
        replicas.append(Replica(process, port, log))
        return replicas[-1]

    yield run
    for replica in replicas:
        print(f"--- log of pid {replica.process.pid}\n{replica.text()}")  # shown when the test fails
        replica.http.close()
        if replica.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                replica.signal(signal.SIGCONT)
            replica.process.kill()
        replica.process.wait(10)


@pytest.fixture
def lease(plane: ControlPlane) -> Callable[[], dict[str, Any]]:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/regent"
    return lambda: dict(plane.api.get(path)["spec"])
