"""No promotion driver changes anything once the lease has run out, whatever was checked before."""

from __future__ import annotations

import pytest

from regent.domain.errors import LeadershipLostError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicyRegion, PolicySpec
from regent.domain.failover.options import PromotionStep, RunOptions, StepKind
from regent.domain.failover.roles import Role
from regent.engine.led_drivers import LedDrivers
from tests.fakes.ports import FakeLeadership
from tests.fakes.promotion import FakeSteps

DB = PromotionStep(name="db", kind=StepKind.PATRONI)
POLICY = PolicySpec(
    namespace="n", name="p", uid="u", regions=(PolicyRegion(name="eu"),), options=RunOptions(promotion=(DB,))
)


async def test_changes_are_asked_for_while_the_lease_lasts_and_looks_always() -> None:
    steps, leadership, fence = FakeSteps(), FakeLeadership(), Fence(1)
    steps.set("db", eu=Role.STANDBY)
    [driver] = LedDrivers(steps, leadership).drivers(POLICY)
    assert driver.step is DB
    await driver.promote("eu", source="us", fence=fence, run="r")
    asked = list(steps.effects)
    assert asked
    leadership.lose()
    for change in (
        driver.promote("eu", source="us", fence=fence, run="r"),
        driver.demote("eu", successor="us", fence=fence, run="r"),
        driver.restore("eu", {"role": "Standby"}, fence=fence, run="r"),
    ):
        with pytest.raises(LeadershipLostError):
            await change
    assert steps.effects == asked
    assert (await driver.observe("eu")).role is not Role.UNKNOWN
    assert (await driver.sync("eu", "eu")).done
    assert await driver.divergence("eu", "eu") == ""
