"""Reflections stay whole whatever happens to their watch, and cost no list that is not needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from regent.adapters.replication.reflector import WatchReflectors
from regent.domain.errors import ClusterError, InvalidError, UnavailableError
from regent.engine.replication.reflection import BodyMissingError, Reflection
from regent.engine.resources import CONFIG_MAPS, SECRETS, Resource
from tests.fakes.clock import LoopClock
from tests.fakes.copying import EU, SHOP, FakeCopyCluster, FakeRegionAccess
from tests.fakes.ports import FakeMetrics

pytestmark = pytest.mark.looptime

AWAY = UnavailableError("no route", reason="NoConnection")


class Scene:
    def __init__(self) -> None:
        self.cluster = FakeCopyCluster()
        self.metrics = FakeMetrics()
        access: Any = FakeRegionAccess({EU: self.cluster})
        self.reflectors = WatchReflectors(access, clock=LoopClock(), metrics=self.metrics, jitter=lambda: 0.0)

    def put(self, name: str, **data: str) -> None:
        self.cluster.put(CONFIG_MAPS, {"metadata": {"namespace": SHOP, "name": name}, "data": data})

    def label(self, name: str, app: str) -> None:
        metadata = {"namespace": SHOP, "name": name, "labels": {"app": app}}
        self.cluster.put(CONFIG_MAPS, {"metadata": metadata})

    def vanish(self, name: str) -> None:
        """Delete without telling the watches."""
        del self.cluster._objects[CONFIG_MAPS][SHOP, name]

    def calls(self, verb: str) -> int:
        return sum(1 for call in self.cluster.calls if call[0] == verb)

    @asynccontextmanager
    async def following(self, resource: Resource = CONFIG_MAPS, selector: str = "") -> AsyncIterator[Reflection]:
        task = asyncio.create_task(self.reflectors.run())
        reflection = self.reflectors.acquire(EU, resource, SHOP, selector=selector)
        try:
            await asyncio.sleep(1)
            yield reflection
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def data_of(reflection: Reflection, name: str) -> Any:
    found = reflection.get((SHOP, name))
    return None if found is None else found["data"]


async def test_it_begins_whole_and_follows() -> None:
    scene = Scene()
    scene.put("one", a="1")
    async with scene.following() as reflection:
        assert reflection.complete
        assert data_of(reflection, "one") == {"a": "1"}
        scene.put("one", a="2")
        scene.put("two")
        await asyncio.sleep(0.1)
        assert data_of(reflection, "one") == {"a": "2"}
        assert len(reflection) == 2


async def test_a_stream_that_breaks_is_taken_up_where_it_ended() -> None:
    scene = Scene()
    scene.put("one")
    async with scene.following() as reflection:
        lists = scene.calls("list")
        scene.cluster.break_watches(AWAY)
        await asyncio.sleep(5)
        assert reflection.complete
        assert not reflection.problem
        scene.put("one", a="2")
        await asyncio.sleep(0.1)
        assert data_of(reflection, "one") == {"a": "2"}
        assert scene.calls("list") == lists


@pytest.mark.parametrize(
    "error",
    [
        ClusterError("too old resource version", status=410, reason="Expired"),
        UnavailableError("watch: no answer in time", reason="Timeout"),
    ],
    ids=["gone", "silent"],
)
async def test_a_place_in_history_that_is_lost_means_a_list(error: ClusterError) -> None:
    scene = Scene()
    scene.put("one")
    scene.put("two")
    async with scene.following() as reflection:
        scene.vanish("two")
        scene.cluster.break_watches(error)
        await asyncio.sleep(0)
        await asyncio.sleep(5)
        assert reflection.complete
        assert data_of(reflection, "two") is None
        assert reflection.listed == 2


async def test_without_streaming_lists_it_lists_in_chunks() -> None:
    scene = Scene()
    scene.put("one", a="1")
    refusal = InvalidError("sendInitialEvents is forbidden for watch", status=422)
    scene.cluster.fail("watch", refusal)
    async with scene.following() as reflection:
        await asyncio.sleep(1)
        assert reflection.complete
        assert data_of(reflection, "one") == {"a": "1"}
        scene.put("one", a="2")
        await asyncio.sleep(0.1)
        assert data_of(reflection, "one") == {"a": "2"}


async def test_a_kind_that_is_not_served_is_looked_for() -> None:
    scene = Scene()
    scene.cluster.served.discard(CONFIG_MAPS)
    async with scene.following() as reflection:
        assert reflection.absent
        assert not reflection.complete
        scene.cluster.served.add(CONFIG_MAPS)
        await asyncio.sleep(40)
        assert reflection.complete
        assert not reflection.absent


async def test_a_region_that_is_away_is_not_heard_and_not_asked_too_often() -> None:
    scene = Scene()
    async with scene.following() as reflection:
        heard = reflection.heard_at
        assert heard is not None
        scene.cluster.down = AWAY
        scene.cluster.break_watches(AWAY)
        calls = len(scene.cluster.calls)
        await asyncio.sleep(120)
        assert reflection.heard_at is not None
        assert reflection.heard_at <= heard + 2.0
        assert "no route" in reflection.problem
        assert len(scene.cluster.calls) - calls < 120
        scene.cluster.down = None
        await asyncio.sleep(20)
        assert not reflection.problem


async def test_a_quiet_source_is_heard_all_the_same() -> None:
    scene = Scene()
    async with scene.following() as reflection:
        await asyncio.sleep(60)
        assert reflection.heard_at is not None
        assert asyncio.get_running_loop().time() - reflection.heard_at <= 2.0


async def test_users_share_one_watch_which_ends_with_the_last() -> None:
    scene = Scene()
    async with scene.following() as reflection:
        assert scene.reflectors.acquire(EU, CONFIG_MAPS, SHOP) is reflection
        assert scene.calls("watch") == 1
        scene.reflectors.release(reflection)
        await asyncio.sleep(1)
        assert scene.cluster._streams
        scene.reflectors.release(reflection)
        await asyncio.sleep(1)
        assert not scene.cluster._streams
        pings = scene.calls("ping")
        await asyncio.sleep(20)
        assert scene.calls("ping") == pings, "a region that nobody uses is not asked"


async def test_a_refresh_finds_what_the_watch_has_missed() -> None:
    scene = Scene()
    scene.put("one")
    scene.put("two")
    async with scene.following() as reflection:
        scene.vanish("two")
        scene.reflectors.refresh(reflection)
        await asyncio.sleep(1)
        assert data_of(reflection, "two") is None
        assert data_of(reflection, "one") == {}
        assert reflection.listed == 2


async def test_a_selection_is_left_to_the_server_and_what_leaves_it_is_gone() -> None:
    """Fails when an object that has lost its label is still taken for selected, or does not come back with it."""
    scene = Scene()
    scene.label("one", "shop")
    scene.label("two", "other")
    async with scene.following(selector="app=shop") as reflection:
        assert [name for _, name in reflection.names()] == ["one"]
        scene.label("one", "other")
        await asyncio.sleep(0.1)
        assert reflection.names() == []
        assert reflection.complete
        for name in ("one", "two"):
            scene.label(name, "shop")
        await asyncio.sleep(0.1)
        assert sorted(name for _, name in reflection.names()) == ["one", "two"]


async def test_users_with_other_selections_do_not_disturb_each_other() -> None:
    scene = Scene()
    scene.label("one", "shop")
    scene.label("two", "other")
    async with scene.following(selector="app=shop") as first:
        second = scene.reflectors.acquire(EU, CONFIG_MAPS, SHOP, selector="app=other")
        whole = scene.reflectors.acquire(EU, CONFIG_MAPS, SHOP)
        await asyncio.sleep(1)
        assert [[name for _, name in each.names()] for each in (first, second)] == [["one"], ["two"]]
        scene.reflectors.release(second)
        scene.label("one", "other")
        await asyncio.sleep(1)
        assert first.names() == []
        assert len(whole) == 2


async def test_of_secrets_only_metadata_is_asked_for() -> None:
    scene = Scene()
    metadata = {"namespace": SHOP, "name": "key", "labels": {"app": "shop"}}
    scene.cluster.put(SECRETS, {"metadata": metadata, "data": {"key": "hush"}})
    async with scene.following(SECRETS) as reflection:
        glance = reflection.glance((SHOP, "key"))
        assert glance is not None
        assert (glance["kind"], glance["metadata"]["labels"]) == ("Secret", {"app": "shop"})
        assert {stream.view.bodies for stream in scene.cluster._streams} == {False}
        scene.reflectors.refresh(reflection)
        await asyncio.sleep(1)
        assert reflection.listed == 2
        with pytest.raises(BodyMissingError):
            reflection.get((SHOP, "key"))
