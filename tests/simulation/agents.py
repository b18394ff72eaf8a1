"""The agents of regions: the real rules of when a region is fenced and let go, over the model's units.

What an agent decides is `regent.domain.failover.guarding`. What the hub makes of its word and of its silence is the
real `AgentIsolation` of the operator, which reads the Lease and the ConfigMap that are written here. An agent takes as
long to fence as it has promised that it may, and now and then it dies just before it would have, so that another one of
its region has to notice first.

One thing is taken for granted: a region whose power comes back starts passive, as its agent keeps what it guards.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from regent.domain.errors import NotFoundError
from regent.domain.failover.fence import Fence
from regent.domain.failover.guarding import Act, PolicyView, cut_off, decide, live
from regent.domain.failover.isolation import TAKEOVER, guard
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.roles import Role
from regent.engine.agent_objects import LIMIT_ANNOTATION, agent_name, config_map, read_fences, request_name
from regent.engine.ports import Object
from regent.engine.records import policy_state
from regent.engine.resources import CONFIG_MAPS, LEASES
from tests.fakes.cluster import FakeCluster
from tests.simulation.hub import at_once
from tests.simulation.sites import NEVER, Site, Unit
from tests.simulation.virtual import Scheduler

NAMESPACE = "regent"
LEASE = 2.0
LIMIT = 4.0
"""Seconds within which an agent promises to have fenced."""
RENEW = 0.5
TICK = 0.25


class Agent:
    """One region's agent, and its successor when it dies.

    Args:
        spec: the policy that it guards.
        policy: reads it from the hub.
        became_active: called with each unit that it brings back.
    """

    def __init__(
        self,
        site: Site,
        *,
        server: FakeCluster,
        scheduler: Scheduler,
        spec: PolicySpec,
        policy: Callable[[], Object],
        trace: Callable[[str, str], None],
        became_active: Callable[[Unit], None],
    ) -> None:
        self.site = site
        self.cut = False
        """It does not reach the hub."""
        self._server = server
        self._scheduler = scheduler
        self._spec = spec
        self._policy = policy
        self._trace = trace
        self._became_active = became_active
        self._since = scheduler.now
        self._renewed: float | None = None
        self._renewals = 0
        self._view = PolicyView(epoch=0, held=False, active=False, current=False)
        self._asked: Fence | None = None
        self._due: float | None = None
        self._stopped: dict[str, Role] | None = None
        self._fence = NEVER
        self._isolated: Fence | None = None
        self._told: dict[str, str] | None = None
        scheduler.after(TICK * scheduler.random.random(), self._tick)

    @property
    def isolated(self) -> bool:
        """Whether it gives its word that it has isolated its region."""
        return self._isolated is not None

    def powered(self) -> None:
        """The region's power is back: what it guards starts passive."""
        self._since, self._renewed, self._isolated = self._scheduler.now, None, None
        self._view = replace(self._view, current=False)
        self._stop("its region has just started", self._fence, whatever=True)

    def _tick(self) -> None:
        now, draw = self._scheduler.now, self._scheduler.random.random
        self._scheduler.after(TICK * (0.8 + 0.4 * draw()), self._tick)
        if not self.site.alive:
            return
        if not self.cut and (self._renewed is None or now - self._renewed >= RENEW):
            self._reach_hub(now)
        lost = cut_off(now=now, since=self._since, renewed=self._renewed, duration=LEASE)
        if lost:
            self._view = replace(self._view, current=False)
        act = decide(fenced=self._stopped is not None, cut=lost, asked=self._asked, view=self._view)
        if act is Act.FENCE:
            self._guard(now, lost=lost)
        else:
            self._due = None
        if act is Act.LET_GO:
            self._stopped = self._isolated = None
        elif act is Act.RESTORE and not self.cut:
            self._bring_back()
        if not self.cut:
            self._tell()

    def _reach_hub(self, now: float) -> None:
        self._renewals += 1
        lease = {
            "metadata": {
                "namespace": NAMESPACE, "name": agent_name(self.site.name),
                "annotations": {LIMIT_ANNOTATION: str(LIMIT)},
            },
            "spec": {
                "holderIdentity": f"agent-{self.site.name}", "leaseDurationSeconds": LEASE,
                "renewTime": f"renewal {self._renewals}",
            },
        }  # fmt: skip
        self._server.put(LEASES, lease)
        self._renewed = now
        state = policy_state(self._policy())
        active = state.active_region == self.site.name
        self._view = PolicyView(
            epoch=state.epoch, held=state.operation is not None, active=active, current=state.adopted
        )
        try:
            request = at_once(self._server.get(CONFIG_MAPS, NAMESPACE, request_name(self.site.name)))
            self._asked = read_fences(request).get(self._spec.key)
        except NotFoundError:
            self._asked = None

    def _guard(self, now: float, *, lost: bool) -> None:
        """Stop the region's side and keep it so; the first time takes as long as was promised that it may."""
        asked = self._asked if live(self._asked, self._view) else None
        if self._stopped is None:
            if self._due is None:
                self._due = now + self._takes(lost=lost)
            if now < self._due:
                return
        self._stop("its agent has lost the hub" if lost else "its agent was asked to", asked, whatever=lost)

    def _takes(self, *, lost: bool) -> float:
        draw = self._scheduler.random.random
        seconds = (LIMIT - 3 * TICK) * draw()
        if lost and draw() < 0.5:
            seconds += TAKEOVER * LEASE * (1 - 0.5 * draw())  # it died, and another one took over
        return seconds

    def _stop(self, why: str, asked: Fence | None, *, whatever: bool) -> None:
        """Args: whatever: also what a later run has activated since: without its lease the region may not serve."""
        units = list(self.site.units.values())
        if self._stopped is None:
            self._stopped = {unit.step: unit.role for unit in units}
        self._fence = max(self._fence, asked or NEVER, *([unit.fence or NEVER for unit in units] if whatever else []))
        for unit in units:
            if (unit.role is not Role.STANDBY or unit.wanted) and (unit.fence or NEVER) <= self._fence:
                unit.role, unit.wanted = Role.STANDBY, None
                unit.turn += 1
                self._trace("world", f"{unit.step} in {self.site.name} is passive: {why}")
        if all(unit.role is Role.STANDBY and not unit.wanted for unit in units):
            self._isolated = self._fence

    def _bring_back(self) -> None:
        """First the hub must not rely on its word any more, then it breaks it."""
        stopped, self._stopped, self._isolated = self._stopped or {}, None, None
        self._tell()
        for unit in self.site.units.values():
            if stopped.get(unit.step) is not Role.STANDBY and unit.role is not Role.ACTIVE:
                unit.role, unit.wanted = Role.ACTIVE, None
                unit.turn += 1
                self._trace("world", f"{unit.step} in {self.site.name} is active again, let by its agent")
                self._became_active(unit)

    def _tell(self) -> None:
        isolated = {self._spec.key: str(self._isolated)} if self._isolated is not None else {}
        data = {"guards": json.dumps({self._spec.key: guard(self._spec)}), "isolated": json.dumps(isolated)}
        if data != self._told:
            self._server.put(CONFIG_MAPS, config_map(NAMESPACE, agent_name(self.site.name), data))
            self._told = data
