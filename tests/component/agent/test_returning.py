"""A region that comes back by itself: what its agent stops, holds back and lets, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from regent.domain.failover.fence import Fence
from regent.domain.failover.guarding import Answer, Leave
from regent.domain.failover.roles import Role
from regent.engine.resources import FAILOVER_POLICIES
from tests.fakes.promotion import FakeSteps
from tests.fakes.region import AFTER, HERE, KEY, LIMIT, THERE, RegionScene, database_policy

pytestmark = pytest.mark.looptime

ELSEWHERE = {"epoch": 4, "activeRegion": THERE, "distribution": [{"region": THERE, "weightPercent": 100}]}
RUN = {"uid": "r", "name": "shop-4", "to": THERE}
DB = ("db", HERE)


class Region:
    """A region with a database, and its agent, which has just started."""

    def __init__(self, role: Role, **status: object) -> None:
        self.world = FakeSteps()
        self.world.set("db", **{HERE: role, THERE: Role.ACTIVE})
        self.world.fences[DB] = Fence(3, 1, 12)
        self.scene = RegionScene(policy=database_policy(**status), drivers=self.world)

    @property
    def role(self) -> Role:
        return self.world.roles[DB]

    async def ask(self) -> Answer:
        return await self.scene.permission.ask("shop", "shop", "db")

    async def status(self, **status: object) -> None:
        present = await self.scene.hub.get(FAILOVER_POLICIES, "shop", "shop")
        await self.scene.hub.replace_status(
            FAILOVER_POLICIES, {**present, "status": database_policy(**status)["status"]}
        )


async def test_a_primary_that_came_back_beside_another_one_is_held_back_and_keeps_what_it_wrote() -> None:
    region = Region(Role.ACTIVE, **ELSEWHERE)
    async with region.scene.running():
        await asyncio.sleep(10)
        assert region.role is Role.STANDBY
        assert DB in region.world.held
        assert region.scene.agent.stopped == {}, "it is a standby now, there is nothing to bring back"


async def test_one_that_took_no_writes_follows_at_once() -> None:
    region = Region(Role.CHANGING, **ELSEWHERE)
    region.world.wanted[DB] = Role.ACTIVE
    async with region.scene.running():
        await asyncio.sleep(10)
        assert region.role is Role.STANDBY
        assert DB not in region.world.held


async def test_a_standby_and_an_active_region_are_left_alone() -> None:
    for role, status in ((Role.STANDBY, ELSEWHERE), (Role.ACTIVE, {})):
        region = Region(role, **status)
        async with region.scene.running():
            await asyncio.sleep(60)
            assert region.world.effects == []


async def test_a_standby_that_is_down_is_looked_at_until_it_is_up() -> None:
    """It may come up as something else, or without a leader: then it has to be asked."""
    region = Region(Role.STANDBY, **ELSEWHERE)
    region.world.wanted[DB] = Role.STANDBY
    async with region.scene.running():
        await asyncio.sleep(10)
        assert region.world.effects == []
        region.world.roles[DB] = Role.CHANGING
        await asyncio.sleep(5)
        assert region.world.effects == [f"db {HERE} Standby"]
        assert DB not in region.world.held


async def test_a_database_that_answers_only_later_is_stopped_then() -> None:
    region = Region(Role.ACTIVE, **ELSEWHERE)
    region.world.away.add(HERE)
    async with region.scene.running():
        await asyncio.sleep(30)
        assert region.role is Role.ACTIVE
        region.world.away.clear()
        await asyncio.sleep(5)
        assert region.role is Role.STANDBY


async def test_a_database_that_could_not_be_asked_during_the_run_is_stopped_when_it_is_back() -> None:
    """The agent must not forget that it was to stop it when the run ends: it has not seen it passive."""
    region = Region(Role.ACTIVE)
    async with region.scene.running():
        await asyncio.sleep(5)
        region.world.away.add(HERE)
        await region.status(epoch=4, operation=RUN)
        await region.scene.ask()
        await asyncio.sleep(10)
        await region.status(**ELSEWHERE)
        await asyncio.sleep(10)
        assert KEY in region.scene.agent.stopped
        region.world.away.clear()
        await asyncio.sleep(5)
        assert region.role is Role.STANDBY
        assert region.scene.agent.stopped == {}


async def test_a_planned_run_is_not_disturbed_by_an_agent_that_starts_in_its_middle() -> None:
    region = Region(Role.ACTIVE, epoch=4, operation=RUN)
    async with region.scene.running():
        await asyncio.sleep(30)
        assert region.world.effects == []


async def test_a_hub_that_has_fallen_behind_stops_nothing() -> None:
    """Restored from a backup it says that another region is active, at an epoch before the one in which this one was
    activated."""
    region = Region(Role.ACTIVE, **{**ELSEWHERE, "epoch": 2})
    async with region.scene.running():
        await asyncio.sleep(30)
        assert region.world.effects == []
        assert (await region.ask()).leave is Leave.NOT_YET


async def test_leave_is_given_where_the_region_is_active_and_the_lease_runs() -> None:
    region = Region(Role.CHANGING)
    assert (await region.ask()).leave is Leave.NOT_YET, "it does not act yet"
    async with region.scene.running():
        await asyncio.sleep(5)
        assert await region.ask() == Answer(Leave.YES, "the region is active at epoch 3")
        region.scene.cut = True
        await asyncio.sleep(AFTER + LIMIT)
        assert (await region.ask()).leave is Leave.NOT_YET
        region.scene.cut = False
        await asyncio.sleep(5)
        assert (await region.ask()).leave is Leave.YES
        region.scene.elector.leading, region.scene.elector.holder = False, "agent-2"
        answer = await region.ask()
        assert answer.leave is Leave.NOT_YET and "another agent" in answer.reason


async def test_the_hub_is_asked_after_the_question_and_not_before() -> None:
    region = Region(Role.CHANGING)
    async with region.scene.running():
        await asyncio.sleep(5)
        assert (await region.ask()).leave is Leave.YES
        # Nothing of what the agent has read so far tells it of this.
        await region.status(**ELSEWHERE)
        assert await region.ask() == Answer(Leave.NO, "another region is active, at epoch 4")


async def test_in_a_run_only_what_it_has_activated_may_start() -> None:
    region = Region(Role.CHANGING, epoch=4, operation=RUN)
    async with region.scene.running():
        await asyncio.sleep(5)
        assert (await region.ask()).leave is Leave.NOT_YET
        region.world.fences[DB] = Fence(4, 1, 900)
        assert (await region.ask()).leave is Leave.YES
        region.world.wanted[DB] = Role.STANDBY
        assert (await region.ask()).leave is Leave.NO


async def test_what_the_hub_does_not_know_gets_no_leave() -> None:
    region = Region(Role.CHANGING)
    async with region.scene.running():
        await asyncio.sleep(5)
        assert (await region.scene.permission.ask("shop", "other", "db")).leave is Leave.NO
        assert (await region.scene.permission.ask("shop", "shop", "cache")).leave is Leave.NO
        await region.status(epoch=0, activeRegion="", distribution=[])
        assert (await region.ask()).leave is Leave.NOT_YET, "nobody has said yet which region is active"
