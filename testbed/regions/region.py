"""The handle of one simulated region: start it, break it in every way there is, heal it.

The faults come from three places and are told apart by what a client sees: the process (`kill`, `hang`), the network
(`reject`, `drop`, `cut`, `loss`), and the server's own answers (`slow`, `status`, `body`, …). Each is recorded in
`faults` with the monotonic time from which it held, which is what detection times are measured from.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from testbed.network import NetworkNamespace, spawn
from testbed.network.processes import stop as stop_process
from testbed.network.processes import wait_stopped
from testbed.regions.channel import ControlChannel

_REPOSITORY = Path(__file__).resolve().parents[2]
_START_TIMEOUT = 15.0  # a server is ready in about 0.3 s; a loaded machine may take longer


class Scope(Enum):
    """Which paths a fault of the answers covers."""

    ALL = "all"
    HEALTH = "health"  # /healthz and gRPC health checks
    TRAFFIC = "traffic"  # every other path


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where a region listens; 0 takes a free port."""

    http: int = 8080
    https: int = 8443
    mtls: int = 8444
    tcp: int = 7000
    grpc: int = 9000
    grpcs: int = 9443

    @classmethod
    def free(cls) -> Ports:
        """Any free ports, for regions that share one address."""
        return cls(http=0, https=0, mtls=0, tcp=0, grpc=0, grpcs=0)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was done to a region, and since when (monotonic seconds) it holds."""

    kind: str
    time: float


class Region:
    """A simulated region in a namespace of its own, or on 127.0.0.1 with free ports when it has none."""

    def __init__(
        self,
        name: str,
        *,
        certificates: Path,
        namespace: NetworkNamespace | None = None,
        ports: Ports | None = None,
        errors: float = 0.0,
        free: float = 100.0,
        grpc_services: Sequence[str] = (),
        extra_http_ports: int = 0,
    ) -> None:
        """`certificates` holds ca.pem, valid.pem, expired.pem; extra HTTP ports are numbered from 20000."""
        self.name = name
        self.namespace = namespace
        self.address = "127.0.0.1" if namespace is None else namespace.address
        self.ports = ports or (Ports.free() if namespace is None else Ports())
        self.faults: list[Fault] = []
        self.certificates = certificates
        self._options = [f"--errors={errors}", f"--free={free}", f"--extra-http-ports={extra_http_ports}"]
        self._options += [f"--grpc-service={service}" for service in grpc_services]
        self._directory = tempfile.TemporaryDirectory(prefix="regent-region-")
        self.log = Path(self._directory.name) / "server.log"
        self._channel = ControlChannel(Path(self._directory.name) / "control")
        self._process: subprocess.Popen[bytes] | None = None

    # -- addresses ----------------------------------------------------------------------------------------------

    @property
    def http_url(self) -> str:
        return f"http://{self.address}:{self.ports.http}"

    @property
    def https_url(self) -> str:
        return f"https://{self.address}:{self.ports.https}"

    @property
    def mtls_url(self) -> str:
        return f"https://{self.address}:{self.ports.mtls}"

    @property
    def ca(self) -> Path:
        """The CA file that clients trust."""
        return self.certificates / "ca.pem"

    @property
    def pid(self) -> int:
        return self._running().pid

    # -- life ---------------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the process without waiting for it."""
        if self._process is not None and self._process.poll() is None:
            raise RuntimeError(f"region {self.name} runs already")
        ports = ",".join(f"{kind}={port}" for kind, port in asdict(self.ports).items())
        argv = [sys.executable, "-m", "testbed.regions.server", f"--name={self.name}", f"--address={self.address}"]
        argv += [f"--ports={ports}", f"--control={self._channel.path}", f"--certificates={self.certificates}"]
        argv += self._options
        with self.log.open("ab") as log:
            self._process = spawn(
                argv if self.namespace is None else self.namespace.command(argv),
                stdout=subprocess.PIPE,
                stderr=log,
                environment={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
            )

    def wait_ready(self, *, timeout: float = _START_TIMEOUT) -> None:
        """Return when every port is open; otherwise raise with what the server wrote."""
        output = self._running().stdout
        assert output is not None  # noqa: S101
        readable, _, _ = select.select([output], [], [], timeout)
        line = output.readline() if readable else b""
        if not line:
            raise RuntimeError(f"region {self.name} did not start:\n{self.log.read_text(errors='replace')}")
        # The ports stay the same when it is started again, as a real region's do.
        self.ports = Ports(**json.loads(line)["ports"])

    def start(self) -> None:
        """Start the server and wait until it serves."""
        self.launch()
        self.wait_ready()

    def stop(self) -> None:
        """End the server in an orderly way; from then on its ports refuse."""
        self._channel.close()
        if self._process is not None:
            stop_process(self._process)
            self._record("stop", time.monotonic())

    def close(self) -> None:
        """Kill the server if it runs, and remove its files."""
        self._channel.close()
        if self._process is not None:
            self._process.kill()
            stop_process(self._process)
        self._directory.cleanup()

    # -- faults of the process ----------------------------------------------------------------------------------

    def kill(self) -> float:
        """SIGKILL: open connections are reset, new ones refused."""
        process = self._running()
        process.kill()
        process.wait()
        at = time.monotonic()
        self._channel.close()
        stop_process(process)
        return self._record("kill", at)

    def hang(self) -> float:
        """SIGSTOP: the kernel still accepts connections, and nobody answers."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        wait_stopped(process)
        return self._record("hang", time.monotonic())

    def resume(self) -> float:
        """SIGCONT after `hang`."""
        self._running().send_signal(signal.SIGCONT)
        return self._record("resume", time.monotonic())

    # -- faults of the network ----------------------------------------------------------------------------------

    def reject(self, port: int | None = None, *, source: str | None = None) -> float:
        """TCP is answered with a reset although the server runs."""
        return self._record("reject", self._network().refuse(port, source=source))

    def drop(self, port: int | None = None, *, source: str | None = None) -> float:
        """Incoming packets vanish: all of them, or those to one TCP port, or those from one address."""
        return self._record("drop", self._network().drop(port, source=source))

    def loss(self, percent: int, *, port: int | None = None) -> float:
        """A share of the incoming packets vanishes."""
        return self._record("loss", self._network().loss(percent, port=port))

    def cut(self) -> float:
        """The link is down."""
        return self._record("cut", self._network().cut())

    # -- faults of the answers ----------------------------------------------------------------------------------

    def slow(self, milliseconds: float, *, scope: Scope = Scope.ALL) -> float:
        """Each answer waits."""
        return self._answer("slow", scope, delay=milliseconds / 1000.0)

    def status(self, code: int, *, scope: Scope = Scope.ALL) -> float:
        """Answer with this HTTP status; gRPC health checks fail with UNAVAILABLE unless it is 200."""
        return self._answer("status", scope, status=code)

    def body(self, text: str, *, scope: Scope = Scope.HEALTH) -> float:
        """Answer 200 with this text."""
        return self._answer("body", scope, body=text)

    def error_rate(self, percent: float, *, scope: Scope = Scope.ALL) -> float:
        """Exactly this share of the requests gets a 500."""
        return self._answer("error-rate", scope, error_percent=percent)

    def hang_up(self, percent: float = 100.0, *, scope: Scope = Scope.ALL) -> float:
        """This share of the requests gets the connection closed without a byte."""
        return self._answer("hang-up", scope, hang_up_percent=percent)

    def load(self, *, errors: float, free: float) -> float:
        """The figures in the health body, in percent."""
        return self._command("load", errors=errors, free=free)

    def idle_close(self, seconds: float | None) -> float:
        """Close keep-alive connections that were unused for this long; None: never."""
        return self._command("idle-close", seconds=seconds)

    def close_idle_connections(self) -> float:
        """Close every connection without a request in progress, once."""
        return self._command("close-idle")

    def goaway(self) -> float:
        """Send GOAWAY on every HTTP/2 connection and close it, once."""
        return self._command("goaway")

    def expire_certificate(self) -> float:
        """Handshakes from now on get an expired certificate; connections that are open go on."""
        return self._command("certificate", which="expired")

    def renew_certificate(self) -> float:
        """Handshakes from now on get the good certificate."""
        return self._command("certificate", which="valid")

    def not_serving(self, service: str = "") -> float:
        """gRPC health answers NOT_SERVING for the service."""
        return self._command("serving", service=service, serving=False)

    def serving(self, service: str = "") -> float:
        """gRPC health answers SERVING for the service; a new name is added."""
        return self._command("serving", service=service, serving=True)

    def counters(self) -> dict[str, int]:
        """Requests seen since the start: health, traffic, grpc, tcp; connections_accepted, connections_open."""
        reply = self._channel.ask({"do": "counters"})
        return {key: int(value) for key, value in reply.items() if key != "at"}

    # -- healing ------------------------------------------------------------------------------------------------

    def heal(self) -> float:
        """Undo every fault, whatever it was; returns when the region serves again."""
        if self.namespace is not None:
            self.namespace.heal()
        if self._process is None or self._process.poll() is not None:
            self.start()
        else:
            self._process.send_signal(signal.SIGCONT)
            self._channel.ask({"do": "heal"})
        return self._record("heal", time.monotonic())

    # -----------------------------------------------------------------------------------------------------------

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"region {self.name} was not started")
        return self._process

    def _network(self) -> NetworkNamespace:
        if self.namespace is None:
            raise RuntimeError(f"region {self.name} has no network namespace: only its process and answers can fail")
        return self.namespace

    def _answer(self, kind: str, scope: Scope, **settings: Any) -> float:
        reply = self._channel.ask({"do": "answer", "scope": scope.value, **settings})
        return self._record(kind, float(reply["at"]))

    def _command(self, name: str, **arguments: Any) -> float:
        return self._record(name, float(self._channel.ask({"do": name, **arguments})["at"]))

    def _record(self, kind: str, at: float) -> float:
        self.faults.append(Fault(kind, at))
        return at
