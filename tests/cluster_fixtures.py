"""A pytest plugin: one control plane for the whole test run, shared by its workers, and a namespace for each test.

A control plane takes about 450 MB, so workers share one (see `testbed.controlplane.shared`). Tests that stop, freeze
or restart parts start their own with `ControlPlane.start`. Programs are built after collection and outside of any
test's time-out, with the progress on the terminal.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.controlplane import ApiClient, Cluster, Component
from testbed.controlplane.shared import acquire, release
from testbed.toolchain import ToolchainError, control_plane_binary

_SESSION = "REGENT_TEST_SESSION"
_failed = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    if not _is_worker(config):
        # Workers inherit it. The process id in it is the one whose end ends the cluster.
        os.environ[_SESSION] = f"{os.getpid()}-{secrets.token_hex(4)}"


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.collectonly or os.environ.get("REGENT_CLUSTER") == "kind":
        return
    if any("control_plane" in getattr(item, "fixturenames", ()) for item in session.items) or any(
        item.get_closest_marker("cluster") for item in session.items
    ):
        # Without Go this fails in the fixture again, where it is reported as the error of the tests that need it.
        with _capture_off(session.config), contextlib.suppress(ToolchainError):
            for component in Component:
                control_plane_binary(component.value)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_failed] = exitstatus in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERNAL_ERROR)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not _is_worker(config) and _SESSION in os.environ:
        release(os.environ[_SESSION], keep_logs=config.stash.get(_failed, False))


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """The test run's cluster: apply, namespaces, CRDs, kubeconfigs; no control over its processes."""
    session = os.environ[_SESSION]
    cluster = acquire(session, watched=int(session.partition("-")[0]))
    yield cluster
    cluster.api.close()


@pytest.fixture(scope="session")
def admin_client(control_plane: Cluster) -> ApiClient:
    """The API client of the cluster's admin."""
    return control_plane.api


@pytest.fixture
def namespace(request: pytest.FixtureRequest, control_plane: Cluster) -> Iterator[str]:
    """A fresh namespace, named after the test; its deletion is not waited for."""
    word = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    name = control_plane.create_namespace(f"{word}-{secrets.token_hex(3)}")
    yield name
    control_plane.delete_namespace(name)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _capture_off(config: pytest.Config) -> contextlib.AbstractContextManager[Any]:
    capture = config.pluginmanager.getplugin("capturemanager")
    return contextlib.nullcontext() if capture is None else capture.global_and_fixture_disabled()
