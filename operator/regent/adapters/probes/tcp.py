"""TCP probes: a connection, with TLS when asked for, and nothing said on it.

There is no kept connection: only a new one proves anything. With TLS 1.3 a server judges the client's certificate after
the handshake is over for the client, so a server that wants another certificate is not seen here; a check that
exchanges data (HTTP, gRPC) sees it.
"""

from __future__ import annotations

import asyncio
import time

from regent.adapters.probes.connect import Connector, reset_on_close
from regent.adapters.probes.resolve import Addresses
from regent.adapters.probes.tls import certificate_expiry
from regent.domain.health.model import Outcome, ProbeResult


class TcpEndpointProber:
    """Probes one TCP endpoint (the `EndpointProber` port)."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    async def probe(self, *, timeout: float, cold: bool) -> ProbeResult:
        """See the port; every probe is cold."""

        async def exchange(addresses: Addresses) -> ProbeResult:
            start = time.monotonic()
            transport, _, sock = await self._connector.open(asyncio.Protocol, addresses, timeout=timeout)
            latency = time.monotonic() - start
            expiry = certificate_expiry(transport.get_extra_info("ssl_object"))
            reset_on_close(sock)
            transport.abort()
            return ProbeResult(outcome=Outcome.SUCCESS, latency=latency, certificate_expiry_time=expiry)

        return await self._connector.attempt(timeout, exchange)

    async def close(self) -> None:
        """See the port; nothing is kept."""
