"""Memory and CPU of the operator with a thousand Regions probed every second, and how soon all are probed.

The whole operator is measured, not the prober alone: watches, health of every region, status, metrics, lease. The
probed servers are small processes in network namespaces; only the operator's own CPU time and memory count, as the
kernel reports them.

    python -m tests.perf.scale_bench --regions 1000 --seconds 60
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from testbed.controlplane import Cluster, start_cluster
from testbed.network import NetworkNamespaces
from testbed.operator.process import OperatorProcess
from testbed.scene import eventually, region
from tests.perf.api_requests import is_lease, requests, writes
from tests.perf.figures import new_directory, save, say, table, verdict
from tests.perf.idle_bench import SECOND
from tests.perf.process_figures import Usage, usage
from tests.perf.responders import Responders

SERVERS = 4
SETTLE = 90.0
"""Seconds after the start: a Region shows its figures once, a minute after its first probe."""
REGIONS = "/apis/regent.dev/v1alpha1/regions"


class Scale:
    """The world of the benchmark: Regions first, then the operator, as after a restart."""

    def __init__(self, stack: ExitStack, *, regions: int) -> None:
        self.count = regions
        self.cluster: Cluster = stack.enter_context(start_cluster(name="bench-scale"))
        self.cluster.install_crds(Path("crds"))
        self.cluster.create_namespace("regent-system")
        network = stack.enter_context(NetworkNamespaces([f"s{number}" for number in range(SERVERS)]))
        each = -(-regions // SERVERS)
        self.servers = [
            stack.enter_context(Responders(namespace=network[f"s{number}"], count=each)) for number in range(SERVERS)
        ]
        for number in range(regions):
            server = self.servers[number % SERVERS]
            self.cluster.apply(
                region(f"region-{number:04}", endpoint=server.url(number // SERVERS), timing=SECOND, recovery="120s")
            )
        self.operator = OperatorProcess(
            self.cluster.kubeconfig, directory=new_directory(), settings={"failover.startupGrace": "1s"}
        )
        stack.callback(self.operator.close)

    def empty(self) -> Usage:
        """The operator's figures without a single Region."""
        with ExitStack() as stack:
            other = stack.enter_context(start_cluster(name="bench-empty"))
            other.install_crds(Path("crds"))
            other.create_namespace("regent-system")
            operator = stack.enter_context(
                OperatorProcess(other.kubeconfig, directory=new_directory(), settings={"failover.startupGrace": "1s"})
            )
            operator.wait_ready()
            time.sleep(5.0)
            return usage(operator.pid)

    def start(self) -> dict[str, float]:
        """Start the operator; how soon every target was probed, and every status written."""
        began = time.monotonic()
        self.operator.start()
        eventually(self.firsts, what="a first probe", timeout=60.0, poll=0.05)
        eventually(lambda: len(self.firsts()) == self.count, what="all targets probed", timeout=60.0, poll=0.1)
        found = self.firsts()
        self.operator.wait_ready(timeout=60.0)
        eventually(self._all_shown, what="all Regions to be shown Healthy", timeout=120.0, poll=1.0)
        return {
            "process start to first probe": found[0] - began,
            "first probe to the last target's first": found[-1] - found[0],
            "process start to all Regions Healthy": time.monotonic() - began,
        }

    def firsts(self) -> list[float]:
        """When each target was asked for the first time, sorted."""
        return sorted(at for server in self.servers for at in server.report()["first"].values())

    def probes(self) -> int:
        return sum(int(server.report()["requests"]) for server in self.servers)

    def _all_shown(self) -> bool:
        items = self.cluster.api.get(REGIONS)["items"]
        return sum((item.get("status") or {}).get("health") == "Healthy" for item in items) == self.count


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.scale_bench")
    parser.add_argument("--regions", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        say(f"starting the control plane and the servers, making {arguments.regions} Regions")
        scale = Scale(stack, regions=arguments.regions)
        empty = scale.empty()
        say(f"the operator with nothing to do: {empty.resident:.0f} MB")
        start = scale.start()
        say(f"running; waiting {SETTLE:.0f} s for the start to be over")
        time.sleep(SETTLE)
        before, probes, written, begun = (
            usage(scale.operator.pid), scale.probes(), requests(scale.cluster), time.monotonic()
        )  # fmt: skip
        time.sleep(arguments.seconds)
        after, probed, seconds = usage(scale.operator.pid), scale.probes() - probes, time.monotonic() - begun
        idle = sum(
            count for key, count in writes(requests(scale.cluster) - written).items() if not is_lease(key)
        )  # fmt: skip
        outcomes: Counter[str] = Counter()
        for sample in scale.operator.metrics():
            if sample.name == "regent_probe_results_total":
                outcomes[sample.labels["outcome"]] += int(sample.value)
        say(f"probes by outcome since the start: {dict(outcomes)}")
        lost = sum(outcomes.values()) - outcomes["Success"]
        show(
            start, empty, before, after, regions=arguments.regions, probed=probed, seconds=seconds, idle=idle, lost=lost
        )


def show(
    start: dict[str, float],
    empty: Usage,
    before: Usage,
    after: Usage,
    *,
    regions: int,
    probed: int,
    seconds: float,
    idle: int,
    lost: int,
) -> None:
    """Print the table and write the JSON."""
    cost = (after.cpu - before.cpu) / probed * 1000
    figures: dict[str, Any] = {
        "probes per second": round(probed / seconds, 1),
        "CPU-seconds per 1,000 probes, whole operator": round(cost, 4),
        "share of a core, %": round((after.cpu - before.cpu) / seconds * 100, 1),
        "RSS, MB": round(after.resident, 1),
        "RSS at its highest, MB": round(after.peak, 1),
        "RSS without Regions, MB": round(empty.resident, 1),
        "descriptors": after.descriptors,
        "failed probes": lost,
        f"writes but leases in {seconds:.0f} s": idle,
        **{f"{name}, s": round(value, 2) for name, value in start.items()},
    }
    table(
        f"{regions} Regions probed every second", ["", "figure"], [[key, str(value)] for key, value in figures.items()]
    )
    lines = [
        verdict("memory", after.resident, 100.0, unit="MB"),
        verdict("CPU per 1,000 probes", cost, 0.16, unit="CPU-s"),
        verdict(
            "first probe to the last target's first", start["first probe to the last target's first"], 1.0, unit="s"
        ),
        verdict("failed probes", float(lost), 0.0, unit="probes"),
    ]
    print("\n" + "\n".join(lines) + "\n")
    save("scale", {"regions": regions, "seconds": seconds, "figures": figures, "targets": lines})


if __name__ == "__main__":
    main()
