"""Short ways to make specs and run probes in tests of the probe adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from regent.adapters.probes.httpx_prober import HttpxProber
from regent.adapters.probes.prober import ProbePool
from regent.domain.health.model import HttpCheck, ProbeResult, ProbeSpec, TlsOptions
from regent.engine.ports import EndpointProber, Prober

ADAPTERS = {"http1": ProbePool, "httpx": HttpxProber}


def spec_for(
    port: int, check: Any = None, *, host: str = "127.0.0.1", tls: TlsOptions | None = None, **fields: Any
) -> ProbeSpec:
    """A spec for a server on loopback; further keywords are those of HttpCheck."""
    return ProbeSpec(region="eu", name="web", host=host, port=port, check=check or HttpCheck(**fields), tls=tls)


@asynccontextmanager
async def opened(adapter: str, spec: ProbeSpec) -> AsyncIterator[EndpointProber]:
    """An endpoint prober that is closed, with its pool, at the end."""
    prober: Prober = ADAPTERS[adapter]()
    try:
        endpoint = prober.open(spec)
        try:
            yield endpoint
        finally:
            await endpoint.close()
    finally:
        await prober.close()


async def probe_once(adapter: str, spec: ProbeSpec, *, timeout: float = 2.0, cold: bool = False) -> ProbeResult:
    """Probe with an endpoint prober of its own; again when the machine was too busy for the probe to mean anything."""
    async with opened(adapter, spec) as endpoint:
        for _ in range(9):
            result = await endpoint.probe(timeout=timeout, cold=cold)
            if "loop was late" not in result.detail:
                return result
        return await endpoint.probe(timeout=timeout, cold=cold)
