"""A hub, two member clusters and `regent run` between them, all real; each test has namespaces of its own."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from testbed.controlplane import ControlPlane
from testbed.operator.proxy import ApiProxy
from tests.cluster.replication.bench import EU, HUB, US, Bench, Operator, prepare_hub, prepare_member
from tests.cluster.replication.crashing import Doom, Scenario
from tests.cluster.replication.detours import account, another_region


@pytest.fixture(scope="session")
def planes() -> Iterator[dict[str, ControlPlane]]:
    """The control planes by region: the hub's own region lives in the hub."""
    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        names = (HUB, EU, US)
        started = list(pool.map(lambda name: ControlPlane.start(name=f"replication-{name}"), names))
        for plane in started:
            stack.push(plane.__exit__)
        found = dict(zip(names, started, strict=True))
        prepare_hub(found[HUB])
        for name in (EU, US):
            prepare_member(found[HUB], found[name], name)
        yield found


@pytest.fixture(scope="session")
def operator(planes: dict[str, ControlPlane], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One replica for all tests, which may be stopped and started."""
    with Operator(planes[HUB], Path(tmp_path_factory.mktemp("operator"))) as running:
        yield running


@pytest.fixture
def bench(request: pytest.FixtureRequest, planes: dict[str, ControlPlane], operator: Operator) -> Iterator[Bench]:
    """A namespace of the same name in every cluster."""
    operator.start()
    word = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    namespace = f"{word}-{secrets.token_hex(3)}"
    for plane in planes.values():
        plane.create_namespace(namespace)
    made = Bench(namespace, planes, operator)
    yield made
    made.remove_policies()
    for plane in planes.values():
        plane.delete_namespace(namespace)
    if getattr(request.node, "failed", False):
        print(operator.tail())


@pytest.fixture
def doomed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scenario, Operator, Doom]]:
    """A scenario whose target and hub are behind proxies, and an operator of its own that goes through them."""
    bench.operator.stop()
    doom = Doom()
    with ExitStack() as stack:
        sides = {
            side: stack.enter_context(
                ApiProxy(account(bench.planes[name], "crash"), look=doom.watch(side), counts=doom.counts)
            )
            for side, name in (("target", EU), ("hub", HUB))
        }
        region = stack.enter_context(another_region(bench, bench.planes[EU], sides["target"].kubeconfig))
        directory = tmp_path_factory.mktemp("doomed")
        operator = Operator(bench.planes[HUB], directory, kubeconfig=sides["hub"].kubeconfig)
        stack.enter_context(operator)
        doom.kill = operator.kill
        bench.operator, kept = operator, bench.operator
        yield Scenario(bench, region), operator, doom
        bench.operator = kept
