"""The handle of a client loop that runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from types import TracebackType

from testbed.load.timeline import Outcome, Record, Timeline
from testbed.network import spawn
from testbed.network.processes import stop

_REPOSITORY = Path(__file__).resolve().parents[2]
_MAX_RECORDS = 5_000_000


class Connections(Enum):
    """Whether the clients keep their connections."""

    KEPT = "kept"
    FRESH = "fresh"


class ClientLoop:
    """Context manager: requests leave at `rate` per second until its end, bounded by `count` and `duration` (seconds).

    `timeline()` may be asked at any time; after the block it holds every request that was sent.
    """

    def __init__(
        self,
        url: str,
        *,
        host: str = "",
        rate: float = 50.0,
        timeout: float = 1.0,
        count: int = 1_000_000,
        duration: float = 600.0,
        connections: Connections = Connections.KEPT,
    ) -> None:
        if rate <= 0 or timeout <= 0 or not 0 < count <= _MAX_RECORDS or duration <= 0:
            raise ValueError("rate, timeout, count and duration must be positive, count at most 5,000,000")
        self._timeout = timeout
        self._argv = [sys.executable, "-m", "testbed.load.client", url, f"--host={host}", f"--rate={rate}"]
        self._argv += [f"--timeout={timeout}", f"--count={count}", f"--duration={duration}"]
        self._argv += [f"--connections={connections.value}"]
        self._records: list[Record] = []
        self._changed = threading.Condition()
        self._ended = False
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._files = ExitStack()
        self._log = Path()

    def __enter__(self) -> ClientLoop:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to send; returns at once (the first request leaves after about 0.4 s)."""
        self._log = Path(self._files.enter_context(tempfile.TemporaryDirectory(prefix="regent-load-"))) / "client.log"
        with self._log.open("wb") as log:
            self._process = spawn(
                self._argv,
                stdout=subprocess.PIPE,
                stderr=log,
                environment={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
            )
        self._reader = threading.Thread(target=self._read, args=(self._process,), name="client-loop", daemon=True)
        self._reader.start()

    def stop(self) -> Timeline:
        """Send no more, wait for the answers that are due, and return everything."""
        if self._process is None or self._reader is None:
            raise RuntimeError("the client loop was not started")
        if self._process.poll() is None:
            self._process.terminate()
        self._reader.join(timeout=self._timeout + 5.0)
        code = stop(self._process)
        self._reader.join()
        complaint = self._log.read_text(encoding="utf-8", errors="replace")
        self._files.close()
        if code not in {0, -15}:  # SIGTERM before its handler stood is an orderly end too
            raise RuntimeError(f"the client loop failed with {code}:\n{complaint}")
        return self.timeline()

    def wait_end(self, *, timeout: float) -> Timeline:
        """Return when `count` or `duration` is reached and all is answered; `TimeoutError` otherwise."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, timeout):
                raise TimeoutError(f"the client loop did not end within {timeout} s")
        return self.timeline()

    def timeline(self) -> Timeline:
        """What has been answered (or given up) so far."""
        with self._changed:
            return Timeline(self._records)

    def wait_for(self, condition: Callable[[Record], bool], *, timeout: float, since: float = 0.0) -> Record:
        """Wait for a record that fulfils a condition, of a request sent at `since` or later; else `TimeoutError`."""
        deadline = time.monotonic() + timeout
        seen = 0
        with self._changed:
            while True:
                for record in self._records[seen:]:
                    if record.sent >= since and condition(record):
                        return record
                seen = len(self._records)
                left = deadline - time.monotonic()
                if self._ended or left <= 0.0 or not self._changed.wait(left):
                    raise TimeoutError(f"no such answer among {seen} within {timeout} s")

    def wait_served_by(self, region: str, *, timeout: float, since: float = 0.0) -> Record:
        """Wait for a good answer of a region to a request sent at `since` or later."""
        return self.wait_for(lambda record: record.good and record.region == region, timeout=timeout, since=since)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101
        for line in process.stdout:
            sent, latency, outcome, status, region = line.decode().rstrip("\n").split(" ", 4)
            record = Record(float(sent), float(latency), Outcome(outcome), int(status), region)
            with self._changed:
                self._records.append(record)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
