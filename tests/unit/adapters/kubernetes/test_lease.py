"""The leader lease by the rules of client-go, in fake time against the fake API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from regent.adapters.kubernetes.lease import DEADLINE, LeaseElector, request_timeout
from regent.domain.errors import LeadershipLostError, UnavailableError
from regent.engine.resources import LEASES
from tests.fakes.clock import LoopClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.ports import FakeMetrics

pytestmark = pytest.mark.looptime


def make_elector(cluster: Any, identity: str, **options: Any) -> LeaseElector:
    wall = options.pop("wall", 1_790_000_000.0)
    return LeaseElector(
        cluster,
        namespace="regent-system",
        name="regent",
        identity=identity,
        clock=options.pop("clock", LoopClock(wall=wall)),
        metrics=FakeMetrics(),
        jitter=lambda: 0.0,
        **options,
    )


@contextlib.asynccontextmanager
async def running(elector: LeaseElector) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(elector.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, LeadershipLostError):
            await task


async def spec_of(cluster: FakeCluster) -> dict[str, Any]:
    return dict((await cluster.get(LEASES, "regent-system", "regent"))["spec"])


async def leads_after(elector: LeaseElector) -> float:
    started = asyncio.get_running_loop().time()
    await asyncio.wait_for(elector.elected(), 60)
    return asyncio.get_running_loop().time() - started


class CutOff:
    """An API server that this elector cannot reach for a while, or that answers late."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster
        self.cut = False
        self.late = 0.0

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **options: Any) -> Any:
            if self.cut:
                raise UnavailableError("cut off")
            result = await getattr(self._cluster, name)(*arguments, **options)
            await asyncio.sleep(self.late)
            return result

        return call


async def test_takes_a_free_lease_at_once_and_renews_it() -> None:
    cluster = FakeCluster()
    elector = make_elector(cluster, "a")
    assert not elector.leading
    async with running(elector):
        await elector.elected()
        first = await spec_of(cluster)
        elector.check()
        await asyncio.sleep(2.5)
        later = await spec_of(cluster)
    assert first["holderIdentity"] == "a"
    assert first["leaseDurationSeconds"] == 5
    assert first["leaseTransitions"] == elector.transitions == 1
    assert len(first["renewTime"]) == len("2026-09-21T14:13:20.000000Z"), "MicroTime: exactly six digits"
    assert later["renewTime"] > first["renewTime"]
    assert later["acquireTime"] == first["acquireTime"]


async def test_a_released_lease_is_taken_over_at_once() -> None:
    cluster = FakeCluster()
    first, second = make_elector(cluster, "a"), make_elector(cluster, "b")
    async with running(second):
        async with running(first):
            await asyncio.sleep(3)
            assert [first.leading, second.leading].count(True) == 1
            leader, other = (first, second) if first.leading else (second, first)
            assert leader is second
            async with running(other):
                pass
        await second.release()
        assert not second.leading
        assert (await spec_of(cluster))["holderIdentity"] == ""
    async with running(first):
        assert await leads_after(first) <= 0.6
        assert first.transitions == 2


async def test_a_dead_leader_is_replaced_within_duration_and_interval() -> None:
    cluster = FakeCluster()
    first, second = make_elector(cluster, "a"), make_elector(cluster, "b")
    async with running(first):
        await first.elected()
        second_task = asyncio.create_task(second.run())
        await asyncio.sleep(2.9)
        assert not second.leading
    # `running` cancelled it: no release, as when it is killed.
    assert 2.5 < await leads_after(second) <= 6
    assert second.transitions == first.transitions + 1
    assert not first.leading
    second_task.cancel()


async def test_a_lease_written_by_another_clock_is_judged_by_our_own() -> None:
    """The wall clock of the holder is a year behind ours: its lease is as good as any."""
    cluster = FakeCluster()
    behind = make_elector(cluster, "a", wall=1_760_000_000.0)
    ours = make_elector(cluster, "b")
    async with running(behind):
        await behind.elected()
        async with running(ours):
            await asyncio.sleep(60)
            assert behind.leading
            assert not ours.leading


async def test_a_new_candidate_waits_the_whole_duration_for_an_old_lease() -> None:
    """It has not seen the lease being renewed or not: an old renewTime proves nothing without trust in clocks."""
    cluster = FakeCluster()
    spec = {"holderIdentity": "gone", "leaseDurationSeconds": 5, "renewTime": "2020-01-01T00:00:00.000000Z"}
    cluster.put(LEASES, {"metadata": {"namespace": "regent-system", "name": "regent"}, "spec": spec})
    elector = make_elector(cluster, "b")
    async with running(elector):
        assert 5 <= await leads_after(elector) <= 6


async def test_a_leader_that_is_cut_off_stops_before_anybody_else_starts() -> None:
    cluster = FakeCluster()
    line = CutOff(cluster)
    first, second = make_elector(line, "a"), make_elector(cluster, "b")
    task = asyncio.create_task(first.run())
    await first.elected()
    async with running(second):
        await asyncio.sleep(2)
        line.cut = True
        while first.leading:
            assert not second.leading
            await asyncio.sleep(0.01)
        stopped = asyncio.get_running_loop().time()
        with pytest.raises(LeadershipLostError):
            first.check()
        with pytest.raises(LeadershipLostError):
            await asyncio.wait_for(task, 2)
        await second.elected()
        gap = asyncio.get_running_loop().time() - stopped
    assert gap > 2 * request_timeout(5) - 0.01, "two requests under way fit between the two reigns"


async def test_time_outs_and_deadline_leave_room() -> None:
    for duration in (1, 5, 15):
        assert request_timeout(duration) < (duration - duration * DEADLINE) / 2


async def test_a_short_absence_of_the_api_server_is_survived() -> None:
    line = CutOff(FakeCluster())
    elector = make_elector(line, "a")
    async with running(elector):
        await elector.elected()
        line.cut = True
        await asyncio.sleep(1.8)
        line.cut = False
        await asyncio.sleep(10)
        assert elector.leading
        assert elector.transitions == 1


async def test_a_process_that_was_frozen_ends_without_writing() -> None:
    cluster = FakeCluster()
    clock = LoopClock()
    elector = make_elector(cluster, "a", clock=clock)
    task = asyncio.create_task(elector.run())
    await elector.elected()
    await asyncio.sleep(1.5)
    writes = len(cluster.writes)
    frozen = clock.monotonic() + 100
    clock.monotonic = lambda: frozen  # type: ignore[method-assign]  # the machine slept, the loop did not notice
    assert not elector.leading
    with pytest.raises(LeadershipLostError):
        await asyncio.wait_for(task, 5)
    assert len(cluster.writes) == writes, "not renewed, though nobody had taken the lease"


async def test_a_lease_taken_by_another_is_noticed_at_the_next_renewal() -> None:
    cluster = FakeCluster()
    elector = make_elector(cluster, "a")
    task = asyncio.create_task(elector.run())
    await elector.elected()
    lease = await cluster.get(LEASES, "regent-system", "regent")
    cluster.put(LEASES, {**lease, "spec": {**lease["spec"], "holderIdentity": "b", "leaseTransitions": 2}})
    with pytest.raises(LeadershipLostError, match="taken by b"):
        await asyncio.wait_for(task, 2)
    assert not elector.leading


async def test_a_stray_edit_of_the_lease_does_not_cost_the_reign() -> None:
    cluster = FakeCluster()
    elector = make_elector(cluster, "a")
    async with running(elector):
        await elector.elected()
        lease = await cluster.get(LEASES, "regent-system", "regent")
        lease["metadata"]["labels"] = {"touched": "yes"}
        await cluster.replace(LEASES, lease)
        await asyncio.sleep(10)
        assert elector.leading
    assert (await cluster.get(LEASES, "regent-system", "regent"))["metadata"]["labels"] == {"touched": "yes"}


async def test_the_number_of_a_term_holds_while_its_lease_is_read_anew() -> None:
    """A renewal whose answer was lost makes the next one a conflict. A fence of that moment must be no older one."""
    cluster = FakeCluster()
    way = CutOff(cluster)
    elector = make_elector(way, "a")
    async with running(elector):
        await elector.elected()
        lease = await cluster.get(LEASES, "regent-system", "regent")
        lease["metadata"]["labels"] = {"touched": "yes"}
        await cluster.replace(LEASES, lease)
        way.late = 0.4
        terms = set()
        for _ in range(200):
            await asyncio.sleep(0.01)
            terms.add((elector.leading, elector.transitions, elector.holder))
    assert terms == {(True, 1, "a")}


async def test_a_deleted_lease_ends_the_reign() -> None:
    cluster = FakeCluster()
    elector = make_elector(cluster, "a")
    task = asyncio.create_task(elector.run())
    await elector.elected()
    lease = await cluster.get(LEASES, "regent-system", "regent")
    await cluster.delete(LEASES, "regent-system", "regent", uid=lease["metadata"]["uid"])
    with pytest.raises(LeadershipLostError):
        await asyncio.wait_for(task, 5)


async def test_a_claim_whose_answer_was_lost_is_recognised_as_ours() -> None:
    cluster = FakeCluster()
    cluster.fail("create", UnavailableError("cut"), after=True)
    elector = make_elector(cluster, "a")
    async with running(elector):
        assert await leads_after(elector) <= 1
    assert elector.transitions == 1


async def test_a_renewal_whose_answer_was_lost_keeps_the_reign() -> None:
    cluster = FakeCluster()
    elector = make_elector(cluster, "a")
    async with running(elector):
        await elector.elected()
        cluster.fail("replace", UnavailableError("cut"), after=True)
        await asyncio.sleep(20)
        assert elector.leading


async def test_the_term_counts_from_the_start_of_the_request() -> None:
    line = CutOff(FakeCluster())
    line.late = 2.0
    elector = make_elector(line, "a")
    task = asyncio.create_task(elector.run())
    await elector.elected()
    assert elector._valid_until - asyncio.get_running_loop().time() <= 5 * DEADLINE - 2 + 0.001
    task.cancel()


async def test_many_candidates_one_leader_at_any_time() -> None:
    cluster = FakeCluster()
    electors = [make_elector(cluster, name) for name in "abcde"]
    tasks = {elector: asyncio.create_task(elector.run()) for elector in electors}
    for _ in range(4):
        for _ in range(120):
            await asyncio.sleep(0.05)
            assert sum(elector.leading for elector in electors) <= 1
        leader = next(elector for elector in electors if elector.leading)
        tasks[leader].cancel()
        electors.remove(leader)
    await asyncio.sleep(7)
    assert [elector.leading for elector in electors] == [True]
    assert electors[0].transitions == 5
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize(("duration", "renew"), [(0.5, 0.1), (5.5, 1), (5, 2.5)])
def test_settings_that_cannot_be_safe_are_refused(duration: float, renew: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        make_elector(FakeCluster(), "a", duration=duration, renew=renew)


async def test_a_candidate_that_never_gets_through_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    cluster = CutOff(FakeCluster())
    cluster.cut = True
    async with running(make_elector(cluster, "a")):
        await asyncio.sleep(10)
        assert [record.message for record in caplog.records] == ["Lease request failed: cut off"]
        cluster.cut = False
        await asyncio.sleep(2)
        assert len(caplog.records) == 1
