"""What goes wrong in a scenario: chosen, begun and ended by the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.hub import WATCHED, Crash, Weather
from tests.simulation.plots import Plots

if TYPE_CHECKING:
    from tests.simulation.replica import Replica
    from tests.simulation.scenario import Scenario
    from tests.simulation.sites import Site


class Faults:
    """Begins faults at random moments, and ends all of them at once."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._random = scenario.scheduler.random
        self.counted: Counter[str] = Counter()
        self._over = False
        self._freezes_at_shift = False
        self.wakes: Counter[str] = Counter()
        """How often a process woke up to find another one leading, and at what moment."""
        self._kinds: list[tuple[int, str, Callable[[], None]]] = [
            (5, "region dies", self._region_dies),
            (2, "region hangs", self._region_hangs),
            (3, "operators lose a region", self._ops_cut),
            (1, "clients lose a region", self._clients_cut),
            (2, "replication stands still", self._peers_cut),
            (2, "callers see errors", self._errors),
            (4, "crash at a write", self._crash),
            (2, "crash", self._kill),
            (4, "pause", self._pause),
            (4, "leader freezes in mid shift", self._freeze),
            (3, "operator loses the hub", self._hub_cut),
            (3, "watch lags", self._stall),
            (3, "weather", self._weather),
        ]
        if scenario.flavour.leaders:
            self._kinds = [
                (4, "region dies", self._region_dies),
                (2, "operators lose a region", self._ops_cut),
                (4, "crash at a write", self._crash),
                (4, "pause", self._pause),
                (6, "leader freezes in mid shift", self._freeze),
                (3, "operator loses the hub", self._hub_cut),
                (8, "watch lags", self._stall),
                (3, "weather", self._weather),
            ]
        self.plots = Plots(scenario, self)
        if scenario.flavour.plot:
            self._kinds = self.plots.kinds()
            return
        if scenario.flavour.clocks:
            self._kinds.append((4, "clock step", self._clock))
        if scenario.flavour.agents:
            self._kinds.append((3, "agent loses the hub", self._agent_cut))
            self._kinds.append((8, "region is partitioned off", self._partition))
        if scenario.flavour.steps:
            self._kinds.append((2, "promotion is stuck", self._stuck))

    def plan(self, begin: float, end: float) -> None:
        """Draw what happens between the two times."""
        weights = [weight for weight, _, _ in self._kinds]
        many = self._scenario.flavour.leaders or self._scenario.flavour.plot
        for _ in range(self._random.randint(6, 12) if many else self._random.randint(2, 7)):
            _, name, begins = self._random.choices(self._kinds, weights)[0]
            self._scenario.scheduler.at(self._random.uniform(begin, end), self._begin, name, begins)

    def heal(self) -> None:
        """End every fault."""
        self._over, self._freezes_at_shift = True, False
        self.plots.end()
        scenario = self._scenario
        for site in scenario.sites.all.values():
            site.hung = site.errors = site.ops_cut = site.clients_cut = site.peers_cut = False
            scenario.sites.power(site, on=True)
            if site.agent is not None:
                site.agent.cut = False
            for unit in site.units.values():
                unit.stuck = False
        scenario.hub.cut.clear()
        scenario.hub.weather = Weather()
        for replica in scenario.replicas:
            replica.crash_effect = None
            if replica.running:
                replica.client.crash = None
                replica.watch.stalled_until.clear()
                replica.loop.wake()

    def _begin(self, name: str, begins: Callable[[], None]) -> None:
        self.counted[name] += 1
        begins()

    def _for_a_while(self, shortest: float, longest: float, ends: Callable[[], None]) -> None:
        self._scenario.scheduler.after(self._random.uniform(shortest, longest), ends)

    def _say(self, text: str) -> None:
        self._scenario.trace("fault", text)

    def _site(self) -> Site:
        """A region; mostly one that matters now."""
        sites = self._scenario.sites.all
        weights = self._scenario.weights()
        if self._random.random() < 0.7:
            return sites[max(weights, key=lambda name: weights[name])]
        return sites[self._random.choice(list(sites))]

    def _replica(self, *, leader: float = 0.7) -> Replica:
        leads = [replica for replica in self._scenario.replicas if replica.leads]
        if leads and self._random.random() < leader:
            return leads[0]
        return self._random.choice(self._scenario.replicas)

    def _region_dies(self) -> None:
        site = self._site()
        self._say(f"{site.name} dies")
        self._scenario.sites.power(site, on=False)

        def back() -> None:
            self._say(f"{site.name} is back")
            self._scenario.sites.power(site, on=True)

        self._for_a_while(1, 25, back)

    def _region_hangs(self) -> None:
        self._flag("hung", "hangs", 0.5, 10)

    def _ops_cut(self) -> None:
        self._flag("ops_cut", "is cut off from the operators", 1, 20)

    def _clients_cut(self) -> None:
        self._flag("clients_cut", "is cut off from its clients", 1, 10)

    def _peers_cut(self) -> None:
        self._flag("peers_cut", "is cut off from the other regions", 1, 20)

    def _errors(self) -> None:
        site = self._site()
        self._flag("errors", "answers its callers with errors", 2, 10, site)
        for replica in self._scenario.replicas:
            if replica.running and replica.tracker is not None:
                replica.loop.call_soon(replica.tracker.noted, site.name)

    def _flag(self, name: str, text: str, shortest: float, longest: float, site: Site | None = None) -> None:
        chosen = site or self._site()
        self._say(f"{chosen.name} {text}")
        setattr(chosen, name, True)

        def ends() -> None:
            self._say(f"{chosen.name} no longer {text}")
            setattr(chosen, name, False)

        self._for_a_while(shortest, longest, ends)

    def _agent_cut(self) -> None:
        agent = self._site().agent
        if agent is None:
            return
        self._say(f"the agent of {agent.site.name} loses the hub")
        agent.cut = True

        def ends() -> None:
            self._say(f"the agent of {agent.site.name} has the hub again")
            agent.cut = False

        self._for_a_while(1, 15, ends)

    def _partition(self) -> None:
        """Neither operators nor the hub reach it; it works on, and its clients reach it."""
        site = self._site()
        agent = site.agent
        if agent is None:
            return
        self._say(f"{site.name} is cut off from the operators and the hub")
        site.ops_cut = agent.cut = True

        def ends() -> None:
            self._say(f"{site.name} is reached again")
            site.ops_cut = agent.cut = False

        self._for_a_while(8, 25, ends)

    def _stuck(self) -> None:
        site = self._random.choice(list(self._scenario.sites.all.values()))
        unit = self._random.choice(list(site.units.values()))
        self._say(f"{unit.step} in {site.name} cannot be promoted")
        unit.stuck = True

    def _crash(self) -> None:
        replica = self._replica(leader=0.9)
        if not replica.running:
            return
        crash = Crash(self._random.randint(1, 14), self._random.random() < 0.5)
        at_effect = bool(self._scenario.flavour.steps) and self._random.random() < 0.3
        if at_effect:
            crash.nth = self._random.randint(1, 4)
            replica.crash_effect = crash
        else:
            replica.client.crash = crash
        what = "effect" if at_effect else "write"
        self._say(f"{replica.name} will crash {'after' if crash.after else 'before'} its {what} {crash.nth}")

    def _kill(self) -> None:
        self._replica().die()

    def _pause(self) -> None:
        replica = self._replica(leader=0.9)
        if not replica.running:
            return
        self._pause_for(replica, 0.5, 12)

    def _freeze(self) -> None:
        self._freezes_at_shift = True
        self._say("the leader will freeze as soon as it has written weights")

    def shifted(self) -> None:
        """A run has written weights."""
        leader = next((replica for replica in self._scenario.replicas if replica.leads), None)
        if self._freezes_at_shift and leader is not None:
            self._freezes_at_shift = False
            self._pause_for(leader, 3.5, 9)

    def _pause_for(self, replica: Replica, shortest: float, longest: float) -> None:
        """Freeze a process for longer than its lease runs, mostly."""
        self._say(f"{replica.name} is paused")
        loop, led, before = replica.loop, replica.leads, self._scenario.moment()
        loop.pause()

        def wakes() -> None:
            self._say(f"{replica.name} wakes")
            if led and loop.paused and not loop.dead and self._scenario.leader() not in ("", replica.elector.identity):
                now = self._scenario.moment()
                same = before.run and (now.run, now.epoch) == (before.run, before.epoch)
                self.wakes["as an old leader"] += 1
                self.wakes["in the run and epoch of its successor"] += bool(same)
                self.wakes["in mid of a gradual shift of its successor"] += bool(same and now.gradual)
            loop.wake()

        self._for_a_while(shortest, longest, wakes)

    def _hub_cut(self) -> None:
        replica = self._replica()
        self._say(f"{replica.name} loses the hub")
        self._scenario.hub.cut.add(replica.name)

        def ends() -> None:
            self._say(f"{replica.name} has the hub again")
            self._scenario.hub.cut.discard(replica.name)

        self._for_a_while(0.5, 10, ends)

    def _stall(self) -> None:
        # A standby that is behind shows it as it takes over.
        replica = self._replica(leader=0.2 if self._scenario.flavour.leaders else 0.7)
        if replica.running:
            seconds = self._random.uniform(0.5, 10)
            self._say(f"watches of {replica.name} stand still for {seconds:.1f} s")
            resources = [resource for resource in WATCHED if self._random.random() < 0.6]
            replica.watch.stalled_until = dict.fromkeys(resources, self._scenario.scheduler.now + seconds)

    def _weather(self) -> None:
        draw = self._random.random
        self._scenario.hub.weather = Weather(
            latency=0.004 if draw() < 0.5 else 0.1 * draw(),
            held_up=0.05 if draw() < 0.5 else 0.0,
            refused=0.3 * draw() if draw() < 0.6 else 0.0,
            ambiguous=0.3 * draw() if draw() < 0.6 else 0.0,
            watch_delay=1.5 * draw() ** 2,
            repeats=0.3 if draw() < 0.5 else 0.0,
        )
        self._say(f"{self._scenario.hub.weather}")

        def ends() -> None:
            self._say("the weather clears")
            self._scenario.hub.weather = Weather()

        self._for_a_while(2, 15, ends)

    def _clock(self) -> None:
        place = self._random.randrange(len(self._scenario.replicas))
        step = self._random.uniform(-30, 30)
        self._say(f"the wall clock of replica-{place} is set by {step:.1f} s")
        self._scenario.wall_steps[place] += step
