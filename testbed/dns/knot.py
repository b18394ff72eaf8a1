"""Knot DNS as the authoritative server of one zone, open to dynamic updates (RFC 2136) with a key of its own."""

from __future__ import annotations

import base64
import secrets
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from testbed.dns.ports import free_port
from testbed.network import spawn
from testbed.network.processes import stop

_POLL = 0.02
_STARTS = 3  # a free port may be taken by somebody else before the server binds it
_CONFIGURATION = """\
server:
    rundir: "{directory}"
    listen: {address}@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: "{directory}"
key:
  - id: {key}
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: updates
    key: {key}
    action: [update, transfer]
zone:
  - domain: {zone}
    storage: "{directory}"
    file: zone
    acl: updates
    zonefile-sync: -1
    zonefile-load: difference
    journal-content: all
"""
_ZONE = """\
@ 60 SOA ns1 hostmaster 1 60 60 3600 1
@ 60 NS ns1
ns1 60 A {address}
"""


class DnsServerError(RuntimeError):
    """The server is missing or did not start; the message says what to do, or has its last words."""


class DnsServer:
    """Context manager: knotd on a free port of `address`, with an empty zone.

    Args:
        zone: name of the zone.
        address: where it listens, over UDP and TCP.
    """

    def __init__(self, zone: str = "example.test", *, address: str = "127.0.0.1") -> None:
        self.zone = zone
        self.address = address
        self.port = 0
        self.key = "regent"
        self.secret = base64.b64encode(secrets.token_bytes(32)).decode()
        self._directory = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        program = shutil.which("knotd") or shutil.which("knotd", path="/usr/sbin")
        if program is None:
            raise DnsServerError("knotd is missing: apt-get install knot")
        with ExitStack() as stack:
            self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regent-dns-")))
            stack.callback(self.stop)
            for attempt in range(1, _STARTS + 1):
                self.port = free_port(self.address)
                try:
                    self._start(program)
                    break
                except DnsServerError:
                    if attempt == _STARTS:
                        raise
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """The server as a policy's `verification.url` names it."""
        return f"dns://{self.address}:{self.port}/"

    def records(self, name: str, kind: str = "A", *, timeout: float = 1.0) -> set[str]:
        """Ask the server for the records of a name; an empty set when it has none.

        Raises:
            AssertionError: it does not answer.
        """
        question = dns.message.make_query(name, kind)
        try:
            answer, _ = dns.query.udp_with_fallback(question, self.address, port=self.port, timeout=timeout)
        except (dns.exception.DNSException, OSError) as error:
            raise AssertionError(f"{self.url} does not answer: {error!r}") from error
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise AssertionError(f"{self.url} answers {dns.rcode.to_text(answer.rcode())} for {name}")
        wanted = dns.rdatatype.from_text(kind)
        return {item.to_text() for rrset in answer.answer if rrset.rdtype == wanted for item in rrset}

    def stop(self) -> None:
        """End the server."""
        if self._process is not None:
            stop(self._process)
            self._process = None

    def _start(self, program: str) -> None:
        configuration = self._directory / "knot.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                directory=self._directory,
                address=self.address,
                port=self.port,
                key=self.key,
                secret=self.secret,
                zone=self.zone,
            )
        )
        configuration.chmod(0o600)
        (self._directory / "zone").write_text(_ZONE.format(address=self.address))
        with (self._directory / "log").open("wb") as log:
            self._process = spawn([program, "-c", str(configuration)], stdout=log, stderr=log)
        deadline = time.monotonic() + 10.0
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise DnsServerError(f"knotd did not serve {self.zone}:\n{self._last_words()}")
            time.sleep(_POLL)

    def _serves(self) -> bool:
        try:
            return bool(self.records(self.zone, "SOA", timeout=0.2))
        except AssertionError:
            return False

    def _last_words(self) -> str:
        return "\n".join((self._directory / "log").read_text(errors="replace").splitlines()[-20:])
