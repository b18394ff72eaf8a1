"""Figures of a benchmark: distributions, tables on the terminal, JSON in .cache/bench.

The JSON holds what the table shows, the single values behind it, and what somebody needs to judge them: when, on how
many cores, how busy the machine was beside it, and the command.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
DIRECTORY = REPOSITORY / ".cache" / "bench"


@dataclass(frozen=True, slots=True)
class Distribution:
    """Sorted values; percentiles by nearest rank, so that every figure is a value that was seen."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> Distribution:
        return cls(tuple(sorted(values)))

    def at(self, percent: float) -> float:
        if not self.values:
            return float("nan")
        rank = -(-len(self.values) * percent // 100)
        return self.values[max(int(rank) - 1, 0)]

    def row(self, *, scale: float = 1000.0, digits: int = 0) -> list[str]:
        """n, p50, p95, p99, max as text; `scale` turns the unit (seconds to milliseconds)."""
        figures = (self.at(50), self.at(95), self.at(99), self.at(100))
        return [str(len(self.values)), *(f"{value * scale:.{digits}f}" for value in figures)]

    def summary(self) -> dict[str, Any]:
        return {
            "n": len(self.values),
            "p50": self.at(50),
            "p95": self.at(95),
            "p99": self.at(99),
            "max": self.at(100),
            "values": [round(value, 6) for value in self.values],
        }


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, numbers to the right, as Markdown: it goes into docs/benchmarks.md as it is."""
    body = [list(row) for row in rows]
    widths = [max(len(line[column]) for line in [list(header), *body]) for column in range(len(header))]
    print(f"\n{title}\n")
    for number, line in enumerate([list(header), *body]):
        cells = [
            text.ljust(widths[0]) if column == 0 else text.rjust(widths[column]) for column, text in enumerate(line)
        ]
        print("| " + " | ".join(cells) + " |")
        if number == 0:
            print("| " + " | ".join("-" * w if c == 0 else "-" * (w - 1) + ":" for c, w in enumerate(widths)) + " |")
    sys.stdout.flush()


def say(text: str) -> None:
    """One line of progress."""
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


def save(name: str, figures: Mapping[str, Any]) -> Path:
    """Write the figures with their circumstances; the last run of a name replaces the one before."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    document = {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m", f"tests.perf.{name}_bench", *sys.argv[1:]]),
        "commit": _commit(),
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()),
        **figures,
    }
    path = DIRECTORY / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    say(f"written: {path.relative_to(REPOSITORY)}")
    return path


def new_directory() -> Path:
    """A directory for the logs of one run of the operator; they stay, to look at what a figure does not say."""
    path = DIRECTORY / "logs" / f"{datetime.now(UTC):%H%M%S}-{os.getpid()}-{secrets.token_hex(2)}"
    path.mkdir(parents=True)
    return path


def verdict(what: str, value: float, limit: float, *, unit: str) -> str:
    """A line that says whether a target is reached, and by how much it is missed."""
    if value <= limit:
        return f"reached: {what} {value:.4g} {unit} (target {limit:g} {unit})"
    return f"MISSED:  {what} {value:.4g} {unit}, {value - limit:.4g} {unit} over the target of {limit:g} {unit}"


def _commit() -> str:
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
