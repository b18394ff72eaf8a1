"""Situations that chance alone hardly ever makes, for guards that only matter then.

Each plot is armed at a random moment, as a fault is, and waits for what it needs: a commit, a promotion, the end of a
run. What it does then is what faults do, a moment later or earlier as the seed says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from regent.domain.failover.roles import Role
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS

if TYPE_CHECKING:
    from tests.simulation.faults import Faults
    from tests.simulation.scenario import Scenario
    from tests.simulation.sites import Site, Unit


class Plots:
    """Waits for the moments that plots are made for. Nothing happens in scenarios without one."""

    def __init__(self, scenario: Scenario, faults: Faults) -> None:
        self._scenario = scenario
        self._faults = faults
        self._random = scenario.scheduler.random
        self._armed = False
        self._operation = ""
        self._returning: Site | None = None

    def kinds(self) -> list[tuple[int, str, Callable[[], None]]]:
        """The faults of a scenario with a plot, with their weights."""
        faults, plot = self._faults, self._scenario.flavour.plot
        if plot == "heirs":
            return [(8, "leader dies at a commit", self._arm), (1, "region dies", faults._region_dies)]
        if plot == "cascade":
            return [
                (5, "region dies", faults._region_dies),
                (3, "promotion is stuck", faults._stuck),
                (5, "candidate is lost as it is promoted", self._arm),
                (1, "crash at a write", faults._crash),
            ]
        return [(4, "region returns and is lost", self._arm), (4, "operators lose a region", faults._ops_cut)]

    def end(self) -> None:
        """Nothing begins any more."""
        self._armed, self._returning = False, None

    def _arm(self) -> None:
        self._armed = True

    def policy(self, operation: str) -> None:
        """The policy is written; told before anybody hears of it. `operation`: the run that holds it."""
        before, self._operation = self._operation, operation
        if self._scenario.flavour.plot == "heirs" and operation and not before and self._armed:
            self._armed = False
            self._orphan()
        elif self._scenario.flavour.plot == "returns" and before and not operation:
            self._scenario.scheduler.after(0.0, self._released)

    def promoting(self, unit: Unit) -> None:
        """A unit has taken a request that changes it."""
        if self._scenario.flavour.plot != "cascade" or not self._armed or unit.wanted is not Role.ACTIVE:
            return
        self._armed = False
        self._lose(unit.site, self._random.uniform(0.0, 0.3))

    def _orphan(self) -> None:
        """The leader dies as it commits, and nobody who may lead next hears of it."""
        scenario = self._scenario
        leader = next((replica for replica in scenario.replicas if replica.leads), None)
        if leader is None:
            return
        until = scenario.scheduler.now + self._random.uniform(5, 10)
        kinds = [FAILOVER_POLICIES] if self._random.random() < 0.5 else [FAILOVER_POLICIES, FAILOVERS]
        for replica in scenario.replicas:
            if replica.running and replica is not leader:
                replica.watch.stalled_until = dict.fromkeys(kinds, until)
        self._faults._say(f"{leader.name} dies at its commit, and its heirs do not hear of it")
        delay = 0.0 if self._random.random() < 0.5 else self._random.uniform(0.0, 0.6)
        scenario.scheduler.after(delay, leader.die)

    def _released(self) -> None:
        """A run has ended. A region that its agent has isolated for it is asked back before the agent reads that."""
        scenario = self._scenario
        back, self._returning = self._returning, None
        active = str(scenario.status().get("activeRegion") or "")
        if back is not None and back.name == active:
            self._lose(back, self._random.uniform(0.0, 0.3))
            return
        isolated = [site for site in scenario.sites.all.values() if site.agent and site.agent.isolated]
        if self._armed and isolated and isolated[0].name != active:
            self._armed, self._returning = False, isolated[0]
            isolated[0].ops_cut = False
            scenario.people.ask_back(isolated[0].name)

    def _lose(self, site: Site, delay: float) -> None:
        def lost() -> None:
            self._faults._say(f"{site.name} is lost")
            site.ops_cut = True
            if site.agent is not None:
                site.agent.cut = True

        def found() -> None:
            self._faults._say(f"{site.name} is reached again")
            site.ops_cut = False
            if site.agent is not None:
                site.agent.cut = False

        self._scenario.scheduler.after(delay, lost)
        self._scenario.scheduler.after(delay + self._random.uniform(10, 25), found)
