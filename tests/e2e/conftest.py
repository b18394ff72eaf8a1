"""The stage of the end-to-end tests: one control plane and one gateway for all, a pair of operators for each module.

Each test has a scene of its own (namespace, regions in network namespaces, route, policy) with names that nobody else
uses. The control plane is not the shared one of the cluster tests: tests here stop and freeze its API server.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed.controlplane import ControlPlane
from testbed.gateway import TraefikGateway
from testbed.operator import Installation, OperatorReplicas, install
from testbed.scene import Scene
from testbed.toolchain import ToolchainError, ensure

HERE = Path(__file__).parent
OWN = HERE / "testbed"
CRASH = HERE / "crash"
SETTINGS = {"failover": {"startupGrace": "1s"}, "egress": {"allowLoopback": True}}
FORBIDDEN = ("Forbidden", '"status": 403', " 403 ")
CRASHES = ("Traceback (most recent call last)",)


@dataclass(frozen=True, slots=True)
class Stage:
    """What all tests of the run share."""

    cluster: ControlPlane
    gateway: TraefikGateway
    installation: Installation


def _is_ours(item: pytest.Item) -> bool:
    return HERE in item.path.parents and OWN not in item.path.parents


def _group(item: pytest.Item) -> str:
    # The crash tests that are played whole wait for leases most of the time: each then has a control plane of its own.
    alone = os.environ.get("REGENT_CRASH") and CRASH in item.path.parents
    return item.name if alone else "e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_ours(item):
            item.add_marker(pytest.mark.e2e)
            # One worker plays them all: they share a control plane, and two at a time would disturb their timing.
            item.add_marker(pytest.mark.xdist_group(_group(item)))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(120))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what only these tests need before the first of them is timed; see tests/cluster_fixtures.py."""
    if session.config.option.collectonly or not any(_is_ours(item) for item in session.items):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with ExitStack() as stack:
        if capture is not None:
            stack.enter_context(capture.global_and_fixture_disabled())
        stack.enter_context(suppress(ToolchainError))
        for tool in ("traefik", "helm", "external-dns"):
            ensure(tool)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show what the operators logged beside a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    replicas = getattr(item, "funcargs", {}).get("operators")
    if report.failed and isinstance(replicas, OperatorReplicas):
        for member in replicas:
            report.sections.append((f"log of {member.name}", member.tail(60)))


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """Control plane with the chart installed, and the gateway."""
    with ControlPlane.start(name="e2e") as cluster:
        installation = install(cluster, settings=SETTINGS)
        with TraefikGateway(cluster) as gateway:
            yield Stage(cluster, gateway, installation)


@pytest.fixture(scope="module")
def operators(stage: Stage) -> Iterator[OperatorReplicas]:
    """Two replicas with the chart's account and arguments; nothing may be refused to them, and nothing may crash."""
    with OperatorReplicas(stage.installation) as replicas:
        yield replicas
        claim_logs(replicas)


class OperatorFaultError(AssertionError):
    """The log of an operator tells of a fault; tests/conftest.py never plays a test again for it."""


def claim_logs(replicas: OperatorReplicas) -> None:
    """Nothing was refused to them, and nothing crashed."""
    for member in replicas:
        refused = [line for line in member.log_text().splitlines() if any(word in line for word in FORBIDDEN)]
        if refused:
            raise OperatorFaultError(f"the chart's rights do not do for {member.name}: {refused[:5]}")
        if any(word in member.log_text() for word in CRASHES):
            raise OperatorFaultError(f"{member.name} crashed:\n{member.tail(60)}")


MakeScene = Callable[..., Scene]


@pytest.fixture
def make_scene(stage: Stage) -> Iterator[MakeScene]:
    """Makes scenes that end with the test: `make_scene("west", "central")` has regions with names that end so."""
    with ExitStack() as stack:

        def make(*suffixes: str, **options: Any) -> Scene:
            word = f"t{secrets.token_hex(2)}"
            names = [f"{word}-{suffix}" for suffix in suffixes or ("west", "central", "east")]
            return stack.enter_context(Scene(stage.cluster, stage.gateway, names, namespace=word, **options))

        yield make


@pytest.fixture
def scene(make_scene: MakeScene, operators: OperatorReplicas) -> Scene:
    """Three regions, fast probes, an adopted policy: the first region serves."""
    operators.leader(timeout=60)
    made = make_scene()
    made.apply_regions()
    made.apply_policy()
    made.wait_adopted()
    return made
