"""external-dns as a process beside the cluster: DNSEndpoints become records of one zone.

It looks once a second. Its event mode is no faster: it gathers events for five seconds first.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed.controlplane import Cluster
from testbed.dns.knot import DnsServer, DnsServerError
from testbed.dns.ports import free_port
from testbed.network import spawn
from testbed.network.processes import stop
from testbed.toolchain import ensure, module_directory
from testbed.toolchain.catalog import EXTERNAL_DNS, EXTERNAL_DNS_CHECKSUM, TOOLS

_POLL = 0.05


def external_dns_crds() -> Path:
    """Directory with the resource definition of DNSEndpoint, from external-dns' own release.

    Raises:
        ToolchainError: the module cannot be had.
    """
    module = module_directory(TOOLS["external-dns"].module, EXTERNAL_DNS, checksum=EXTERNAL_DNS_CHECKSUM)
    return module / "config" / "crd" / "standard"


class ExternalDns:
    """Context manager: external-dns between a cluster's DNSEndpoints and a server's zone; installs their definition.

    Args:
        namespace: whose DNSEndpoints are read; "": everyone's.
    """

    def __init__(self, cluster: Cluster, server: DnsServer, *, namespace: str = "") -> None:
        self._cluster = cluster
        self._server = server
        self._namespace = namespace
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = ExitStack()
        self._log = Path()
        self._port = 0

    def __enter__(self) -> Self:
        program = ensure("external-dns")
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regent-external-dns-")))
            self._log = directory / "log"
            self._cluster.install_crds(external_dns_crds())
            stack.callback(self.stop)
            self.start(program)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self, program: Path | None = None) -> None:
        """Start it and wait until it is healthy; also after `stop`."""
        self._port = free_port("127.0.0.1")
        with self._log.open("ab") as log:
            self._process = spawn(self._arguments(program or ensure("external-dns")), stdout=log, stderr=log)
        deadline = time.monotonic() + 20.0
        while not self._healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise DnsServerError(f"external-dns did not start:\n{self.tail()}")
            time.sleep(_POLL)

    def stop(self) -> None:
        """End it; the records stay."""
        if self._process is not None:
            stop(self._process)
            self._process = None

    def tail(self, lines: int = 20) -> str:
        """Its last words."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def _arguments(self, program: Path) -> list[str]:
        server = self._server
        return [
            str(program),
            f"--kubeconfig={self._cluster.kubeconfig}",
            "--source=crd",
            f"--namespace={self._namespace}",
            "--provider=rfc2136",
            "--interval=1s",
            f"--rfc2136-host={server.address}",
            f"--rfc2136-port={server.port}",
            f"--rfc2136-zone={server.zone}",
            f"--rfc2136-tsig-keyname={server.key}",
            f"--rfc2136-tsig-secret={server.secret}",
            "--rfc2136-tsig-secret-alg=hmac-sha256",
            "--rfc2136-tsig-axfr",
            "--rfc2136-min-ttl=1s",
            "--registry=txt",
            "--txt-owner-id=regent",
            "--txt-prefix=_ed.",
            "--policy=sync",
            "--managed-record-types=A",
            "--managed-record-types=AAAA",
            "--managed-record-types=CNAME",
            f"--domain-filter={server.zone}",
            f"--metrics-address=127.0.0.1:{self._port}",
        ]

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/healthz", timeout=1.0) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False
