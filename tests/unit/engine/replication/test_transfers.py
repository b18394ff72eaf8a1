"""What has been copied between regions: counted once it is there, shown in the status, and carried on from there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from regent.domain.errors import ForbiddenError
from regent.domain.replication.content import canonical
from regent.domain.replication.model import Link, TargetSpec
from regent.engine.replication.transfers import MAX_PAIRS, Transfers
from regent.engine.resources import REPLICATION_POLICIES
from tests.fakes.copying import EU, SHOP, US, CopyWorld
from tests.fakes.ports import FakeMetrics

OBJECTS, SIZE = "regent_replication_transferred_objects_total", "regent_replication_transferred_bytes_total"


def way(source: str, target: str) -> Link:
    return Link(source_region=source, target=TargetSpec(region=target, namespace=SHOP))


def transfers(*shown: dict[str, Any]) -> Transfers:
    return Transfers(namespace=SHOP, policy="shop", shown=shown, metrics=FakeMetrics())


def row(source: str, target: str, objects: int, size: int) -> dict[str, Any]:
    return {"source": source, "target": target, "objects": objects, "bytes": size}


@pytest.mark.looptime
async def test_copies_are_counted_when_they_are_there_and_the_status_carries_them_on() -> None:
    """Fails when the status forgets at a restart, counts what was refused, or is written while nothing is copied."""
    world = CopyWorld()
    world.put(EU, "one", a="1")
    world.put(EU, "two", b="ü")
    target, bodies = world.clusters[US], []
    create = target.create

    async def made(resource: Any, obj: Any) -> Any:
        if obj["metadata"]["name"] == "refused":
            raise ForbiddenError("admission webhook says no", status=403)
        bodies.append(len(canonical(obj)))
        return await create(resource, obj)

    target.create = made  # type: ignore[method-assign]
    world.policy()
    async with world.running():
        await asyncio.sleep(5)
        assert world.status["transferred"] == [row(EU, US, 2, sum(bodies))]
        world.put(EU, "refused")
        await asyncio.sleep(30)
        assert world.status["transferred"] == [row(EU, US, 2, sum(bodies))]
        labels = {"namespace": SHOP, "policy": "shop", "source": EU, "target": US}
        assert (world.metrics.counted(OBJECTS, **labels), world.metrics.counted(SIZE, **labels)) == (2, sum(bodies))
        world.remove(EU, "refused")
        await asyncio.sleep(10)
        written = len([call for call in world.hub.writes if call[1] == REPLICATION_POLICIES])
        await asyncio.sleep(100)
        assert len([call for call in world.hub.writes if call[1] == REPLICATION_POLICIES]) == written

    after = CopyWorld(before=world)
    async with after.running():
        await asyncio.sleep(5)
        assert after.status["transferred"] == [row(EU, US, 2, sum(bodies))]
        after.put(EU, "one", a="2")
        await asyncio.sleep(5)
        (found,) = after.status["transferred"]
        assert found["objects"] == 3
        assert found["bytes"] > sum(bodies) + len(canonical({"data": {"a": "2"}}))
        assert after.metrics.counted(OBJECTS, namespace=SHOP, policy="shop") == 1, "counters begin anew, as ever"


@pytest.mark.looptime
async def test_a_policy_of_the_same_name_begins_at_nothing() -> None:
    world = CopyWorld()
    world.put(EU, "one", a="1")
    world.policy()
    async with world.running():
        await asyncio.sleep(5)
        before = world.store.get(REPLICATION_POLICIES, SHOP, "shop")
        assert before is not None
        world.hub._drop(REPLICATION_POLICIES, before)
        world.put(EU, "two", a="1")
        world.policy()
        await asyncio.sleep(5)
        after = world.store.get(REPLICATION_POLICIES, SHOP, "shop")
        assert after is not None
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        assert world.names(US) == ["one", "two"]
        assert world.status["transferred"][0]["objects"] == 2, "the copy that it takes up, and the new one"


def test_what_is_shown_is_never_set_back() -> None:
    """Fails when a replica that began with an old status takes back what another one has shown."""
    found = transfers(row(EU, US, 5, 500))
    found.add(way(EU, US), {"a": 1})
    assert found.rows([row(EU, US, 9, 900)], []) == [row(EU, US, 9, 900)]
    assert found.rows([row(EU, US, 5, 500), row(US, EU, 1, 10)], []) == [row(EU, US, 6, 507), row(US, EU, 1, 10)]
    assert found.rows([], []) == [row(EU, US, 6, 507)]


def test_there_is_room_for_what_is_in_use() -> None:
    old = [row(f"r{number}", US, 1, 1000 + number) for number in range(MAX_PAIRS)]
    found = transfers(*old)
    found.add(way(EU, US), {"a": 1})
    shown = found.rows(old, [way(EU, US)])
    assert len(shown) == MAX_PAIRS
    assert row(EU, US, 1, 7) in shown
    assert row("r0", US, 1, 1000) not in shown


def test_a_row_without_figures_counts_as_nothing() -> None:
    assert transfers({"source": EU, "target": US}).rows([], []) == [row(EU, US, 0, 0)]
