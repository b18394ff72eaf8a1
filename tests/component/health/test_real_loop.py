"""A real event loop, real sockets, a real SIGSTOP: what this process suffers is no region's fault.

The benchmark's own processes are used, small and short; `tests/perf/health_bench.py` runs the same at full size.
"""

from __future__ import annotations

import pytest

from tests.perf.health_bench import measure


@pytest.mark.parametrize("fault", ["stop", "block", "idle", "files"])
def test_no_transition(fault: str) -> None:
    """Fails when a time-out that ran while the loop stood still, a connection that the server closed between two
    probes, or a probe without a descriptor counts against the endpoint."""
    report = measure(targets=60, interval=0.25, seconds=7.0, settle=1.0, fault=fault)
    assert report["transitions"] == 0, report["first"]
    assert report["probes"] > 60 * 4 * 7 * 0.5, "it hardly probed at all"
