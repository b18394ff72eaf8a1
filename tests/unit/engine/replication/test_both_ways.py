"""Changes in both directions between two regions in memory: what each side wrote, who wins, and what a death leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from regent.domain.errors import UnavailableError
from regent.domain.replication import marks
from regent.engine.ports import Object
from regent.engine.replication.losers import KEPT_REASON
from regent.engine.resources import CONFIG_MAPS, DEPLOYMENTS, FAILOVER_POLICIES, PLACEMENT_POLICIES, REGIONS
from tests.fakes.cloning import clone
from tests.fakes.copying import EU, SHOP, US, CopyWorld
from tests.fakes.replication import deployment

pytestmark = pytest.mark.looptime

QUIET = 20.0


def policy(world: CopyWorld, **spec: Any) -> None:
    world.policy(**{"direction": "Bidirectional", "verifyInterval": "10s", **spec})


def found(world: CopyWorld, region: str, name: str) -> Object:
    return world.clusters[region]._objects[CONFIG_MAPS][SHOP, name]


def records(world: CopyWorld, region: str) -> list[Object]:
    shelf = world.clusters[region]._objects.get(CONFIG_MAPS, {})
    return [obj for obj in shelf.values() if marks.KEPT_LABEL in (obj["metadata"].get("labels") or {})]


def kept(world: CopyWorld, region: str) -> list[Any]:
    return [json.loads(obj["data"]["object.json"])["data"] for obj in records(world, region)]


def health(world: CopyWorld, region: str, verdict: str) -> None:
    world.hub.put(REGIONS, {"metadata": {"name": region}, "spec": {}, "status": {"health": verdict}})


async def test_changes_go_both_ways_and_come_to_rest() -> None:
    """Fails when a side is not heard, when what was copied goes round in circles, or equal sides are not said to be."""
    world = CopyWorld()
    world.put(EU, "ours", a="1")
    world.put(US, "theirs", b="1")
    policy(world, verifyInterval="10m")
    async with world.running():
        await asyncio.sleep(QUIET)
        assert world.names(EU) == world.names(US) == ["ours", "theirs"]
        homes = {name: found(world, US, name)["metadata"]["annotations"][marks.HOME] for name in ("ours", "theirs")}
        assert homes == {"ours": EU, "theirs": US}
        world.edit(US, "ours", a="2")
        world.edit(EU, "theirs", c="2")
        await asyncio.sleep(QUIET)
        for region in (EU, US):
            assert (world.data(region, "ours"), world.data(region, "theirs")) == ({"a": "2"}, {"c": "2"})
        assert world.status["state"] == "InSync", world.status
        versions = {region: cluster.version for region, cluster in world.clusters.items()}
        calls = {region: len(cluster.calls) for region, cluster in world.clusters.items()}
        await asyncio.sleep(50)
        for region, cluster in world.clusters.items():
            assert cluster.version == versions[region], "nothing is written while nothing happens"
            assert {call[0] for call in cluster.calls[calls[region] :]} <= {"ping"}
        count = world.metrics.counted
        assert count("regent_replication_transferred_objects_total", source=EU, target=US) == 2
        assert count("regent_replication_transferred_objects_total", source=US, target=EU) == 2
        assert count("regent_replication_writes_total", region=EU, result="written") == 2


@pytest.mark.parametrize(
    ("rule", "winner", "loser"),
    [("SourceWins", "source", US), ("TargetWins", "target", EU), ("NewestWins", "target", EU), ("Manual", "", "")],
)
async def test_who_wins_what_both_have_changed(rule: str, winner: str, loser: str) -> None:
    world = CopyWorld()
    world.put(EU, "one", a="1")
    policy(world, conflictPolicy=rule)
    async with world.running():
        await asyncio.sleep(QUIET)
        for region, value, second in ((EU, "source", "10"), (US, "target", "20")):
            obj = clone(found(world, region, "one"))
            time = f"2026-02-01T00:00:{second}Z"
            obj["metadata"]["managedFields"] = [{"manager": "kubectl", "operation": "Update", "time": time}]
            world.clusters[region].put(CONFIG_MAPS, {**obj, "data": {"a": value}})
        await asyncio.sleep(QUIET)
        if not winner:
            assert (world.data(EU, "one"), world.data(US, "one")) == ({"a": "source"}, {"a": "target"})
            row = world.status["targets"][0]
            assert row["objects"]["conflicted"] == 1
            assert any("changed on both sides (eu and us)" in text for text in row["errors"])
            world.edit(EU, "one", a="target")
            await asyncio.sleep(QUIET)
            assert world.status["state"] == "InSync", world.status
            return
        assert world.data(EU, "one") == world.data(US, "one") == {"a": winner}
        other = {"source": "target", "target": "source"}[winner]
        assert kept(world, loser) == [{"a": other}]
        assert kept(world, EU if loser == US else US) == [], "records are no content"
        assert records(world, loser)[0]["metadata"]["annotations"][KEPT_REASON] == "BothChanged"
        assert any(f"what it said in {loser} is kept" in text for text in world.status["targets"][0]["errors"])
        assert world.status["state"] == "InSync"


@pytest.mark.parametrize("region", [EU, US])
async def test_a_deletion_on_either_side_is_carried_over_in_two_passes(region: str) -> None:
    world = CopyWorld()
    for number in range(3):
        world.put(EU, f"item-{number}")
    policy(world, prune={"gracePeriod": "60s", "maxPercent": 50})
    other = US if region == EU else EU
    async with world.running():
        await asyncio.sleep(QUIET)
        world.remove(region, "item-1")
        await asyncio.sleep(QUIET)
        notes = found(world, other, "item-1")["metadata"]["annotations"]
        assert marks.MISSING_SINCE in notes, "a tombstone first"
        await asyncio.sleep(60)
        assert world.names(EU) == world.names(US) == ["item-0", "item-2"]
        # Made anew on one side while the tombstone stands on the other.
        world.remove(region, "item-2")
        await asyncio.sleep(QUIET)
        world.put(region, "item-2", new="1")
        await asyncio.sleep(120)
        assert world.data(EU, "item-2") == world.data(US, "item-2") == {"new": "1"}
        assert marks.MISSING_SINCE not in found(world, other, "item-2")["metadata"]["annotations"]
        assert world.status["state"] == "InSync", world.status


@pytest.mark.parametrize("region", [EU, US])
async def test_too_many_deletions_are_held_back_on_either_side(region: str) -> None:
    """Fails when a side that was emptied by accident empties the other one."""
    world = CopyWorld()
    world.put(EU, "kube-root-ca.crt")
    world.put(US, "kube-root-ca.crt")
    for number in range(10):
        world.put(EU, f"item-{number}")
    policy(world, prune={"gracePeriod": "0s", "maxPercent": 20})
    other = US if region == EU else EU
    async with world.running():
        await asyncio.sleep(QUIET)
        for number in range(3):
            world.remove(region, f"item-{number}")
        await asyncio.sleep(QUIET)
        assert len(world.names(other)) == 11
        blocked = {item["type"]: item for item in world.status["conditions"]}["PruneBlocked"]
        assert (blocked["status"], "3 of 10" in blocked["message"]) == ("True", True), blocked
        for number in range(3, 10):
            world.remove(region, f"item-{number}")
        policy(world, prune={"gracePeriod": "0s", "maxPercent": 100})
        await asyncio.sleep(QUIET)
        assert len(world.names(other)) == 11, "a side that is empty is more often one that cannot be seen"
        for number in range(9):
            world.put(region, f"item-{number}")
        await asyncio.sleep(QUIET)
        assert len(world.names(EU)) == len(world.names(US)) == 10
        assert world.status["state"] == "InSync", world.status


@pytest.mark.parametrize("region", [EU, US])
async def test_nothing_is_deleted_for_a_side_that_is_not_well(region: str) -> None:
    world = CopyWorld()
    world.put(EU, "one")
    world.put(EU, "two")
    policy(world)
    async with world.running():
        await asyncio.sleep(QUIET)
        health(world, region, "Unreachable")
        world.remove(region, "one")
        await asyncio.sleep(QUIET)
        assert all("one" in world.names(other) for other in (EU, US) if other != region)
        health(world, region, "Healthy")
        await asyncio.sleep(QUIET)
        assert world.names(EU) == world.names(US) == ["two"]


async def test_a_side_that_no_longer_knows_a_kind_has_deleted_nothing() -> None:
    world = CopyWorld()
    world.put(US, "one")
    world.clusters[EU].put(DEPLOYMENTS, deployment())
    policy(world, resources=[{"category": "Config"}, {"category": "Workload"}])
    async with world.running():
        await asyncio.sleep(QUIET)
        assert world.names(EU) == ["one"]
    world.clusters[EU].served -= {CONFIG_MAPS}
    world.remove(EU, "one")
    world = CopyWorld(world)
    async with world.running():
        await asyncio.sleep(QUIET)
        assert world.names(US) == ["one"]
        row = world.status["targets"][0]
        assert (row["objects"]["failed"], row["state"]) == (1, "OutOfSync")


async def test_what_was_changed_is_not_deleted() -> None:
    """Whoever wins elsewhere: a deletion can be done again, what somebody wrote cannot."""
    world = CopyWorld()
    world.put(EU, "one", a="1")
    policy(world)
    async with world.running():
        await asyncio.sleep(QUIET)
        world.remove(EU, "one")
        world.edit(US, "one", a="2")
        await asyncio.sleep(QUIET)
        assert world.data(EU, "one") == world.data(US, "one") == {"a": "2"}


@pytest.mark.parametrize(
    ("adoption", "equal", "state"),
    [
        ("Refuse", True, "OutOfSync"), ("IfIdentical", True, "InSync"), ("IfIdentical", False, "OutOfSync"),
        ("Force", False, "InSync"),
    ],
)  # fmt: skip
async def test_what_both_sides_had_before_is_adopted_by_the_rules(adoption: str, equal: bool, state: str) -> None:
    world = CopyWorld()
    world.put(EU, "one", a="1")
    world.put(US, "one", a="1" if equal else "2")
    policy(world, adoption=adoption)
    async with world.running():
        await asyncio.sleep(QUIET)
        assert world.status["state"] == state, world.status
        assert world.data(EU, "one") == {"a": "1"}
        assert world.data(US, "one") == {"a": "1" if equal or adoption == "Force" else "2"}
        assert kept(world, US) == ([{"a": "2"}] if adoption == "Force" else [])
        if adoption == "Refuse":
            assert marks.read_marks(found(world, EU, "one")) is None, "nothing is written to it"


async def test_a_target_that_was_away_is_caught_up_with_on_both_sides() -> None:
    world = CopyWorld()
    world.put(EU, "one", a="1")
    world.put(EU, "two", a="1")
    policy(world)
    async with world.running():
        await asyncio.sleep(QUIET)
        target = world.clusters[US]
        target.down = UnavailableError("no route", reason="NoConnection")
        target.break_watches(target.down)
        world.edit(US, "two", a="3")
        await asyncio.sleep(60)
        assert world.status["state"] == "Failed"
        assert world.status["lagMilliseconds"] >= 50_000, "what the silent side changes is not known"
        world.edit(EU, "one", a="2")
        await asyncio.sleep(5)
        target.down = None
        await asyncio.sleep(60)
        for region in (EU, US):
            assert (world.data(region, "one"), world.data(region, "two")) == ({"a": "2"}, {"a": "3"})
        assert world.status["state"] == "InSync", world.status


async def test_what_an_api_server_adds_is_nobodys_change() -> None:
    """Fails when a default or a webhook of one side is copied back, or makes writes without end."""
    world = CopyWorld()
    world.put(EU, "one", a="1")
    target = world.clusters[US]
    create, update = target.create, target._update

    async def injecting(resource: Any, obj: Object) -> Object:
        return await create(resource, {**obj, "immutable": False})

    def again(resource: Any, old: Object, new: Object) -> Object:
        return update(resource, old, {**new, "immutable": False} if resource == CONFIG_MAPS else new)

    target.create, target._update = injecting, again  # type: ignore[method-assign]
    policy(world)
    async with world.running():
        await asyncio.sleep(QUIET)
        assert world.status["state"] == "InSync", world.status
        assert "immutable" not in found(world, EU, "one")
        world.edit(EU, "one", a="2")
        await asyncio.sleep(QUIET)
        assert world.data(US, "one") == {"a": "2"}
        assert "immutable" not in found(world, EU, "one")
        version = target.version
        await asyncio.sleep(60)
        assert (target.version, world.status["state"]) == (version, "InSync")


async def test_a_side_that_never_keeps_what_is_written_costs_few_writes() -> None:
    world = CopyWorld()
    world.put(EU, "one", a="1")
    target = world.clusters[US]
    update, count = target._update, iter(range(100_000))

    def stamping(resource: Any, old: Object, new: Object) -> Object:
        if resource == CONFIG_MAPS:
            new = {**new, "data": {**new["data"], "stamp": str(next(count))}}
        return update(resource, old, new)

    policy(world)
    async with world.running():
        await asyncio.sleep(QUIET)
        target._update = stamping  # type: ignore[method-assign]
        world.edit(EU, "one", a="2")
        await asyncio.sleep(600)
        written = world.metrics.counted("regent_replication_writes_total", result="written")
        assert written <= 40, written
        assert any("does not stay" in text for text in world.status["targets"][0]["errors"])


async def test_a_removed_entry_stays_removed() -> None:
    """Fails when what others have set in the loser survives there, and comes back as a change of theirs."""
    world = CopyWorld()
    world.put(US, "one", a="1", b="1")
    policy(world)
    async with world.running():
        await asyncio.sleep(QUIET)
        world.edit(EU, "one", a="1")
        await asyncio.sleep(QUIET)
        assert world.data(EU, "one") == world.data(US, "one") == {"a": "1"}


async def test_how_workloads_run_is_each_sides_own() -> None:
    """Fails when a change of content stops or starts anything, or a sleeping copy does not know what it would be."""
    world = CopyWorld()
    world.clusters[EU].put(DEPLOYMENTS, deployment(replicas=3))
    policy(world, resources=[{"category": "Workload"}])

    def there(region: str) -> Object:
        return clone(world.clusters[region]._objects[DEPLOYMENTS][SHOP, "web"])

    def image(region: str, text: str) -> None:
        obj = there(region)
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = text
        world.clusters[region].put(DEPLOYMENTS, obj)

    async with world.running():
        await asyncio.sleep(QUIET)
        assert (there(US)["spec"]["replicas"], there(US)["metadata"]["annotations"][marks.REPLICAS]) == (0, "3")
        image(US, "shop:2")
        await asyncio.sleep(QUIET)
        source = there(EU)
        assert source["spec"]["template"]["spec"]["containers"][0]["image"] == "shop:2"
        assert (source["spec"]["replicas"], marks.REPLICAS in source["metadata"]["annotations"]) == (3, False)
        source["spec"]["replicas"] = 5
        world.clusters[EU].put(DEPLOYMENTS, source)
        await asyncio.sleep(QUIET)
        assert (there(US)["spec"]["replicas"], there(US)["metadata"]["annotations"][marks.REPLICAS]) == (0, "5")
        # A failover has woken it.
        target = there(US)
        target["spec"]["replicas"] = 4
        del target["metadata"]["annotations"][marks.REPLICAS]
        world.clusters[US].put(DEPLOYMENTS, target)
        image(EU, "shop:3")
        await asyncio.sleep(QUIET)
        target = there(US)
        assert target["spec"]["template"]["spec"]["containers"][0]["image"] == "shop:3"
        assert (target["spec"]["replicas"], marks.REPLICAS in target["metadata"]["annotations"]) == (4, False)
        assert world.status["state"] == "InSync", world.status


def failover_policy(world: CopyWorld, active: str, **status: Any) -> None:
    world.hub.put(
        FAILOVER_POLICIES,
        {
            "metadata": {"namespace": SHOP, "name": "app"},
            "spec": {"regions": [{"name": EU}, {"name": US}], "replicationPolicyRefs": [{"name": "shop"}]},
            "status": {"activeRegion": active, "replicationSource": active, "epoch": 7, **status},
        },
    )


async def test_the_active_region_is_not_overwritten_by_the_one_that_was_left() -> None:
    world = CopyWorld()
    world.put(EU, "one", a="1")
    world.put(EU, "two", a="1")
    failover_policy(world, EU)
    policy(world)
    async with world.running():
        await asyncio.sleep(QUIET)
        failover_policy(world, US, epoch=8)
        world.edit(EU, "one", a="late")
        world.edit(US, "one", a="live")
        world.edit(US, "two", a="live")
        await asyncio.sleep(QUIET)
        assert (world.data(EU, "one"), world.data(US, "one")) == ({"a": "late"}, {"a": "live"})
        assert world.data(EU, "two") == {"a": "live"}
        assert any("has us active" in text for text in world.status["targets"][0]["errors"])
        world.remove(EU, "two")
        await asyncio.sleep(QUIET)
        assert world.data(US, "two") == {"a": "live"}, "nor is anything deleted there"


async def test_the_standby_of_a_policy_that_is_followed_sleeps_and_the_source_turns() -> None:
    world = CopyWorld()
    failover_policy(world, EU)
    world.clusters[EU].put(DEPLOYMENTS, deployment(replicas=3))
    both = [{"region": EU}, {"region": US}]
    policy(world, source={"followPolicy": "app"}, targets=both, resources=[{"category": "Workload"}])

    def replicas(region: str) -> int:
        return int(world.clusters[region]._objects[DEPLOYMENTS][SHOP, "web"]["spec"]["replicas"])

    async with world.running():
        await asyncio.sleep(QUIET)
        assert (replicas(EU), replicas(US)) == (3, 0)
        failover_policy(world, EU, epoch=8, operation={"name": "app-8", "from": EU, "to": US})
        target = clone(world.clusters[US]._objects[DEPLOYMENTS][SHOP, "web"])
        target["spec"]["replicas"] = 3
        del target["metadata"]["annotations"][marks.REPLICAS]
        target["metadata"]["annotations"]["regent.dev/fence"] = "8.1.1"
        world.clusters[US].put(DEPLOYMENTS, target)
        await asyncio.sleep(QUIET)
        assert replicas(US) == 3, "what a run has woken is not put to sleep by the direction that it ends"
        failover_policy(world, US, epoch=8)
        await asyncio.sleep(QUIET)
        assert world.status["sourceRegion"] == US
        assert (replicas(EU), replicas(US)) == (0, 3)
        assert world.status["state"] == "InSync", world.status


async def test_placement_binds_both_ways() -> None:
    world = CopyWorld()
    world.put(EU, "ours")
    world.put(US, "theirs")
    rule = {"selector": {}, "allowedRegions": [US], "locality": "Strict"}
    world.hub.put(PLACEMENT_POLICIES, {"metadata": {"namespace": SHOP, "name": "here"}, "spec": rule})
    policy(world)
    async with world.running():
        await asyncio.sleep(QUIET)
        assert world.data(EU, "theirs") is None
        ready = {item["type"]: item for item in world.status["conditions"]}["Ready"]
        assert ready["reason"] == "PlacementDenied"


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"targets": [{"region": US, "transforms": [{"patch": [{"op": "remove", "path": "/data"}]}]}]}, "transforms"),
        ({"targets": [{"region": US}, {"region": US, "namespace": "other"}]}, "exactly one"),
    ],
)
async def test_what_cannot_be_done_both_ways_is_refused(spec: dict[str, Any], word: str) -> None:
    world = CopyWorld()
    world.put(EU, "one")
    policy(world, **spec)
    async with world.running():
        await asyncio.sleep(QUIET)
        ready = {item["type"]: item for item in world.status["conditions"]}["Ready"]
        assert (ready["reason"], word in ready["message"]) == ("BidirectionalImpossible", True)
        assert world.data(US, "one") is None


Deed = Callable[[CopyWorld], None]


def both_edit(world: CopyWorld) -> None:
    world.edit(EU, "one", a="eu")
    world.edit(US, "one", a="us")


DEEDS: dict[str, tuple[Deed, dict[str, Any], dict[str, Any]]] = {
    "new in eu": (lambda world: world.edit(EU, "new", a="2"), {"new": {"a": "2"}}, {}),
    "new in us": (lambda world: world.edit(US, "new", a="2"), {"new": {"a": "2"}}, {}),
    "changed in eu": (lambda world: world.edit(EU, "one", a="2"), {"one": {"a": "2"}}, {}),
    "changed in us": (lambda world: world.edit(US, "one", a="2"), {"one": {"a": "2"}}, {}),
    "deleted in eu": (lambda world: world.remove(EU, "one"), {"one": None}, {}),
    "deleted in us": (lambda world: world.remove(US, "one"), {"one": None}, {}),
    "source wins": (both_edit, {"one": {"a": "eu"}}, {US: {"a": "us"}}),
    "target wins": (both_edit, {"one": {"a": "us"}}, {EU: {"a": "eu"}}),
}


@pytest.mark.parametrize("name", DEEDS)
async def test_the_writer_dies_after_each_single_write(name: str) -> None:
    """Fails when what stands between two writes reads as something that nobody did: both sides must end equal, with
    everything that was not deleted by anybody, and with each loser kept once."""
    deed, expected, lost = DEEDS[name]
    rule = "TargetWins" if name == "target wins" else "SourceWins"
    for survived in range(1, 8):
        world = CopyWorld()
        for item, region in (("one", EU), ("two", EU), ("three", US)):
            world.put(region, item, a="1")
        policy(world, conflictPolicy=rule)
        async with world.running():
            await asyncio.sleep(QUIET)
        world = CopyWorld(world)
        deed(world)
        died = die_after(world, survived)
        async with world.running():
            await asyncio.sleep(QUIET)
        for cluster in world.clusters.values():
            cluster.down = None
        again = CopyWorld(world)
        async with again.running():
            await asyncio.sleep(QUIET)
            want = {"one": {"a": "1"}, "two": {"a": "1"}, "three": {"a": "1"}, **expected}
            for region in (EU, US):
                have = {item: again.data(region, item) for item in want}
                assert have == want, f"after {survived} writes, in {region}"
                assert kept(again, region) == ([lost[region]] if region in lost else []), f"after {survived} writes"
            assert again.status["state"] == "InSync", again.status
        if not died:
            assert survived > 2, "no write was ever cut off"
            return
    raise AssertionError("the writer never got to the end")


def die_after(world: CopyWorld, writes: int) -> list[int]:
    """Have the operator cut off from everything once it has written so often; gives when it was."""
    died: list[int] = []
    left = [writes]

    def count(event: str, resource: Any, obj: Object) -> None:
        if resource != CONFIG_MAPS or died:
            return
        left[0] -= 1
        if left[0] == 0:
            died.append(writes)
            for cluster in world.clusters.values():
                cluster.down = UnavailableError("the process is gone")

    for cluster in world.clusters.values():
        cluster.subscribe(count)
    return died
