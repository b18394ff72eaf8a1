"""How fast objects are copied between real API servers, what a quiet policy costs, and how late a change arrives.

- first sync: N ConfigMaps of one KiB from the creation of the policy to InSync: written and verified in every target;
- floor: some of them with `kubectl get --output json | kubectl apply --server-side`, a copy without bookkeeping;
- restart: the operator starts with everything in place: until InSync, what it writes (nothing), its memory then;
- verification: all copies compared anew, with the requests that it takes (none);
- idle: writes and lists of any server in a window in which nothing changes;
- changes: 50 a second for a while, each from the answer to the write in the source to the event in the first target.

    python -m tests.perf.replication_bench --objects 10000 --targets 2

Each phase is bounded by --within; a run of 10,000 takes some minutes and the idle window.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import ExitStack
from typing import Any

from testbed.controlplane import ApiError
from tests.cluster.replication.bench import API, EU, HUB, Bench
from tests.perf.api_requests import is_lease, requests, writes
from tests.perf.figures import Distribution, save, say, table, verdict
from tests.perf.replication_scene import KUBECTL_ITEMS, NAMESPACE, Scene, kubectl_floor
from tests.perf.watch import ApiWatch


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.replication_bench")
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--targets", type=int, default=2, choices=(1, 2), help="clusters that get copies")
    parser.add_argument("--idle", type=float, default=300.0, help="seconds")
    parser.add_argument("--rate", type=int, default=50, help="changes a second")
    parser.add_argument("--changes", type=float, default=60.0, help="seconds")
    parser.add_argument("--within", type=float, default=900.0, help="seconds that any one phase may take")
    options = parser.parse_args()
    with ExitStack() as stack:
        scene = Scene(stack, targets=options.targets, within=options.within)
        measure(scene, options)


def measure(scene: Scene, options: argparse.Namespace) -> None:
    """Take all figures, one after the other."""
    load = os.getloadavg()
    scene.fill(options.objects)
    scene.bench.operator.start()
    scene.until(lambda: scene.bench.operator.metrics("regent_leader") == 1, "a leader")
    before = scene.bench.operator.memory()
    first = first_sync(scene, options.objects)
    floor = kubectl_floor(scene.bench)
    say(f"kubectl: {floor * 1000:.1f} ms an object")
    again = restart(scene, options.objects)
    checked = verification(scene)
    quiet = idle(scene, options.idle)
    late = changes(scene.bench, rate=options.rate, seconds=options.changes)
    objects, copies = options.objects, options.objects * options.targets
    rows = [
        ["first sync, s", f"{first['seconds']:.1f}"],
        ["ms a copy", f"{first['seconds'] / copies * 1000:.2f}"],
        [f"kubectl, ms an object (of {KUBECTL_ITEMS})", f"{floor * 1000:.2f}"],
        ["ratio: ms a copy to kubectl's", f"{first['seconds'] / copies / floor:.2f}"],
        ["CPU-ms a copy, operator", f"{first['operator'] / copies * 1000:.2f}"],
        ["CPU-ms a copy, API servers", f"{first['servers'] / copies * 1000:.2f}"],
        ["memory before, MB", f"{before / 1e6:.0f}"],
        ["memory after the first sync, MB", f"{first['memory'] / 1e6:.0f}"],
        ["memory after a restart, MB", f"{again['memory'] / 1e6:.0f}"],
        ["restart to InSync, s", f"{again['seconds']:.1f}"],
        ["writes of copies by it", f"{again['writes']:.0f}"],
        ["all compared anew, s", f"{checked['seconds']:.1f}"],
        ["requests for copies by that", f"{checked['requests']:.0f}"],
        [f"writes in {options.idle:.0f} idle s", f"{quiet['writes']:.0f}"],
        [f"lists in {options.idle:.0f} idle s", f"{quiet['lists']:.0f}"],
    ]
    table(f"Replication of {objects} objects to {options.targets} clusters", ["figure", "value"], rows)
    table(f"A change arrives, ms, at {options.rate}/s", ["n", "p50", "p95", "p99", "max"], [late.row()])
    print(f"\nload average before: {load[0]:.1f}, after: {os.getloadavg()[0]:.1f}")
    if objects == 10_000:
        print(verdict("first sync", first["seconds"], 60.0, unit="s"))
        print(verdict("memory", again["memory"] / 1e6, 150.0, unit="MB"))
    figures: dict[str, Any] = {"objects": objects, "targets": options.targets, "memoryBefore": before}
    figures |= {"firstSync": first, "kubectl": floor, "restart": again, "verification": checked}
    save("replication", {**figures, "idle": quiet, "changes": late.summary(), "loadBefore": load[0]})


def first_sync(scene: Scene, count: int) -> dict[str, float]:
    """From the policy to InSync."""
    bench, cpu, began = scene.bench, scene.cpu(), time.monotonic()
    targets = [{"region": name} for name in scene.targets]
    bench.policy(verifyInterval="10m", targets=targets, resources=[scene.selection])
    in_sync(scene, count)
    took = time.monotonic() - began
    spent = {name: value - cpu[name] for name, value in scene.cpu().items()}
    memory = float(bench.operator.memory())
    say(f"first sync {took:.1f} s, memory {memory / 1e6:.0f} MB, CPU {spent}")
    return {"seconds": took, "memory": memory, **spent}


def in_sync(scene: Scene, count: int) -> None:
    """Wait until all targets have all objects."""
    bench = scene.bench
    scene.until(lambda: bench.status().get("state") == "InSync", "InSync")
    for name in scene.targets:
        copied = bench.row(name).get("objects", {}).get("inSync")
        if copied != count:
            raise AssertionError(f"{copied} of {count} objects are in sync in {name}")


def restart(scene: Scene, count: int) -> dict[str, float]:
    """Stop the operator and start it: everything is read and compared, and nothing is written."""
    bench = scene.bench
    bench.operator.stop()
    known, before, began = scene.verified_at(), scene.of_copies(), time.monotonic()
    bench.operator.start()
    scene.until(lambda: scene.verified_at() > known, "a verification by the new process")
    took = time.monotonic() - began
    in_sync(scene, count)
    memory, written = float(bench.operator.memory()), sum(writes(scene.of_copies() - before).values())
    say(f"restart {took:.1f} s, memory {memory / 1e6:.0f} MB, {written} writes")
    return {"seconds": took, "memory": memory, "writes": written}


def verification(scene: Scene) -> dict[str, float]:
    """Have everything compared anew, by a change of the policy, and count what is asked of the servers for it."""
    bench = scene.bench
    time.sleep(1.1)  # times in a status are whole seconds
    known, before, cpu, began = scene.verified_at(), scene.of_copies(), scene.cpu(), time.monotonic()
    bench.planes[HUB].api.patch(bench.path("replicationpolicies", "shop", api=API), {"spec": {"verifyInterval": "11m"}})
    scene.until(lambda: scene.verified_at() > known, "a verification", poll=0.05)
    took = time.monotonic() - began
    asked = scene.of_copies() - before
    spent = scene.cpu()["operator"] - cpu["operator"]
    say(f"compared anew in {took:.2f} s with {sum(asked.values())} requests, {spent:.2f} CPU-s")
    return {"seconds": took, "requests": float(sum(asked.values())), "operator": spent}


def idle(scene: Scene, seconds: float) -> dict[str, float]:
    """Requests that write or list while nothing happens, as the API servers count them; the lease is not counted."""
    operator = scene.bench.operator
    before = {name: requests(plane) for name, plane in scene.bench.planes.items()}
    lists, cpu = operator.metrics("regent_replication_lists_total"), scene.cpu()["operator"]
    time.sleep(seconds)
    written = 0
    for name, plane in scene.bench.planes.items():
        delta = writes(requests(plane)) - writes(before[name])
        mine = {key: number for key, number in delta.items() if not is_lease(key)}
        if mine:
            say(f"writes in {name}: {mine}")
        written += sum(mine.values())
    listed = operator.metrics("regent_replication_lists_total") - lists
    spent = scene.cpu()["operator"] - cpu
    say(f"idle: {written} writes, {listed:.0f} lists, {100 * spent / max(seconds, 1.0):.1f} % of a core")
    return {"writes": written, "lists": listed, "operator": spent}


def changes(bench: Bench, *, rate: int, seconds: float) -> Distribution:
    """Seconds from the answer to a change in the source until the target's watch tells of it."""
    api, sent = bench.planes[HUB].api, dict[str, float]()
    known = len(bench.planes[EU].api.get(bench.path("configmaps"), limit="1000")["items"])
    with ApiWatch(bench.planes[EU], f"/api/v1/namespaces/{NAMESPACE}/configmaps") as watch:
        began = time.monotonic()
        for number in range(int(rate * seconds)):
            pause = began + number / rate - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            name = f"item-{number % min(known - 1, 900):05d}"
            try:
                api.patch(bench.path("configmaps", name), {"data": {"stamp": str(number)}})
            except ApiError as error:
                raise AssertionError(f"{name} could not be changed") from error
            sent[str(number)] = time.monotonic()
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
