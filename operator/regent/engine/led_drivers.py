"""Promotion drivers that look at the lease right before each change.

A step looks at several regions before it changes one, and a region that does not answer takes a second each time: what
was checked when the step began may no longer be true when it comes to act. A replica whose lease has run out meanwhile
must not ask for anything any more, for its successor may be at the same step already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import PromotionStep
from regent.domain.failover.roles import RoleState, SyncState
from regent.engine.ports import Leadership
from regent.engine.promotion import DriverFactory, PromotionDriver


class LedDrivers:
    """A `DriverFactory` whose drivers change nothing without the lease."""

    def __init__(self, factory: DriverFactory, leadership: Leadership) -> None:
        self._factory = factory
        self._leadership = leadership

    def drivers(self, policy: PolicySpec) -> Sequence[PromotionDriver]:
        """See `DriverFactory.drivers`."""
        return [LedDriver(driver, self._leadership) for driver in self._factory.drivers(policy)]


class LedDriver:
    """A `PromotionDriver` whose changes raise LeadershipLostError without the lease."""

    def __init__(self, driver: PromotionDriver, leadership: Leadership) -> None:
        self._driver = driver
        self._leadership = leadership

    @property
    def step(self) -> PromotionStep:
        """See `PromotionDriver.step`."""
        return self._driver.step

    async def observe(self, region: str) -> RoleState:
        """See `PromotionDriver.observe`."""
        return await self._driver.observe(region)

    async def promote(self, region: str, *, source: str, fence: Fence, run: str) -> None:
        """See `PromotionDriver.promote`."""
        self._leadership.check()
        await self._driver.promote(region, source=source, fence=fence, run=run)

    async def demote(self, region: str, *, successor: str, fence: Fence, run: str) -> None:
        """See `PromotionDriver.demote`."""
        self._leadership.check()
        await self._driver.demote(region, successor=successor, fence=fence, run=run)

    async def restore(self, region: str, snapshot: Mapping[str, Any], *, fence: Fence, run: str) -> None:
        """See `PromotionDriver.restore`."""
        self._leadership.check()
        await self._driver.restore(region, snapshot, fence=fence, run=run)

    async def sync(self, source: str, to: str) -> SyncState:
        """See `PromotionDriver.sync`."""
        return await self._driver.sync(source, to)

    async def divergence(self, region: str, active: str) -> str:
        """See `PromotionDriver.divergence`."""
        return await self._driver.divergence(region, active)
