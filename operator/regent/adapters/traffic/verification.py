"""Requests through the data plane that prove a cutover.

A fresh connection for every request: weights apply per request, and a kept connection could stay with an old backend
behind gateways that balance per connection. Egress is bounded: http and https only, no redirects, and no address that
leads back to this machine or its metadata service unless the settings allow it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from urllib.parse import urlsplit

import httpx

from regent.domain.traffic.targets import TargetSpec

TIMEOUT = 1.0
MAX_BODY = 64 * 1024


class HttpVerifier:
    """The `Verifier` port over httpx.

    Args:
        allow_loopback: setting `egress.allowLoopback`.
    """

    def __init__(self, *, allow_loopback: bool) -> None:
        self._allow_loopback = allow_loopback
        self._tls = ssl.create_default_context()  # made once: loading the trust store takes 20 ms

    async def check(self, target: TargetSpec, *, expected: frozenset[str]) -> str:
        """Send one request; see `Verifier.check`."""
        spec = target.verification
        if spec is None:
            return "no verification is configured"
        refused = await self._refused(spec.url)
        if refused:
            return refused
        headers = {"user-agent": "regent-verification", "connection": "close"}
        if spec.host:
            headers["host"] = spec.host
        try:
            async with (
                httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False, trust_env=False, verify=self._tls) as client,
                client.stream("GET", spec.url, headers=headers) as answer,
            ):
                return _judge(answer, spec.region_header, expected)
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"[:200]

    async def _refused(self, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return f"{url} is not an http or https URL"
        if self._allow_loopback:
            return ""
        loop = asyncio.get_running_loop()
        try:
            infos = await asyncio.wait_for(
                loop.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM), TIMEOUT
            )
        except (OSError, TimeoutError) as error:
            return f"{parts.hostname} cannot be resolved: {error}"[:200]
        for info in infos:
            address = ipaddress.ip_address(info[4][0])
            if address.is_loopback or address.is_link_local or address.is_unspecified:
                return f"{parts.hostname} is {address}: loopback and link-local need the setting egress.allowLoopback"
        return ""


def _judge(answer: httpx.Response, region_header: str, expected: frozenset[str]) -> str:
    if not 200 <= answer.status_code < 400:
        return f"answered {answer.status_code}"
    if not region_header:
        return ""
    region = answer.headers.get(region_header, "")
    if region in expected:
        return ""
    return f"answered by {region[:63] or 'a region that does not name itself'}, expected {', '.join(sorted(expected))}"
