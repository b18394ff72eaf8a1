"""How fast objects are copied between two real API servers, what a quiet policy costs, and how late a change arrives.

- first sync: N ConfigMaps of one KiB from the creation of the policy to InSync (everything written and verified);
- floor: the same objects with `kubectl get --output json | kubectl apply --server-side`, a copy without bookkeeping;
- idle: writes to the target and lists of either side in a window in which nothing changes;
- changes: 50 a second for a while, each from the answer to the write in the source to the event in the target;
- memory of the operator before and after, with N objects known on both sides.

    python -m tests.perf.replication_bench --objects 10000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from testbed.controlplane import ApiClient, ControlPlane
from testbed.toolchain import ensure
from tests.cluster.replication.bench import EU, HUB, Bench, Operator, prepare_hub, prepare_member
from tests.perf.api_requests import is_lease, requests, writes
from tests.perf.figures import Distribution, save, say, table, verdict
from tests.perf.watch import ApiWatch

NAMESPACE = "shop"
SIZE = 1024
WRITERS = 8


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.replication_bench")
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--idle", type=float, default=300.0, help="seconds")
    parser.add_argument("--rate", type=int, default=50, help="changes a second")
    parser.add_argument("--changes", type=float, default=60.0, help="seconds")
    options = parser.parse_args()
    with ExitStack() as stack:
        planes = {name: stack.enter_context(ControlPlane.start(name=f"bench-{name}")) for name in (HUB, EU)}
        prepare_hub(planes[HUB])
        prepare_member(planes[HUB], planes[EU], EU)
        for plane in planes.values():
            for name in (NAMESPACE, "floor"):
                plane.create_namespace(name)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        operator = stack.enter_context(Operator(planes[HUB], directory))
        bench = Bench(NAMESPACE, planes, operator)
        measure(bench, options)


def measure(bench: Bench, options: argparse.Namespace) -> None:
    """Take all figures, one after the other."""
    fill(bench.planes[HUB].api, options.objects)
    say(f"{options.objects} objects in the source")
    bench.operator.start()
    bench.until(lambda: bench.operator.metrics("regent_leader") == 1, "a leader", within=300)
    before = bench.operator.memory()
    first = first_sync(bench, options.objects)
    after = bench.operator.memory()
    say(f"first sync {first:.1f} s, memory {before / 1e6:.0f} to {after / 1e6:.0f} MB")
    floor = kubectl_floor(bench)
    say(f"kubectl {floor:.1f} s")
    quiet = idle(bench, options.idle)
    late = changes(bench, rate=options.rate, seconds=options.changes)
    rows = [
        ["first sync, s", f"{first:.1f}"],
        ["kubectl get and apply, s", f"{floor:.1f}"],
        ["ratio", f"{first / floor:.2f}"],
        ["operator before, MB", f"{before / 1e6:.0f}"],
        ["operator after, MB", f"{after / 1e6:.0f}"],
        [f"writes in {options.idle:.0f} idle s", str(quiet["writes"])],
        [f"lists in {options.idle:.0f} idle s", str(quiet["lists"])],
    ]
    table(f"Replication of {options.objects} objects", ["figure", "value"], rows)
    table(f"A change arrives, ms, at {options.rate}/s", ["n", "p50", "p95", "p99", "max"], [late.row()])
    verdict("first sync", first, 60.0, unit="s")
    figures: dict[str, Any] = {
        "objects": options.objects,
        "firstSync": first,
        "kubectl": floor,
        "memoryBefore": before,
        "memoryAfter": after,
        "idle": quiet,
        "changes": late.summary(),
    }
    save("replication", figures)


def fill(api: ApiClient, count: int) -> None:
    """Make the objects."""

    def make(number: int) -> None:
        obj = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"item-{number:05d}", "labels": {"app": "shop"}},
            "data": {"number": str(number), "text": "x" * SIZE},
        }
        api.create(f"/api/v1/namespaces/{NAMESPACE}/configmaps", obj)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(make, range(count)))


def first_sync(bench: Bench, count: int) -> float:
    """Seconds from the policy to InSync."""
    began = time.monotonic()
    bench.policy(verifyInterval="10m")
    bench.until(lambda: bench.status().get("state") == "InSync", "InSync", within=600)
    took = time.monotonic() - began
    copied = bench.row().get("objects", {}).get("inSync")
    if copied != count:
        raise AssertionError(f"{copied} of {count} objects are in sync")
    return took


def kubectl_floor(bench: Bench) -> float:
    """Seconds that kubectl takes for the same, into a namespace that the policy does not know."""
    kubectl = str(ensure("kubectl"))
    began = time.monotonic()
    source = [kubectl, "--kubeconfig", str(bench.planes[HUB].kubeconfig), "--namespace", NAMESPACE]
    read = subprocess.run(
        [*source, "get", "configmaps", "--selector", "app=shop", "--output", "json"], check=True, capture_output=True
    )
    found = json.loads(read.stdout)
    for item in found["items"]:
        item["metadata"] = {"name": item["metadata"]["name"], "labels": item["metadata"].get("labels", {})}
    target = [kubectl, "--kubeconfig", str(bench.planes[EU].kubeconfig), "--namespace", "floor"]
    subprocess.run(
        [*target, "apply", "--server-side", "--filename", "-"],
        check=True,
        input=json.dumps(found).encode(),
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - began


def idle(bench: Bench, seconds: float) -> dict[str, int]:
    """Requests that write or list while nothing happens, as the API servers count them; the lease is not counted."""
    before = {name: requests(plane) for name, plane in bench.planes.items()}
    lists = bench.operator.metrics("regent_replication_lists_total")
    time.sleep(seconds)
    written = 0
    for name, plane in bench.planes.items():
        delta = writes(requests(plane)) - writes(before[name])
        mine = {key: number for key, number in delta.items() if not is_lease(key)}
        if mine:
            say(f"writes in {name}: {mine}")
        written += sum(mine.values())
    return {"writes": written, "lists": int(bench.operator.metrics("regent_replication_lists_total") - lists)}


def changes(bench: Bench, *, rate: int, seconds: float) -> Distribution:
    """Seconds from the answer to a change in the source until the target's watch tells of it."""
    api, sent = bench.planes[HUB].api, dict[str, float]()
    with ApiWatch(bench.planes[EU], f"/api/v1/namespaces/{NAMESPACE}/configmaps") as watch:
        began = time.monotonic()
        for number in range(int(rate * seconds)):
            pause = began + number / rate - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            stamp = f"{number}"
            api.patch(f"/api/v1/namespaces/{NAMESPACE}/configmaps/item-{number % 1000:05d}", {"data": {"stamp": stamp}})
            sent[stamp] = time.monotonic()
        last = str(int(rate * seconds) - 1)
        watch.wait(lambda event: event.object.get("data", {}).get("stamp") == last, since=0.0, timeout=120)
        arrived: dict[str, float] = {}
        for event in watch.seen:
            stamp = event.object.get("data", {}).get("stamp", "")
            if stamp in sent:
                arrived.setdefault(stamp, event.at)
    say(f"{len(arrived)} of {len(sent)} changes were seen one by one; the others were overtaken by a later one")
    return Distribution.of(max(0.0, at - sent[stamp]) for stamp, at in arrived.items())


if __name__ == "__main__":
    main()
