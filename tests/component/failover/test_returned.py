"""Regions that come back by themselves after a run had proof that they had stopped, as the hub sees and shows them."""

from __future__ import annotations

from regent.domain.failover.roles import Role
from regent.engine.promotion import IsolationState
from tests.component.failover.test_roles import furnished
from tests.fakes.world import EU, US, World


async def promoted_by_proof() -> World:
    """Europe was gone, its agent's silence was proof; then it stood by, and nothing is left to rejoin."""
    world = furnished(safety={"fencing": "Required"})
    await world.visit()
    world.isolation.state = IsolationState(proved=True, possible=True, message="silent")
    world.tracker.down(EU)
    world.steps.away.add(EU)
    await world.visit(times=80)
    assert world.status()["activeRegion"] == US
    world.steps.away.clear()
    for step in ("db", "web"):
        world.steps.roles[step, EU] = Role.STANDBY
    await looked(world)
    assert "rejoin" not in world.status()
    return world


async def looked(world: World) -> None:
    for _ in range(4):
        await world.watch.look()
        await world.visit()
        world.clock.advance(2)
        world.tracker.fresh()


async def test_a_region_that_is_kept_from_its_promotion_is_shown_until_it_stands_by() -> None:
    world = await promoted_by_proof()
    world.steps.roles["db", EU], world.steps.wanted["db", EU] = Role.CHANGING, Role.ACTIVE
    before = list(world.steps.effects)
    await looked(world)
    [row] = world.status()["rejoin"]
    assert row["region"] == EU
    assert f"kept from becoming a primary beside {US}" in row["message"]
    assert world.steps.effects == before, "its agent does it: the hub does not know what it wrote"
    world.steps.roles["db", EU] = Role.STANDBY
    del world.steps.wanted["db", EU]
    await looked(world)
    assert "rejoin" not in world.status()


async def test_a_region_that_is_held_back_is_reported_and_follows_when_a_person_allows_it() -> None:
    world = await promoted_by_proof()
    world.steps.roles["db", EU] = Role.STANDBY
    world.steps.held.add(("db", EU))
    world.steps.diverged[EU] = f"{EU} wrote 96 bytes of WAL"
    await looked(world)
    assert "96 bytes" in world.status()["rejoin"][0]["message"]
    assert f'regent.dev/rejoin="{EU}@{world.status()["epoch"]}"' in world.condition("ActionRequired")["message"]
    assert ("db", EU) in world.steps.held
    world.steps.diverged.clear()
    await looked(world)
    assert ("db", EU) not in world.steps.held, "it has written nothing: it follows"
    await looked(world)
    assert "rejoin" not in world.status()


async def test_the_active_region_is_never_in_the_list() -> None:
    world = furnished()
    await world.visit()
    world.steps.roles["db", EU], world.steps.wanted["db", EU] = Role.CHANGING, Role.ACTIVE
    await looked(world)
    assert "rejoin" not in world.status()
