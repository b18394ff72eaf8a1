"""VolumeReplication steps with csi-addons' own controller in both member clusters, in front of a storage in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from regent.domain.failover.fence import Fence
from regent.domain.failover.options import StepKind
from regent.domain.failover.roles import Role
from tests.contract.promotion.regions import EU, US, Bench, Json, Member, eventually
from tests.contract.promotion.storage import DRIVER, Controller, Storage, Volume

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("members"), pytest.mark.timeout(120)]
RUN = "shop/shop-1/uid-1"


@pytest.fixture
async def volume(bench: Bench, members: dict[str, Member]) -> AsyncIterator[Volume]:
    """A volume of both regions, primary in `eu`, with the claims that the VolumeReplications name."""
    found = Volume()
    async with AsyncExitStack() as stack:
        for region, member in members.items():
            storage = Storage(region, found)
            await storage.start()
            stack.push_async_callback(storage.stop)
            controller = Controller(member, storage)
            stack.callback(controller.stop)
            await asyncio.to_thread(controller.start)
            await claim(bench, region)
        yield found


async def claim(bench: Bench, region: str) -> None:
    """A bound claim in `region`, and its VolumeReplication."""
    csi = {"driver": DRIVER, "volumeHandle": "v1"}
    size, mode, name = {"storage": "1Gi"}, ["ReadWriteOnce"], f"{bench.namespace}-data"
    reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": bench.namespace, "name": "data"}
    pv = {"capacity": size, "accessModes": mode, "csi": csi, "claimRef": reference, "storageClassName": ""}
    pvc = {"accessModes": mode, "resources": {"requests": size}, "volumeName": name, "storageClassName": ""}
    wanted: Json = {
        "volumeReplicationClass": "mirrored",
        "replicationState": "primary" if region == EU else "secondary",
        "dataSource": {"kind": "PersistentVolumeClaim", "name": "data"},
        "autoResync": False,
    }
    kind = {"apiVersion": "replication.storage.openshift.io/v1alpha1", "kind": "VolumeReplication"}
    persistent = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": pv}
    await asyncio.to_thread(bench.clusters[region].apply, [persistent])
    claimed = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": pvc}
    await bench.apply(region, claimed)
    path = bench.path("v1/persistentvolumeclaims/data")

    async def bound() -> bool:
        found: Json = await asyncio.to_thread(bench.api(region).get, path)
        return bool(found.get("status", {}).get("phase") == "Bound")

    await eventually(bound, what="a bound claim", within=30)
    await bench.apply(region, {**kind, "metadata": {"name": "data"}, "spec": wanted})


async def test_a_volume_changes_sides_once_everything_has_been_transferred(bench: Bench, volume: Volume) -> None:
    """Fails when the other side is promoted on the controller's first word: it would force the promotion."""
    driver = bench.driver(StepKind.VOLUME_REPLICATION, name="data")
    state = await bench.role(driver, EU, Role.ACTIVE, within=30)
    assert state.lag is not None
    assert 29 <= state.lag < 60
    await bench.role(driver, US, Role.STANDBY, within=30)
    await driver.demote(EU, successor=US, fence=Fence(7, 1, 1), run=RUN)
    assert (await bench.role(driver, EU, Role.STANDBY)).fence == Fence(7, 1, 1)
    assert not volume.primary
    assert not (await driver.sync(EU, US)).done
    volume.transferred = True

    async def in_sync() -> bool:
        return (await driver.sync(EU, US)).done

    await eventually(in_sync, what="the demoted state on the other side", within=40)
    await driver.promote(US, source=EU, fence=Fence(7, 1, 2), run=RUN)
    await bench.role(driver, US, Role.ACTIVE)
    assert (volume.primary, volume.forced) == ({US}, [])
