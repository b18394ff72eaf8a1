"""The drill: the hub and the active region are lost together, a standby hub takes over and fails over; and the old hub,
when it comes back, changes nothing. Real API servers, operators, accounts and commands."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.controlplane import ApiError, ControlPlane
from tests.chart_render import render_chart
from tests.cluster.replication.bench import API, EU, HUB, ROOT, SYSTEM, US, Bench, Operator

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400), pytest.mark.xdist_group("replication")]

EPOCHS = f"/api/v1/namespaces/{SYSTEM}/configmaps/regent-epochs"
TERM = 1_000_000
STANDBY = {"standby": {"follow": "active-hub", "secrets": True}}
ACCESS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
Json = dict[str, Any]


def command(plane: ControlPlane, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "regent", "--kubeconfig", str(plane.kubeconfig), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=150, check=False)


def prepare(bench: Bench) -> None:
    """A CronJob that runs in eu, by a policy of the hub that moves it by itself when eu is lost."""
    job = {"spec": {"restartPolicy": "Never", "containers": [{"name": "job", "image": "job:1"}]}}
    for region in (EU, US):
        spec: Json = {"schedule": "0 0 1 1 *", "suspend": region == US, "jobTemplate": {"spec": {"template": job}}}
        metadata = {"name": "nightly"}
        bench.apply(region, {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec})
    spec = {
        "topology": "ActivePassive",
        "mode": "Automatic",
        "regions": [{"name": EU}, {"name": US}],
        "safety": {"cooldown": "1s", "fencing": "BestEffort"},
        "promotion": {"steps": [{"name": "job", "type": "CronJob", "cronJob": {"name": "nightly"}, "timeout": "20s"}]},
    }
    shop = {"name": "shop", "annotations": {"regent.dev/adopt": EU}}
    bench.apply(HUB, {"apiVersion": API, "kind": "FailoverPolicy", "metadata": shop, "spec": spec})
    bench.until(lambda: policy(bench, HUB).get("active") == EU, "the adoption")


def policy(bench: Bench, region: str) -> Json:
    found = bench.get(region, "failoverpolicies", "shop", api=API)
    return dict((found or {}).get("status") or {})


def ready(bench: Bench, region: str) -> str:
    conditions = policy(bench, region).get("conditions") or ()
    return next((str(item["reason"]) for item in conditions if item["type"] == "Ready"), "")


def awake(bench: Bench, region: str) -> bool:
    found = bench.get(region, "cronjobs", "nightly", api="batch/v1")
    assert found is not None
    return not found["spec"].get("suspend")


def version(bench: Bench, region: str) -> str:
    found = bench.get(region, "cronjobs", "nightly", api="batch/v1")
    assert found is not None
    return str(found["metadata"]["resourceVersion"])


def access() -> list[Json]:
    """What the chart gives the operator of a standby hub."""
    return [obj for obj in render_chart({"settings": STANDBY}) if obj["kind"] in ACCESS]


@pytest.fixture
def standby(bench: Bench, tmp_path: Path) -> Iterator[Operator]:
    """The cluster of `us` as a standby hub: definitions, the chart's rights, a kubeconfig that reads in the hub."""
    hub, plane = bench.planes[HUB], bench.planes[US]
    plane.install_crds(ROOT / "crds")
    plane.apply(access())
    for file in ("account.yaml", "secrets.yaml"):
        hub.apply(ROOT / "deploy" / "standby" / file)
    text = hub.service_account_kubeconfig(SYSTEM, "regent-standby").read_text(encoding="utf-8")
    data = {"kubeconfig": base64.b64encode(text.encode()).decode()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": SYSTEM, "name": "active-hub"}}
    plane.apply({**secret, "data": data})
    settings = {
        "REGENT_STANDBY__FOLLOW": "active-hub",
        "REGENT_STANDBY__SECRETS": "true",
        # With a lease, which a standby does not take; and long, as nobody starts this process again.
        "REGENT_LEADER_ELECTION__ENABLED": "true",
        "REGENT_LEADER_ELECTION__LEASE_DURATION": "60s",
        "REGENT_LEADER_ELECTION__RENEW_INTERVAL": "5s",
        "REGENT_FAILOVER__STARTUP_GRACE": "1s",
    }
    directory = tmp_path / "standby"
    directory.mkdir()
    account = plane.service_account_kubeconfig(SYSTEM, "regent")
    with Operator(plane, directory, kubeconfig=account, settings=settings) as operator:
        operator.start()
        yield operator
    bench.forget_hubs()
    for obj in access():
        if obj["kind"] != "ServiceAccount":
            plane.api.delete(plane.api.path_of(obj))


def test_the_hub_and_the_active_region_are_lost_together(bench: Bench, standby: Operator) -> None:
    """Fails when the standby hub does not know the world, does not fail over, or lets the old hub act again."""
    prepare(bench)
    epoch = bench.until(lambda: policy(bench, HUB).get("epoch") is not None and policy(bench, HUB), "an epoch")["epoch"]
    bench.until(lambda: policy(bench, US).get("active") == EU, "the copy", show=standby.tail)
    assert policy(bench, US)["epoch"] == epoch
    bench.until(lambda: ready(bench, US) == "HubStandby", "what the standby says of itself", show=standby.tail)
    secret = bench.planes[US].api.get(f"/api/v1/namespaces/{SYSTEM}/secrets/{EU}")
    assert secret["data"] == bench.planes[HUB].api.get(f"/api/v1/namespaces/{SYSTEM}/secrets/{EU}")["data"]
    assert standby.metrics("regent_hub_role", role="Standby") == 1

    bench.operator.stop(signal.SIGKILL)
    for region in (HUB, EU):
        bench.planes[region].stop_apiserver(how=signal.SIGKILL)
    try:
        lost = time.monotonic()
        bench.until(lambda: standby.metrics("regent_hub_heard_age_seconds") > 2, "the silence", show=standby.tail)
        assert awake(bench, US) is False, "a standby decides nothing by itself"
        refused = command(bench.planes[US], "hub", "promote")
        assert (refused.returncode, f"--without {EU}" in refused.stderr) == (1, True), refused.stderr
        assert json.loads(command(bench.planes[US], "hub", "status", "-o", "json").stdout)["role"] == "Standby"
        promoted = command(bench.planes[US], "hub", "promote", "--without", EU)
        assert promoted.returncode == 0, promoted.stderr
        promoted = time.monotonic()
        bench.until(
            lambda: policy(bench, US).get("active") == US and not policy(bench, US).get("operation"),
            "the failover",
            show=standby.tail,
        )
        print(f"lost to promoted {promoted - lost:.1f}s, promoted to failed over {time.monotonic() - promoted:.1f}s")
        assert awake(bench, US)
        assert policy(bench, US)["epoch"] == TERM + 1
        claim = bench.planes[US].api.get(EPOCHS)["metadata"]["annotations"]
        assert claim["regent.dev/hub-term"] == "1"

        bench.planes[HUB].start_apiserver()
        before, runs = version(bench, US), len(bench.until(lambda: failovers(bench), "the old hub's API server"))
        status = policy(bench, HUB)
        bench.operator.start()
        bench.until(lambda: bench.operator.ended() is not None, "the end of the old operator", show=bench.operator.tail)
        assert bench.operator.ended() == 3, bench.operator.tail()
        assert "has taken over from this one (term 1)" in bench.operator.text()
        bench.operator.start()
        bench.until(lambda: ready(bench, HUB) == "HubSuperseded", "what it says of itself", show=bench.operator.tail)
        assert bench.operator.metrics("regent_hub_role", role="Superseded") == 1
        asked = ("-n", bench.namespace, "--type", "switchover", "--timeout", "5s")
        assert command(bench.planes[HUB], "failover", "execute", EU, US, *asked).returncode == 1
        assert bench.operator.ended() is None
        after = policy(bench, HUB)
        assert (after["active"], after["epoch"]) == (status["active"], status["epoch"])
        assert version(bench, US) == before
        assert len(failovers(bench)) <= runs + 1, "but for the one that was asked for, it has decided something"
        assert awake(bench, US)
    finally:
        for region in (HUB, EU):
            if not bench.planes[region].is_ready():
                bench.planes[region].start_apiserver()
    bench.until(
        lambda: told(bench, EU) >= TERM,
        "the region that came back told of the new hub",
        show=standby.tail,
    )
    assert "orbidden" not in standby.text(), standby.tail()


def told(bench: Bench, region: str) -> int:
    """The epoch of the policy that a region has been told; 0 before it was told of any."""
    found = bench.get(region, "configmaps", "regent-epochs", namespace=SYSTEM) or {}
    return int(str((found.get("data") or {}).get(f"{bench.namespace}.shop", "0")).partition(".")[0])


def failovers(bench: Bench) -> list[Json]:
    """The runs in the old hub, beside one that there always is; empty while its API server has just been started."""
    try:
        found = bench.planes[HUB].api.get(bench.path("failovers", api=API))["items"]
    except ApiError as error:
        if error.status in (429, 503):
            return []
        raise
    return [{}, *found]
