"""What replicas look at between runs: the leader at all roles, the others at the data, for their memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from regent.domain.failover.model import PolicySpec
from regent.domain.failover.roles import Role, RoleState
from regent.engine.resources import FAILOVER_POLICIES
from regent.engine.store import Store
from tests.fakes.promotion import FakeDriver, FakeSteps
from tests.fakes.world import EU, US, World

DB = {
    "name": "db",
    "type": "Patroni",
    "patroni": {"clusters": [{"region": name, "url": f"https://{name}.example.com"} for name in (EU, US)]},
}
WEB = {"name": "web", "type": "Scale", "scale": {"kind": "Deployment", "name": "shop", "replicas": 3}}


class Noting(FakeDriver):
    """Notes who is looked at."""

    looks: list[str]

    async def observe(self, region: str) -> RoleState:
        self.looks.append(f"{self.step.name} {region}")
        return await super().observe(region)


class NotingSteps(FakeSteps):
    def __init__(self) -> None:
        super().__init__()
        self.looks: list[str] = []

    def drivers(self, policy: PolicySpec) -> Sequence[FakeDriver]:
        made = [Noting(self, step) for step in policy.options.promotion]
        for driver in made:
            driver.looks = self.looks
        return made


def furnished() -> tuple[World, NotingSteps]:
    world = World()
    world.steps = steps = NotingSteps()
    world.boot()
    world.furnish(promotion={"steps": [DB, WEB]}, regions=[{"name": EU}, {"name": US}])
    for step in ("db", "web"):
        steps.set(step, **{EU: Role.ACTIVE, US: Role.STANDBY})
    return world, steps


def states(world: World) -> int:
    [policy] = world.store.list(FAILOVER_POLICIES)
    return len(world.watch.roles(str(policy["metadata"]["uid"])).states)


async def one_round(world: World) -> None:
    task = asyncio.create_task(world.watch.run())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_replica_that_does_not_lead_looks_at_the_data_and_concludes_nothing() -> None:
    # Without it a leader that dies in the outage takes along what is known of the dead primary, and no candidate's lag
    # is known to its successor.
    world, steps = furnished()
    world.leadership.lose()
    await one_round(world)
    assert sorted(steps.looks) == [f"db {EU}", f"db {US}"]
    assert states(world) == 0


async def test_the_leader_looks_at_every_step() -> None:
    world, steps = furnished()
    await one_round(world)
    assert len(steps.looks) == 4
    assert states(world) == 4


async def test_a_policy_that_a_starting_replica_learns_of_late_is_looked_at_in_the_next_round() -> None:
    """Fails when it has to wait for the next round of all: the replica may lead, and the primary be gone, by then."""
    world, steps = furnished()
    world.leadership.lose()
    [policy] = world.store.list(FAILOVER_POLICIES)
    world.store = Store()  # a new process, whose lists have not been answered yet
    world.watch._store = world.store
    await world.watch.remember()
    assert steps.looks == []
    world.store.observe(FAILOVER_POLICIES, policy)
    await world.watch.remember(all_of_them=False)
    assert sorted(steps.looks) == [f"db {EU}", f"db {US}"]
    await world.watch.remember(all_of_them=False)
    assert len(steps.looks) == 2, "from then on it has its turn with all"
