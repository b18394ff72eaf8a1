"""What becomes of copies when their policy is deleted: which go, which never, and what the policy waits for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from regent.domain.errors import ClusterError, ForbiddenError, UnavailableError
from regent.domain.replication import marks
from regent.engine.replication.farewell import FINALIZER
from regent.engine.resources import CONFIG_MAPS, FAILOVER_POLICIES, REGIONS, REPLICATION_POLICIES
from tests.fakes.cloning import clone
from tests.fakes.copying import EU, SHOP, US, CopyWorld

pytestmark = pytest.mark.looptime


def found(world: CopyWorld) -> Any:
    return world.store.get(REPLICATION_POLICIES, SHOP, "shop")


async def delete(world: CopyWorld) -> None:
    await world.hub.delete(REPLICATION_POLICIES, SHOP, "shop", uid=found(world)["metadata"]["uid"])


def ready(world: CopyWorld) -> Any:
    return next(item for item in world.status["conditions"] if item["type"] == "Ready")


async def test_copies_go_with_their_policy_and_nothing_else_does() -> None:
    world = CopyWorld()
    for number in range(5):
        world.put(EU, f"item-{number}")
    world.put(US, "foreign")
    world.policy(deletionPolicy="Delete", batchSize=2)
    async with world.running():
        await asyncio.sleep(5)
        assert found(world)["metadata"]["finalizers"] == [FINALIZER]
        assert world.status["state"] == "InSync"
        await delete(world)
        await asyncio.sleep(5)
        assert found(world) is None
    assert sorted(name for _, name in world.clusters[US]._objects[CONFIG_MAPS]) == ["foreign"]
    assert len(world.clusters[EU]._objects[CONFIG_MAPS]) == 5


async def test_with_both_directions_only_what_is_not_at_home_goes() -> None:
    """Fails when an original is deleted, in either region: by the end of the policy, or as if somebody had deleted the
    copy."""
    world = CopyWorld()
    world.put(EU, "ours")
    world.put(US, "theirs")
    world.policy(deletionPolicy="Delete", direction="Bidirectional")
    async with world.running():
        await asyncio.sleep(10)
        assert world.names(EU) == world.names(US) == ["ours", "theirs"]
        await delete(world)
        await asyncio.sleep(10)
        assert found(world) is None
    assert (world.names(EU), world.names(US)) == (["ours", "theirs"], ["theirs"])


async def test_the_finalizer_is_there_before_the_first_copy() -> None:
    """Else a policy that is deleted at once would leave what it had made by then."""
    world = CopyWorld()
    world.put(EU, "one")
    held: list[bool] = []

    def watch(_event: str, _resource: object, _obj: object) -> None:
        held.append(FINALIZER in (found(world)["metadata"].get("finalizers") or ()))

    world.clusters[US].subscribe(watch)
    world.policy(deletionPolicy="Delete")
    async with world.running():
        await asyncio.sleep(5)
    assert held
    assert all(held)


async def test_by_default_copies_stay_and_nothing_waits() -> None:
    world = CopyWorld()
    world.put(EU, "one")
    world.policy()
    async with world.running():
        await asyncio.sleep(5)
        assert not found(world)["metadata"].get("finalizers")
        await delete(world)
        await asyncio.sleep(5)
    assert found(world) is None
    assert world.data(US, "one") == {}


async def test_a_change_of_mind_takes_the_finalizer_off() -> None:
    world = CopyWorld()
    world.put(EU, "one")
    world.policy(deletionPolicy="Delete")
    async with world.running():
        await asyncio.sleep(2)
        current = clone(found(world))
        current["spec"]["deletionPolicy"] = "Orphan"
        world.hub.put(REPLICATION_POLICIES, current)
        await asyncio.sleep(2)
        assert not found(world)["metadata"].get("finalizers")


@pytest.mark.parametrize(
    "error", [UnavailableError("no route to host"), ForbiddenError("you may not delete", status=403)]
)
async def test_a_target_that_cannot_be_cleared_holds_the_policy_until_it_can(error: ClusterError) -> None:
    world = CopyWorld()
    world.put(EU, "one")
    world.policy(deletionPolicy="Delete")
    async with world.running():
        await asyncio.sleep(5)
        world.clusters[US].down = error
        await delete(world)
        await asyncio.sleep(30)
        assert (ready(world)["reason"], str(error) in ready(world)["message"]) == ("CopiesRemain", True)
        assert "deletionPolicy: Orphan" in ready(world)["message"]
        writes = found(world)["metadata"]["resourceVersion"]
        await asyncio.sleep(60)
        assert found(world)["metadata"]["resourceVersion"] == writes, "waiting writes nothing"
        world.clusters[US].down = None
        await asyncio.sleep(10)
        assert found(world) is None
        assert world.data(US, "one") is None


async def test_orphan_ends_the_wait() -> None:
    world = CopyWorld()
    world.put(EU, "one")
    world.policy(deletionPolicy="Delete")
    async with world.running():
        await asyncio.sleep(5)
        world.clusters[US].down = UnavailableError("gone for good")
        await delete(world)
        await asyncio.sleep(5)
        current = clone(found(world))
        current["spec"] = {"deletionPolicy": "Orphan", "targets": "nonsense"}  # also when the rest cannot be read
        world.hub.put(REPLICATION_POLICIES, current)
        world.hub.put(REGIONS, clone(world.store.get(REGIONS, "", EU)))
        await asyncio.sleep(10)
    assert found(world) is None or not found(world)["metadata"].get("finalizers")


def followed(world: CopyWorld, **status: Any) -> None:
    world.hub.put(FAILOVER_POLICIES, {"metadata": {"namespace": SHOP, "name": "web"}, "spec": {}, "status": status})


async def test_the_active_region_keeps_its_objects_after_the_direction_has_turned() -> None:
    """What was copied into a region is the application itself once that region is active."""
    world = CopyWorld()
    followed(world, activeRegion=EU, replicationSource=EU, epoch=1)
    world.put(EU, "one", a="1")
    both = [{"region": EU}, {"region": US}]
    world.policy(source={"followPolicy": "web"}, targets=both, deletionPolicy="Delete")
    async with world.running():
        await asyncio.sleep(5)
        assert world.data(US, "one") == {"a": "1"}
        followed(world, activeRegion=US, replicationSource=EU, epoch=2)  # moved, not yet turned round
        await asyncio.sleep(2)
        await delete(world)
        await asyncio.sleep(20)
        assert "us active" in ready(world)["message"]
        followed(world, activeRegion=US, replicationSource=US, epoch=2)
        await asyncio.sleep(20)
        assert found(world) is None
    assert world.data(US, "one") == {"a": "1"}
    assert world.data(EU, "one") == {"a": "1"}


async def test_what_came_before_the_turn_may_be_the_last_there_is() -> None:
    world = CopyWorld()
    world.put(EU, "one")
    world.policy(deletionPolicy="Delete")
    async with world.running():
        await asyncio.sleep(5)
        for name, label in (("older", "ap"), ("homely", EU)):
            copy = clone(world.clusters[US]._objects[CONFIG_MAPS][SHOP, "one"])
            copy["metadata"] |= {"name": name, "uid": name}
            copy["metadata"]["labels"][marks.SOURCE_LABEL] = label
            if name == "homely":
                copy["metadata"]["annotations"][marks.HOME] = US
            # Put while nothing looks, as pruning is about these too.
            world.not_now = "not now"
            world.clusters[US].put(CONFIG_MAPS, copy)
        await delete(world)
        world.not_now = ""
        await asyncio.sleep(20)
        assert found(world) is None
    assert sorted(name for _, name in world.clusters[US]._objects[CONFIG_MAPS]) == ["homely", "older"]


async def test_without_its_failover_policy_nobody_knows_which_side_is_the_copy() -> None:
    world = CopyWorld()
    followed(world, activeRegion=EU, replicationSource=EU, epoch=1)
    world.put(EU, "one")
    world.policy(source={"followPolicy": "web"}, targets=[{"region": EU}, {"region": US}], deletionPolicy="Delete")
    async with world.running():
        await asyncio.sleep(5)
        failover = world.store.get(FAILOVER_POLICIES, SHOP, "web")
        assert failover is not None
        await world.hub.delete(FAILOVER_POLICIES, SHOP, "web", uid=failover["metadata"]["uid"])
        await delete(world)
        await asyncio.sleep(20)
        assert "FailoverPolicy web does not exist" in ready(world)["message"]
        assert world.data(US, "one") is not None


async def test_a_newer_epoch_in_the_target_keeps_everything() -> None:
    world = CopyWorld()
    world.put(EU, "one")
    world.policy(deletionPolicy="Delete")
    async with world.running():
        await asyncio.sleep(5)
        world.not_now = "StaleEpoch: region us has seen epoch 9"
        await delete(world)
        await asyncio.sleep(20)
        assert "StaleEpoch" in ready(world)["message"]
    assert world.data(US, "one") is not None
