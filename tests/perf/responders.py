"""Many small HTTP servers in one process, light enough to stand beside what is measured.

    python -m tests.perf.responders --address 10.77.1.2 --first-port 20000 --count 250

Every request gets the same 200. A line on standard input asks for a report, one JSON line on standard output: requests
so far, open and accepted connections, and when each port was asked for the first time (monotonic seconds).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import uvloop

from testbed.network import NetworkNamespace, spawn
from testbed.network.processes import stop, wait_stopped
from tests.perf.figures import REPOSITORY

BODY = b'{"status": "ok", "errors": 0.0, "free": 100.0}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


@dataclass(slots=True)
class Counts:
    """What the servers of a process have seen."""

    requests: int = 0
    open: int = 0
    accepted: int = 0
    first: dict[int, float] = field(default_factory=dict)


class Connection(asyncio.Protocol):
    """Answers each request as soon as its head is there; probes carry no body."""

    __slots__ = ("_counts", "_port", "_rest", "_transport")

    def __init__(self, counts: Counts, port: int) -> None:
        self._counts = counts
        self._port = port
        self._rest = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._counts.open += 1
        self._counts.accepted += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._counts.open -= 1

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for request in requests:
            self._counts.requests += 1
            self._counts.first.setdefault(self._port, time.monotonic())
            self._transport.write(ANSWER)
            if b"connection: close" in request.lower():
                self._transport.close()


async def serve(address: str, first_port: int, count: int) -> None:
    """Listen on all ports until standard input closes."""
    loop = asyncio.get_running_loop()
    counts, ended = Counts(), asyncio.Event()
    for port in range(first_port, first_port + count):
        await loop.create_server(lambda port=port: Connection(counts, port), address, port, backlog=128)

    def asked() -> None:
        line = sys.stdin.readline()
        if not line:
            ended.set()
            return
        report = {"requests": counts.requests, "open": counts.open, "accepted": counts.accepted, "first": counts.first}
        print(json.dumps(report), flush=True)

    loop.add_reader(sys.stdin.fileno(), asked)
    print("ready", flush=True)
    await ended.wait()


class Responders:
    """Handle of such a process. Without a namespace it listens on the loopback `address`."""

    def __init__(
        self, *, namespace: NetworkNamespace | None = None, address: str = "", first_port: int = 20000, count: int
    ) -> None:
        self.address = address or (namespace.address if namespace else "127.0.0.1")
        self.first_port = first_port
        self.count = count
        self._namespace = namespace
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, number: int) -> str:
        return f"http://{self.address}:{self.first_port + number}"

    def start(self) -> None:
        argv = [sys.executable, "-m", "tests.perf.responders", f"--address={self.address}"]
        argv += [f"--first-port={self.first_port}", f"--count={self.count}"]
        self._process = spawn(
            self._namespace.command(argv) if self._namespace else argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            directory=REPOSITORY,
        )
        if self._read() != "ready":
            raise RuntimeError(f"the responders at {self.address} did not start")

    def report(self) -> dict[str, Any]:
        process = self._running()
        assert process.stdin is not None
        process.stdin.write(b"report\n")
        process.stdin.flush()
        found: dict[str, Any] = json.loads(self._read())
        return found

    def kill(self) -> float:
        """SIGKILL: connections are reset and refused; `start` brings it back."""
        process = self._running()
        process.kill()
        process.wait()
        at = time.monotonic()
        stop(process)
        self._process = None
        return at

    def hang(self) -> float:
        """SIGSTOP: the kernel accepts, nobody answers."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        wait_stopped(process)
        return time.monotonic()

    def heal(self) -> None:
        """Undo `kill` or `hang`."""
        if self._process is None:
            self.start()
        else:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None:
            stop(self._process)
            self._process = None

    def __enter__(self) -> Responders:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the responders do not run")
        return self._process

    def _read(self) -> str:
        stream = self._running().stdout
        assert stream is not None
        return stream.readline().decode().strip()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.responders")
    parser.add_argument("--address", required=True)
    parser.add_argument("--first-port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.address, arguments.first_port, arguments.count))


if __name__ == "__main__":
    main()
