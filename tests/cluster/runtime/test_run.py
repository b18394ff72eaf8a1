"""The operator as a process: it starts, is ready, stops cleanly, and lives through what happens to an API server."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.controlplane import ControlPlane
from testbed.toolchain import gateway_api_crds
from tests.cluster.runtime.conftest import Replica, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

Start = Callable[..., Replica]


def region(name: str) -> dict[str, Any]:
    probes = [{"name": "web", "tcp": {"port": 9}}]
    spec = {"endpoint": "https://127.0.0.1", "probes": probes}
    return {"apiVersion": "regent.dev/v1alpha1", "kind": "Region", "metadata": {"name": name}, "spec": spec}


def kinds_watched(replica: Replica) -> list[str]:
    return [line["kinds"] for line in replica.lines() if line.get("message") == "Watching"]


def stored(replica: Replica, kind: str) -> float:
    series = f'regent_store_objects{{kind="{kind}"'
    lines = replica.get("/metrics").text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(series)), 0.0)


def test_starts_follows_the_cluster_and_stops_cleanly(plane: ControlPlane, start: Start, lease: Any) -> None:
    replica = start()
    until(replica.ready, "ready")
    assert replica.get("/healthz").status_code == 200
    until(replica.leads, "leads")
    plane.apply(region("first"))
    until(lambda: stored(replica, "Region") == 1, "the watch brings a Region")
    until(lambda: plane.api.get("/apis/regent.dev/v1alpha1/regions/first")["status"]["health"] != "Unknown", "probed")
    plane.api.delete("/apis/regent.dev/v1alpha1/regions/first")
    until(lambda: stored(replica, "Region") == 0, "the watch takes it away")
    holder = lease()["holderIdentity"]
    assert holder
    started = time.monotonic()
    replica.signal(signal.SIGTERM)
    assert replica.wait(5) == 0
    assert time.monotonic() - started < 5
    assert not lease().get("holderIdentity"), "the lease is released"
    assert not [line for line in replica.lines() if line["level"] == "error"], replica.text()


def test_gateway_api_that_is_installed_later_is_picked_up(plane: ControlPlane, start: Start) -> None:
    replica = start()
    until(replica.ready, "ready without the Gateway API")
    assert "HTTPRoute" not in kinds_watched(replica)[-1]
    plane.install_crds(gateway_api_crds())
    until(lambda: "HTTPRoute" in kinds_watched(replica)[-1], "routes are watched", within=30)
    namespace = plane.create_namespace("routes")
    route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
    plane.apply({**route, "metadata": {"name": "shop", "namespace": namespace}, "spec": {}})
    until(lambda: stored(replica, "HTTPRoute") == 1, "a route is seen")
    assert replica.ready()


def test_an_api_server_that_is_restarted_is_survived(plane: ControlPlane, start: Start) -> None:
    """What is deleted and made around the outage is noticed; the store stays meanwhile."""
    plane.apply([region("stays"), region("goes")])
    replica = start(REGENT_LEADER_ELECTION__ENABLED="false")
    until(replica.ready, "ready")
    until(lambda: stored(replica, "Region") == 2, "both Regions")
    plane.stop_apiserver()
    assert stored(replica, "Region") == 2, "the store stays"
    plane.start_apiserver()
    plane.api.delete("/apis/regent.dev/v1alpha1/regions/goes")
    plane.apply(region("new"))

    def names() -> bool:
        return stored(replica, "Region") == 2 and _health(plane, "new") not in ("", "Unknown")

    until(names, "the watch is back", within=40)
    assert replica.get("/healthz").status_code == 200
    for name in ("stays", "new"):
        plane.api.delete(f"/apis/regent.dev/v1alpha1/regions/{name}")
    until(lambda: stored(replica, "Region") == 0, "and lasts")


def _health(plane: ControlPlane, name: str) -> str:
    status = plane.api.get(f"/apis/regent.dev/v1alpha1/regions/{name}").get("status") or {}
    return str(status.get("health", ""))


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--http-address", "nowhere"], 2, "http.address"),
        (["--kubeconfig", "/nonexistent"], 2, "no such file"),
        (["--context", "nonexistent"], 2, "nonexistent"),
        (["--config", "/nonexistent"], 2, "No such file"),
        (["--nonsense"], 2, "nonsense"),
    ],
)
def test_wrong_use_ends_with_two_and_says_what(plane: ControlPlane, arguments: list[str], code: int, word: str) -> None:
    command = [sys.executable, "-m", "regent", "run", "--kubeconfig", str(plane.kubeconfig), *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert ended.returncode == code
    assert word in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_taken_port_ends_with_one(plane: ControlPlane, start: Start) -> None:
    first = start()
    until(first.ready, "ready")
    second = start("--http-address", f"127.0.0.1:{first.port}")
    assert second.wait(20) == 1
    assert "address already in use" in second.text()


def test_unknown_settings_in_the_file_end_with_two(plane: ControlPlane, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("failover: {suspendall: true}")
    command = [sys.executable, "-m", "regent", "run", "--config", str(tmp_path / "c.yaml")]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert "failover.suspendall" in ended.stderr
    assert "did you mean failover.suspendAll" in ended.stderr


def test_everything_at_rest_is_told_by_every_policy_and_as_a_metric(plane: ControlPlane, start: Start) -> None:
    replica = start(REGENT_FAILOVER__SUSPEND_ALL="true")
    namespace = plane.create_namespace("rest")
    kind = {"apiVersion": "regent.dev/v1alpha1", "kind": "FailoverPolicy"}
    spec = {"topology": "ActivePassive", "regions": [{"name": "one"}, {"name": "two"}]}
    plane.apply({**kind, "metadata": {"name": "shop", "namespace": namespace}, "spec": spec})
    path = f"/apis/regent.dev/v1alpha1/namespaces/{namespace}/failoverpolicies/shop"

    def suspended() -> dict[str, Any] | None:
        conditions = (plane.api.get(path).get("status") or {}).get("conditions") or ()
        return next((item for item in conditions if item["type"] == "Suspended"), None)

    found = until(suspended, "the condition", within=40)
    assert (found["status"], found["reason"]) == ("True", "SuspendedGlobally")
    assert "failover.suspendAll" in found["message"]
    assert plane.api.get(path)["status"]["phase"] == "Suspended"
    until(lambda: replica.metric("regent_policy_suspended") == 1, "the metric")
    plane.api.delete(path)
    until(lambda: replica.metric("regent_policy_suspended") == 0, "no metric of a policy that is gone")
