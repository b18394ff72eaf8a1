"""How long each step of a run takes, by the way in which the traffic moves, on real parts.

An application in three regions behind Traefik, a client that sends 100 requests a second, and runs that alternate:

- failover: the active region is killed, and Regent leaves it;
- immediate: a person's Switchover, all at once;
- graceful: the same with `drain: 2s`, the default: the new side is proved, the old one finishes what it has;
- gradual: 10 and 50 percent, held for a second each, then all.

Times of steps are those of the run's journal. What a step is given to wait for (drain, holds) is known, so the table
shows it beside what the run takes; the difference is Regent's own share, with the API server's and the gateway's.

    python -m tests.perf.steps_bench --runs 20
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from regent.domain.times import parse_rfc3339
from testbed.scene import eventually, failover
from tests.perf.failover_bench import AFTERMATH, RATE, SETTINGS, Bench
from tests.perf.figures import Distribution, save, say, table, verdict

GRADUAL = [{"percent": percent, "hold": "1s"} for percent in (10, 50)]
KINDS: dict[str, dict[str, Any]] = {
    "failover": {},
    "immediate": {"type": "Immediate"},
    "graceful": {"type": "Graceful", "drain": "2s"},
    "gradual": {"type": "Gradual", "steps": GRADUAL},
}
WAITS = {"failover": 0.0, "immediate": 0.0, "graceful": 2.0, "gradual": 2.0}
"""Seconds that the spec asks each kind to wait."""


class Steps:
    """Makes runs and reads their journals."""

    def __init__(self, bench: Bench, *, seed: int) -> None:
        self._bench = bench
        self._random = random.Random(seed)
        self._count = 0

    def run(self, kind: str) -> dict[str, float]:
        """Make one run; give the seconds of each step, of the whole, and the requests that were lost."""
        bench, scene = self._bench, self._bench.scene
        self._count += 1
        source = str(scene.status()["activeRegion"])
        others = [name for name in scene.names if name != source]
        to = others[self._count % len(others)]
        bench.client.wait_served_by(source, timeout=20.0)
        time.sleep(0.2 + self._random.uniform(0.0, 0.25))
        before = {run["metadata"]["name"] for run in scene.runs()}
        at = time.monotonic()
        if kind == "failover":
            at = scene.region(source).kill()
        else:
            manifest = failover(
                "shop", namespace="bench", name=f"bench-{self._count}",
                type="Switchover", from_=source, to=to, transition=KINDS[kind],
            )  # fmt: skip
            scene.cluster.apply(manifest)
        try:
            run = eventually(lambda: self._ended(before), what=f"the {kind} run to end", timeout=40.0, poll=0.1)
        finally:
            scene.region(source).heal()
        calm = time.monotonic() + AFTERMATH
        bench.client.wait_for(lambda record: record.sent >= calm, timeout=10.0, since=calm)
        status = run["status"]
        if status["phase"] != "Succeeded":
            raise AssertionError(f"the {kind} run ended as {status['phase']}: {status.get('conditions')}")
        self._wait_calm()
        found = {f"step {name}": seconds for name, seconds in _steps(status).items()}
        found["run"] = _seconds(status["startTime"], status["completionTime"])
        found["lost"] = float(bench.client.timeline().since(at).between(at, calm).lost)
        return found

    def _ended(self, before: set[str]) -> dict[str, Any] | None:
        for run in self._bench.scene.runs():
            if run["metadata"]["name"] not in before and "completionTime" in (run.get("status") or {}):
                return run
        return None

    def _wait_calm(self) -> None:
        scene = self._bench.scene
        eventually(
            lambda: all(scene.health(name) == "Healthy" for name in scene.names),
            what="all regions to be healthy",
            timeout=120.0,
        )
        eventually(lambda: not scene.status().get("operation"), what="the policy to be free", timeout=20.0)


def _steps(status: Mapping[str, Any]) -> dict[str, float]:
    return {
        step["name"]: _seconds(step["startTime"], step["completionTime"])
        for step in status["steps"]
        if step.get("startTime") and step.get("completionTime")
    }


def _seconds(start: str, end: str) -> float:
    return parse_rfc3339(end) - parse_rfc3339(start)


def show(results: dict[str, list[dict[str, float]]]) -> None:
    """Print the tables and write the JSON."""
    figures: dict[str, Any] = {"unit": "seconds", "settings": {"rate": RATE, **SETTINGS}, "distributions": {}}
    rows = []
    for kind, runs in results.items():
        whole = Distribution.of(run["run"] for run in runs)
        own = Distribution.of(run["run"] - WAITS[kind] for run in runs)
        lost = Distribution.of(run["lost"] for run in runs)
        rows.append(
            [kind, *whole.row(), f"{WAITS[kind] * 1000:.0f}", f"{own.at(50) * 1000:.0f}", f"{lost.at(100):.0f}"]
        )
        figures["distributions"] |= {f"{kind}: run": whole.summary(), f"{kind}: lost": lost.summary()}
    header = ["plan to end, in ms", "runs", "p50", "p95", "p99", "max", "asked to wait", "p50 beyond", "most lost"]
    table("Runs", header, rows)
    for kind, runs in results.items():
        steps: dict[str, list[float]] = defaultdict(list)
        for run in runs:
            for name, seconds in run.items():
                if name.startswith("step "):
                    steps[name.removeprefix("step ")].append(seconds)
        found = {name: Distribution.of(values) for name, values in steps.items()}
        # Steps that were written down together with the one before took no time of their own.
        rows = [[name, *taken.row()] for name, taken in found.items() if taken.at(100) >= 0.0005]
        table(f"{kind}: steps that take time, in ms", ["", "n", "p50", "p95", "p99", "max"], rows)
        figures["distributions"] |= {f"{kind}: {name}": d.summary() for name, d in found.items()}
    lines = []
    if "graceful" in results:
        lines.append(
            verdict("graceful, p50", Distribution.of(r["run"] for r in results["graceful"]).at(50), 3.0, unit="s")
        )
    for kind in set(results) & {"immediate", "graceful", "gradual"}:
        most = max(run["lost"] for run in results[kind])
        lines.append(verdict(f"{kind}: requests lost in a planned run, at most", most, 0.0, unit="requests"))
    print("\n" + "\n".join(sorted(lines)) + "\n")
    figures["targets"], figures["runs"] = sorted(lines), results
    save("steps", figures)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.steps_bench")
    parser.add_argument("--runs", type=int, default=20, help="runs of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    results: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    with ExitStack() as stack:
        say("starting the control plane, the gateway, the regions and the operator")
        steps = Steps(Bench(stack, seed=arguments.seed), seed=arguments.seed)
        for number in range(arguments.runs * len(kinds)):
            kind = kinds[number % len(kinds)]
            found = steps.run(kind)
            results[kind].append(found)
            done = f"{number + 1}/{arguments.runs * len(kinds)}"
            say(f"{done} {kind}: {found['run'] * 1000:.0f} ms, {found['lost']:.0f} lost")
    show(results)


if __name__ == "__main__":
    main()
