"""Probes of the command line: resolved from a Region as the operator resolves them, and run once from this machine."""

from __future__ import annotations

import asyncio

from regent.domain.health.model import ProbeResult, ProbeSpec
from regent.engine.ports import Cluster, Object


async def resolve_probes(cluster: Cluster, region: Object, operator_namespace: str) -> tuple[ProbeSpec, ...]:
    """Give the region's probes with everything they need, Secrets included."""
    raise NotImplementedError


async def probe_once(specs: tuple[ProbeSpec, ...]) -> list[ProbeResult]:
    """Run each probe once, all at the same time, each on a connection of its own; none may take over its time-out."""
    from regent.adapters.probes.prober import ProbePool

    pool = ProbePool()
    probers = [pool.open(spec) for spec in specs]
    try:
        return await asyncio.gather(
            *(prober.probe(timeout=spec.timeout, cold=True) for prober, spec in zip(probers, specs, strict=True))
        )
    finally:
        await asyncio.gather(*(prober.close() for prober in probers))
        await pool.close()
