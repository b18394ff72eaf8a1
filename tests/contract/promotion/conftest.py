"""Fixtures of the promotion steps' contract tests: a hub and two member clusters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from testbed.controlplane import ControlPlane
from testbed.toolchain import ToolchainError, cloudnative_pg_crds, csi_addons_crds, ensure, kubevirt_crds
from tests.chart_render import render_chart
from tests.contract.promotion.regions import EU, US, Bench, Member, open_bench

PLACE = "the-namespace-of-the-policy"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Get what only these tests need before the first of them is timed; see tests/cluster_fixtures.py."""
    wanted = any("members" in getattr(item, "fixturenames", ()) for item in session.items)
    if session.config.option.collectonly or not wanted:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with ExitStack() as stack:
        if capture is not None:
            stack.enter_context(capture.global_and_fixture_disabled())
        stack.enter_context(suppress(ToolchainError))
        for tool in ("helm", "csi-addons-manager"):
            ensure(tool)
        for definitions in (cloudnative_pg_crds, csi_addons_crds, kubevirt_crds):
            definitions()


@pytest.fixture(scope="session")
def members() -> Iterator[dict[str, Member]]:
    """Two member clusters with the definitions of CloudNativePG, csi-addons and KubeVirt."""
    definitions: list[Any] = [
        cloudnative_pg_crds() / "postgresql.cnpg.io_clusters.yaml",
        csi_addons_crds(),
        kubevirt_crds(),
    ]

    def start(name: str) -> tuple[ControlPlane, Member]:
        plane = ControlPlane.start(name=name)
        try:
            for definition in definitions:
                plane.install_crds(definition)
            return plane, Member.prepare(plane)
        except BaseException:
            plane.__exit__(None, None, None)
            raise

    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        found = {}
        for name, made in zip((EU, US), pool.map(start, (EU, US)), strict=True):
            stack.push(made[0].__exit__)
            found[name] = made[1]
        yield found


@pytest.fixture(scope="session")
def chart_rights() -> str:
    """What the chart grants for promotion steps in one namespace, which is also the operator's own, as JSON."""
    values = {
        "promotion.kinds": ["Scale", "CronJob"],
        "promotion.namespaces": [PLACE],
        "promotion.serviceAccounts": [{"namespace": PLACE, "name": "failover"}],
    }
    kinds = ("ServiceAccount", "ClusterRole", "Role", "RoleBinding")
    return json.dumps([obj for obj in render_chart(values, namespace=PLACE) if obj["kind"] in kinds])


@pytest.fixture
async def bench(
    control_plane: Any, members: dict[str, Member], namespace: str, chart_rights: str
) -> AsyncIterator[Bench]:
    """A policy's namespace everywhere. The hub's account has what the chart gives it, in this namespace only."""

    def prepare() -> Any:
        control_plane.apply(json.loads(chart_rights.replace(PLACE, namespace)))
        for member in members.values():
            member.plane.create_namespace(namespace)
        return control_plane.service_account_kubeconfig(namespace, "regent")

    kubeconfig = await asyncio.to_thread(prepare)
    made, _ = await open_bench(hub=control_plane, hub_kubeconfig=kubeconfig, members=members, namespace=namespace)
    yield made
    await made.access.close()
    await made.hub.close()
    for member in members.values():
        await asyncio.to_thread(member.plane.delete_namespace, namespace)
