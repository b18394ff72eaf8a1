"""The tests' end of a replica that is to die: which boundaries of a run it reached, and at which one it is to end.

A boundary is a point of a run that a crash can cut: before or after a look at a step, an effect, a write. `program` is
at the other end.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

DIRECTORY = "BOUNDARY_DIRECTORY"
"""The variable that tells the program where the files are."""
ORDER = "order.json"
TRACE = "trace.jsonl"
PROGRAM = "testbed.crash.program"
HEADER = "X-Boundary"
"""Header of a write: the namespace of its run, and its name without `, before`."""


def agent(pid: int) -> str:
    """The User-Agent of a process' writes."""
    return f"doomed/{pid}"


class End(Enum):
    """What happens at the boundary."""

    KILL = "kill"  # SIGKILL
    STOP = "stop"  # SIGSTOP, until somebody sends SIGCONT


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A boundary that was reached at `time` (monotonic) by process `pid`; `outcome` of a write: ok, or the error."""

    time: float
    namespace: str
    name: str
    pid: int
    outcome: str = ""


class Boundaries:
    """One replica's boundaries; `directory` is its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """What the replica's process needs to know."""
        return {DIRECTORY: str(self._directory)}

    def order(self, namespace: str, boundary: str, end: End) -> None:
        """Let the replica end when a run in `namespace` gets to `boundary` for the next time."""
        text = json.dumps({"namespace": namespace, "boundary": boundary, "action": end.value})
        # Renamed into its place, so that it is never read half written.
        draft = self._directory / f"{ORDER}.draft"
        draft.write_text(text, encoding="utf-8")
        draft.replace(self._directory / ORDER)

    def recall(self) -> bool:
        """Take the order back; says whether it was still open."""
        try:
            (self._directory / ORDER).unlink()
        except FileNotFoundError:
            return False
        return True

    @property
    def pending(self) -> bool:
        """Whether the order is still to be carried out."""
        return (self._directory / ORDER).exists()

    def reached(self, namespace: str) -> list[Reached]:
        """What was reached in `namespace`, in order."""
        trace = self._directory / TRACE
        if not trace.exists():
            return []
        lines = trace.read_text(encoding="utf-8").splitlines()
        found = [Reached(**json.loads(line)) for line in lines if line.endswith("}")]
        return [item for item in found if item.namespace == namespace]
