"""What all tests share: the fixtures of the local control plane, made only where a test asks for them."""

import asyncio
import os

import pytest
from hypothesis import HealthCheck, settings

# A slow machine is no reason for a test to fail: what examples cost is not judged, only what they show. A change is
# judged by the same examples each time; `make test-properties` looks for new ones.
settings.register_profile("regent", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "search", settings.get_profile("regent"), derandomize=False, max_examples=2000, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "regent"))

pytest_plugins = ["tests.cluster_fixtures"]

# On Python 3.11 looptime asks for the current event loop while it loads, which makes one that nobody closes: the run
# would end with a warning about it, and warnings are errors here.
asyncio.set_event_loop(None)

_IN_REAL_TIME = ("tests/e2e/", "tests/cluster/", "tests/contract/", "tests/component/", "tests/chart/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With TEST_RETRY a test in real time is played once more when it fails, and shown as RERUN: see ADR 24.

    A fault that the operators' own logs tell of is none of the machine's and is never played again.
    """
    if not os.environ.get("TEST_RETRY"):
        return
    for item in items:
        if item.nodeid.startswith(_IN_REAL_TIME):
            item.add_marker(pytest.mark.flaky(reruns=1, rerun_except=["OperatorFaultError"]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was played again, and why: each is a bug report."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"RERUN {report.nodeid}", sep="-")
        terminalreporter.write_line(report.longreprtext[-4000:])
        for title, text in report.sections:
            terminalreporter.write_line(f"{title}:\n{text[-8000:]}")
