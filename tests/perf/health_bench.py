"""The whole way from probe to verdict on real sockets: cost, and that what this process suffers is no region's fault.

    .venv/bin/python tests/perf/health_bench.py [--targets 1000] [--interval 0.25] [--seconds 60] [--fault none]

A server in a process of its own answers on loopback; the tracker with the probes in use runs in another one on uvloop,
as the operator does, and is disturbed from outside: `stop` stops it for 300 ms every 3 s (SIGSTOP, SIGCONT), `block`
blocks its event loop for 500 ms every 3 s, `idle` lets the server close each connection after two answers, `lost`
makes it drop 1 % of the connections without an answer, `hang` lets it hold 1 % of the answers back for ever, `files`
leaves no descriptors for new connections. No transition may come of any of them. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "operator")]

import uvloop  # noqa: E402

from regent.adapters.clock import SystemClock  # noqa: E402
from regent.adapters.probes.prober import ProbePool  # noqa: E402
from regent.domain.health.model import Health, HealthSpec, HttpCheck, ProbeSpec  # noqa: E402
from regent.engine.health import HealthTracker  # noqa: E402
from tests.fakes.ports import FakeMetrics  # noqa: E402
from tests.fakes.prober import FakeSignals  # noqa: E402

PORTS = 10
FAULTS = ("none", "stop", "block", "idle", "lost", "hang", "files")
SETTLE = 5.0
"""Seconds between the last target's first verdict and the measuring."""
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\nok\n"


class Answering(asyncio.Protocol):
    """Answers each read with one response, or as the fault says."""

    fault = "none"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.answered = 0

    def data_received(self, data: bytes) -> None:
        if self.fault == "lost" and random.random() < 0.01:
            self.transport.abort()
        elif self.fault == "hang" and random.random() < 0.01:
            return
        else:
            self.transport.write(ANSWER)
            self.answered += 1
            if self.fault == "idle" and self.answered == 2:
                self.transport.close()


async def serve(fault: str) -> None:
    """Serve until stdin closes; the first line of output names the ports."""
    Answering.fault = fault
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Answering, "127.0.0.1", 0, backlog=4096) for _ in range(PORTS)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


async def probe(
    ports: list[int], *, targets: int, interval: float, seconds: float, settle: float, fault: str
) -> dict[str, object]:
    """Probe; "ready" goes to the output when all targets are Healthy, and the measuring begins."""
    transitions: list[tuple[float, str, str]] = []
    metrics = FakeMetrics()
    # The histogram of the fake keeps every value, which would be measured as the tracker's memory.
    metrics.observe = lambda *_args, **_labels: None  # type: ignore[method-assign]
    pool = ProbePool()
    tracker = HealthTracker(
        prober=pool, clock=SystemClock(), chance=random.random, signals=FakeSignals(), metrics=metrics
    )
    before = _rss()
    for number in range(targets):
        spec = ProbeSpec(
            region=f"r{number}", name="web", host="127.0.0.1", port=ports[number % PORTS], check=HttpCheck(),
            interval=interval, timeout=0.2, retry_interval=0.05,
        )  # fmt: skip
        tracker.configure(HealthSpec(region=f"r{number}", probes=(spec,)))
    run = asyncio.create_task(tracker.run())
    names = [f"r{number}" for number in range(targets)]
    deadline = time.monotonic() + 30
    while not all(tracker.health(name).health is Health.HEALTHY for name in names):
        assert time.monotonic() < deadline, "not all targets became healthy"
        await asyncio.sleep(0.1)
    await asyncio.sleep(settle)
    known = {name: (tracker.health(name).health, tracker.health(name).down) for name in names}
    start = time.monotonic()

    def note(name: str) -> None:
        health = tracker.health(name)
        if (health.health, health.down) != known[name]:
            known[name] = health.health, health.down
            transitions.append((round(time.monotonic() - start, 3), name, f"{health.health.value}: {health.message}"))

    tracker.subscribe(note)
    counted = _probes(metrics)
    cpu = _cpu()
    print("ready", flush=True)
    with _no_files(fault):
        while time.monotonic() - start < seconds:
            await asyncio.sleep(3.0)
            if fault == "block":
                time.sleep(0.5)
    await asyncio.sleep(1.1)
    took = {outcome: count - counted[outcome] for outcome, count in _probes(metrics).items()}
    total = sum(took.values())
    report = {
        "fault": fault,
        "targets": targets,
        "probes": total,
        "outcomes": took,
        "cpu_seconds_per_1000_probes": round((_cpu() - cpu) / total * 1000, 4),
        "rss_mb_per_1000_targets": round((_rss() - before) / targets * 1000 / 1e6, 1),
        "rss_mb": round(_rss() / 1e6, 1),
        "transitions": len(transitions),
        "first": transitions[:5],
        "seconds": round(time.monotonic() - start, 1),
        "observer": tracker.observer().score,
    }
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await tracker.close()
    await pool.close()
    return report


@contextmanager
def _no_files(fault: str) -> Iterator[None]:
    if fault != "files":
        yield
        return
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max(int(entry.name) for entry in Path("/proc/self/fd").iterdir()) + 1, limits[1])
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def _probes(metrics: FakeMetrics) -> Counter[str]:
    found: Counter[str] = Counter()
    for (name, labels), value in metrics.counters.items():
        if name == "regent_probe_results_total":
            found[dict(labels)["outcome"]] += int(value)
    return found


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure(*, targets: int, interval: float, seconds: float, fault: str, settle: float = SETTLE) -> dict[str, object]:
    """Run server and tracker as processes, disturb the tracker, return its report."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[1], 65_536), limits[1]))
    command = [sys.executable, __file__]
    with subprocess.Popen(
        [*command, "--serve", "--fault", fault], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        ports = server.stdout.readline().strip()
        arguments = [
            "--targets",
            targets,
            "--interval",
            interval,
            "--seconds",
            seconds,
            "--settle",
            settle,
            "--fault",
            fault,
        ]
        with subprocess.Popen(
            [*command, "--ports", ports, *map(str, arguments)], stdout=subprocess.PIPE, text=True
        ) as tracker:
            assert tracker.stdout is not None
            assert tracker.stdout.readline().strip() == "ready"
            end = time.monotonic() + seconds
            while fault == "stop" and time.monotonic() < end - 3 and tracker.poll() is None:
                time.sleep(2.7)
                tracker.send_signal(signal.SIGSTOP)
                time.sleep(0.3)
                tracker.send_signal(signal.SIGCONT)
            report: dict[str, object] = json.loads(tracker.stdout.readline())
        assert server.stdin is not None
        server.stdin.close()
    return report


def main() -> None:
    """Parse the arguments and print the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--interval", type=float, default=0.25)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--settle", type=float, default=SETTLE, help="seconds before the measuring begins")
    parser.add_argument("--fault", choices=FAULTS, default="none")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ports", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    fields = {"targets": given.targets, "interval": given.interval, "seconds": given.seconds, "fault": given.fault,
              "settle": given.settle}  # fmt: skip
    if given.serve:
        uvloop.run(serve(given.fault))
    elif given.ports:
        print(json.dumps(uvloop.run(probe(json.loads(given.ports), **fields))), flush=True)
    else:
        print(json.dumps(measure(**fields)))


if __name__ == "__main__":
    main()
