"""The replicator between two regions in memory, in no time: what a busy, broken or contrary target does to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from regent.domain.errors import ClusterError, ConflictError, ForbiddenError, NotFoundError, UnavailableError
from regent.domain.times import rfc3339
from regent.engine.resources import CONFIG_MAPS, DEPLOYMENTS, FAILOVER_POLICIES, REGIONS, STATEFUL_SETS
from tests.fakes.cloning import clone
from tests.fakes.copying import EU, SHOP, US, CopyWorld
from tests.fakes.replication import deployment

pytestmark = pytest.mark.looptime


async def test_copies_follow_and_the_state_says_so() -> None:
    world = CopyWorld()
    world.put(EU, "one", a="1")
    world.policy()
    async with world.running():
        await asyncio.sleep(5)
        assert world.data(US, "one") == {"a": "1"}
        assert world.status["state"] == "InSync"
        world.put(EU, "one", a="2")
        world.put(EU, "two", b="1")
        await asyncio.sleep(1)
        assert (world.data(US, "one"), world.data(US, "two")) == ({"a": "2"}, {"b": "1"})


async def test_one_object_that_is_refused_holds_up_no_other() -> None:
    world = CopyWorld()
    for number in range(5):
        world.put(EU, f"item-{number}")
    refusal = ForbiddenError("admission webhook says no", status=403)
    create = world.clusters[US].create

    async def choosy(resource: object, obj: dict[str, dict[str, str]]) -> object:
        if obj["metadata"]["name"] == "item-0":
            raise refusal
        return await create(resource, obj)  # type: ignore[arg-type]

    world.clusters[US].create = choosy  # type: ignore[method-assign,assignment]
    world.policy()
    async with world.running():
        await asyncio.sleep(20)
        assert all(world.data(US, f"item-{number}") is not None for number in range(1, 5))
        row = world.status["targets"][0]
        assert row["objects"]["failed"] == 1
        assert row["state"] == "OutOfSync"
        assert row["lagMilliseconds"] <= 2000, "an object that fails for good is no lag"
        assert any("item-0" in text and "says no" in text for text in row["errors"])
        world.clusters[US].create = create  # type: ignore[method-assign]
        await asyncio.sleep(60)
        assert world.data(US, "item-0") is not None
        assert world.status["state"] == "InSync"


async def test_a_target_that_is_away_is_caught_up_with() -> None:
    world = CopyWorld()
    world.put(EU, "one", a="1")
    world.policy()
    async with world.running():
        await asyncio.sleep(5)
        target = world.clusters[US]
        target.down = UnavailableError("no route", reason="NoConnection")
        target.break_watches(target.down)
        world.put(EU, "one", a="2")
        world.put(EU, "two", b="1")
        await asyncio.sleep(30)
        assert world.status["state"] == "Failed"
        assert world.status["lagMilliseconds"] >= 20_000
        calls = len(target.calls)
        await asyncio.sleep(60)
        assert len(target.calls) - calls < 60, "an unreachable target costs a bounded retry, nothing else"
        target.down = None
        writes = len(target.writes)
        await asyncio.sleep(60)
        assert (world.data(US, "one"), world.data(US, "two")) == ({"a": "2"}, {"b": "1"})
        assert world.status["state"] == "InSync"
        assert len([call for call in target.writes[writes:] if call[0] in ("create", "apply")]) == 2


def in_sync(world: CopyWorld) -> bool:
    return bool(world.status.get("state") == "InSync")


async def test_a_write_whose_answer_is_lost_is_no_fault_for_ever() -> None:
    """Fails when a target stays Failed after a write that was carried out and never answered: no other write comes."""
    world = CopyWorld()
    world.put(EU, "one", a="1")
    world.policy()
    async with world.running():
        await world.until(lambda: in_sync(world))
        silent = UnavailableError("no answer in time", status=0)
        world.clusters[US].fail("apply", silent, resource=CONFIG_MAPS, after=True)
        world.put(EU, "one", a="2")
        await world.until(lambda: world.target.link.problem)
        await world.until(lambda: not world.target.link.problem and in_sync(world))
        assert world.data(US, "one") == {"a": "2"}


async def test_what_the_policy_leaves_to_the_target_is_in_sync() -> None:
    """Fails when digests find different what the policy wants to stay different."""
    world = CopyWorld()
    world.put(EU, "one", a="1")
    world.policy(conflictPolicy="TargetWins", verifyInterval="10s")
    async with world.running():
        await world.until(lambda: in_sync(world))
        world.put_copy("one", "theirs")
        for _ in range(3):
            verified = world.target.verified_at
            await world.until(lambda verified=verified: world.target.verified_at != verified)  # type: ignore[misc]
        assert world.data(US, "one") == {"a": "theirs"}
        assert in_sync(world), world.status
        world.policy(conflictPolicy="SourceWins", verifyInterval="10s")
        await world.until(lambda: world.data(US, "one") == {"a": "1"})


async def test_nothing_is_pruned_while_the_source_is_away() -> None:
    world = CopyWorld()
    world.put(EU, "one")
    world.put(EU, "two")
    world.policy()
    async with world.running():
        await asyncio.sleep(5)
        source = world.clusters[EU]
        gone = ClusterError("too old resource version", status=410, reason="Expired")
        source.down = UnavailableError("no route", reason="NoConnection")
        source.break_watches(gone)
        await asyncio.sleep(120)
        assert world.data(US, "one") is not None
        assert world.status["state"] == "OutOfSync"
        assert world.status["lagMilliseconds"] > 60_000, "the lag of a dead source grows"
        del source._objects[CONFIG_MAPS][SHOP, "two"]
        source.down = None
        await asyncio.sleep(60)
        assert world.data(US, "one") is not None
        assert world.data(US, "two") is None, "what went unseen is found by the list"
        assert world.status["state"] == "InSync"


async def test_a_kind_that_is_not_installed_holds_no_deletion_back_and_is_none() -> None:
    """Fails when a policy with an optional category never prunes, or takes a missing definition for deleted objects."""
    world = CopyWorld()
    for region in (EU, US):
        world.clusters[region].served -= {STATEFUL_SETS}
    world.put(EU, "one")
    world.put(EU, "two")
    world.clusters[EU].put(DEPLOYMENTS, deployment())
    world.policy(resources=[{"category": "Config"}, {"category": "Workload"}])
    async with world.running():
        await asyncio.sleep(5)
        world.remove(EU, "one")
        await asyncio.sleep(20)
        assert world.names(US) == ["two"]
    world.clusters[EU].served -= {CONFIG_MAPS}
    world.remove(EU, "two")
    world = CopyWorld(world)
    async with world.running():
        await asyncio.sleep(20)
        assert world.names(US) == ["two"]


async def test_a_fight_with_another_writer_is_slow_and_shown() -> None:
    """Fails when a copy that never stays as it is written costs writes without end."""
    world = CopyWorld()
    world.put(EU, "one", a="1")
    world.policy()
    target = world.clusters[US]

    def spoil(event: str, resource: object, obj: dict[str, dict[str, str]]) -> None:
        if resource == CONFIG_MAPS and obj.get("data") == {"a": "1"}:
            asyncio.get_running_loop().call_soon(world.put_copy, "one", "spoiled")

    async with world.running():
        await asyncio.sleep(5)
        target.subscribe(spoil)  # type: ignore[arg-type]
        world.put_copy("one", "spoiled")
        await asyncio.sleep(600)
        applied = [call for call in target.writes if call[0] == "apply"]
        assert 5 <= len(applied) <= 20
        row = world.status["targets"][0]
        assert row["objects"]["drifted"] == 1
        assert any("does not stay" in text for text in row["errors"])


async def test_nothing_is_written_while_it_must_not_be() -> None:
    world = CopyWorld()
    world.put(EU, "one")
    world.not_now = "StaleEpoch: seen 8"
    world.policy()
    async with world.running():
        await asyncio.sleep(20)
        assert world.data(US, "one") is None
        assert world.status["state"] == "Paused"
        assert "StaleEpoch: seen 8" in world.status["targets"][0]["errors"]
        world.not_now = ""
        await asyncio.sleep(20)
        assert world.data(US, "one") is not None


async def test_passes_by_hand() -> None:
    world = CopyWorld()
    world.put(EU, "one", a="1")
    world.policy(trigger={"mode": "Manual"})
    async with world.running():
        await asyncio.sleep(20)
        assert world.data(US, "one") is None
        world.policy(trigger={"mode": "Manual", "syncToken": "go"})
        await asyncio.sleep(20)
        assert world.data(US, "one") == {"a": "1"}
        assert world.status["targets"][0]["syncToken"] == "go"
        world.put(EU, "one", a="2")
        await asyncio.sleep(60)
        assert world.data(US, "one") == {"a": "1"}


async def test_passes_by_interval() -> None:
    world = CopyWorld()
    world.put(EU, "one", a="1")
    world.policy(trigger={"mode": "Interval", "interval": "100s"})
    async with world.running():
        await asyncio.sleep(10)
        assert world.data(US, "one") == {"a": "1"}
        world.put(EU, "one", a="2")
        await asyncio.sleep(60)
        assert world.data(US, "one") == {"a": "1"}
        await asyncio.sleep(60)
        assert world.data(US, "one") == {"a": "2"}


async def test_a_busy_server_is_written_to_by_fewer_at_once() -> None:
    world = CopyWorld()
    for number in range(40):
        world.put(EU, f"item-{number}")
    busy = UnavailableError("too many requests", status=429, retry_after=2.0)
    world.clusters[US].fail("create", busy, resource=CONFIG_MAPS, times=8)
    world.policy()
    async with world.running():
        await asyncio.sleep(30)
        assert all(world.data(US, f"item-{number}") is not None for number in range(40))
        written = "regent_replication_writes_total"
        assert world.metrics.counted(written, result="unavailable") >= 1
        assert world.metrics.counted(written, result="failed") == 0, "a busy server is not the objects' fault"


@pytest.mark.parametrize("leaving", [False, True], ids=["nobody leaves it", "a run leaves it"])
async def test_the_lag_of_a_dead_source_grows_until_a_failover_leaves_it(leaving: bool) -> None:
    """Fails when a source that is gone looks well, or its lag in the end is the time that the run took."""
    world = CopyWorld()
    world.put(EU, "one")
    world.policy()
    async with world.running():
        await asyncio.sleep(5)
        source = world.clusters[EU]
        source.down = UnavailableError("no route", reason="NoConnection")
        source.break_watches(source.down)
        lost = rfc3339(world.clock.wall() + 3)
        status = {"health": "Unreachable", "lastTransitionTime": lost}
        world.hub.put(REGIONS, {"metadata": {"name": EU}, "spec": {}, "status": status})
        if leaving:
            owner = {
                "metadata": {"namespace": SHOP, "name": "app"},
                "spec": {"replicationPolicyRefs": [{"name": "shop"}]},
                "status": {"operation": {"name": "app-1"}},
            }
            world.hub.put(FAILOVER_POLICIES, owner)
        await asyncio.sleep(120)
        lag = world.status["lagMilliseconds"]
        assert lag <= 10_000 if leaving else lag >= 120_000
        assert leaving or world.status["state"] == "OutOfSync"


async def test_an_object_that_gets_no_answer_waits_behind_the_others() -> None:
    """Fails when a webhook that hangs for one object holds up the ones of later waves, or looks like a lost target."""
    world = CopyWorld()
    for number in range(3):
        world.put(EU, f"item-{number}")
    create = world.clusters[US].create
    hanging = True

    async def hang(resource: object, obj: dict[str, dict[str, str]]) -> object:
        if hanging and obj["metadata"]["name"] == "item-0":
            await asyncio.sleep(5)
            raise UnavailableError("no answer in time", reason="Timeout")
        return await create(resource, obj)  # type: ignore[arg-type]

    world.clusters[US].create = hang  # type: ignore[method-assign,assignment]
    world.policy(batchSize=1)
    async with world.running():
        await asyncio.sleep(30)
        assert all(world.data(US, f"item-{number}") is not None for number in (1, 2))
        row = world.status["targets"][0]
        assert (row["state"], row["objects"]["failed"]) == ("OutOfSync", 1), row
        assert any("item-0" in text and "no answer" in text for text in row["errors"])
        hanging = False
        await asyncio.sleep(120)
        assert world.data(US, "item-0") is not None
        assert world.status["state"] == "InSync"


async def test_a_target_that_answers_nobody_is_not_held_against_objects() -> None:
    """Fails when objects are counted as failed because their target is slow."""
    world = CopyWorld()
    world.policy()
    async with world.running():
        await asyncio.sleep(5)
        slow = UnavailableError("no answer in time", reason="Timeout")
        world.clusters[US].fail("create", slow, resource=CONFIG_MAPS, times=40)
        for number in range(10):
            world.put(EU, f"item-{number}")
        await asyncio.sleep(5)
        row = world.status["targets"][0]
        assert (row["state"], row["objects"]["failed"]) == ("Failed", 0), row
        await asyncio.sleep(120)
        assert world.status["state"] == "InSync"


@pytest.mark.parametrize(
    "error",
    [
        ForbiddenError("Unauthorized", status=401, reason="Unauthorized"),
        NotFoundError('create ConfigMap item-0: namespaces "shop" not found', status=404, reason="NotFound"),
        ForbiddenError("unable to create new content in namespace shop because it is being terminated", status=403),
        UnavailableError("no route", reason="NoConnection"),
    ],
    ids=["credentials", "no namespace", "namespace goes", "no connection"],
)
async def test_what_no_object_can_help_is_said_once(error: ClusterError) -> None:
    """Fails when what is wrong with a target is held against its objects, or each of them is tried all the same."""
    world = CopyWorld()
    world.policy()
    async with world.running():
        await asyncio.sleep(5)
        target = world.clusters[US]
        target.fail("create", error, resource=CONFIG_MAPS, times=10_000)
        for number in range(100):
            world.put(EU, f"item-{number}")
        await asyncio.sleep(40)
        row = world.status["targets"][0]
        assert (row["state"], row["objects"]["failed"]) == ("Failed", 0), row
        tries = [call for call in target.calls if call[0] == "create"]
        assert len(tries) < 100, len(tries)
        target._faults.clear()
        await asyncio.sleep(60)
        assert world.status["state"] == "InSync"


async def test_what_is_too_large_is_tried_again_only_when_it_changes() -> None:
    """Fails when an object is sent over and over that no API server takes."""
    world = CopyWorld()
    world.put(EU, "large", a="1")
    world.put(EU, "small", a="1")
    create, tries = world.clusters[US].create, 0

    async def choosy(resource: object, obj: Any) -> object:
        nonlocal tries
        if obj["metadata"]["name"] == "large" and obj["data"] == {"a": "1"}:
            tries += 1
            raise UnavailableError("etcdserver: request is too large", status=500)
        return await create(resource, obj)  # type: ignore[arg-type]

    world.clusters[US].create = choosy  # type: ignore[method-assign,assignment]
    world.policy(verifyInterval="10s")
    async with world.running():
        await asyncio.sleep(1200)
        assert tries == 1
        row = world.status["targets"][0]
        assert (row["state"], row["objects"]["failed"]) == ("OutOfSync", 1), row
        world.put(EU, "large", a="2")
        await asyncio.sleep(30)
        assert world.data(US, "large") == {"a": "2"}
        assert world.status["state"] == "InSync"


async def test_an_object_that_nobody_has_foreseen_holds_up_no_other() -> None:
    """Fails when an unexpected error with one object leaves the others of its batch undone for ever."""
    world = CopyWorld()
    for number in range(3):
        world.put(EU, f"item-{number}")
    create = world.clusters[US].create

    async def broken(resource: object, obj: dict[str, dict[str, str]]) -> object:
        if obj["metadata"]["name"] == "item-0":
            raise KeyError("unforeseen")
        return await create(resource, obj)  # type: ignore[arg-type]

    world.clusters[US].create = broken  # type: ignore[method-assign,assignment]
    world.policy()
    async with world.running():
        await asyncio.sleep(10)
        assert all(world.data(US, f"item-{number}") is not None for number in (1, 2))
        assert world.status["targets"][0]["objects"]["failed"] == 1
        world.put(EU, "later")
        await asyncio.sleep(2)
        assert world.data(US, "later") is not None


@pytest.mark.parametrize(("ahead", "wins"), [(0.0, "theirs"), (3600.0, "ours")])
async def test_the_newest_is_found_by_one_clock(ahead: float, wins: str) -> None:
    """Fails when the side whose clock is fast always wins."""
    world = CopyWorld()
    world.clusters[US].ahead = ahead
    world.put(EU, "one", a="before")
    world.policy(conflictPolicy="NewestWins")
    async with world.running():
        await asyncio.sleep(5)
        refusal = ConflictError('Apply failed with 1 conflict: conflict with "kubectl": .data.a', status=409)
        world.clusters[US].fail("apply", refusal, resource=CONFIG_MAPS)
        now = world.clock.wall()
        for region, when, value in ((US, now + 600, "theirs"), (EU, now, "ours")):
            found = clone(world.clusters[region]._objects[CONFIG_MAPS][SHOP, "one"])
            entry = {"manager": "kubectl", "operation": "Update", "time": rfc3339(when)}
            metadata = {**found["metadata"], "managedFields": [entry]}
            world.clusters[region].put(CONFIG_MAPS, {**found, "metadata": metadata, "data": {"a": value}})
        await asyncio.sleep(10)
        assert world.data(US, "one") == {"a": wins}
