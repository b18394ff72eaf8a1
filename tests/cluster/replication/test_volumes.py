"""Objects of storage drivers on real API servers: what the status says of volumes, and which role their copies have.

No driver runs here: what one would say is written into the status of its objects. The definition of VolumeReplication
is csi-addons' own; those of VolSync are as much of them as is used.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from regent.domain.times import rfc3339
from testbed.controlplane import ControlPlane
from testbed.toolchain import csi_addons_crds
from tests.cluster.replication.bench import EU, HUB, Bench, Json

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240), pytest.mark.xdist_group("replication")]
CSI, VOLSYNC = "replication.storage.openshift.io/v1alpha1", "volsync.backube/v1alpha1"


def definition(kind: str) -> Json:
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1alpha1", "served": True, "storage": True, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }  # fmt: skip
    names = {"plural": plural, "singular": kind.lower(), "kind": kind}
    spec = {"group": "volsync.backube", "scope": "Namespaced", "names": names, "versions": [version]}
    kinds = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    return {**kinds, "metadata": {"name": f"{plural}.volsync.backube"}, "spec": spec}


@pytest.fixture(scope="module", autouse=True)
def drivers(planes: dict[str, ControlPlane]) -> None:
    """The definitions in the clusters of both regions."""
    for name in (HUB, EU):
        planes[name].install_crds(csi_addons_crds())
        planes[name].install_crds([definition(kind) for kind in ("ReplicationSource", "ReplicationDestination")])


def says(
    bench: Bench, region: str, plural: str, name: str, *, api: str, ago: float | None = None, **status: Any
) -> None:
    """Let the driver in a region say something about one of its objects."""
    synced = {} if ago is None else {"lastSyncTime": rfc3339(time.time() - ago)}
    path = bench.path(plural, name, api=api)
    bench.planes[region].api.patch(f"{path}/status", {"status": {**status, **synced}})


def storage(bench: Bench) -> Json:
    return dict(bench.row().get("storage") or {})


def condition_of(kind: str, status: str, message: str) -> Json:
    now = rfc3339(time.time())
    return {"type": kind, "status": status, "reason": "Told", "message": message, "lastTransitionTime": now}


def test_volumes_of_csi_addons_are_secondary_in_the_standby_and_their_lag_is_shown(bench: Bench) -> None:
    """Fails when a copy is primary as well, when a lag that is not known is none, or when a fault is not seen."""
    spec = {
        "volumeReplicationClass": "mirrored", "replicationState": "primary", "autoResync": False,
        "dataSource": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "data"},
    }  # fmt: skip
    bench.apply(HUB, {"apiVersion": CSI, "kind": "VolumeReplication", "metadata": {"name": "data"}, "spec": spec})
    bench.policy(resources=[{"category": "Storage", "kinds": [{"kind": "VolumeReplication"}]}])
    bench.in_state("InSync")
    copy = bench.get(EU, "volumereplications", "data", api=CSI)
    assert copy is not None
    assert copy["spec"]["replicationState"] == "secondary"
    assert copy["metadata"]["annotations"]["regent.dev/replication-state"] == "primary"
    bench.until(lambda: storage(bench) == {"volumes": 1}, "a volume of which nothing is known")
    assert bench.condition("StorageReplicating")["status"] == "Unknown"
    labels = {"namespace": bench.namespace, "policy": "shop", "region": EU}
    name = "regent_replication_storage_lag_seconds"
    assert str(bench.operator.metrics(name, **labels)) == "nan"

    good = {"state": "Primary", "conditions": [condition_of("Degraded", "False", "healthy")]}
    says(bench, HUB, "volumereplications", "data", api=CSI, ago=400, **good)
    bench.until(lambda: storage(bench).get("lagMilliseconds") == 500_000, "the lag")
    assert bench.condition("StorageReplicating")["status"] == "True"
    bench.until(lambda: 400 <= bench.operator.metrics(name, **labels) < 500, "the exact lag")
    after = bench.get(EU, "volumereplications", "data", api=CSI)
    assert after is not None
    assert after["metadata"]["resourceVersion"] == copy["metadata"]["resourceVersion"], "what is said is not copied"

    bad = condition_of("Degraded", "True", "the mirror is broken")
    says(bench, EU, "volumereplications", "data", api=CSI, conditions=[bad])
    told = bench.until(
        lambda: (
            bench.condition("StorageReplicating").get("status") == "False" and bench.condition("StorageReplicating")
        ),
        "the fault",
    )
    assert "VolumeReplication/data in eu is degraded: the mirror is broken" in told["message"]


def test_senders_of_volsync_are_paused_in_the_standby_and_receivers_are_read(bench: Bench) -> None:
    """Fails when a standby sends too, when a receiver is copied, or is not asked how far it is."""
    sender = {"sourcePVC": "data", "trigger": {"schedule": "*/5 * * * *"}, "rsyncTLS": {"address": "eu.example.com"}}
    bench.apply(HUB, {"apiVersion": VOLSYNC, "kind": "ReplicationSource", "metadata": {"name": "data"}, "spec": sender})
    for region in (HUB, EU):
        own = {
            "apiVersion": VOLSYNC,
            "kind": "ReplicationDestination",
            "metadata": {"name": f"own-{region}"},
            "spec": {},
        }
        bench.apply(region, own)
    says(bench, HUB, "replicationsources", "data", api=VOLSYNC, ago=30)
    says(bench, EU, "replicationdestinations", "own-eu", api=VOLSYNC, ago=150)
    bench.policy(resources=[{"category": "Storage", "storage": {"driver": "VolSync"}}], standby="Running")
    bench.in_state("InSync")
    copy = bench.get(EU, "replicationsources", "data", api=VOLSYNC)
    assert copy is not None
    assert copy["spec"] == {**sender, "paused": True}
    assert copy["metadata"]["annotations"]["regent.dev/paused"] == "false"
    assert bench.get(EU, "replicationdestinations", "own-hub", api=VOLSYNC) is None
    found = bench.until(lambda: "lastSyncTime" in storage(bench) and storage(bench), "the lag")
    assert (found["volumes"], found["lagMilliseconds"]) == (1, 200_000)
    says(bench, EU, "replicationdestinations", "own-eu", api=VOLSYNC, ago=0, latestMoverStatus={"result": "Failed"})
    bench.until(lambda: bench.condition("StorageReplicating").get("status") == "False", "the copy that failed")
