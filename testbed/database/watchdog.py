"""`python -m testbed.database.watchdog DIRECTORY`: waits for the end of its standard input, then clears everything.

PostgreSQL is started by Patroni as a process of its own, so no death signal reaches it when the test run is killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from testbed.database.region import postmasters

_PATIENCE = 10.0


def main() -> None:
    """Wait, kill, remove."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    directory = Path(sys.argv[1])
    sys.stdin.read()
    deadline = time.monotonic() + _PATIENCE
    # More than one round: a Patroni that dies a moment later may have started PostgreSQL in between.
    while (running := _running(directory)) and time.monotonic() < deadline:
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    shutil.rmtree(directory, ignore_errors=True)


def _running(directory: Path) -> list[int]:
    return [pid for region in directory.iterdir() for pid in postmasters(region / "data")]


if __name__ == "__main__":
    main()
