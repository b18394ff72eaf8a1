"""What the kernel says about a process: CPU time, memory, threads, descriptors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Figures of one moment. `cpu` is seconds of user and system time since the start; memory is in MB (10^6 bytes)."""

    cpu: float
    resident: float
    peak: float
    descriptors: int
    threads: int


def usage(pid: int) -> Usage:
    """Read the figures of a process of ours.

    Raises:
        FileNotFoundError: it has ended.
    """
    base = Path("/proc") / str(pid)
    # The program's name is in brackets and may hold blanks, so fields are counted from behind it.
    fields = (base / "stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in (base / "status").read_text().splitlines() if ":" in line)
    return Usage(
        cpu=(int(fields[11]) + int(fields[12])) / _TICK,
        resident=_megabytes(status["VmRSS"]),
        peak=_megabytes(status["VmHWM"]),
        descriptors=len(list((base / "fd").iterdir())),
        threads=int(status["Threads"]),
    )


def machine_cpu() -> float:
    """Seconds that all cores together have been busy since the machine started."""
    user, nice, system, _, _, interrupts, soft, *_ = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return sum(map(int, (user, nice, system, interrupts, soft))) / _TICK


def _megabytes(text: str) -> float:
    return int(text.split(maxsplit=1)[0]) * 1024 / 1e6
