"""The status writer: no needless write, no lost update, no write without the lease."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from regent.domain.errors import ConflictError, LeadershipLostError, UnavailableError
from regent.engine.resources import REGIONS
from regent.engine.status import ATTEMPTS, StatusWriter
from regent.engine.store import Store
from tests.fakes.cluster import FakeCluster
from tests.fakes.ports import FakeLeadership, FakeMetrics


class Desk:
    def __init__(self, *, follow: bool = True) -> None:
        self.cluster, self.store = FakeCluster(), Store()
        self.leadership, self.metrics = FakeLeadership(), FakeMetrics()
        self.writer = StatusWriter(self.cluster, self.store, self.leadership, metrics=self.metrics)
        self.region = self.cluster.put(REGIONS, {"metadata": {"name": "a"}, "spec": {}, "status": {"n": 0}})
        if follow:
            self.store.observe(REGIONS, self.region)

    async def set(self, wanted: dict[str, Any], **arguments: Any) -> dict[str, Any] | None:
        return await self.writer.transact(REGIONS, "", "a", lambda _: wanted, **arguments)


async def test_writes_once_and_the_store_knows_the_result_before_the_watch_does() -> None:
    desk = Desk()
    written = await desk.set({"n": 1})
    assert written and written["status"] == {"n": 1}
    assert desk.store.get(REGIONS, "", "a") == written
    assert not desk.store.observe(REGIONS, desk.region)


async def test_equal_status_costs_no_call() -> None:
    desk = Desk()
    await desk.set({"n": 0})
    assert desk.cluster.calls == []


async def test_a_stale_store_is_healed_by_reading_again() -> None:
    desk = Desk()
    newer = desk.cluster.put(REGIONS, {**desk.region, "status": {"n": 5}})
    written = await desk.writer.transact(REGIONS, "", "a", lambda obj: {"n": obj["status"]["n"] + 1})
    assert written and written["status"] == {"n": 6}, "the change was asked again about the fresh object"
    assert int(written["metadata"]["resourceVersion"]) > int(newer["metadata"]["resourceVersion"])
    assert desk.metrics.counted("regent_status_writes_total", result="conflict") == 1


async def test_two_writers_in_one_process_lose_nothing_and_make_no_conflicts() -> None:
    desk = Desk()
    add = lambda obj: {"n": obj["status"]["n"] + 1}  # noqa: E731
    await asyncio.gather(*(desk.writer.transact(REGIONS, "", "a", add) for _ in range(20)))
    found = desk.store.get(REGIONS, "", "a")
    assert found and found["status"] == {"n": 20}
    assert desk.metrics.counted("regent_status_writes_total", result="conflict") == 0


async def test_a_fight_ends_with_a_conflict_for_the_caller() -> None:
    desk = Desk()
    desk.cluster.fail("replace_status", ConflictError("x", status=409), times=1000)
    with pytest.raises(ConflictError):
        await desk.set({"n": 1})
    assert len(desk.cluster.writes) == ATTEMPTS


async def test_no_write_without_the_lease() -> None:
    desk = Desk()
    desk.leadership.lose()
    with pytest.raises(LeadershipLostError):
        await desk.set({"n": 1})
    assert desk.cluster.writes == []


async def test_nothing_for_an_object_that_is_gone_or_another() -> None:
    desk = Desk()
    assert await desk.set({"n": 1}, uid="another") is None
    await desk.cluster.delete(REGIONS, "", "a", uid=desk.region["metadata"]["uid"])
    assert await desk.set({"n": 1}) is None, "the store still had it"
    assert await desk.writer.transact(REGIONS, "", "never", lambda _: {}) is None


async def test_a_namesake_made_since_is_not_written() -> None:
    desk = Desk()
    uid = desk.region["metadata"]["uid"]
    await desk.cluster.delete(REGIONS, "", "a", uid=uid)
    desk.cluster.put(REGIONS, {"metadata": {"name": "a"}, "spec": {}})
    assert await desk.set({"n": 1}, uid=uid) is None


async def test_an_ambiguous_write_is_left_to_the_caller_and_the_next_visit_finds_it_done() -> None:
    desk = Desk()
    desk.cluster.fail("replace_status", UnavailableError("cut"), after=True)
    with pytest.raises(UnavailableError):
        await desk.set({"n": 1})
    written = await desk.set({"n": 1})
    assert written and written["status"] == {"n": 1}


async def test_an_object_not_yet_in_the_store_is_read() -> None:
    desk = Desk(follow=False)
    assert await desk.set({"n": 3})
    assert desk.store.get(REGIONS, "", "a") is not None
