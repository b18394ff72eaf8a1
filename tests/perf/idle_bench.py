"""What the operator writes while nothing happens: the API server's own count of requests, before and after.

A hundred Regions probed once a second and fifty FailoverPolicies, each with an HTTPRoute that a real gateway has
accepted. The count is of all clients together; the gateway and the controller manager are part of the picture and
are expected to be as quiet. Leases are the one exception: Regent's own, and that of the API server itself.

    python -m tests.perf.idle_bench --minutes 5
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from testbed.controlplane import Cluster, start_cluster
from testbed.gateway import Backend, TraefikGateway
from testbed.gateway.manifests import http_route, region_services
from testbed.network import NetworkNamespaces
from testbed.operator.process import OperatorProcess
from testbed.scene import policy, region
from tests.perf.api_requests import Request, is_lease, requests, writes
from tests.perf.figures import new_directory, save, say, table, verdict
from tests.perf.process_figures import usage
from tests.perf.responders import Responders
from tests.perf.watch import ApiWatch, Seen

Json = dict[str, Any]
NAMESPACE = "idle"
WATCHED = (
    "/apis/regent.dev/v1alpha1/regions",
    "/apis/regent.dev/v1alpha1/failoverpolicies",
    "/apis/gateway.networking.k8s.io/v1/httproutes",
    "/apis/events.k8s.io/v1/events",
)
SECOND = {"interval": "1s", "timeout": "500ms", "retryInterval": "100ms", "failureThreshold": 3, "successThreshold": 2}
CALM = 90.0
"""Seconds without a write (but leases) after which the start is over: Regions show figures after a minute."""


@contextmanager
def world(*, regions: int, policies: int) -> Iterator[tuple[Cluster, OperatorProcess, Responders]]:
    """Everything up and settled: regions probed, policies adopted, routes accepted."""
    with ExitStack() as stack:
        cluster = stack.enter_context(start_cluster(name="bench-idle"))
        cluster.install_crds(Path("crds"))
        gateway = stack.enter_context(TraefikGateway(cluster))
        network = stack.enter_context(NetworkNamespaces(["all"]))
        responders = stack.enter_context(Responders(namespace=network["all"], count=regions))
        for name in ("regent-system", NAMESPACE):
            cluster.create_namespace(name)
        names = [f"region-{number:03}" for number in range(regions)]
        cluster.apply(
            [region(name, endpoint=responders.url(number), timing=SECOND) for number, name in enumerate(names)]
        )
        for number in range(policies):
            pair = (2 * number % regions, (2 * number + 1) % regions)
            backends = [
                Backend(region=names[index], address=responders.address, port=responders.first_port + index)
                for index in pair
            ]
            app = f"app-{number:02}"
            # The responders do not say who they are, so the gateway's answer cannot be waited for by name here.
            publish(cluster, gateway, app, backends)
            cluster.apply(policy(app, [names[index] for index in pair], namespace=NAMESPACE))
        operator = stack.enter_context(
            OperatorProcess(cluster.kubeconfig, directory=new_directory(), settings={"failover.startupGrace": "1s"})
        )
        operator.wait_ready()
        operator.wait(lambda: settled(cluster, policies), what="settle all policies", timeout=120.0)
        yield cluster, operator, responders


def publish(cluster: Cluster, gateway: TraefikGateway, app: str, backends: list[Backend]) -> None:
    """Services, EndpointSlices and the route of one application, all weight on its first region."""
    weights = {backend.region: 100 if number == 0 else 0 for number, backend in enumerate(backends)}
    route = http_route(
        app,
        weights,
        namespace=NAMESPACE,
        gateway=gateway.name,
        gateway_namespace=gateway.namespace,
        hostnames=[f"{app}.example.test"],
    )
    cluster.apply([*region_services(app, backends, namespace=NAMESPACE), route])


def settled(cluster: Cluster, policies: int) -> bool:
    """Whether all policies are adopted and all their targets proved as far as they can be."""
    time.sleep(1.0)  # a list of everything is dear, and the operator has work to do
    items = cluster.api.get(f"/apis/regent.dev/v1alpha1/namespaces/{NAMESPACE}/failoverpolicies")["items"]
    good = 0
    for item in items:
        status = item.get("status") or {}
        targets = status.get("targets") or []
        good += bool(targets) and all(row["verification"] in ("Verified", "AcceptedOnly") for row in targets)
    return good == policies


def wait_calm(cluster: Cluster, *, timeout: float = 180.0) -> float:
    """Wait until nothing was written for a while; gives the seconds that it took.

    Raises:
        TimeoutError: something writes all the time.
    """
    began = time.monotonic()
    before, since = _but_leases(cluster), time.monotonic()
    while time.monotonic() - since < CALM:
        time.sleep(2.0)
        now = _but_leases(cluster)
        if now != before:
            before, since = now, time.monotonic()
        if time.monotonic() - began > timeout:
            raise TimeoutError(f"something writes all the time: {now.most_common(5)}")
    return since - began


def _but_leases(cluster: Cluster) -> Counter[Request]:
    return Counter({key: count for key, count in writes(requests(cluster)).items() if not is_lease(key)})


def explain(known: dict[str, Json], events: list[Seen]) -> None:
    """Say what the first writes changed: a count alone does not tell why something was written."""
    for event in events[:10]:
        before = known.get(event.object["metadata"]["uid"], {}).get("status") or {}
        changed = {
            field: f"{before.get(field)!r} → {event.status.get(field)!r}"
            for field in {**before, **event.status}
            if before.get(field) != event.status.get(field)
        }
        say(f"{event.kind} {event.object['kind']} {event.name}: {changed}")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.idle_bench")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--regions", type=int, default=100)
    parser.add_argument("--policies", type=int, default=50)
    arguments = parser.parse_args()
    say("starting the control plane, the gateway, the regions and the operator")
    with ExitStack() as stack:
        cluster, operator, responders = stack.enter_context(
            world(regions=arguments.regions, policies=arguments.policies)
        )
        try:
            say(f"last write {wait_calm(cluster):.0f} s after all was settled")
        except TimeoutError as error:
            say(str(error))
        before, begun, cpu, probes = requests(cluster), time.monotonic(), usage(operator.pid), responders.report()
        leases = operator.metric("regent_lease_renewals_total")
        watches = [stack.enter_context(ApiWatch(cluster, path)) for path in WATCHED]
        known = {item["metadata"]["uid"]: item for path in WATCHED for item in cluster.api.get(path)["items"]}
        say(f"measuring for {arguments.minutes:g} minutes")
        time.sleep(arguments.minutes * 60)
        explain(known, sorted((event for watch in watches for event in watch.seen), key=lambda event: event.at))
        after, seconds, used = requests(cluster), time.monotonic() - begun, usage(operator.pid)
        probed = responders.report()["requests"] - probes["requests"]
        renewals = operator.metric("regent_lease_renewals_total") - leases
    difference = after - before
    written = writes(difference)
    rows = [[f"{verb} {resource}", str(count)] for (verb, resource), count in sorted(written.items())]
    table(f"Writes in {seconds:.0f} s, {arguments.regions} regions, {arguments.policies} policies", ["", "count"], rows)
    reads = [(key, count) for key, count in difference.most_common() if key not in written][:12]
    table("Reads (most frequent; our own reading of /metrics among them)", ["", "count"], [
        [f"{verb} {resource}", str(count)] for (verb, resource), count in reads
    ])  # fmt: skip
    idle = sum(count for key, count in written.items() if not is_lease(key))
    cost = (used.cpu - cpu.cpu) / seconds
    say(f"renewals of Regent's own lease: {renewals:.0f}; probes: {probed}; operator: {cost * 100:.1f} % of a core, "
        f"{used.resident:.0f} MB")  # fmt: skip
    line = verdict("writes but leases", float(idle), 0.0, unit="writes")
    print(f"\n{line}\n")
    save("idle", {
        "seconds": seconds,
        "writes": {f"{verb} {resource}": count for (verb, resource), count in written.items()},
        "writes_but_leases": idle,
        "reads": {f"{verb} {resource}": count for (verb, resource), count in reads},
        "lease_renewals": renewals,
        "probes": probed,
        "cpu_share": cost,
        "resident_mb": used.resident,
        "targets": [line],
    })  # fmt: skip


if __name__ == "__main__":
    main()
