"""Probes of the command line: made of a Region as the operator makes them, and run once from this machine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from regent.adapters.probes.prober import ProbePool
from regent.api.v1alpha1.convert_region import region_plan
from regent.domain.errors import RegentError
from regent.domain.health.model import Outcome, ProbeResult, ProbeSpec
from regent.domain.health.plan import ProbePlan, RegionPlan
from regent.engine.ports import Cluster, Object
from regent.engine.region_secrets import RegionSecrets, SetupProblemError


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """A probe and what it found."""

    spec: ProbeSpec
    result: ProbeResult


async def check_now(cluster: Cluster, region: Object, operator_namespace: str) -> list[CheckOutcome]:
    """Run each probe of the region once, all at the same time, each on a connection of its own.

    A probe that cannot be made, because its Secret is not to be had, counts as not run.

    Raises:
        RegentError: the spec cannot be used.
        ClusterError: the API server could not give a Secret.
    """
    try:
        plan = region_plan(region)
    except ValueError as error:
        raise RegentError(f"the region's spec cannot be used: {error}") from error
    # Secrets are read with the permissions of whoever asks, so the operator's own limits do not apply. What is read is
    # used to verify and to sign: it does not leave this machine.
    secrets = RegionSecrets(cluster=cluster, namespace=operator_namespace, allowed=_namespaces(plan))
    pool = ProbePool()
    try:
        return list(await asyncio.gather(*(_check(pool, secrets, probe) for probe in plan.probes)))
    finally:
        await pool.close()


async def _check(pool: ProbePool, secrets: RegionSecrets, plan: ProbePlan) -> CheckOutcome:
    try:
        spec = await secrets.probe(plan)
        prober = pool.open(spec)
    except SetupProblemError as problem:
        message = str(problem).replace("the operator's account", "you")
        return CheckOutcome(plan.spec, ProbeResult(outcome=Outcome.NOT_RUN, detail=message))
    except ValueError as problem:
        return CheckOutcome(plan.spec, ProbeResult(outcome=Outcome.NOT_RUN, detail=str(problem)))
    try:
        return CheckOutcome(spec, await prober.probe(timeout=spec.timeout, cold=True))
    finally:
        await prober.close()


def _namespaces(plan: RegionPlan) -> set[str]:
    references = (reference for probe in plan.probes for reference in (probe.ca, probe.client_certificate))
    return {reference.namespace for reference in references if reference is not None and reference.namespace}
