"""The epoch that runs leave in the regions' own clusters, and what a hub that was built anew makes of it."""

from typing import Any

from regent.domain.failover.fence import Fence, parse_fence
from regent.domain.failover.roles import Role
from regent.engine.agent_objects import config_map
from regent.engine.region_epochs import NAME, RegionEpochs
from regent.engine.resources import CONFIG_MAPS, HTTP_ROUTES
from tests.fakes.world import AP, EU, US, World, route

SYSTEM = "regent-system"
WEB = {"name": "web", "type": "Scale", "scale": {"kind": "Deployment", "name": "shop", "replicas": 3}}


class Kept(World):
    """A world whose regions have clusters that keep epochs."""

    def epochs(self) -> RegionEpochs:
        return RegionEpochs(members=self.members, namespace=SYSTEM)

    async def stored(self, region: str) -> Fence | None:
        found = {obj["metadata"]["name"]: obj for obj in await self.members.clusters[region].list(CONFIG_MAPS, SYSTEM)}
        return parse_fence(found[NAME]["data"]["shop.shop"]) if NAME in found else None


def furnished(**spec: Any) -> Kept:
    world = Kept()
    for region in (EU, US, AP):
        world.steps.roles["web", region] = Role.ACTIVE if region == EU else Role.STANDBY
    world.furnish(**{"promotion": {"steps": [WEB]}, **spec})
    return world


async def test_every_region_has_the_epoch_after_a_run_and_the_changed_ones_before_it() -> None:
    world = furnished()
    await world.visit()
    world.steps.slow = 1000
    world.ask(to=US)
    await world.visit(times=5)
    assert world.run()["status"]["currentStep"] == "Promote/web"
    epochs = {region: await world.stored(region) for region in (EU, US, AP)}
    assert epochs[US] == parse_fence(str(world.steps.fences["web", US])), "before anything there is changed"
    assert epochs[AP] is None
    world.steps.slow = 0
    world.steps.pending.clear()
    world.steps.roles["web", US] = Role.ACTIVE
    await world.visit(times=40)
    assert world.run()["status"]["phase"] == "Succeeded"
    kept = [await world.stored(region) for region in (EU, US, AP)]
    assert [fence.epoch if fence else 0 for fence in kept] == [2, 2, 2]


async def test_an_undo_leaves_its_own_epoch_where_it_undoes() -> None:
    world = furnished()
    await world.visit()
    world.steps.stuck.add(("web", US))
    world.ask(to=US)
    await world.visit(times=12)
    world.clock.advance(31)
    world.tracker.fresh()
    await world.visit(times=40)
    assert world.run()["status"]["phase"] == "RolledBack"
    stored, carried = await world.stored(US), world.steps.fences["web", US]
    assert stored is not None
    assert (stored.epoch, stored.epoch) == (carried.epoch, world.status()["epoch"])


async def test_a_region_that_does_not_answer_keeps_no_run_from_ending() -> None:
    world = furnished()
    await world.visit()
    world.members.down.add(AP)
    world.ask(to=US)
    await world.visit(times=40)
    assert world.run()["status"]["phase"] == "Succeeded"
    world.members.down.clear()
    assert await world.stored(AP) is None


async def test_a_greater_epoch_in_a_region_ends_the_run_before_it_has_changed_anything_there() -> None:
    world = furnished()
    await world.visit()
    newer = config_map(SYSTEM, NAME, {"shop.shop": "9.1.0"})
    world.members.clusters[US].put(CONFIG_MAPS, newer)
    world.ask(to=US)
    await world.visit(times=10)
    status = world.run()["status"]
    assert status["phase"] == "Superseded"
    assert world.steps.effects == []


async def test_a_hub_that_is_built_anew_counts_on_from_what_the_regions_say() -> None:
    world = furnished()
    await world.visit()
    world.ask(to=US)
    await world.visit(times=40)
    assert world.status()["epoch"] == 2
    anew = Kept()
    anew.members, anew.steps = world.members, world.steps
    anew.boot()
    anew.furnish(promotion={"steps": [WEB]})
    anew.cluster.put(HTTP_ROUTES, route({EU: 0, US: 100, AP: 0}))
    anew.members.down |= {EU, US}  # whoever is left knows it
    await anew.visit()
    assert (anew.status()["activeRegion"], anew.status()["epoch"]) == (US, 3)


async def test_a_run_that_promotes_nothing_leaves_no_epoch_in_regions() -> None:
    world = Kept()
    world.furnish()
    await world.visit()
    world.ask(to=US)
    await world.visit()
    assert world.run()["status"]["phase"] == "Succeeded"
    assert world.members.accounts == []
