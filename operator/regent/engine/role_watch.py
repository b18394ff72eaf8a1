"""Keeps looking at the roles of promotion steps between runs, beside the visits of policies.

A region that does not answer takes a time-out to look at, and a failover decision must never wait for that. So the
looking is done here, in the background; decisions read what was seen last. What counts for safety, the looks before and
after an effect, is always done afresh by the run itself.

A replica that does not lead looks too, at the data and less often. What drivers remember of a primary is in their
process, and when the leader dies together with the primary's region nobody can be asked any more how far it was: a
successor that had never looked would know no lag, and let no candidate through.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from regent.domain.errors import ClusterError, RegentError
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.roles import Role, RoleState
from regent.engine.ports import Clock, Leadership
from regent.engine.promotion import DriverFactory, PromotionDriver
from regent.engine.queue import Key, KeyedQueue
from regent.engine.resources import FAILOVER_POLICIES
from regent.engine.store import Store

log = logging.getLogger("regent.roles")

INTERVAL = 2.0
"""Seconds between two rounds of looking."""
STANDBY_EVERY = 3
"""A replica that does not lead looks in each so many rounds."""
AT_ONCE = 16
"""Looks that are under way at the same time."""
STALE = 15.0
"""Seconds after which what was seen is no longer known: an old lag must not let a candidate through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """What was last seen of one policy. `states` is by (step, region)."""

    seen: float
    states: Mapping[tuple[str, str], RoleState] = field(default_factory=dict)

    def lags(self, policy: PolicySpec) -> dict[str, float | None]:
        """Seconds that the worst data step of each region is behind; None where one does not know."""
        data = [step.name for step in policy.options.promotion if step.holds_data]
        regions = [entry.name for entry in policy.regions]
        found: dict[str, float | None] = {}
        for region in regions if data else ():
            states = [self.states.get((step, region)) for step in data]
            lags = [0.0 if state.role is Role.ACTIVE else state.lag for state in states if state is not None]
            known = [lag for lag in lags if lag is not None]
            found[region] = max(known) if len(known) == len(data) else None
        return found

    def said(self, policy: PolicySpec, what: Callable[[RoleState], str]) -> dict[str, str]:
        """By region, what the data steps there say for people, where they say anything."""
        found: dict[str, list[str]] = {}
        for step in (item.name for item in policy.options.promotion if item.holds_data):
            for region in (entry.name for entry in policy.regions):
                state = self.states.get((step, region))
                if state is not None and (text := what(state)):
                    found.setdefault(region, []).append(f"{step}: {text}")
        return {region: "; ".join(texts) for region, texts in found.items()}

    def active(self) -> dict[str, frozenset[str]]:
        """By region, the steps that are active there."""
        found: dict[str, set[str]] = {}
        for (step, region), state in self.states.items():
            if state.role is Role.ACTIVE:
                found.setdefault(region, set()).add(step)
        return {region: frozenset(steps) for region, steps in found.items()}


class RoleWatch:
    """Looks at every promotion step of every policy, round after round."""

    def __init__(
        self,
        *,
        store: Store,
        read_policy: Callable[[Mapping[str, Any]], tuple[PolicySpec, Any]],
        drivers: DriverFactory,
        queue: KeyedQueue,
        leadership: Leadership,
        clock: Clock,
    ) -> None:
        self._store = store
        self._read_policy = read_policy
        self._drivers = drivers
        self._queue = queue
        self._leadership = leadership
        self._clock = clock
        self._roles: dict[str, Roles] = {}
        self._remembered: set[str] = set()
        self._room = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Look for as long as the process lives."""
        rounds = 0
        while True:
            if self._leadership.leading:
                await self.look()
            else:
                await self.remember(all_of_them=rounds % STANDBY_EVERY == 0)
            rounds += 1
            await asyncio.sleep(INTERVAL)

    def roles(self, uid: str) -> Roles:
        """What is known of the policy with this uid; nothing once it is stale."""
        found = self._roles.get(uid)
        if found is None or self._clock.monotonic() - found.seen > STALE:
            return Roles(seen=self._clock.monotonic())
        return found

    async def look(self) -> None:
        """One round over all policies."""
        policies = self._store.list(FAILOVER_POLICIES)
        uids = {str(policy["metadata"]["uid"]) for policy in policies}
        self._roles = {uid: roles for uid, roles in self._roles.items() if uid in uids}
        await asyncio.gather(*(self._look_at(policy) for policy in _promoting(policies)))

    async def remember(self, *, all_of_them: bool = True) -> None:
        """Look at the data of all policies for the drivers' memory alone: this replica decides nothing now.

        Otherwise only at those that it has never looked at: a process that has just started learns of them after its
        first round, and may have to lead before the next one of all.
        """
        policies = _promoting(self._store.list(FAILOVER_POLICIES))
        uids = {str(policy["metadata"]["uid"]) for policy in policies}
        self._remembered &= uids
        due = [item for item in policies if all_of_them or str(item["metadata"]["uid"]) not in self._remembered]
        self._remembered = uids
        await asyncio.gather(*(self._remember(policy) for policy in due))

    async def _remember(self, policy: Mapping[str, Any]) -> None:
        try:
            spec, _ = self._read_policy(policy)
            data = [driver for driver in self._drivers.drivers(spec) if driver.step.holds_data]
        except (ValueError, RegentError):
            return
        await asyncio.gather(*(self._observe(driver, entry.name) for driver in data for entry in spec.regions))

    async def _look_at(self, policy: Mapping[str, Any]) -> None:
        metadata = policy["metadata"]
        try:
            spec, _ = self._read_policy(policy)
            drivers = self._drivers.drivers(spec)
        except (ValueError, RegentError):
            return  # the policy's own visit says what is wrong with it
        pairs = [(driver, entry.name) for driver in drivers for entry in spec.regions]
        states = await asyncio.gather(*(self._observe(driver, region) for driver, region in pairs))
        found = {(driver.step.name, region): state for (driver, region), state in zip(pairs, states, strict=True)}
        before = self._roles.get(spec.uid)
        self._roles[spec.uid] = Roles(seen=self._clock.monotonic(), states=found)
        if before is None or _turned(before.states, found):
            self._queue.add(Key(FAILOVER_POLICIES, metadata["namespace"], metadata["name"]))

    async def _observe(self, driver: PromotionDriver, region: str) -> RoleState:
        async with self._room:
            try:
                return await driver.observe(region)
            except (ClusterError, RegentError) as error:
                return RoleState(role=Role.UNKNOWN, message=str(error))


def _promoting(policies: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [policy for policy in policies if ((policy.get("spec") or {}).get("promotion") or {}).get("steps")]


def _turned(before: Mapping[tuple[str, str], RoleState], after: Mapping[tuple[str, str], RoleState]) -> bool:
    """Whether a role or a history changed, or whether a lag is known: figures that move by themselves are read at the
    next visit."""
    marks = [
        {key: (state.role, state.lag is None, state.diverged) for key, state in states.items()}
        for states in (before, after)
    ]
    return marks[0] != marks[1]
