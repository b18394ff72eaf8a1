"""A hub is lost and another one takes over: real API servers, operators, commands, and a role that really moves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.controlplane import ControlPlane
from tests.cluster.replication.bench import API, EU, HUB, ROOT, SYSTEM, US, Bench, Operator

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400), pytest.mark.xdist_group("replication")]

Regent = Callable[..., subprocess.CompletedProcess[str]]
EPOCHS = f"/api/v1/namespaces/{SYSTEM}/configmaps/regent-epochs"
TERM = 1_000_000


def command(plane: ControlPlane, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "regent", "--kubeconfig", str(plane.kubeconfig), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=150, check=False)


def prepare(bench: Bench) -> None:
    """A CronJob that runs in one of two regions, by a policy of the hub; its role is moved once, from eu to us."""
    job = {"spec": {"restartPolicy": "Never", "containers": [{"name": "job", "image": "job:1"}]}}
    for region in (EU, US):
        spec = {"schedule": "0 0 1 1 *", "suspend": region == US, "jobTemplate": {"spec": {"template": job}}}
        bench.apply(
            region, {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}, "spec": spec}
        )
    spec = {
        "topology": "ActivePassive",
        "regions": [{"name": EU}, {"name": US}],
        "safety": {"cooldown": "1s", "fencing": "None"},
        "promotion": {"steps": [{"name": "job", "type": "CronJob", "cronJob": {"name": "nightly"}, "timeout": "20s"}]},
    }
    metadata = {"name": "shop", "annotations": {"regent.dev/adopt": EU}}
    bench.apply(HUB, {"apiVersion": API, "kind": "FailoverPolicy", "metadata": metadata, "spec": spec})
    bench.until(lambda: policy(bench, HUB).get("active") == EU, "the adoption")


def policy(bench: Bench, region: str) -> Any:
    found = bench.get(region, "failoverpolicies", "shop", api=API)
    return (found or {}).get("status") or {}


def suspended(bench: Bench, region: str) -> bool:
    found = bench.get(region, "cronjobs", "nightly", api="batch/v1")
    assert found is not None
    return bool(found["spec"].get("suspend"))


def fence(bench: Bench, region: str) -> str:
    found = bench.planes[region].api.get(EPOCHS)
    return str(found["data"].get(f"{bench.namespace}.shop"))


@pytest.fixture
def standby(bench: Bench) -> Iterator[ControlPlane]:
    """The cluster of `us` as another hub: definitions and the kubeconfigs are there, and no operator yet."""
    plane = bench.planes[US]
    plane.install_crds(ROOT / "crds")
    for name in (EU, US):
        secret = bench.planes[HUB].api.get(f"/api/v1/namespaces/{SYSTEM}/secrets/{name}")
        metadata = {"name": name, "namespace": SYSTEM}
        plane.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": secret["data"]})
    yield plane
    bench.forget_hubs()


def move(bench: Bench, hub: str, source: str, to: str, *, within: str = "60s") -> subprocess.CompletedProcess[str]:
    options = ("-n", bench.namespace, "--type", "switchover", "--timeout", within)
    return command(bench.planes[hub], "failover", "execute", source, to, *options)


def test_another_hub_takes_over_and_the_old_one_is_fenced(bench: Bench, standby: ControlPlane, tmp_path: Path) -> None:
    """Fails when the other hub forgets what is active, or when the old hub can still move the role."""
    prepare(bench)
    bench.policy(source={"followPolicy": "shop"}, targets=[{"region": EU}, {"region": US}])
    moved = move(bench, HUB, EU, US)
    assert moved.returncode == 0, moved.stderr
    epoch = policy(bench, HUB)["epoch"]
    bench.until(lambda: fence(bench, EU).startswith(f"{epoch}."), "the epoch in the region")

    file = tmp_path / "hub.yaml"
    exported = command(bench.planes[HUB], "hub", "export")
    assert exported.returncode == 0, exported.stderr
    file.write_text(exported.stdout, encoding="utf-8")
    assert f"Secret {SYSTEM}/eu is needed" in exported.stderr
    assert "kubeconfig:" not in exported.stdout.replace("kubeconfigSecretRef", "")
    assert "same" not in exported.stdout
    itself = command(bench.planes[HUB], "hub", "import", str(file))
    assert "the hub that the export was made of" in itself.stderr

    tried = command(standby, "hub", "import", str(file), "--dry-run", "-o", "json")
    assert tried.returncode == 0, tried.stderr
    mine = {"policy": f"{bench.namespace}/shop", "active": US, "epoch": TERM}
    assert mine in json.loads(tried.stdout)["policies"]
    assert fence(bench, EU).startswith(f"{epoch}.")
    for _ in range(2):
        taken = command(standby, "hub", "import", str(file))
        assert taken.returncode == 0, taken.stderr
        assert (policy(bench, US)["epoch"], policy(bench, US)["activeRegion"]) == (TERM, US)
        assert [fence(bench, region) for region in (EU, US)] == [f"{TERM}.0.{epoch}"] * 2
    assert "created" not in taken.stdout
    assert bench.get(US, "replicationpolicies", "shop", api=API) is not None

    # The old hub still runs: it may not take the role back.
    late = move(bench, HUB, US, EU, within="15s")
    assert late.returncode == 1, late.stdout
    assert suspended(bench, EU), "the old hub has woken the CronJob in eu"
    assert not suspended(bench, US), "the old hub has stopped the CronJob in us"
    bench.operator.stop()

    with Operator(standby, tmp_path) as successor:
        successor.start()
        bench.until(lambda: policy(bench, US).get("failoverReady") == "True", "the successor", show=successor.tail)
        back = move(bench, US, US, EU)
        assert back.returncode == 0, back.stderr + successor.tail()
        assert policy(bench, US)["epoch"] == TERM + 1
    assert (suspended(bench, EU), suspended(bench, US)) == (False, True)

    # What the export says has been overtaken now, here and in the regions.
    older = command(standby, "hub", "import", str(file))
    assert older.returncode == 1
    assert f"this hub has epoch {TERM + 1} of it, the export has {epoch}, which is older" in older.stderr


def test_what_the_export_cannot_know_is_asked_of_a_person(bench: Bench, standby: ControlPlane, tmp_path: Path) -> None:
    """Fails when an export that regions have overtaken, or a region that is not reached, is passed over in silence."""
    prepare(bench)
    file = tmp_path / "hub.yaml"
    file.write_text(command(bench.planes[HUB], "hub", "export").stdout, encoding="utf-8")
    moved = move(bench, HUB, EU, US)
    assert moved.returncode == 0, moved.stderr
    bench.operator.stop()
    older = command(standby, "hub", "import", str(file))
    assert (older.returncode, f"--active {bench.namespace}/shop=REGION" in older.stderr) == (1, True), older.stderr
    assert bench.get(US, "failoverpolicies", "shop", api=API) is None

    secret = standby.api.get(f"/api/v1/namespaces/{SYSTEM}/secrets/{EU}")
    standby.api.delete(f"/api/v1/namespaces/{SYSTEM}/secrets/{EU}")
    missing = command(standby, "hub", "import", str(file))
    assert f"Secret {SYSTEM}/{EU} is missing" in missing.stderr
    assert f"region {EU} cannot be told" in missing.stderr
    metadata = {"name": EU, "namespace": SYSTEM}
    standby.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": secret["data"]})

    options = ("--active", f"{bench.namespace}/shop={US}", "--without", EU)
    taken = command(standby, "hub", "import", str(file), *options)
    assert taken.returncode == 0, taken.stderr
    assert (policy(bench, US)["activeRegion"], policy(bench, US)["epoch"]) == (US, TERM)
    assert fence(bench, US).startswith(f"{TERM}.0.")
    assert not fence(bench, EU).startswith(str(TERM))
