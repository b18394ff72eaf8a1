"""One region's side of a policy, under the hands of its agent: look, stop, bring back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from regent.domain.errors import ClusterError, FencedOffError, PromotionProblemError
from regent.domain.failover.fence import Fence
from regent.domain.failover.isolation import proof_steps
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import StepKind
from regent.domain.failover.roles import Role, RoleState
from regent.engine.promotion import DriverFactory, Holding, PromotionDriver

log = logging.getLogger("regent.agent")

PASSIVE = (Role.STANDBY, Role.ABSENT)
CALL = 10.0
"""Seconds for one call of a driver."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A policy's side as just seen, by step."""

    states: Mapping[str, RoleState] = field(default_factory=dict)
    passive: bool = False
    """Everything that has to be proved passive is."""
    message: str = ""
    returned: bool = False
    """Something that has to be proved passive was seen and is not."""
    settled: bool = False
    """Everything that has to be proved passive is, and is up: what is down has yet to come back as what it is to be."""

    @property
    def fence(self) -> Fence | None:
        """The greatest fence on its objects."""
        return max((state.fence for state in self.states.values() if state.fence is not None), default=None)


class Side:
    """The agent's region's side of one policy.

    Args:
        policy: as last read from the hub.
        region: the agent's own.
        factory: makes drivers that reach this region only.
    """

    def __init__(self, policy: PolicySpec, *, region: str, factory: DriverFactory) -> None:
        self.policy = policy
        self._region = region
        self._drivers, self.problems = _drivers(policy, region, factory)

    @property
    def guarded(self) -> bool:
        """Whether the agent can stop all that has to be stopped."""
        known = {driver.step.name for driver in self._drivers}
        return all(step.name in known for step in proof_steps(self.policy))

    @property
    def holds_data(self) -> bool:
        """Whether there is data that two sides could write to."""
        return self.policy.options.holds_data

    async def look(self) -> Look:
        """Look at every step."""
        states = {driver.step.name: await self._observe(driver) for driver in self._drivers}
        needed = [step.name for step in proof_steps(self.policy)]
        passive = all(name in states and states[name].role in PASSIVE for name in needed)
        texts = [f"{name}: {state.role.value}" for name, state in states.items()]
        seen = [states[name] for name in needed if name in states]
        return Look(
            states=states,
            passive=passive,
            message="; ".join([*texts, *self.problems.values()]),
            returned=any(state.role not in (*PASSIVE, Role.UNKNOWN) for state in seen),
            settled=passive and not any(_down(state) for state in seen),
        )

    async def stop(self, look: Look, fence: Fence, *, active: str = "") -> None:
        """Ask every step that is not passive to become so, the last one first: workloads before their database.

        `active`: another region that is known to be active. A database that takes writes beside it is held back: were
        it told to follow, what it has written would be gone before anybody had seen it.
        """
        for driver in reversed(self._drivers):
            state = look.states.get(driver.step.name)
            # What could not be looked at is asked all the same: the look may have failed where the change does not.
            if state is None or state.role not in PASSIVE:
                if active and isinstance(driver, Holding) and state is not None and state.role is Role.ACTIVE:
                    hold = _Hold(driver, self._region, fence, self._run)
                    await self._try(driver, "held back", hold)
                    continue
                successor = active or self._successor(driver)
                work = _Demote(driver, self._region, successor, fence, self._run)
                await self._try(driver, "demoted", work)

    async def look_at(self, step: str) -> RoleState | None:
        """Look at one step; None: there is none of that name that can be looked at here."""
        found = [driver for driver in self._drivers if driver.step.name == step]
        return await self._observe(found[0]) if found else None

    async def bring_back(self, snapshots: Mapping[str, Mapping[str, Any]], fence: Fence) -> bool:
        """Ask for the state before, in the order of the steps; say whether every step has taken it."""
        done = True
        for driver in self._drivers:
            snapshot = snapshots.get(driver.step.name)
            if snapshot:
                work = _Restore(driver, self._region, snapshot, fence, self._run)
                done = await self._try(driver, "restored", work) and done
        return done

    def _successor(self, driver: PromotionDriver) -> str:
        """Whom to follow while nobody says who is active: any other region of the step. The hub corrects it."""
        names = [entry.name for entry in self.policy.regions if entry.name != self._region]
        if driver.step.kind is StepKind.PATRONI:
            listed = {str(entry.get("region")) for entry in driver.step.settings.get("clusters") or ()}
            names = [name for name in names if name in listed]
        return next(iter(names), "")

    @property
    def _run(self) -> str:
        return f"{self.policy.namespace}/agent-{self._region}/{self.policy.uid}"

    async def _observe(self, driver: PromotionDriver) -> RoleState:
        try:
            async with asyncio.timeout(CALL):
                return await driver.observe(self._region)
        except (ClusterError, PromotionProblemError, FencedOffError, TimeoutError) as error:
            return RoleState(role=Role.UNKNOWN, message=str(error) or "no answer in time")

    async def _try(self, driver: PromotionDriver, what: str, work: Callable[[], Awaitable[None]]) -> bool:
        extra = {"object": self.policy.key, "step": driver.step.name}
        try:
            async with asyncio.timeout(CALL):
                await work()
        except FencedOffError as error:
            # The hub has been here since it asked, or since we were connected again: what it wrote last stands.
            log.debug("Left alone: %s", error, extra=extra)
            return True
        except (ClusterError, PromotionProblemError, TimeoutError) as error:
            log.warning("Step not %s: %s", what, error or "no answer in time", extra=extra)
            return False
        return True


def _down(state: RoleState) -> bool:
    """Only who knows what is wanted of a database that is down can tell that it is passive."""
    return state.role is Role.STANDBY and state.wanted is Role.STANDBY and state.position is None


@dataclass(frozen=True, slots=True)
class _Demote:
    driver: PromotionDriver
    region: str
    successor: str
    fence: Fence
    run: str

    async def __call__(self) -> None:
        await self.driver.demote(self.region, successor=self.successor, fence=self.fence, run=self.run)


@dataclass(frozen=True, slots=True)
class _Hold:
    driver: Holding
    region: str
    fence: Fence
    run: str

    async def __call__(self) -> None:
        await self.driver.hold(self.region, fence=self.fence, run=self.run)


@dataclass(frozen=True, slots=True)
class _Restore:
    driver: PromotionDriver
    region: str
    snapshot: Mapping[str, Any]
    fence: Fence
    run: str

    async def __call__(self) -> None:
        await self.driver.restore(self.region, self.snapshot, fence=self.fence, run=self.run)


def _drivers(
    policy: PolicySpec, region: str, factory: DriverFactory
) -> tuple[Sequence[PromotionDriver], dict[str, str]]:
    """Return a driver for each step that has one here, and why the others have none."""
    drivers: list[PromotionDriver] = []
    problems: dict[str, str] = {}
    for step in policy.options.promotion:
        try:
            if step.kind is StepKind.PATRONI:
                _refuse_without_hosts(step.settings, region)
            drivers += factory.drivers(replace(policy, options=replace(policy.options, promotion=(step,))))
        except PromotionProblemError as error:
            problems[step.name] = f"{step.name}: {error}"
    return drivers, problems


def _refuse_without_hosts(settings: Mapping[str, Any], region: str) -> None:
    """A database that is demoted must be told whom to follow, and an agent that is cut off can ask nobody."""
    others = [entry for entry in settings.get("clusters") or () if entry.get("region") != region]
    missing = [str(entry.get("region")) for entry in others if not entry.get("host")]
    if missing:
        raise PromotionProblemError(
            "HostMissing", f"patroni.clusters gives no host for {', '.join(missing)}: an agent that is cut off needs it"
        )
