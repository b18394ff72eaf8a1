"""The handle of a writing client that runs in a process of its own, and the figures of what it wrote."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path
from types import TracebackType

from testbed.network import NetworkNamespace, spawn
from testbed.network.processes import stop

_REPOSITORY = Path(__file__).resolve().parents[2]


class Outcome(Enum):
    """What the client knows about a write."""

    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"  # surely not written
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Write:
    """One integer: when it was sent, how long its answer took (seconds), and what that was."""

    number: int
    sent: float
    latency: float
    outcome: Outcome
    status: int  # 0 without an answer
    region: str

    @property
    def done(self) -> float:
        """When its outcome was known."""
        return self.sent + self.latency

    @property
    def acknowledged(self) -> bool:
        return self.outcome is Outcome.ACKNOWLEDGED


class Writes:
    """Writes in the order in which they were sent. All times are monotonic seconds."""

    def __init__(self, writes: Iterable[Write]) -> None:
        self.writes = sorted(writes, key=lambda write: write.sent)

    @property
    def acknowledged(self) -> list[Write]:
        return [write for write in self.writes if write.acknowledged]

    def lost(self, present: Collection[int]) -> list[Write]:
        """The acknowledged writes that are not among the integers that a database has."""
        return [write for write in self.acknowledged if write.number not in present]

    def resurrected(self, present: Collection[int]) -> list[Write]:
        """The writes that surely failed and are there all the same."""
        return [write for write in self.writes if write.outcome is Outcome.FAILED and write.number in present]

    def pause(self, *, since: float = 0.0, until: float = float("inf")) -> float:
        """The longest time between two acknowledgements that follow each other, of those that arrived in the span."""
        times = sorted(write.done for write in self.acknowledged if since <= write.done <= until)
        return max((later - earlier for earlier, later in pairwise(times)), default=0.0)

    def by_outcome(self) -> dict[str, int]:
        return dict(Counter(write.outcome.value for write in self.writes))

    def by_region(self) -> dict[str, int]:
        """Acknowledged writes by the region that took them."""
        return dict(Counter(write.region for write in self.acknowledged))

    def since(self, time: float) -> Writes:
        """Only what was sent at that time or later."""
        return Writes(write for write in self.writes if write.sent >= time)


def fewest_turns(writes: Iterable[Write]) -> int:
    """How often the role of primary must have moved at the least, for these acknowledgements to be those of one
    primary at a time.

    A write was committed at some moment between being sent and being answered. Two primaries at a time show as more
    turns than there were promotions: their acknowledgements alternate, however the moments are chosen.
    """
    accepted = [write for write in writes if write.acknowledged]
    regions = {write.region for write in accepted}
    return min((_turns(accepted, first) for first in regions), default=0)


def _turns(accepted: Iterable[Write], region: str) -> int:
    """As `fewest_turns`, with the first of all primaries given. Each primary stays for as long as the others' answers
    allow: leaving earlier never saves a turn."""
    left = list(accepted)
    turns = 0
    while others := [write for write in left if write.region != region]:
        until = min(others, key=lambda write: write.done)
        left = [write for write in left if write.region != region or write.sent > until.done]
        region, turns = until.region, turns + 1
    return turns


class WriterLoop:
    """Context manager: writes `first`, `first + 1`, … to the writer service at `url`, one each `interval` seconds.

    With `namespace` the client runs inside it: it reaches that region whatever becomes of its link.
    """

    def __init__(
        self,
        url: str,
        *,
        host: str = "",
        interval: float = 0.02,
        timeout: float = 1.0,
        first: int = 1,
        count: int = 1_000_000,
        namespace: NetworkNamespace | None = None,
    ) -> None:
        self._timeout = timeout
        self._argv = [sys.executable, "-m", "testbed.database.client", url, f"--host={host}", f"--interval={interval}"]
        self._argv += [f"--timeout={timeout}", f"--first={first}", f"--count={count}"]
        if namespace is not None:
            self._argv = namespace.command(self._argv)
        self._writes: list[Write] = []
        self._changed = threading.Condition()
        self._ended = False
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._files = ExitStack()
        self._log = Path()

    def __enter__(self) -> WriterLoop:
        self._log = Path(self._files.enter_context(tempfile.TemporaryDirectory(prefix="regent-writer-"))) / "client.log"
        with self._log.open("wb") as log:
            self._process = spawn(
                self._argv,
                stdout=subprocess.PIPE,
                stderr=log,
                environment={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
            )
        self._reader = threading.Thread(target=self._read, args=(self._process,), name="writer-loop", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> Writes:
        """Write no more, wait for the answers that are due, and return everything. Twice is fine."""
        if self._process is None or self._reader is None:
            raise RuntimeError("the writer was not started")
        if self._process.poll() is None:
            self._process.terminate()
        self._reader.join(timeout=self._timeout + 5.0)
        code = stop(self._process)
        self._reader.join()
        complaint = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        self._files.close()
        if code not in {0, -15}:  # SIGTERM before its handler stood is an orderly end too
            raise RuntimeError(f"the writer failed with {code}:\n{complaint}")
        return self.writes()

    def writes(self) -> Writes:
        """What has been answered (or given up) so far."""
        with self._changed:
            return Writes(self._writes)

    def wait_for(self, condition: Callable[[Write], bool], *, timeout: float, since: float = 0.0) -> Write:
        """Wait for a write that fulfils a condition, sent at `since` or later; else `TimeoutError`."""
        deadline = time.monotonic() + timeout
        seen = 0
        with self._changed:
            while True:
                for write in self._writes[seen:]:
                    if write.sent >= since and condition(write):
                        return write
                seen = len(self._writes)
                left = deadline - time.monotonic()
                if self._ended or left <= 0.0 or not self._changed.wait(left):
                    raise TimeoutError(f"no such write among {seen} within {timeout} s")

    def wait_acknowledged_by(self, region: str, *, timeout: float, since: float = 0.0) -> Write:
        """Wait until a region acknowledges a write sent at `since` or later."""
        return self.wait_for(lambda write: write.acknowledged and write.region == region, timeout=timeout, since=since)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101
        for line in process.stdout:
            number, sent, latency, outcome, status, region = line.decode().rstrip("\n").split(" ", 5)
            write = Write(int(number), float(sent), float(latency), Outcome(outcome), int(status), region)
            with self._changed:
                self._writes.append(write)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
