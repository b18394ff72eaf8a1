"""How long a failover takes, from the fault to the last request that fails, on real parts.

An application in six regions behind Traefik, a client that sends 100 requests a second, the operator with the fast
probe settings. Each run breaks the active region in one of three ways, at a random point of the probe interval:

- refuse: the server is killed, connections are reset and refused;
- hang: the server is stopped, the kernel accepts connections and nobody answers;
- drop: incoming packets vanish.

Regions take turns, so that flap damping and the panic rule see what they would see of real outages; before each run a
person's Failover moves the traffic to the region whose turn it is. All times are of one machine's monotonic clock.

    python -m tests.perf.failover_bench --runs 25
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regent.domain.times import parse_rfc3339
from testbed.controlplane import start_cluster
from testbed.gateway import TraefikGateway
from testbed.load import ClientLoop, Timeline
from testbed.operator.process import OperatorProcess
from testbed.regions import Region
from testbed.scene import Scene, failover
from tests.perf.figures import Distribution, new_directory, save, say, table, verdict
from tests.perf.watch import ApiWatch, Seen

NAMES = ("eu-west-1", "eu-central-1", "us-east-1", "us-west-2", "ap-south-1", "ap-east-1")
FAULTS: dict[str, Callable[[Region], float]] = {"refuse": Region.kill, "hang": Region.hang, "drop": Region.drop}
SETTINGS = {"failover.startupGrace": "1s", "egress.allowLoopback": "true"}
RATE = 100.0
AFTERMATH = 1.7
"""Seconds after the gateway's change of mind in which a request sent before it may still fail: its longest time-out is
1 s, and it tries once more."""

MARKS = (
    "first failing probe sent",
    "verdict",
    "run created",
    "committed",
    "weights written",
    "gateway serves",
    "last failed request",
)


@dataclass(frozen=True, slots=True)
class Watches:
    """What is followed at the API server."""

    routes: ApiWatch
    policies: ApiWatch
    runs: ApiWatch

    def forget(self) -> None:
        for watch in (self.routes, self.policies, self.runs):
            watch.forget()


class Bench:
    """One cluster, one application, many faults."""

    def __init__(self, stack: ExitStack, *, seed: int) -> None:
        self._random = random.Random(seed)
        self._moves = 0
        self._log_read = 0
        cluster = stack.enter_context(start_cluster(name="bench-failover"))
        cluster.install_crds(Path("crds"))
        gateway = stack.enter_context(TraefikGateway(cluster))
        self.scene = scene = stack.enter_context(Scene(cluster, gateway, NAMES, namespace="bench"))
        cluster.create_namespace("regent-system")
        scene.apply_regions()
        scene.apply_policy(safety={"cooldown": "0s"})
        self.operator = stack.enter_context(
            OperatorProcess(cluster.kubeconfig, directory=new_directory(), settings=SETTINGS)
        )
        self.operator.wait_ready()
        scene.wait_adopted()
        self.watches = Watches(
            routes=stack.enter_context(ApiWatch(cluster, scene.route_path.rpartition("/")[0])),
            policies=stack.enter_context(ApiWatch(cluster, scene.path("failoverpolicies"))),
            runs=stack.enter_context(ApiWatch(cluster, scene.path("failovers"))),
        )
        self.client = stack.enter_context(
            ClientLoop(gateway.url, host=scene.host, rate=RATE, timeout=2.0, duration=3600.0)
        )
        self.client.wait_served_by(scene.active()[0], timeout=10.0)

    def move_to(self, name: str) -> None:
        """Bring the traffic to a region by a person's Failover, and wait until it is served from there in peace."""
        active = str(self.scene.status()["activeRegion"])
        began = time.monotonic()
        if active != name:
            self._moves += 1
            run = failover("shop", namespace="bench", name=f"move-{self._moves}", from_=active, to=name)
            self.scene.cluster.apply(run)
        self._wait_settled(name)
        self.client.wait_served_by(name, timeout=20.0, since=began)

    def _wait_settled(self, name: str) -> None:
        deadline = time.monotonic() + 40.0
        while True:
            status = self.scene.status()
            if status.get("activeRegion") == name and not status.get("operation"):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"traffic did not come to {name}: {status}\n{self.operator.tail()}")
            time.sleep(0.05)

    def run(self, fault: str, name: str) -> dict[str, float]:
        """Break the active region and give the marks in seconds since the fault."""
        self.move_to(name)
        # Any phase of the probes is as likely as any other.
        time.sleep(0.2 + self._random.uniform(0.0, 0.25))
        self.watches.forget()
        epoch = int(self.scene.status()["epoch"])
        region = self.scene.region(name)
        wall = time.time() - time.monotonic()
        at = FAULTS[fault](region)
        try:
            written = self.watches.routes.wait(lambda event: _weight(event, name) == 0, since=at, timeout=15.0)
            served = self.client.wait_for(lambda record: record.good and record.region != name, timeout=10.0, since=at)
            calm = served.sent + AFTERMATH
            self.client.wait_for(lambda record: record.sent >= calm, timeout=10.0, since=calm)
            created = self.watches.runs.wait(lambda event: event.kind == "ADDED", since=at, timeout=5.0)
            committed = self.watches.policies.wait(
                lambda event: int(event.status.get("epoch", 0)) > epoch, since=at, timeout=5.0
            )
            finished = self.watches.runs.wait(
                lambda event: event.name == created.name and "completionTime" in event.status, since=at, timeout=10.0
            )
        finally:
            region.heal()
        timeline = self.client.timeline().since(at)
        gateway = _first_good_elsewhere(timeline, name)
        return {
            "first failing probe sent": _monotonic(finished.status["detectionTime"], wall) - at,
            "verdict": self._verdict(name, after=at + wall) - wall - at,
            "run created": created.at - at,
            "committed": committed.at - at,
            "weights written": written.at - at,
            "gateway serves": gateway - at,
            "last failed request": timeline.between(at, calm).outage(at),
            "run over": finished.at - at,
            "lost": float(timeline.between(at, calm).lost),
        }

    def _verdict(self, name: str, *, after: float) -> float:
        """Wall time of the log line that says Unreachable (to the millisecond)."""
        with self.operator.log.open("rb") as log:
            log.seek(self._log_read)
            lines = log.read().splitlines()
            self._log_read = log.tell()
        for line in lines:
            if b"Unreachable" not in line or not line.startswith(b"{"):
                continue
            record = json.loads(line)
            if record.get("object") == f"Region/{name}" and "is Unreachable" in record["message"]:
                moment = _wall(record["time"])
                if moment >= after - 0.01:
                    return moment
        raise LookupError(f"the log does not say that {name} became Unreachable")


def _weight(event: Seen, region: str) -> int | None:
    for rule in event.object.get("spec", {}).get("rules", []):
        for reference in rule.get("backendRefs", []):
            if reference["name"] == f"shop-{region}":
                return int(reference.get("weight", 1))
    return None


def _first_good_elsewhere(timeline: Timeline, region: str) -> float:
    return min(record.done for record in timeline.records if record.good and record.region != region)


def _wall(text: str) -> float:
    return parse_rfc3339(text.replace("Z", "+00:00"))


def _monotonic(text: str, wall: float) -> float:
    return _wall(text) - wall


def show(results: dict[str, list[dict[str, float]]], *, settings: dict[str, Any]) -> None:
    """Print the tables and write the JSON."""
    header = ["", "runs", "p50", "p95", "p99", "max"]
    figures: dict[str, Any] = {"settings": settings, "unit": "seconds", "distributions": {}, "targets": []}
    for what in ("weights written", "last failed request"):
        rows = []
        for fault, runs in results.items():
            found = Distribution.of(run[what] for run in runs)
            figures["distributions"][f"{fault}: {what}"] = found.summary()
            rows.append([fault, *found.row()])
        together = Distribution.of(run[what] for runs in results.values() for run in runs)
        rows.append(["all", *together.row()])
        figures["distributions"][f"all: {what}"] = together.summary()
        table(f"Fault to {what}, in ms", header, rows)
    for fault, runs in results.items():
        rows, before = [], [0.0] * len(runs)
        for mark in MARKS:
            values = [run[mark] for run in runs]
            since_fault = Distribution.of(values)
            step = Distribution.of(value - last for value, last in zip(values, before, strict=True))
            rows.append([mark, *since_fault.row()[1:], f"{step.at(50) * 1000:.0f}", f"{step.at(99) * 1000:.0f}"])
            figures["distributions"][f"{fault}: {mark}"] = since_fault.summary()
            before = values
        lost = Distribution.of(run["lost"] for run in runs)
        rows.append(["requests lost (of 100/s)", *lost.row(scale=1.0)[1:], "", ""])
        columns = ["since the fault, in ms", "p50", "p95", "p99", "max", "step p50", "step p99"]
        table(f"{fault}: where the time goes ({len(runs)} runs)", columns, rows)
    lines = []
    for fault in results:
        found = figures["distributions"]
        lines.append(
            verdict(f"{fault}: weights written, p99", found[f"{fault}: weights written"]["p99"], 1.0, unit="s")
        )
        last = found[f"{fault}: last failed request"]
        lines.append(verdict(f"{fault}: last failed request, median", last["p50"], 1.0, unit="s"))
        lines.append(verdict(f"{fault}: last failed request, p99", last["p99"], 2.0, unit="s"))
    print("\n" + "\n".join(lines) + "\n")
    figures["targets"], figures["runs"] = lines, results
    save("failover", figures)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.failover_bench")
    parser.add_argument("--runs", type=int, default=25, help="runs of each fault")
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    faults = arguments.faults.split(",")
    results: dict[str, list[dict[str, float]]] = {fault: [] for fault in faults}
    with ExitStack() as stack:
        say("starting the control plane, the gateway, six regions and the operator")
        bench = Bench(stack, seed=arguments.seed)
        for number in range(arguments.runs * len(faults)):
            fault, name = faults[number % len(faults)], NAMES[number % len(NAMES)]
            marks = bench.run(fault, name)
            results[fault].append(marks)
            say(
                f"{number + 1}/{arguments.runs * len(faults)} {fault} {name}: weights after "
                f"{marks['weights written'] * 1000:.0f} ms, last failed request after "
                f"{marks['last failed request'] * 1000:.0f} ms, {marks['lost']:.0f} lost"
            )
    show(results, settings={"probes": "250ms/200ms/50ms/3", "rate": RATE, "regions": len(NAMES), **SETTINGS})


if __name__ == "__main__":
    main()
