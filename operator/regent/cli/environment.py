"""The real world of the commands: the API server that the kubeconfig names, probes from this machine, the clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from regent.adapters.clock import SystemClock
from regent.adapters.kubernetes.client import KubernetesCluster
from regent.adapters.kubernetes.connection import connect
from regent.cli.fields import value_at
from regent.cli.kubeconfig import namespace_of
from regent.cli.options import ClusterOptions, Environment
from regent.cli.probes import check_now
from regent.engine.ports import Cluster, Object
from regent.engine.promotion import MemberAccess
from regent.engine.resources import REGIONS

REQUEST_TIMEOUT = 15.0
"""Seconds for one request: a person waits, and the link may be slow."""

FIELD_MANAGER = "regent-cli"
"""Not the operator's: what a person wrote by hand can be told from what Regent wrote by itself."""


class NoMetrics:
    """Implements `regent.engine.ports.Metrics` for a process that nobody scrapes."""

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Drop it."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Drop it."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Drop it."""

    def forget(self, **labels: str) -> None:
        """Nothing is kept."""


def real_environment() -> Environment:
    """Give the environment of a command that a person or a script runs."""
    clock = SystemClock()
    return Environment(
        connect=_connect,
        namespace=namespace_of,
        check=check_now,
        members=_members,
        wall=clock.wall,
        monotonic=clock.monotonic,
        sleep=asyncio.sleep,
    )


@asynccontextmanager
async def _members(cluster: Cluster, regions: Sequence[Object], namespace: str) -> AsyncIterator[MemberAccess]:
    from regent.adapters.kubernetes.member import MemberClusterPool
    from regent.api.v1alpha1.convert_region import region_plan
    from regent.engine.region_access import RegionAccess
    from regent.engine.region_secrets import RegionSecrets
    from regent.engine.store import Store

    clock, store = SystemClock(), Store()
    for region in regions:
        # As exported: they have no uid and no version yet.
        metadata = {**region["metadata"], "uid": region["metadata"]["name"], "resourceVersion": "1"}
        store.observe(REGIONS, {**region, "metadata": metadata})
    named = {str(value_at(region, ".spec.cluster.kubeconfigSecretRef.namespace") or namespace) for region in regions}
    access = RegionAccess(
        store=store,
        read_reference=lambda region: region_plan(region).facts.cluster,
        secrets=RegionSecrets(cluster=cluster, namespace=namespace, allowed=named),
        members=MemberClusterPool(clock=clock, metrics=NoMetrics()),
        hub=lambda _account: cluster,
        clock=clock,
    )
    try:
        yield access
    finally:
        await access.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def _connect(options: ClusterOptions) -> AsyncIterator[Cluster]:
    connection = await connect(kubeconfig=options.kubeconfig, context=options.context)
    cluster = KubernetesCluster(
        connection,
        clock=SystemClock(),
        metrics=NoMetrics(),
        timeout=REQUEST_TIMEOUT,
        pool=4,
        field_manager=FIELD_MANAGER,
    )
    try:
        yield cluster
    finally:
        await cluster.close()
        # Closing a TLS connection takes one more turn of the loop; without it the transport is torn down half closed.
        await asyncio.sleep(0)
