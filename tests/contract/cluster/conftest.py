"""The same tests against the fake API server and, marked `cluster`, the adapter against a real one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from regent.adapters.clock import SystemClock
from regent.adapters.kubernetes.client import KubernetesCluster
from regent.adapters.kubernetes.connection import connect
from regent.engine.ports import Cluster
from tests.fakes.cluster import FakeCluster
from tests.fakes.ports import FakeMetrics

CRDS = Path(__file__).parents[3] / "crds"


@dataclass
class Bench:
    """A cluster under test, and a namespace and a prefix for names of cluster-scoped objects that are free."""

    cluster: Cluster
    namespace: str

    def name(self, of: str) -> str:
        return f"{self.namespace}-{of}"


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.cluster)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "fake":
        yield Bench(FakeCluster(), f"contract-{uuid.uuid4().hex[:8]}")
        return
    plane: Any = request.getfixturevalue("control_plane")
    namespace: str = request.getfixturevalue("namespace")
    await asyncio.to_thread(plane.install_crds, CRDS)
    connection = await connect(kubeconfig=str(plane.kubeconfig))
    cluster = KubernetesCluster(connection, clock=SystemClock(), metrics=FakeMetrics())
    try:
        yield Bench(cluster, namespace)
    finally:
        await cluster.close()
