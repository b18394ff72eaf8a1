"""The data of volumes in the status of a policy, in the metrics, and the role that copies of drivers' objects have."""

from __future__ import annotations

import asyncio
from math import isnan
from typing import Any

import pytest

from regent.domain.errors import ForbiddenError
from regent.domain.replication import kinds
from regent.domain.replication.kinds import KindRef
from regent.domain.times import rfc3339
from regent.engine.resources import FAILOVER_POLICIES, REGIONS, REPLICATION_POLICIES, VOLUME_REPLICATIONS, Resource
from tests.fakes.cloning import clone
from tests.fakes.copying import EU, SHOP, US, CopyWorld
from tests.fakes.ports import FakeMetrics

pytestmark = pytest.mark.looptime


def resource(kind: KindRef) -> Resource:
    return Resource(kind.group, kind.version, kind.plural, kind.kind)


SENDERS, RECEIVERS = resource(kinds.REPLICATION_SOURCE), resource(kinds.REPLICATION_DESTINATION)
LAG = "regent_replication_storage_lag_seconds"


def world(driver: str = "VolumeReplication", **selection: Any) -> CopyWorld:
    made = CopyWorld()
    for cluster in made.clusters.values():
        cluster.served |= {SENDERS, RECEIVERS, resource(kinds.VOLUME_CLAIM)}
    selected = {"category": "Storage", "storage": {"driver": driver}, **selection}
    made.policy(resources=[selected], verifyInterval="2h")
    return made


def put(world: CopyWorld, region: str, of: Resource, name: str, spec: Any, *, ago: float | None, **status: Any) -> None:
    synced = {} if ago is None else {"lastSyncTime": rfc3339(world.clock.wall() - ago)}
    metadata = {"namespace": SHOP, "name": name, "labels": {"app": name}}
    kind = {"apiVersion": of.api_version, "kind": of.kind}
    world.clusters[region].put(of, {**kind, "metadata": metadata, "spec": spec, "status": {**status, **synced}})


def volume(world: CopyWorld, name: str = "data", *, ago: float | None, degraded: str = "False") -> None:
    conditions = [{"type": "Degraded", "status": degraded, "message": "the mirror is broken"}]
    put(world, EU, VOLUME_REPLICATIONS, name, {"replicationState": "primary"}, ago=ago, conditions=conditions)


def storage(world: CopyWorld) -> Any:
    return world.status["targets"][0].get("storage")


def condition(world: CopyWorld) -> tuple[str, str, str] | None:
    found = {item["type"]: item for item in world.status["conditions"]}.get("StorageReplicating")
    return None if found is None else (found["status"], found["reason"], found["message"])


def measured(world: CopyWorld) -> float | None:
    labels = {"namespace": SHOP, "policy": "shop", "region": US}
    metrics: FakeMetrics = world.metrics
    return metrics.gauges.get((LAG, frozenset(labels.items())))


async def test_the_lag_of_volumes_is_shown_and_their_copies_are_secondary() -> None:
    """Fails when no volume, an unknown time and no lag look the same, or when a copy is primary as well."""
    made = world()
    async with made.running():
        await asyncio.sleep(5)
        assert (storage(made), condition(made)) == (None, None)
        volume(made, ago=None)
        await asyncio.sleep(6)
        assert storage(made) == {"volumes": 1}
        assert condition(made)[:2] == ("Unknown", "NeverSynced")  # type: ignore[index]
        assert isnan(measured(made) or 0.0)
        volume(made, ago=300)
        volume(made, "logs", ago=20)
        await asyncio.sleep(6)
        assert storage(made)["volumes"] == 2
        assert storage(made)["lagMilliseconds"] == 500_000
        assert condition(made)[:2] == ("True", "Replicating")  # type: ignore[index]
        assert 300 <= (measured(made) or 0.0) <= 320
        copy = await made.clusters[US].get(VOLUME_REPLICATIONS, SHOP, "data")
        assert copy["spec"]["replicationState"] == "secondary"
        assert made.status["state"] == "InSync"


async def test_what_is_wrong_on_either_side_is_a_condition() -> None:
    made = world()
    async with made.running():
        volume(made, ago=10, degraded="True")
        await asyncio.sleep(6)
        status, reason, text = condition(made)  # type: ignore[misc]
        assert (status, reason) == ("False", "NotReplicating")
        assert "us: VolumeReplication/data in eu is degraded: the mirror is broken" in text
        volume(made, ago=10)
        await asyncio.sleep(6)
        assert condition(made)[0] == "True"  # type: ignore[index]
        copy = clone(await made.clusters[US].get(VOLUME_REPLICATIONS, SHOP, "data"))
        copy["status"] = {"conditions": [{"type": "Completed", "status": "False", "message": "split brain"}]}
        made.clusters[US].put(VOLUME_REPLICATIONS, copy)
        await asyncio.sleep(6)
        assert "split brain" in condition(made)[2]  # type: ignore[index]
        for cluster in made.clusters.values():
            for obj in list(cluster._objects[VOLUME_REPLICATIONS].values()):
                cluster._drop(VOLUME_REPLICATIONS, obj)
        await asyncio.sleep(6)
        assert (storage(made), condition(made)) == (None, None)
        assert isnan(measured(made) or 0.0), "volumes that are gone have no lag"


async def test_what_volsync_sends_and_receives_counts_and_only_what_is_selected() -> None:
    """Fails when the side that receives is not asked, copied, or asked about what the policy is not about."""
    made = world("VolSync", exclude=["restore"])
    put(made, EU, SENDERS, "data", {"sourcePVC": "data"}, ago=10)
    put(made, US, RECEIVERS, "data", {}, ago=100)
    put(made, US, RECEIVERS, "restore", {}, ago=90_000)
    put(made, EU, RECEIVERS, "own", {}, ago=90_000)
    async with made.running():
        await asyncio.sleep(6)
        assert (storage(made)["volumes"], storage(made)["lagMilliseconds"]) == (1, 200_000)
        copy = await made.clusters[US].get(SENDERS, SHOP, "data")
        assert copy["spec"] == {"sourcePVC": "data", "paused": True}
        assert {name for _, name in made.clusters[US]._objects[RECEIVERS]} == {"data", "restore"}
        put(made, US, RECEIVERS, "data", {"paused": True}, ago=5)
        await asyncio.sleep(6)
        assert condition(made)[2] == "us: ReplicationDestination/data is paused in us"  # type: ignore[index]


async def test_who_may_not_look_does_not_say_that_there_are_no_volumes() -> None:
    """Fails when rights that are missing make a lag that is not known look like none."""
    made = world("VolSync")
    put(made, EU, SENDERS, "data", {"sourcePVC": "data"}, ago=10)
    made.clusters[US].fail("watch", ForbiddenError("may not watch", status=403), resource=RECEIVERS, times=10_000)
    async with made.running():
        await asyncio.sleep(10)
        assert storage(made) == {"volumes": 0}
        status, _, text = condition(made)  # type: ignore[misc]
        assert (status, "ReplicationDestination in us" in text) == ("False", True)


async def test_a_source_that_is_gone_has_a_lag_that_grows_also_for_the_next_operator() -> None:
    made = world()
    volume(made, ago=30)
    async with made.running():
        await asyncio.sleep(6)
        before = storage(made)
    after = CopyWorld(before=made)
    source = after.clusters[EU]
    source.down = ForbiddenError("no route", status=403)
    async with after.running():
        await asyncio.sleep(200)
        assert storage(after)["lastSyncTime"] == before["lastSyncTime"]
        assert storage(after)["lagMilliseconds"] > before["lagMilliseconds"]


async def test_what_a_run_leaves_behind_does_not_grow_by_waiting() -> None:
    made = world()
    volume(made, ago=30)
    async with made.running():
        await asyncio.sleep(6)
        lost = {"health": "Unreachable", "lastTransitionTime": rfc3339(made.clock.wall())}
        made.hub.put(REGIONS, {"metadata": {"name": EU}, "spec": {}, "status": lost})
        owner = {
            "metadata": {"namespace": SHOP, "name": "app"},
            "spec": {"replicationPolicyRefs": [{"name": "shop"}]},
            "status": {"operation": {"name": "app-1"}},
        }
        made.hub.put(FAILOVER_POLICIES, owner)
        await asyncio.sleep(300)
        assert storage(made)["lagMilliseconds"] == 100_000


async def test_a_driver_that_copies_in_rounds_is_written_about_once_a_round() -> None:
    """Fails when the status follows the lag as it grows and falls."""
    made = world()
    volume(made, ago=5)
    async with made.running():
        await asyncio.sleep(300)
        volume(made, ago=5)
        await asyncio.sleep(300)
        written = writes(made)
        for _ in range(4):
            volume(made, ago=5)
            await asyncio.sleep(300)
        assert writes(made) - written == 4
        assert storage(made)["lagMilliseconds"] == 500_000


def writes(world: CopyWorld) -> int:
    return len([call for call in world.hub.writes if call[1] == REPLICATION_POLICIES])
