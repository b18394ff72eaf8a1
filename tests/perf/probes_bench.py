"""CPU time and memory of the probe adapters: our HTTP client against httpx, and the other checks, in one run.

    .venv/bin/python tests/perf/probes_bench.py [--targets 1000] [--probes 20000] [--rate 1000] [--tls-targets 200]

A server in a process of its own listens on one port per 100 targets of loopback. Each row is measured in a fresh
process on uvloop: probes paced at `--rate` a second on kept connections, every tenth cold, one long-lived task per
target; CPU time is the process's own (user and system), memory is RSS above that of the process with the adapter
imported.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "operator")]

import uvloop  # noqa: E402

from regent.domain.health.model import GrpcCheck, HttpCheck, Outcome, ProbeSpec, TcpCheck, TlsOptions  # noqa: E402

ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: shop/1.0\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"Cache-Control: no-store\r\nContent-Length: 28\r\n\r\n" + b'{"errors": 0.5, "free": 70}\n'
)
ROWS = ("http1", "httpx", "http1-cold", "httpx-cold", "tcp", "grpc", "http1-tls", "httpx-tls")


class Answering(asyncio.Protocol):
    """Answers each read with one response: probes never pipeline."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER)  # type: ignore[attr-defined]


async def serve() -> None:
    """Run until stdin closes; prints ports and the authority as one JSON line."""
    from grpclib.health.service import Health
    from grpclib.server import Server

    from tests.fakes.certificates import Authority
    from tests.fakes.wire import server_context

    loop = asyncio.get_running_loop()
    authority = Authority()
    context = server_context(authority.issue("127.0.0.1"))

    async def listen(tls: Any) -> int:
        server = await loop.create_server(Answering, "127.0.0.1", 0, ssl=tls, backlog=4096)
        port: int = server.sockets[0].getsockname()[1]
        return port

    plain = [await listen(None) for _ in range(10)]
    secure = [await listen(context) for _ in range(10)]
    grpc = Server([Health()])
    await grpc.start("127.0.0.1", 0, backlog=4096)
    assert grpc._server is not None
    grpc_port = grpc._server.sockets[0].getsockname()[1]
    print(json.dumps({"plain": plain, "secure": secure, "grpc": [grpc_port], "ca": authority.pem}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(row: str, server: dict[str, Any], *, targets: int, probes: int, rate: float) -> dict[str, Any]:
    """Probe `targets` endpoints `probes` times in all and return the figures of this process."""
    adapter, _, mode = row.partition("-")
    if adapter == "httpx":
        from regent.adapters.probes.httpx_prober import HttpxProber as Adapter
    else:
        from regent.adapters.probes.prober import ProbePool as Adapter  # type: ignore[assignment]
    check: Any = {"tcp": TcpCheck(), "grpc": GrpcCheck()}.get(adapter, HttpCheck(path="/healthz"))
    ports = server["grpc"] if adapter == "grpc" else server["secure" if mode == "tls" else "plain"]
    tls = TlsOptions(ca_pem=server["ca"]) if mode == "tls" else None
    before = resident()
    prober = Adapter()
    specs = [
        ProbeSpec(region=f"r{n}", name="web", host="127.0.0.1", port=ports[n % len(ports)], check=check, tls=tls)
        for n in range(targets)
    ]
    endpoints = [prober.open(spec) for spec in specs]
    outcomes: Counter[str] = Counter()
    latencies: list[float] = []
    for start in range(0, targets, 50):
        await asyncio.gather(*(one.probe(timeout=10, cold=False) for one in endpoints[start : start + 50]))
    rounds = max(1, probes // targets)
    period = targets / rate
    begin = time.monotonic() + 0.2
    began = cpu()

    async def run(number: int) -> None:
        for turn in range(rounds):
            due = begin + (turn + number / targets) * period
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            cold = mode == "cold" or (number + turn) % 10 == 0
            result = await endpoints[number].probe(timeout=2, cold=cold)
            outcomes[result.outcome.value] += 1
            latencies.append(result.latency)

    await asyncio.gather(*(run(number) for number in range(targets)))
    used = cpu() - began
    memory = resident() - before
    for endpoint in endpoints:
        await endpoint.close()
    await prober.close()
    latencies.sort()
    done = rounds * targets
    return {
        "row": row,
        "probes": done,
        "targets": targets,
        "cpu": used / done * 1000,
        "memory": memory,
        "failed": done - outcomes[Outcome.SUCCESS.value],
        "p50": latencies[done // 2],
        "p99": latencies[int(done * 0.99)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--tls-targets", type=int, default=200)
    parser.add_argument("--probes", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=1000.0, help="probes a second")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--json", action="store_true", help="one JSON object per row instead of the table")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
    if args.serve:
        uvloop.run(serve())
    elif args.measure:
        server = json.loads(sys.stdin.readline())
        work = measure(args.measure, server, targets=args.targets, probes=args.probes, rate=args.rate)
        print(json.dumps(uvloop.run(work)))
    else:
        run_rows(args)


def run_rows(args: argparse.Namespace) -> None:
    me = [sys.executable, __file__]
    with subprocess.Popen([*me, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not args.json:
            print(
                f"{'adapter':<12}{'targets':>8}{'probes':>8}{'CPU s/1000':>12}{'KiB/target':>12}{'failed':>8}", end=""
            )
            print(f"{'p50 ms':>9}{'p99 ms':>9}", flush=True)
        for row in args.rows.split(","):
            heavy = row.endswith("tls")
            targets = args.tls_targets if heavy else args.targets
            rate = args.rate / 4 if heavy or row.endswith("cold") or row.startswith(("httpx", "grpc")) else args.rate
            probes = max(targets, int(args.probes * rate / args.rate))
            command = [*me, "--measure", row, "--targets", str(targets), "--probes", str(probes), "--rate", str(rate)]
            out = json.loads(subprocess.run(command, input=line, capture_output=True, text=True, check=True).stdout)
            if args.json:
                print(json.dumps(out), flush=True)
            else:
                print(
                    f"{row:<12}{out['targets']:>8}{out['probes']:>8}{out['cpu']:>12.3f}"
                    f"{out['memory'] / 1024 / out['targets']:>12.1f}{out['failed']:>8}"
                    f"{out['p50'] * 1000:>9.2f}{out['p99'] * 1000:>9.2f}",
                    flush=True,
                )
        server.terminate()


if __name__ == "__main__":
    main()
