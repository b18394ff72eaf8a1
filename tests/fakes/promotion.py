"""Promotion steps in memory: what a real one shows, and trouble on command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regent.domain.errors import FencedOffError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import PromotionStep
from regent.domain.failover.roles import Role, RoleState, SyncState
from regent.engine.promotion import IsolationState


class FakeSteps:
    """The roles of every step in every region, outside of any process: they outlive a crash of the operator.

    `slow`: looks that a change takes. `stuck`: (step, region) that never become active. `away`: regions that do not
    answer. `effects`: every change that was asked for and took effect, in order.
    """

    def __init__(self) -> None:
        self.roles: dict[tuple[str, str], Role] = {}
        self.fences: dict[tuple[str, str], Fence] = {}
        self.pending: dict[tuple[str, str], tuple[Role, int]] = {}
        self.slow = 1
        self.stuck: set[tuple[str, str]] = set()
        self.away: set[str] = set()
        self.behind = 0
        self.effects: list[str] = []
        self.diverged: dict[str, str] = {}
        self.held: set[tuple[str, str]] = set()
        self.wanted: dict[tuple[str, str], Role] = {}
        self.lags: dict[str, float | None] = {}

    def set(self, step: str, **roles: Role) -> None:
        for region, role in roles.items():
            self.roles[step, region] = role

    def active(self, step: str) -> list[str]:
        return sorted(region for (name, region), role in self.roles.items() if name == step and role is Role.ACTIVE)

    def drivers(self, policy: PolicySpec) -> Sequence[FakeDriver]:
        return [FakeDriver(self, step) for step in policy.options.promotion]


class FakeDriver:
    """One step of `FakeSteps`."""

    def __init__(self, world: FakeSteps, step: PromotionStep) -> None:
        self._world = world
        self._step = step

    @property
    def step(self) -> PromotionStep:
        return self._step

    async def observe(self, region: str) -> RoleState:
        world, key = self._world, (self._step.name, region)
        if region in world.away:
            return RoleState(role=Role.UNKNOWN, message="no answer")
        if key in world.pending:
            role, left = world.pending[key]
            if left <= 0 and not (role is Role.ACTIVE and key in world.stuck):
                del world.pending[key]
                world.roles[key] = role
            else:
                world.pending[key] = (role, left - 1)
                return RoleState(role=Role.CHANGING, message="on its way", snapshot={"role": role.value})
        role = world.roles.get(key, Role.ABSENT)
        return RoleState(
            role=role,
            fence=world.fences.get(key),
            lag=world.lags.get(region, 0.0),
            wanted=world.wanted.get(key),
            held=key in world.held,
            snapshot={"role": role.value},
        )

    async def promote(self, region: str, *, source: str, fence: Fence, run: str) -> None:
        self._ask(region, Role.ACTIVE, fence)

    async def demote(self, region: str, *, successor: str, fence: Fence, run: str) -> None:
        self._world.held.discard((self._step.name, region))
        self._ask(region, Role.STANDBY, fence)

    async def hold(self, region: str, *, fence: Fence, run: str) -> None:
        self._world.held.add((self._step.name, region))
        self._ask(region, Role.STANDBY, fence)

    async def restore(self, region: str, snapshot: Mapping[str, Any], *, fence: Fence, run: str) -> None:
        self._ask(region, Role(snapshot["role"]), fence)

    def _ask(self, region: str, role: Role, fence: Fence) -> None:
        world, key = self._world, (self._step.name, region)
        if region in world.away:
            raise UnavailableError("no answer")
        if world.fences.get(key, Fence(0)) > fence:
            raise FencedOffError(f"{key} carries {world.fences[key]}, ours is {fence}")
        world.fences[key] = fence
        asked = world.pending.get(key, (world.roles.get(key), 0))[0]
        if asked is not role:
            world.effects.append(f"{self._step.name} {region} {role.value}")
            world.pending[key] = (role, world.slow)

    async def sync(self, source: str, to: str) -> SyncState:
        if not self._step.holds_data:
            return SyncState(done=True)
        return SyncState(done=self._world.behind == 0, behind=self._world.behind, message="bytes behind")

    async def divergence(self, region: str, active: str) -> str:
        return self._world.diverged.get(region, "") if self._step.holds_data else ""


class FakeIsolation:
    """Agents as the test says they are."""

    def __init__(self) -> None:
        self.state = IsolationState(proved=False, possible=False, message="no agent is known")
        self.asked: list[str] = []

    async def isolate(self, policy: PolicySpec, region: str, *, fence: Fence) -> IsolationState:
        self.asked.append(region)
        return self.state
