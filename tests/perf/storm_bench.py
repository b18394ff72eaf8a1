"""A hundred policies whose active regions fail in the same moment: how long until the last one has its weights.

Each policy has its own HTTPRoute behind the gateway and two Regions of its own. All active Regions have their endpoints
on one server, all standbys on another; breaking the server breaks them all. Further Regions on a third server keep the
failing ones below the panic rule's share, as in a real outage of one site. The fast probe settings, so some 900 probes
a second go on beside. Rounds alternate between the two servers, and between refusing and hanging.

For each policy: fault, the verdict on its region (the operator's log, milliseconds), the plan in its run's journal
(`startTime`, microseconds), and the write of the weights as a watch sees it.

    python -m tests.perf.storm_bench --rounds 6
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from regent.domain.times import parse_rfc3339
from testbed.controlplane import Cluster, Component, ControlPlane, start_cluster
from testbed.gateway import Backend, TraefikGateway
from testbed.network import NetworkNamespaces
from testbed.operator.process import OperatorProcess
from testbed.scene import eventually, policy, region
from tests.perf.figures import Distribution, new_directory, save, say, table, verdict
from tests.perf.idle_bench import NAMESPACE, publish, settled
from tests.perf.process_figures import machine_cpu, usage
from tests.perf.responders import Responders
from tests.perf.storm_floor import floor
from tests.perf.watch import ApiWatch

SIDES = ("a", "b")
THRESHOLDS = {"recoveryPeriod": "1s", "degraded": {"errorRatePercent": 100}, "unhealthy": {"errorRatePercent": 100}}
"""A region that was broken for long is Degraded for another minute, and then no candidate for the round after."""
GROUP = f"/apis/regent.dev/v1alpha1/namespaces/{NAMESPACE}"
MARKS = ("verdict", "planned", "committed", "weights written")


class Storm:
    """The world of the benchmark."""

    def __init__(self, stack: ExitStack, *, policies: int, bystanders: int, settings: dict[str, str]) -> None:
        self.count = policies
        self._log_read = 0
        self.cluster = cluster = stack.enter_context(start_cluster(name="bench-storm"))
        cluster.install_crds(Path("crds"))
        self._gateway = gateway = stack.enter_context(TraefikGateway(cluster))
        network = stack.enter_context(NetworkNamespaces([*SIDES, "others"]))
        self.sides = {side: stack.enter_context(Responders(namespace=network[side], count=policies)) for side in SIDES}
        others = stack.enter_context(Responders(namespace=network["others"], count=bystanders))
        for name in ("regent-system", NAMESPACE):
            cluster.create_namespace(name)
        cluster.apply([region(f"other-{number}", endpoint=others.url(number)) for number in range(bystanders)])
        for number in range(policies):
            self._protect(cluster, gateway, number)
        self.operator = stack.enter_context(
            OperatorProcess(
                cluster.kubeconfig, directory=new_directory(), settings={"failover.startupGrace": "1s", **settings}
            )
        )
        self.operator.wait_ready(timeout=60.0)
        self.operator.wait(lambda: settled(cluster, policies), what="settle all policies", timeout=180.0)
        self.routes = stack.enter_context(
            ApiWatch(cluster, f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes")
        )
        self.policies = stack.enter_context(ApiWatch(cluster, f"{GROUP}/failoverpolicies"))
        self.runs = stack.enter_context(ApiWatch(cluster, f"{GROUP}/failovers"))

    def _protect(self, cluster: Cluster, gateway: TraefikGateway, number: int) -> None:
        """One application: two Regions, a route, a policy."""
        app, names = f"app-{number:03}", [f"{side}-{number:03}" for side in SIDES]
        servers = list(self.sides.values())
        cluster.apply(
            [
                region(name, endpoint=server.url(number), thresholds=THRESHOLDS)
                for name, server in zip(names, servers, strict=True)
            ]
        )
        backends = [
            Backend(region=name, address=server.address, port=server.first_port + number)
            for name, server in zip(names, servers, strict=True)
        ]
        publish(cluster, gateway, app, backends)
        cluster.apply(policy(app, names, namespace=NAMESPACE, safety={"cooldown": "0s"}))

    def round(self, side: str, fault: str) -> list[dict[str, float]]:
        """Break the side that is active, wait until all is over, heal; marks by policy in seconds since the fault."""
        other = SIDES[1 - SIDES.index(side)]
        for watch in (self.routes, self.policies, self.runs):
            watch.forget()
        wall, server = time.time() - time.monotonic(), self.sides[side]
        at = server.kill() if fault == "refuse" else server.hang()
        try:
            eventually(lambda: len(self._written(side)) == self.count, what="all routes", timeout=60.0, poll=0.2)
            eventually(lambda: len(self._runs_over()) == self.count, what="all runs to end", timeout=60.0, poll=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.operator.tail(60)}") from None
        finally:
            server.heal()
        verdicts, written, committed = self._verdicts(side), self._written(side), self._committed(other)
        planned = {
            str(status["policy"]): parse_rfc3339(status["startTime"]) - wall for status in self._runs_over().values()
        }
        return [
            {
                "verdict": verdicts[f"{side}-{app[-3:]}"] - wall - at,
                "planned": planned[app] - at,
                "committed": committed[app] - at,
                "weights written": written[app] - at,
            }
            for app in written
        ]

    def costs(self) -> Counter[str]:
        """CPU time by program, and what the operator did, so far."""
        pids = {"CPU-s operator": self.operator.pid, "CPU-s gateway": self._gateway.pid}
        if isinstance(self.cluster, ControlPlane):
            pids |= {f"CPU-s {part.value}": self.cluster.process(part).pid for part in Component}
        found = Counter({name: usage(pid).cpu for name, pid in pids.items()})
        found["CPU-s of everything on this machine"] = machine_cpu()
        for sample in self.operator.metrics():
            labels = sample.labels
            if sample.name == "regent_api_requests_total":
                found[f"{labels['verb']} {labels['kind']}"] += sample.value
            elif sample.name == "regent_reconcile_total":
                found[f"visits of {labels['kind']}"] += sample.value
        return found

    def floor(self, *, at_once: int) -> list[float]:
        """What the machine needs for the same writes; the operator ends for it. See `storm_floor`."""
        self.wait_calm()
        self.operator.terminate()
        return floor(self.cluster, at_once=at_once)

    def wait_calm(self) -> None:
        """All regions healthy, so that nothing but the fault of this round plays a part."""

        def healthy() -> bool:
            items = self.cluster.api.get("/apis/regent.dev/v1alpha1/regions")["items"]
            return all((item.get("status") or {}).get("health") == "Healthy" for item in items)

        def free() -> bool:
            items = self.cluster.api.get(f"{GROUP}/failoverpolicies")["items"]
            return not any((item.get("status") or {}).get("operation") for item in items)

        eventually(healthy, what="all regions to be healthy", timeout=240.0, poll=0.5)
        eventually(free, what="all policies to be free", timeout=60.0, poll=0.5)

    def _written(self, side: str) -> dict[str, float]:
        """When each route was first seen without weight on the broken side."""
        found: dict[str, float] = {}
        for event in self.routes.seen:
            references = event.object["spec"]["rules"][0]["backendRefs"]
            gone = next(item for item in references if item["name"].startswith(f"{event.name}-{side}-"))
            if gone.get("weight", 1) == 0:
                found.setdefault(event.name, event.at)
        return found

    def _committed(self, other: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for event in self.policies.seen:
            if str(event.status.get("activeRegion", "")).startswith(f"{other}-"):
                found.setdefault(event.name, event.at)
        return found

    def _runs_over(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for event in self.runs.seen:
            if event.kind != "DELETED" and "completionTime" in event.status:
                found[event.name] = {**event.status, "policy": event.object["spec"]["policyRef"]["name"]}
        return found

    def _verdicts(self, side: str) -> dict[str, float]:
        """Wall time of each "is Unreachable" in the log since the last round."""
        with self.operator.log.open("rb") as log:
            log.seek(self._log_read)
            lines = log.read().splitlines()
            self._log_read = log.tell()
        found: dict[str, float] = {}
        for line in lines:
            if b"is Unreachable" in line and line.startswith(b"{"):
                record = json.loads(line)
                name = str(record["object"]).removeprefix("Region/")
                if name.startswith(f"{side}-"):
                    found.setdefault(name, parse_rfc3339(record["time"]))
        return found


def show(
    rounds: list[tuple[str, list[dict[str, float]]]],
    costs: list[Counter[str]],
    limit: Distribution,
    *,
    policies: int,
    settings: dict[str, str],
) -> None:
    """Print the tables and write the JSON."""
    header = ["", "n", "p50", "p95", "p99", "max"]
    figures: dict[str, Any] = {"unit": "seconds", "policies": policies, "settings": settings, "distributions": {}}
    lines = []
    for fault in dict.fromkeys(name for name, _ in rounds):
        marks = [entry for name, entries in rounds if name == fault for entry in entries]
        lasts = [max(entry["weights written"] for entry in entries) for name, entries in rounds if name == fault]
        found = {mark: Distribution.of(entry[mark] for entry in marks) for mark in MARKS}
        steps = {
            "verdict → weights written": Distribution.of(e["weights written"] - e["verdict"] for e in marks),
            "plan journaled → weights written": Distribution.of(e["weights written"] - e["planned"] for e in marks),
            "fault → last of all weights (per round)": Distribution.of(lasts),
        }
        rows = [[f"fault → {mark}", *distribution.row()] for mark, distribution in found.items()]
        rows += [[name, *distribution.row()] for name, distribution in steps.items()]
        table(f"{policies} policies at once, {fault}, in ms", header, rows)
        figures["distributions"] |= {f"{fault}: {name}": d.summary() for name, d in {**found, **steps}.items()}
        p99 = steps["verdict → weights written"].at(99)
        lines.append(verdict(f"{fault}: verdict to weights written, p99", p99, 0.2, unit="s"))
        lines.append(f"{fault}: {p99 / limit.at(99):.1f} times the limit, p99: the same writes without an operator")
    table(
        "The limit: the same writes by a client that decides nothing, in ms",
        header,
        [["weights written", *limit.row()]],
    )
    figures["limit"] = limit.summary()
    each = {name: sum(cost[name] for cost in costs) / len(costs) / policies for name in sorted(set().union(*costs))}
    table("Per policy and round", ["", "mean"], [[name, f"{value:.3f}"] for name, value in each.items()])
    print("\n" + "\n".join(lines) + "\n")
    figures["targets"], figures["per_policy"] = lines, each
    save("storm", figures)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.storm_bench")
    parser.add_argument("--policies", type=int, default=100)
    parser.add_argument("--bystanders", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--faults", default="refuse,hang")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the operator")
    arguments = parser.parse_args()
    faults = arguments.faults.split(",")
    settings = dict(entry.split("=", 1) for entry in arguments.set)
    rounds: list[tuple[str, list[dict[str, float]]]] = []
    costs: list[Counter[str]] = []
    with ExitStack() as stack:
        say(f"starting the control plane, the gateway, {arguments.policies} applications and the operator")
        storm = Storm(stack, policies=arguments.policies, bystanders=arguments.bystanders, settings=settings)
        for number in range(arguments.rounds):
            # Each fault hits both sides, so it changes after every second round.
            side, fault = SIDES[number % 2], faults[number // 2 % len(faults)]
            storm.wait_calm()
            before = storm.costs()
            marks = storm.round(side, fault)
            rounds.append((fault, marks))
            costs.append(storm.costs() - before)
            last = max(entry["weights written"] for entry in marks)
            say(
                f"round {number + 1}, {fault} {side}: last weights after {last * 1000:.0f} ms; "
                + ", ".join(f"{name} {value:.4g}" for name, value in sorted(costs[-1].items()))
            )
        say("the same writes without the operator")
        limit = Distribution.of(storm.floor(at_once=int(settings.get("reconcile.failovers", "4"))))
    show(rounds, costs, limit, policies=arguments.policies, settings=settings)


if __name__ == "__main__":
    main()
