"""The ways in which the engine of one replica reaches the regions: its promotion drivers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regent.domain.errors import FencedOffError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import PromotionStep
from regent.domain.failover.roles import Role, RoleState, SyncState
from tests.simulation.hub import Hub, _settle
from tests.simulation.sites import Site, Sites, Unit
from tests.simulation.virtual import ProcessLoop

TIMEOUT = 0.3


@dataclass
class Reach:
    """How one replica talks to regions: requests that take time, get lost, and whose answers get lost."""

    hub: Hub
    sites: Sites
    loop: ProcessLoop
    effect: Callable[[str], bool]
    """Called as an effect is about to happen, and after it; True: the process died there."""
    before_effect: Callable[[], None]
    """Called as the engine hands an effect over."""

    async def call(self, region: str, request: Callable[[], Any], *, effect: str = "") -> Any:
        """Run `request` in the region.

        Raises:
            UnavailableError: no answer; it may have happened all the same.
        """
        if self.loop.dead:
            raise asyncio.CancelledError
        if effect:
            self.before_effect()
        future = self.loop.create_future()
        timer = self.loop.call_later(TIMEOUT, _settle, future, None, UnavailableError("no answer in time"))
        self.loop.call_later(0.0005, self._send, self.sites.all[region], request, effect, future)
        try:
            return await future
        finally:
            timer.cancel()

    def _send(self, site: Site, request: Callable[[], Any], effect: str, future: asyncio.Future[Any]) -> None:
        self.hub.scheduler.after(self.hub.travel(), self._arrive, site, request, effect, future)

    def _arrive(self, site: Site, request: Callable[[], Any], effect: str, future: asyncio.Future[Any]) -> None:
        if not site.answers or (effect and self.effect("before")):
            return
        answer, error = None, None
        try:
            answer = request()
        except FencedOffError as refused:
            error = refused
        if effect and self.effect("after"):
            return
        draw = self.hub.scheduler.random.random
        if self.hub.weather.ambiguous and draw() < self.hub.weather.ambiguous:
            return
        self.hub.scheduler.after(self.hub.travel(), self._answer, site, future, answer, error)

    def _answer(self, site: Site, future: asyncio.Future[Any], answer: Any, error: Any) -> None:
        if site.answers and not self.loop.dead:
            self.loop.call_soon(_settle, future, answer, error)


class SimSteps:
    """`DriverFactory` of one replica."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def drivers(self, policy: PolicySpec) -> Sequence[SimDriver]:
        return [SimDriver(self._reach, step) for step in policy.options.promotion]


class SimDriver:
    """One step of a policy, over the network."""

    def __init__(self, reach: Reach, step: PromotionStep) -> None:
        self._reach = reach
        self._step = step

    @property
    def step(self) -> PromotionStep:
        return self._step

    async def observe(self, region: str) -> RoleState:
        try:
            return await self._reach.call(region, lambda: self._look(region))
        except UnavailableError as error:
            return RoleState(role=Role.UNKNOWN, message=str(error))

    def _look(self, region: str) -> RoleState:
        unit = self._reach.sites.unit(self._step.name, region)
        if unit is None:
            return RoleState(role=Role.ABSENT)
        follows = unit.diverged_at is None
        shown = (unit.wanted or unit.role).value
        return RoleState(
            role=unit.role, fence=unit.fence, lag=0.0 if follows else None, snapshot={"role": shown},
            message="" if follows else "diverged",
        )  # fmt: skip

    async def promote(self, region: str, *, source: str, fence: Fence, run: str) -> None:
        await self._ask(region, Role.ACTIVE, fence, run)

    async def demote(self, region: str, *, successor: str, fence: Fence, run: str) -> None:
        await self._ask(region, Role.STANDBY, fence, run)

    async def restore(self, region: str, snapshot: Mapping[str, Any], *, fence: Fence, run: str) -> None:
        await self._ask(region, Role(snapshot["role"]), fence, run)

    async def _ask(self, region: str, role: Role, fence: Fence, run: str) -> None:
        unit = self._reach.sites.unit(self._step.name, region)
        if unit is not None:
            await self._reach.call(region, lambda: self._reach.sites.ask(unit, role, fence, run), effect=role.value)

    async def divergence(self, region: str, active: str) -> str:
        if not self._step.holds_data:
            return ""
        sites, step = self._reach.sites, self._step.name
        _, count, last = await self._reach.call(region, lambda: _position(sites.unit(step, region)))
        _, same = await self._reach.call(active, lambda: _holds(sites.unit(step, active), count, last))
        return "" if same else f"{region} has writes that {active} does not have"

    async def sync(self, source: str, to: str) -> SyncState:
        if not self._step.holds_data:
            return SyncState(done=True)
        sites, step = self._reach.sites, self._step.name
        try:
            stopped, count, last = await self._reach.call(source, lambda: _position(sites.unit(step, source)))
            held, same = await self._reach.call(to, lambda: _holds(sites.unit(step, to), count, last))
        except UnavailableError as error:
            return SyncState(done=False, message=f"not known: {error}")
        return SyncState(done=stopped and same, behind=count - held, message=f"{count - held} writes behind")


def _position(unit: Unit | None) -> tuple[bool, int, int]:
    """Whether the position is final, how many writes there are, and the last one."""
    assert unit is not None
    return unit.role is Role.STANDBY, len(unit.log), unit.log[-1] if unit.log else 0


def _holds(unit: Unit | None, count: int, last: int) -> tuple[int, bool]:
    """How many writes are there, and whether they are those of the other side."""
    assert unit is not None
    return len(unit.log), len(unit.log) >= count and (not count or unit.log[count - 1] == last)
