"""Requests through the data plane that prove a cutover.

A fresh connection for every request: weights apply per request, and a kept connection could stay with an old backend
behind gateways that balance per connection. Where a URL may lead is the business of `adapters.egress`.
"""

from __future__ import annotations

from regent.adapters.egress.client import Answer, GuardedClient
from regent.adapters.traffic.dns_verification import DnsVerifier
from regent.domain.errors import ReceiverError
from regent.domain.traffic.targets import TargetSpec

TIMEOUT = 1.0


class DataPlaneVerifier:
    """The `Verifier` port, by the scheme of the verification's URL.

    Args:
        client: sends HTTP requests.
        allow_loopback: setting `egress.allowLoopback`, for DNS servers.
    """

    def __init__(self, client: GuardedClient, *, allow_loopback: bool) -> None:
        self._http = HttpVerifier(client)
        self._dns = DnsVerifier(allow_loopback=allow_loopback)

    async def check(self, target: TargetSpec, *, expected: frozenset[str]) -> str:
        """Ask once; see `Verifier.check`."""
        in_dns = target.verification is not None and target.verification.url.startswith("dns:")
        verifier = self._dns if in_dns else self._http
        return await verifier.check(target, expected=expected)


class HttpVerifier:
    """The `Verifier` port over the guarded client.

    Args:
        client: sends the requests.
    """

    def __init__(self, client: GuardedClient) -> None:
        self._client = client

    async def check(self, target: TargetSpec, *, expected: frozenset[str]) -> str:
        """Send one request; see `Verifier.check`."""
        spec = target.verification
        if spec is None:
            return "no verification is configured"
        headers = {"user-agent": "regent-verification"}
        if spec.host:
            headers["host"] = spec.host
        try:
            answer = await self._client.request("GET", spec.url, timeout=TIMEOUT, headers=headers)
        except ReceiverError as error:
            return str(error)[:200]
        return _judge(answer, spec.region_header.lower(), expected)


def _judge(answer: Answer, region_header: str, expected: frozenset[str]) -> str:
    if not 200 <= answer.status < 400:
        return f"answered {answer.status}"
    if not region_header:
        return ""
    region = answer.headers.get(region_header, "")
    if region in expected:
        return ""
    return f"answered by {region[:63] or 'a region that does not name itself'}, expected {', '.join(sorted(expected))}"
