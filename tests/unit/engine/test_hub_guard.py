"""Whether a hub acts: what it finds out at its start and later, what it writes down, and whom it tells."""

from __future__ import annotations

import asyncio

import pytest

from regent.domain.errors import LeadershipLostError, UnavailableError
from regent.engine.hub_guard import LOOK, PATIENCE
from regent.engine.resources import CONFIG_MAPS
from tests.fakes.hubs import EU, US, Hub, keep, kept
from tests.fakes.members import FakeMembers

pytestmark = pytest.mark.looptime

A, B = "hub-a", "hub-b"
TERM = 1_000_000


@pytest.fixture
def members() -> FakeMembers:
    return FakeMembers()


@pytest.fixture
def hub(members: FakeMembers) -> Hub:
    made = Hub(A, members)
    made.put_shop()
    return made


def ready(hub: Hub) -> tuple[str, str]:
    conditions = hub.policy["status"].get("conditions") or [{}]
    return conditions[0].get("status", ""), conditions[0].get("reason", "")


async def test_a_hub_that_nobody_ever_told_anything_acts(hub: Hub, members: FakeMembers) -> None:
    keep(members, EU, "8.1.4")
    assert not hub.leadership.leading
    with pytest.raises(LeadershipLostError):
        hub.leadership.check()
    async with hub.running():
        await asyncio.wait_for(hub.guard.may_act(), 2)
        assert hub.leadership.leading
        hub.leadership.check()
        await asyncio.sleep(60)
    assert hub.ended is None
    assert not hub.cluster.writes
    assert not members.clusters[EU].writes, "an idle look writes nothing"
    assert hub.metrics.gauges["regent_hub_role", frozenset({("role", "Active")})] == 1


async def test_an_old_hub_that_comes_back_never_acts_and_says_so(hub: Hub, members: FakeMembers) -> None:
    """Fails when it acts before it has asked the regions, or when it begins again after it was started anew."""
    keep(members, US, f"{TERM}.0.8", hub=B, term=1)
    keep(members, EU, "8.1.4")
    async with hub.running():
        await asyncio.sleep(3)
        assert isinstance(hub.ended, LeadershipLostError)
        assert "us says that hub hub-b has taken over" in str(hub.ended)
        assert not hub.leadership.leading
    assert (hub.record["role"], hub.record["other"]) == ("Superseded", B)
    members.down |= {EU, US}  # also where no region answers any more
    hub.start()
    async with hub.running():
        await asyncio.sleep(60)
        assert hub.ended is None
        assert not hub.guard.electing
        assert not hub.leadership.leading
        assert ready(hub) == ("False", "HubSuperseded")
        version = hub.cluster.version
        await asyncio.sleep(60)
        assert hub.cluster.version == version, "it is said once"
    assert hub.metrics.gauges["regent_hub_role", frozenset({("role", "Superseded")})] == 1


async def test_a_hub_that_is_superseded_while_it_acts_ends(hub: Hub, members: FakeMembers) -> None:
    async with hub.running():
        await asyncio.wait_for(hub.guard.may_act(), 2)
        keep(members, US, f"{TERM}.0.8", hub=B, term=1)
        await asyncio.sleep(LOOK + 1)
        assert isinstance(hub.ended, LeadershipLostError)


async def test_it_ends_also_when_that_cannot_be_written_down(hub: Hub, members: FakeMembers) -> None:
    keep(members, US, f"{TERM}.0.8", hub=B, term=1)
    hub.cluster.fail("create", UnavailableError("away"), resource=CONFIG_MAPS, times=99)
    async with hub.running():
        await asyncio.sleep(3)
        assert isinstance(hub.ended, LeadershipLostError)


async def test_an_import_of_before_terms_is_understood(hub: Hub, members: FakeMembers) -> None:
    keep(members, US, f"{TERM + 3}.0.8", hub=B)
    async with hub.running():
        await asyncio.sleep(3)
        assert isinstance(hub.ended, LeadershipLostError)


async def test_one_region_that_is_silent_is_not_waited_for(hub: Hub, members: FakeMembers) -> None:
    members.down.add(EU)
    keep(members, US, "8.1.4")
    async with hub.running():
        await asyncio.wait_for(hub.guard.may_act(), 2)


async def test_while_no_region_answers_it_waits_but_not_for_ever(hub: Hub, members: FakeMembers) -> None:
    members.down |= {EU, US}
    async with hub.running():
        await asyncio.sleep(PATIENCE - 1)
        assert not hub.guard.acting
        await asyncio.sleep(3)
        assert hub.guard.acting
        # And it goes on asking.
        members.down.clear()
        keep(members, US, f"{TERM}.0.8", hub=B, term=1)
        await asyncio.sleep(3)
        assert isinstance(hub.ended, LeadershipLostError)


async def test_before_its_own_record_is_read_it_does_not_act(hub: Hub, members: FakeMembers) -> None:
    keep(members, EU, "8.1.4")
    hub.cluster.fail("get", UnavailableError("away"), resource=CONFIG_MAPS, times=5)
    async with hub.running():
        await asyncio.sleep(3)
        assert not hub.guard.electing
        await asyncio.sleep(5)
        assert hub.guard.acting


async def test_a_role_that_nobody_knows_is_not_acted_in(hub: Hub) -> None:
    hub.put_record(role="Emperor")
    async with hub.running():
        await asyncio.sleep(20)
        assert not hub.guard.electing
        assert ready(hub) == ("Unknown", "HubPromoting")


async def test_a_promoted_hub_acts_and_tells_the_region_that_was_not_reached(hub: Hub, members: FakeMembers) -> None:
    """Fails when a region that comes back later could still be used by the old hub."""
    hub.put_shop(epoch=TERM + 2)
    hub.put_record(role="Active", term="1")
    keep(members, US, f"{TERM + 2}.1.9", hub=A, term=1)
    keep(members, EU, "8.1.4")
    members.down.add(EU)
    async with hub.running():
        await asyncio.wait_for(hub.guard.may_act(), 2)
        await asyncio.sleep(20)
        members.down.clear()
        await asyncio.sleep(3)
        found = kept(members, EU)
        assert found["data"]["shop.shop"] == f"{TERM}.0.0"
        assert found["metadata"]["annotations"] == {"regent.dev/promoted-hub": A, "regent.dev/hub-term": "1"}
        assert kept(members, US)["data"]["shop.shop"] == f"{TERM + 2}.1.9"
        version = members.clusters[EU].version
        await asyncio.sleep(60)
        assert members.clusters[EU].version == version


async def test_a_replica_without_the_lease_tells_nobody(hub: Hub, members: FakeMembers) -> None:
    hub.put_record(role="Active", term="1")
    keep(members, EU, "8.1.4")
    hub.lease.lose()
    async with hub.running():
        await asyncio.sleep(20)
        assert hub.guard.acting
        assert not hub.leadership.leading
    assert not members.clusters[EU].writes
