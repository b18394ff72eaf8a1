"""What an HTTP check asks and how its answer is judged, the same for every HTTP adapter.

The request is built once when the prober is opened; judging needs no more than the status and the body.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any
from urllib.parse import quote

from regent.adapters.probes.jsonpath import Path, find, parse_path
from regent.domain.health.model import HttpCheck, LoadFigures, Outcome, ProbeResult, ProbeSpec

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_HOST = re.compile(r"[A-Za-z0-9._~:\[\]%-]+")
_OWN_HEADERS = frozenset({"connection", "content-length", "transfer-encoding", "upgrade", "te", "expect"})


class CompiledHttpCheck:
    """An HttpCheck made ready: `target`, `headers`, and a judge of answers. ValueError when the check is unusable."""

    __slots__ = ("_capacity", "_contains", "_error_rate", "_expected", "headers", "target", "wants_body")

    def __init__(self, check: HttpCheck, spec: ProbeSpec) -> None:
        if not check.path.startswith("/"):
            raise ValueError(f"path {check.path!r} does not start with /")
        self.target = quote(check.path, safe="/?#[]@!$&'()*+,;=:%~-._").partition("#")[0]
        """Path and query as they go over the wire."""
        self.headers = _headers(check, spec)
        """All header fields of the request but Connection, Host first."""
        expected = bytearray(1000)
        for low, high in check.expected_statuses:
            for status in range(max(low, 0), min(high, 999) + 1):
                expected[status] = 1
        self._expected = bytes(expected)
        self._contains = check.body_contains.encode()
        self._error_rate = parse_path(check.error_rate_path) if check.error_rate_path else None
        self._capacity = parse_path(check.capacity_path) if check.capacity_path else None
        self.wants_body = bool(self._contains or self._error_rate or self._capacity)
        """Whether the verdict needs the body at all; without it the head of the answer is enough."""

    def request(self, *, keep_alive: bool) -> bytes:
        """Return the bytes of the request."""
        fields = (*self.headers, ("Connection", "keep-alive" if keep_alive else "close"))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields)
        return f"GET {self.target} HTTP/1.1\r\n{head}\r\n".encode("latin-1")

    def judge(
        self, status: int, body: bytes | bytearray, *, latency: float, reused: bool, expiry: float | None
    ) -> ProbeResult:
        """Return the result for an answer that came whole."""
        outcome, detail, load = Outcome.SUCCESS, "", None
        if not self._expected[status]:
            outcome, detail = Outcome.REFUSED, f"HTTP status {status}"
        elif self._contains and self._contains not in body:
            outcome, detail = Outcome.REFUSED, f"HTTP status {status}, but the body does not contain the expected text"
        elif self._error_rate or self._capacity:
            load = read_load(body, error_rate=self._error_rate, capacity=self._capacity)
        return ProbeResult(
            outcome=outcome,
            latency=latency,
            detail=detail,
            reused=reused,
            load=load,
            certificate_expiry_time=expiry,
        )


def read_load(body: bytes | bytearray, *, error_rate: Path | None, capacity: Path | None) -> LoadFigures | None:
    """Return the figures that a JSON body gives, None when it gives none. What is no percentage is not said."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    figures = LoadFigures(
        error_rate_percent=None if error_rate is None else _percentage(find(document, error_rate)),
        capacity_available_percent=None if capacity is None else _percentage(find(document, capacity)),
    )
    return None if figures == LoadFigures() else figures


def _percentage(value: Any) -> float | None:
    if isinstance(value, str) and len(value) <= 32:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Compared before it is converted: an integer may be too large for a float.
    return float(value) if 0 <= value <= 100 and math.isfinite(value) else None


def host_header(spec: ProbeSpec, host: str) -> str:
    """Return the Host field: the check's own, else the endpoint's with its port unless it is the scheme's."""
    if host:
        return host
    name = f"[{spec.host}]" if ":" in spec.host and not spec.host.startswith("[") else spec.host
    return name if spec.port == (443 if spec.tls else 80) else f"{name}:{spec.port}"


def _headers(check: HttpCheck, spec: ProbeSpec) -> tuple[tuple[str, str], ...]:
    given = {name.lower() for name, _ in check.headers}
    for name, value in check.headers:
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"header {name[:64]!r} has a character that HTTP does not allow")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"header {name!r} is set by the probe itself: leave it out")
    host = next((value for name, value in check.headers if name.lower() == "host"), "")
    host = check.host or host or host_header(spec, "")
    if not _HOST.fullmatch(host):
        raise ValueError(f"host {host[:64]!r} is not a host name")
    # A body that is compressed could not be searched.
    defaults = (("User-Agent", "regent-probe"), ("Accept", "*/*"), ("Accept-Encoding", "identity"))
    kept = tuple((name, value.strip()) for name, value in check.headers if name.lower() != "host")
    return (("Host", host), *((n, v) for n, v in defaults if n.lower() not in given), *kept)
