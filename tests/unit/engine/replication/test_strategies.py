"""Strategies between regions in memory, in no time: what moves when a target is lost, and what is only compared."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from regent.domain.errors import UnavailableError
from regent.engine.ports import Object
from regent.engine.resources import REGIONS, REPLICATION_POLICIES, Resource
from tests.fakes.cloning import clone
from tests.fakes.copying import EU, SHOP, US, CopyWorld, FakeCopyCluster

pytestmark = pytest.mark.looptime
AP = "ap"
NAMES = [f"item-{number}" for number in range(20)]


def three_regions() -> CopyWorld:
    world = CopyWorld()
    world.clusters[AP] = FakeCopyCluster()
    world.hub.put(REGIONS, {"metadata": {"name": AP}, "spec": {}, "status": {"health": "Healthy"}})
    return world


def held(world: CopyWorld, region: str) -> set[str]:
    return {name for name in NAMES if world.data(region, name) is not None}


async def test_shards_of_a_lost_target_move_and_come_back() -> None:
    """Fails when an object is on no target that answers, when what is not lost moves, or when nothing moves back."""
    world = three_regions()
    for name in NAMES:
        world.put(EU, name, a="1")
    prune = {"gracePeriod": "0s", "maxPercent": 0}
    targets = [{"region": US}, {"region": AP}]
    world.policy(strategy="Sharded", sharding={"replicas": 1}, targets=targets, prune=prune)
    async with world.running():
        await asyncio.sleep(10)
        before = {region: held(world, region) for region in (US, AP)}
        assert before[US] | before[AP] == set(NAMES)
        assert before[US] and before[AP] and not before[US] & before[AP]
        assert (world.status["inSyncTargets"], world.status["objects"]) == ("2/2", len(NAMES))
        gone = UnavailableError("no answer")
        world.clusters[US].down = gone
        world.clusters[US].break_watches(gone)
        await asyncio.sleep(60)
        assert held(world, AP) == set(NAMES)
        world.clusters[US].down = None
        await asyncio.sleep(100)
        assert held(world, AP) == set(NAMES), "it is not stable yet"
        await asyncio.sleep(120)
        assert {region: held(world, region) for region in (US, AP)} == before
        assert world.status["inSyncTargets"] == "2/2"


async def test_nothing_is_moved_before_all_targets_have_answered() -> None:
    """Fails when an operator that starts takes targets that it has not heard of yet for lost, or for empty."""
    world = three_regions()
    for name in NAMES:
        world.put(EU, name, a="1")
    world.policy(strategy="Sharded", sharding={"replicas": 1}, targets=[{"region": US}, {"region": AP}])
    async with world.running():
        await asyncio.sleep(10)
    before = {region: held(world, region) for region in (US, AP)}
    assert all(before.values())
    after = three_regions()
    after.clusters.update(world.clusters)
    after.hub.put(REPLICATION_POLICIES, clone(world.store.get(REPLICATION_POLICIES, SHOP, "shop")))
    listed = after.clusters[AP].list
    answers = asyncio.Event()

    async def slow(resource: Resource, namespace: str = "", *, label_selector: str = "") -> Sequence[Object]:
        await answers.wait()
        return await listed(resource, namespace, label_selector=label_selector)

    after.clusters[AP].list = slow  # type: ignore[method-assign]
    async with after.running():
        await asyncio.sleep(5)
        assert after.status["state"] == "Paused"
        assert {region: held(after, region) for region in (US, AP)} == before
        answers.set()
        await asyncio.sleep(30)
        assert after.status["state"] == "InSync"
        assert {region: held(after, region) for region in (US, AP)} == before
        deleted = [call for region in (US, AP) for call in after.clusters[region].calls if call[0] == "delete"]
        assert not deleted


async def test_local_compares_and_writes_nothing() -> None:
    """Fails when anything is written to a region, or when what differs is called in sync."""
    world = CopyWorld()
    for region in (EU, US):
        world.put(region, "same", a="1")
        world.put(region, "other", a=region)
    world.put(EU, "here", a="1")
    world.put(US, "there", a="1")
    world.put(US, "kube-root-ca.crt", ca="x")
    world.policy(strategy="Local")
    async with world.running():
        await asyncio.sleep(10)
        row = world.status["targets"][0]
        assert (row["state"], row["objects"]["inSync"], row["objects"]["conflicted"]) == ("OutOfSync", 1, 3)
        texts = " ".join(row["errors"])
        assert "other: says something else in us" in texts
        assert "here: is not in us" in texts
        assert "there: is not in eu" in texts
        world.put(US, "other", a=EU)
        world.put(US, "here", a="1")
        world.put(EU, "there", a="1")
        await asyncio.sleep(20)
        assert (world.status["state"], world.status["objects"]) == ("InSync", 4)
        world.put(US, "same", a="2")
        await asyncio.sleep(5)
        assert world.status["state"] == "OutOfSync"
    verbs = {call[0] for cluster in world.clusters.values() for call in cluster.calls}
    assert verbs <= {"get", "list", "ping", "watch"}, verbs


async def test_what_runs_in_both_regions_keeps_the_replicas_that_its_autoscaler_sets() -> None:
    """Fails when a copy that runs is scaled back to what the source has at the moment."""
    from regent.engine.resources import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS
    from tests.fakes.replication import deployment, kinds, object_of

    world = CopyWorld()
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaler = object_of(kinds.AUTOSCALER, "web", {"scaleTargetRef": reference, "minReplicas": 2, "maxReplicas": 9})
    world.clusters[EU].put(HORIZONTAL_POD_AUTOSCALERS, scaler)
    world.clusters[EU].put(DEPLOYMENTS, deployment(replicas=7))
    world.policy(resources=[{"category": "Workload"}], standby="Running")
    async with world.running():
        await asyncio.sleep(10)
        copy = world.clusters[US]._objects[DEPLOYMENTS]["shop", "web"]
        assert "replicas" not in copy["spec"]
        world.clusters[US].put(DEPLOYMENTS, {**copy, "spec": {**copy["spec"], "replicas": 3}})
        await asyncio.sleep(10)
        assert world.clusters[US]._objects[DEPLOYMENTS]["shop", "web"]["spec"]["replicas"] == 3
        assert world.status["state"] == "InSync"


async def test_a_kind_that_its_category_does_not_copy_is_named_and_not_left_out_in_silence() -> None:
    world = CopyWorld()
    world.policy(resources=[{"category": "Config", "kinds": [{"kind": "Secret"}]}])
    async with world.running():
        await asyncio.sleep(3)
        ready = next(item for item in world.status["conditions"] if item["type"] == "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "KindNotInCategory")
        assert "Secret" in ready["message"]


def selecting(app: str, *kinds: str) -> dict[str, Any]:
    listed = [{"kind": kind} for kind in kinds]
    return {"category": "Config", "kinds": listed, "selector": {"matchLabels": {"app": app}}}


async def test_what_loses_its_label_loses_its_copy_and_gets_it_again_with_the_label() -> None:
    world = CopyWorld()
    for name in ("one", "two"):
        world.label(EU, name, "shop")
    world.label(EU, "three", "other")
    world.policy(resources=[selecting("shop", "ConfigMap")])
    async with world.running():
        await asyncio.sleep(5)
        assert [world.data(US, name) is not None for name in ("one", "two", "three")] == [True, True, False]
        queries = {stream.view.selector for stream in world.clusters[EU]._streams}
        assert queries == {"app=shop"}
        assert {stream.view.selector for stream in world.clusters[US]._streams} == {""}, "foreign objects matter there"
        world.label(EU, "one", "other")
        await asyncio.sleep(10)
        assert [world.data(US, name) is not None for name in ("one", "two")] == [False, True]
        assert world.status["state"] == "InSync"
        world.label(EU, "one", "shop")
        await asyncio.sleep(10)
        assert world.data(US, "one") is not None


async def test_selections_that_differ_are_made_here() -> None:
    world = CopyWorld()
    for name, app in (("one", "shop"), ("two", "other"), ("three", "third")):
        world.label(EU, name, app)
    world.policy(resources=[selecting("shop", "ConfigMap"), selecting("other", "ConfigMap")])
    async with world.running():
        await asyncio.sleep(5)
        assert [world.data(US, name) is not None for name in ("one", "two", "three")] == [True, True, False]
        assert {stream.view.selector for stream in world.clusters[EU]._streams} == {""}
