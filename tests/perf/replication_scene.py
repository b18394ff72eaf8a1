"""The world of the replication benchmark: control planes, objects, the operator, and a peer to compare with."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from testbed.controlplane import Component, ControlPlane
from testbed.toolchain import ensure
from tests.cluster.replication.bench import EU, HUB, US, Bench, Operator, prepare_hub, prepare_member
from tests.perf.api_requests import Request, requests
from tests.perf.figures import say
from tests.perf.process_figures import usage

NAMESPACE, FLOOR = "shop", "floor"
SIZE = 1024
WRITERS = 8
KUBECTL_ITEMS = 1000
"""Objects that kubectl copies: it sends one after the other, at most 50 a second on average after the first 300."""


class Scene:
    """A hub with the objects, member clusters for their copies, and an operator that has not been started.

    Args:
        targets: how many clusters get copies.
        within: seconds that anything waited for may take.
    """

    def __init__(self, stack: ExitStack, *, targets: int, within: float) -> None:
        self.targets = (EU, US)[:targets]
        self.selection = {"category": "Config", "kinds": [{"kind": "ConfigMap"}]}
        self._within = within
        names = (HUB, *self.targets)
        planes = {name: stack.enter_context(ControlPlane.start(name=f"bench-{name}")) for name in names}
        prepare_hub(planes[HUB])
        for name in self.targets:
            prepare_member(planes[HUB], planes[name], name)
        for plane in planes.values():
            for name in (NAMESPACE, FLOOR):
                plane.create_namespace(name)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        operator = stack.enter_context(Operator(planes[HUB], directory))
        self.planes = planes
        self.bench = Bench(NAMESPACE, planes, operator)

    def fill(self, count: int) -> None:
        """Make the objects: settings, a third of whose text is random."""
        api, began = self.planes[HUB].api, time.monotonic()

        def make(number: int) -> None:
            labels = {"app": "shop", **({FLOOR: "true"} if number < KUBECTL_ITEMS else {})}
            metadata = {"name": f"item-{number:05d}", "labels": labels}
            data = {"number": str(number), "settings": _settings(number)}
            api.create(
                self.bench.path("configmaps"),
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data},
            )

        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(make, range(count)))
        say(f"{count} objects in the source, made in {time.monotonic() - began:.0f} s")

    def until(self, true: Callable[[], Any], what: str, *, poll: float = 0.25) -> None:
        """Wait until it is so."""
        deadline = time.monotonic() + self._within
        while True:
            with contextlib.suppress(httpx.TransportError):  # the operator has just been started
                if true():
                    return
            if time.monotonic() > deadline:
                raise AssertionError(f"no {what}: {self.bench.status()}\n{self.bench.operator.tail()}")
            time.sleep(poll)

    def cpu(self) -> dict[str, float]:
        """CPU-seconds so far of the operator and of all API servers together."""
        servers = sum(usage(plane.process(Component.API_SERVER).pid).cpu for plane in self.planes.values())
        return {"operator": usage(self.bench.operator.pid).cpu, "servers": servers}

    def of_copies(self) -> Counter[Request]:
        """Requests so far, in all clusters, that are about ConfigMaps; watches, which last, are left out."""
        found: Counter[Request] = Counter()
        for plane in self.planes.values():
            found += requests(plane)
        return Counter({key: count for key, count in found.items() if key[1] == "configmaps" and key[0] != "WATCH"})

    def verified_at(self) -> float:
        """Seconds since the epoch of the last verification that is shown; 0 without one."""
        text = self.bench.status().get("lastVerifiedTime")
        return datetime.fromisoformat(text).timestamp() if text else 0.0


def kubectl_floor(bench: Bench) -> float:
    """Seconds that kubectl takes for an object, into a namespace that the policy does not know."""
    kubectl = str(ensure("kubectl"))
    began = time.monotonic()
    source = [kubectl, "--kubeconfig", str(bench.planes[HUB].kubeconfig), "--namespace", NAMESPACE]
    read = subprocess.run(
        [*source, "get", "configmaps", "--selector", f"{FLOOR}=true", "--output", "json"],
        check=True,
        capture_output=True,
    )
    found = json.loads(read.stdout)
    for item in found["items"]:
        item["metadata"] = {"name": item["metadata"]["name"], "labels": item["metadata"].get("labels", {})}
    target = [kubectl, "--kubeconfig", str(bench.planes[EU].kubeconfig), "--namespace", FLOOR]
    subprocess.run(
        [*target, "apply", "--server-side", "--filename", "-"],
        check=True,
        input=json.dumps(found).encode(),
        stdout=subprocess.DEVNULL,
    )
    return (time.monotonic() - began) / max(len(found["items"]), 1)


def _settings(number: int) -> str:
    """Text of SIZE characters, the same for the same number."""
    draw = random.Random(number)
    lines: list[str] = []
    while sum(map(len, lines)) < SIZE:
        lines.append(f"service.component-{len(lines)}.token={draw.randbytes(10).hex()}\n")
    return "".join(lines)[:SIZE]
