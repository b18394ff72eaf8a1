"""The agent and the hub that asks it, in virtual time: cut off, asked, restarted, impaired, overtaken."""

from __future__ import annotations

import asyncio
import json

import pytest

from regent.domain.errors import UnavailableError
from regent.domain.failover.fence import Fence
from regent.engine.resources import CONFIG_MAPS, DEPLOYMENTS, FAILOVER_POLICIES, LEASES
from tests.fakes.region import AFTER, HERE, KEY, LIMIT, SYSTEM, THERE, WAIT, RegionScene, failover_policy

pytestmark = pytest.mark.looptime

RUN = {"uid": "r", "name": "shop-4", "to": THERE}


async def settled(scene: RegionScene) -> None:
    await asyncio.sleep(3)
    assert KEY in json.loads((await scene.told())["guards"])
    assert scene.agent.unready() == ""


async def test_connected_it_touches_nothing_and_tells_what_it_guards() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        writes = len(scene.own.writes)
        await asyncio.sleep(60)
        assert len(scene.own.writes) == writes
        assert scene.metrics.gauges["regent_agent_connected", frozenset()] == 1
        assert (await scene.lease())["spec"]["holderIdentity"] == "agent-1"


async def test_cut_off_it_stops_after_its_time_and_not_before() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        scene.cut = True
        await asyncio.sleep(AFTER - 3.5)
        assert await scene.replicas() == 2
        await asyncio.sleep(5)
        assert await scene.replicas() == 0
        assert await scene.fence() == "3.1.12"
        assert scene.metrics.gauges["regent_agent_connected", frozenset()] == 0


async def test_a_short_break_stops_nothing() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        for _ in range(5):
            scene.cut = True
            await asyncio.sleep(AFTER - 3.5)
            scene.cut = False
            await asyncio.sleep(3)
        assert await scene.replicas() == 2


async def test_the_hub_waits_until_the_agent_must_have_stopped() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        await scene.status(epoch=4, operation=RUN)
        scene.cut = True
        began = scene.clock.monotonic()
        while not (state := await scene.ask()).proved:
            assert state.possible
            await asyncio.sleep(state.retry_after)
        assert scene.clock.monotonic() - began >= WAIT
        assert await scene.replicas() == 0


async def test_every_leader_and_every_attempt_waits_anew() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        scene.cut = True
        await scene.ask()
        await asyncio.sleep(WAIT + 1)
        assert (await scene.ask()).proved
        assert not (await scene.ask(Fence(5, 1, 8))).proved, "another attempt"
        scene.leadership.gain(transitions=2)
        assert not (await scene.ask()).proved, "another leader"


async def test_asked_it_stops_and_gives_its_word_and_brings_back_after_the_run() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        await scene.status(epoch=4, operation=RUN)
        assert not (await scene.ask()).proved
        await asyncio.sleep(5)
        state = await scene.ask()
        assert state.proved
        assert (await scene.replicas(), await scene.fence()) == (0, "4.1.8")
        assert not (await scene.ask(Fence(4, 1, 9))).proved, "its word is for that fence"
        await scene.status(epoch=5, activeRegion=HERE)
        await asyncio.sleep(5)
        assert await scene.replicas() == 2
        assert json.loads((await scene.told())["isolated"]) == {}


async def test_when_another_region_became_active_it_lets_go() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        scene.cut = True
        await asyncio.sleep(AFTER + LIMIT)
        await scene.status(epoch=4, activeRegion=THERE, distribution=[{"region": THERE, "weightPercent": 100}])
        scene.cut = False
        await asyncio.sleep(10)
        assert await scene.replicas() == 0
        assert scene.agent.stopped == {}


async def test_while_a_run_holds_the_policy_nothing_comes_back() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        scene.cut = True
        await asyncio.sleep(AFTER + LIMIT)
        await scene.status(epoch=4, operation=RUN)
        scene.cut = False
        await asyncio.sleep(30)
        assert await scene.replicas() == 0


async def test_what_is_activated_while_it_is_cut_off_is_stopped_too() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        scene.cut = True
        await asyncio.sleep(AFTER + LIMIT)
        present = await scene.own.get(DEPLOYMENTS, "shop", "web")
        present["metadata"]["annotations"]["regent.dev/fence"] = "9.1.20"
        present["spec"]["replicas"] = 2
        await scene.own.replace(DEPLOYMENTS, present)
        await asyncio.sleep(LIMIT)
        assert await scene.replicas() == 0


async def test_asked_and_overtaken_it_leaves_alone_what_the_hub_wrote_since() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        await scene.status(epoch=4, operation=RUN)
        await scene.ask()
        await asyncio.sleep(5)
        present = await scene.own.get(DEPLOYMENTS, "shop", "web")
        present["metadata"]["annotations"]["regent.dev/fence"] = "5.1.3"
        present["spec"]["replicas"] = 2
        await scene.own.replace(DEPLOYMENTS, present)
        await asyncio.sleep(20)
        assert await scene.replicas() == 2


async def test_a_new_process_keeps_stopped_what_the_one_before_stopped() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        scene.cut = True
        await asyncio.sleep(AFTER + LIMIT)
    scene.make()
    async with scene.running():
        await asyncio.sleep(1)
        assert set(scene.agent.stopped) == {KEY}
        scene.cut = False
        await asyncio.sleep(10)
        assert await scene.replicas() == 2, "its notes say what it was before"


async def test_a_new_process_that_never_saw_the_hub_stops_by_the_notes() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
    scene.cut = True
    scene.make()
    async with scene.running():
        await asyncio.sleep(AFTER / 4 + 3)
        assert await scene.replicas() == 0


async def test_without_its_own_api_server_it_is_impaired_and_silence_proves_nothing() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        scene.elector.leading = False
        scene.own.fail("get", UnavailableError("away"), times=10_000)
        # The Lease of the region is lost, and nobody else holds it: the one that held it last goes on.
        await asyncio.sleep(4)
        assert "does not answer" in (await scene.lease())["metadata"]["annotations"]["regent.dev/impaired"]
        scene.cut = True
        for _ in range(60):
            state = await scene.ask()
            assert not state.proved
            await asyncio.sleep(1)
        assert not state.possible
        assert "does not answer" in state.message


async def test_a_policy_that_changed_unseen_is_not_proved_by_silence() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        scene.cut = True
        present = await scene.hub.get(FAILOVER_POLICIES, "shop", "shop")
        present["spec"]["promotion"]["steps"][0]["scale"]["name"] = "api"
        await scene.hub.replace(FAILOVER_POLICIES, present)
        await scene.ask()
        await asyncio.sleep(WAIT + 1)
        state = await scene.ask()
        assert (state.proved, state.possible) == (False, False)


async def test_a_policy_of_nobody_knows_which_region_is_left_alone() -> None:
    scene = RegionScene()
    present = await scene.hub.get(FAILOVER_POLICIES, "shop", "shop")
    await scene.hub.replace_status(FAILOVER_POLICIES, {**present, "status": {}})
    async with scene.running():
        await asyncio.sleep(5)
        assert json.loads((await scene.told())["guards"]) == {}
        scene.cut = True
        await asyncio.sleep(60)
        assert await scene.replicas() == 2


async def test_no_agent_and_one_that_stopped_on_purpose() -> None:
    scene = RegionScene()
    state = await scene.ask()
    assert (state.proved, state.possible) == (False, False)
    async with scene.running():
        await settled(scene)
    await scene.presence.release()
    await scene.ask()
    await asyncio.sleep(WAIT + 1)
    state = await scene.ask()
    assert (state.proved, state.possible) == (False, False)
    assert "stopped" in state.message


async def test_an_older_request_never_replaces_a_newer_one() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        await scene.status(epoch=5, operation=RUN)
        await scene.ask(Fence(5, 1, 8))
        await scene.ask(Fence(4, 9, 9))
        found = await scene.hub.get(CONFIG_MAPS, SYSTEM, f"regent-isolate-{HERE}")
        assert found["data"] == {"shop.shop": "5.1.8"}


async def test_a_lease_that_was_deleted_is_made_again() -> None:
    scene = RegionScene()
    async with scene.running():
        await settled(scene)
        found = await scene.lease()
        await scene.hub.delete(LEASES, SYSTEM, found["metadata"]["name"], uid=found["metadata"]["uid"])
        await asyncio.sleep(5)
        assert (await scene.lease())["spec"]["holderIdentity"] == "agent-1"
        assert await scene.replicas() == 2


def test_the_scene_is_about_a_policy_that_is_active_here() -> None:
    assert failover_policy()["status"]["activeRegion"] == HERE


async def test_an_agent_that_cannot_take_the_regions_lease_is_not_ready() -> None:
    scene = RegionScene()
    scene.elector.leading, scene.elector.holder = False, ""
    async with scene.running():
        await asyncio.sleep(3)
        assert "could not be taken" in scene.agent.unready()
        scene.elector.holder = "agent-2"  # another one acts: there is nothing to do for this one
        assert scene.agent.unready() == ""
