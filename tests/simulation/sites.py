"""Regions as small models: power, links, and what a policy promotes in them, a database among it.

A database acknowledges writes while it is active (and while its demotion is still on its way), streams to the others,
and comes back after a power cut as what it was. Nothing in here knows the engine; drivers.py gives the engine a way in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regent.domain.errors import FencedOffError
from regent.domain.failover.fence import Fence
from regent.domain.failover.roles import Role
from tests.simulation.virtual import Scheduler

if TYPE_CHECKING:
    from tests.simulation.agents import Agent

NEVER = Fence(0)
REPLICATION = 0.1
WRITES = 0.1
REWIND = 3.0


@dataclass
class Unit:
    """One promotion step in one region."""

    step: str
    site: Site
    role: Role
    fence: Fence | None = None
    wanted: Role | None = None
    turn: int = 0
    run: str = ""
    stuck: bool = False
    log: list[int] = field(default_factory=list)
    promoted_by: Fence = NEVER
    diverged_at: float | None = None

    @property
    def serves(self) -> bool:
        """Whether it takes writes: also while its demotion is only on its way."""
        leaving = self.role is Role.CHANGING and self.wanted is Role.STANDBY
        return self.site.works and (self.role is Role.ACTIVE or leaving)


@dataclass
class Site:
    """One region."""

    name: str
    units: dict[str, Unit] = field(default_factory=dict)
    alive: bool = True
    hung: bool = False
    errors: bool = False
    ops_cut: bool = False
    """Operators do not reach it (probes, drivers)."""
    clients_cut: bool = False
    peers_cut: bool = False
    """Replication from and to it stands still."""
    agent: Agent | None = None

    @property
    def works(self) -> bool:
        return self.alive and not self.hung

    @property
    def answers(self) -> bool:
        """Whether operators get answers from it."""
        return self.works and not self.ops_cut


class Sites:
    """All regions, and the clients that write to one of them."""

    def __init__(
        self,
        scheduler: Scheduler,
        names: list[str],
        *,
        trace: Callable[[str, str], None],
        became_active: Callable[[Unit], None],
    ) -> None:
        self._scheduler = scheduler
        self._trace = trace
        self._became_active = became_active
        self.all = {name: Site(name) for name in names}
        self.weights: dict[str, int] = {}
        self.acknowledged: set[int] = set()
        self.isolated_writes: list[tuple[int, str]] = []
        self.on_write: Callable[[Unit], None] = lambda unit: None
        self.on_request: Callable[[Unit, bool], None] = lambda unit, changes: None
        self._next_write = 0
        self.promoting = False

    def furnish(self, steps: list[str], active: str) -> None:
        """Put units for these steps into every region."""
        self.promoting = bool(steps)
        for site in self.all.values():
            for step in steps:
                role = Role.ACTIVE if site.name == active else Role.STANDBY
                first = Fence(0, 0, 1) if role is Role.ACTIVE else NEVER  # also after its demotion the others follow it
                site.units[step] = Unit(step, site, role, promoted_by=first)
        if "db" in steps:
            self._scheduler.after(REPLICATION, self._replicate)
            self._scheduler.after(WRITES, self._write)

    def unit(self, step: str, region: str) -> Unit | None:
        return self.all[region].units.get(step)

    def ask(self, unit: Unit, role: Role, fence: Fence, run: str) -> None:
        """A fenced request arrives at a unit. One that was held up and repeated meanwhile finds nothing to change.

        Raises:
            FencedOffError: the unit has seen a greater fence.
        """
        text = f"{unit.step} in {unit.site.name}: asked for {role.value} by fence {fence}"
        if unit.fence is not None and unit.fence > fence:
            self._trace("world", f"{text}, refused: it carries {unit.fence}")
            raise FencedOffError(f"{unit.step} in {unit.site.name} carries {unit.fence}, ours is {fence}")
        unit.fence, unit.run = fence, run
        changes = (unit.wanted or unit.role) is not role
        if changes:
            self._trace("world", text)
            self._turn(unit, role, fence)
        self.on_request(unit, changes)

    def _turn(self, unit: Unit, role: Role, fence: Fence) -> None:
        unit.wanted = role
        unit.turn += 1
        if (role is Role.ACTIVE and unit.role is Role.STANDBY) or role is Role.STANDBY:
            unit.role = Role.CHANGING
        unit.promoted_by = fence if role is Role.ACTIVE else unit.promoted_by
        self._scheduler.after(0.05 + 0.6 * self._scheduler.random.random() ** 3, self._turned, unit, unit.turn)

    def power(self, site: Site, *, on: bool) -> None:
        """Cut or restore a region's power."""
        if site.alive is on:
            return
        site.alive = on
        if on and site.agent is not None:
            site.agent.powered()

    def source(self) -> Unit | None:
        """The database that the others follow: the one that was promoted last."""
        units = [site.units["db"] for site in self.all.values() if "db" in site.units]
        served = [unit for unit in units if unit.promoted_by > Fence(0) or unit.role is Role.ACTIVE]
        return max(served, key=lambda unit: unit.promoted_by, default=None)

    def _turned(self, unit: Unit, turn: int) -> None:
        if unit.turn != turn or unit.wanted is None:
            return
        if not unit.site.works or (unit.stuck and unit.wanted is Role.ACTIVE):
            self._scheduler.after(0.5, self._turned, unit, turn)
            return
        unit.role, unit.wanted = unit.wanted, None
        self._trace("world", f"{unit.step} in {unit.site.name} is {unit.role.value}")
        if unit.role is Role.ACTIVE:
            self._became_active(unit)

    def _replicate(self) -> None:
        self._scheduler.after(REPLICATION, self._replicate)
        source = self.source()
        if source is None or not source.site.works or source.site.peers_cut:
            return
        for site in self.all.values():
            unit = site.units["db"]
            if unit is source or not site.works or site.peers_cut or unit.serves:
                continue
            if self._scheduler.random.random() < 0.3:
                continue
            size = len(unit.log)
            if size <= len(source.log) and (not size or source.log[size - 1] == unit.log[-1]):
                unit.log.extend(source.log[size:])
                unit.diverged_at = None
            elif unit.diverged_at is None:
                unit.diverged_at = self._scheduler.now
            elif self._scheduler.now - unit.diverged_at > REWIND:
                unit.log, unit.diverged_at = list(source.log), None

    def _write(self) -> None:
        self._scheduler.after(WRITES, self._write)
        region = max(self.weights, key=lambda name: self.weights[name], default="")
        site = self.all.get(region)
        if site is None or site.clients_cut or not site.units["db"].serves:
            return
        unit = site.units["db"]
        self._next_write += 1
        unit.log.append(self._next_write)
        self.on_write(unit)
