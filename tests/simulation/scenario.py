"""One scenario: a policy, regions and replicas, faults and people drawn from a seed, and the end when all is quiet.

`play(seed)` raises `ViolationError` with the seed and the trace when an invariant does not hold, also the last one:
once the faults have stopped, every run ends or says what a person has to do, and the policy is where it should be.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.engine.records import TERMINAL, read_shares, status_of
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS, HTTP_ROUTES, LEASES, REGIONS, SERVICES, Resource
from tests.fakes.cloning import clone
from tests.fakes.cluster import FakeCluster
from tests.fakes.world import AP, EU, US, policy, region, route, service
from tests.simulation.agents import Agent
from tests.simulation.faults import Faults
from tests.simulation.flavours import Flavour, draw_flavour
from tests.simulation.hub import Hub, at_once
from tests.simulation.invariants import Invariants, ViolationError
from tests.simulation.people import People
from tests.simulation.replica import Replica
from tests.simulation.sites import Sites, Unit
from tests.simulation.virtual import Scheduler

NAMES = [EU, US, AP]
START = 4.0
"""Seconds until the policy is adopted and faults may begin."""
TROUBLE = 30.0
"""Seconds in which faults begin."""
QUIET = 2.0
"""Seconds without a change after which a world that has converged is over."""
PATIENCE = 240.0
"""Seconds within which it has to have converged after the last fault."""
WALL = 1_790_000_000.0


@dataclass
class Result:
    """What a scenario came to."""

    seed: int
    flavour: str
    seconds: float
    runs: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    wakes: Counter[str] = field(default_factory=Counter)
    lines: list[tuple[float, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Moment:
    """Which run holds the policy, at which epoch, and whether it is dividing traffic by steps just now."""

    run: str
    epoch: int
    gradual: bool


class Scenario:
    """The world of one seed."""

    def __init__(self, seed: int, only: str = "", *, lease: bool = True) -> None:
        self.seed = seed
        self.lease = lease
        self.scheduler = scheduler = Scheduler(seed)
        self.lines: list[tuple[float, str, str]] = []
        self._uids = 0
        self.server = FakeCluster(uid=self._uid)
        self.hub = Hub(scheduler, self.server, self.trace, lease=lease)
        self.flavour: Flavour = draw_flavour(scheduler.random, only)
        self.sites = Sites(scheduler, NAMES, trace=self.trace, became_active=self._became_active)
        self.wall_steps = [0.0, 0.0, 0.0]
        self.unforeseen = False
        self.changed_at = 0.0
        self._weights: dict[str, int] = {}
        self._latest: dict[Resource, dict[str, dict[str, Any]]] = defaultdict(dict)
        """What is at the API server, by kind and name. Shared with the watches: nobody alters it."""
        self.invariants = Invariants(
            self.server, self.sites, now=lambda: scheduler.now, proved=self._proved, fencing=self.flavour.fencing,
            cooldown=self.flavour.cooldown, wall_moves=self.flavour.clocks,
        )  # fmt: skip
        self.sites.on_request = self._requested
        self.sites.on_write = self.invariants.wrote
        self._furnish()
        rates = [1.0, 1.0 + scheduler.random.uniform(-0.01, 0.01), 1.0 + scheduler.random.uniform(-0.01, 0.01)]
        self.replicas = [
            Replica(
                self.hub, self.sites, f"replica-{place}", wall=self._wall(place), rate=rates[place],
                unforeseen=self._unforeseen,
            )
            for place in range(self.flavour.replicas)
        ]  # fmt: skip
        self.server.subscribe(self._saw)
        self.faults = Faults(self)
        self.people = People(self)

    def trace(self, who: str, what: str) -> None:
        self.lines.append((self.scheduler.now, who, what))

    def play(self) -> Result:
        """Play to the end."""
        scheduler = self.scheduler
        for place, replica in enumerate(self.replicas):
            scheduler.after(0.4 * place, replica.start)
        self.faults.plan(START, START + TROUBLE)
        self.people.plan(START, START + TROUBLE)
        try:
            scheduler.run(START + TROUBLE)
            self.faults.heal()
            self.trace("world", "all faults are over")
            self._settle()
        finally:
            for replica in self.replicas:
                replica.loop.kill()
        runs = Counter(str(status_of(run).get("phase")) for run in self._objects(FAILOVERS))
        return Result(
            self.seed, self.flavour.name, scheduler.now, runs, self.faults.counted, self.faults.wakes, self.lines
        )

    def _settle(self) -> None:
        deadline = self.scheduler.now + PATIENCE
        while True:
            self.scheduler.run(self.scheduler.now + 1.0)
            open_end = self._unsettled()
            quiet = self.scheduler.now - self.changed_at
            if not open_end and quiet >= QUIET:
                return
            if self.scheduler.now > deadline:
                raise ViolationError(f"not at rest {PATIENCE:.0f} s after the last fault: {open_end or 'it writes on'}")

    def _unsettled(self) -> str:
        """Why the policy is not at rest; "" when it is."""
        obj = self._policy()
        status = status_of(obj)
        if not any(replica.leads for replica in self.replicas):
            return "nobody leads"
        waits = self._action_required(status)
        for run in self._objects(FAILOVERS):
            phase = status_of(run).get("phase")
            if phase in TERMINAL or (phase in ("Paused", "AwaitingApproval", "RollingBack") and waits):
                continue
            control = ((run.get("spec") or {}).get("control") or {}).get("desired")
            if phase == "Paused" and control == "Pause":
                continue
            if phase == "Blocked" and not status_of(run).get("epoch"):
                continue
            return f"{run['metadata']['name']} is {phase} at {status_of(run).get('currentStep')}"
        if status.get("operation"):
            return "" if waits or self._paused() else "the policy is held by a run"
        return self._diverging(status)

    def _diverging(self, status: dict[str, Any]) -> str:
        distribution = {name: share for name, share in read_shares(status.get("distribution")).items() if share}
        weights = {name: weight for name, weight in self.weights().items() if weight}
        if not distribution:
            return "the policy is not adopted"
        if distribution != weights:
            return f"the policy says {distribution}, the route {weights}"
        active = str(status.get("activeRegion") or "")
        if active and not distribution.get(active):
            return f"{active} is active and has no traffic"
        for step in self.flavour.steps:
            unit = self.sites.unit(step, active)
            if unit is not None and unit.role.value != "Active" and not self._may_be_passive():
                return f"{step} in {active} is {unit.role.value}"
        return ""

    def _may_be_passive(self) -> bool:
        """Whether some run ended in a way that leaves the restoring to a person."""
        runs = [status_of(run) for run in self._objects(FAILOVERS)]
        return any(run.get("phase") == "Failed" and run.get("epoch") for run in runs)

    def _paused(self) -> bool:
        return any(
            ((run.get("spec") or {}).get("control") or {}).get("desired") == "Pause"
            and status_of(run).get("phase") not in TERMINAL
            for run in self._objects(FAILOVERS)
        )

    def _action_required(self, status: dict[str, Any]) -> bool:
        conditions = status.get("conditions") or ()
        return any(item["type"] == "ActionRequired" and item["status"] == "True" for item in conditions)

    def _saw(self, event: str, resource: Resource, obj: dict[str, Any]) -> None:
        if event == "DELETED":
            self._latest[resource].pop(obj["metadata"]["name"], None)
        else:
            self._latest[resource][obj["metadata"]["name"]] = obj
        if resource is FAILOVER_POLICIES:
            self.faults.plots.policy(str((status_of(obj).get("operation") or {}).get("uid") or ""))
        for replica in self.replicas:
            if replica.running:
                replica.watch.tell(event, resource, obj)
        if resource is not LEASES:
            self.changed_at = self.scheduler.now
            self.trace("hub", describe(event, resource, obj))
        else:
            return
        self.invariants.saw(event, resource, obj)
        if resource is HTTP_ROUTES:
            if self.weights() != self._weights and self.moment().run:
                self.faults.shifted()
            self._weights = self.weights()
            self.scheduler.after(0.02 + 0.1 * self.scheduler.random.random(), self._gateway)

    def _requested(self, unit: Unit, changes: bool) -> None:
        self.invariants.effect(unit, changes)
        if changes:
            self.faults.plots.promoting(unit)

    def _gateway(self) -> None:
        """The gateway takes the route as it stands now, and reports on it."""
        obj = self._object(HTTP_ROUTES, "shop")
        self.sites.weights = self.weights()
        conditions = [
            {"type": kind, "status": "True", "reason": kind, "observedGeneration": obj["metadata"].get("generation", 1)}
            for kind in ("Accepted", "ResolvedRefs")
        ]
        parents = [{"controllerName": "example.net/gateway", "conditions": conditions}]
        if status_of(obj).get("parents") != parents:
            self.server.put(HTTP_ROUTES, {**obj, "status": {"parents": parents}})

    def moment(self) -> Moment:
        """What is going on with the policy."""
        status = self.status()
        operation = status.get("operation") or {}
        spec: dict[str, Any] = {}
        for run in self._objects(FAILOVERS) if operation else ():
            if run["metadata"]["uid"] == operation["uid"]:
                spec = status_of(run)
        gradual = (spec.get("plan") or {}).get("transition") == "Gradual"
        under_way = str(spec.get("currentStep", "")).startswith("Shift")
        return Moment(str(operation.get("uid") or ""), int(status.get("epoch") or 0), gradual and under_way)

    def leader(self) -> str:
        """The identity that holds the lease at the API server."""
        leases = [obj for obj in self._objects(LEASES) if obj["metadata"]["name"] == "regent"]
        return str((leases[0].get("spec") or {}).get("holderIdentity") or "") if leases else ""

    def weights(self) -> dict[str, int]:
        """The route's weights."""
        refs = self._object(HTTP_ROUTES, "shop")["spec"]["rules"][0]["backendRefs"]
        return {ref["name"].removeprefix("shop-"): ref["weight"] for ref in refs}

    def _became_active(self, unit: Any) -> None:
        self.invariants.active(unit)

    def _proved(self, name: str) -> bool:
        """Whether the leader has seen the region answer, and not fail since."""
        leader = next((replica for replica in self.replicas if replica.leads and replica.tracker), None)
        if leader is None or leader.tracker is None or leader.loop.paused:
            return True  # a write that was under way
        health = leader.tracker.health(name)
        return not health.down and health.proved_at is not None

    def _policy(self) -> dict[str, Any]:
        return self._object(FAILOVER_POLICIES, "shop")

    def _object(self, resource: Resource, name: str) -> dict[str, Any]:
        return self._latest[resource][name]

    def _objects(self, resource: Resource) -> list[dict[str, Any]]:
        return [obj for _, obj in sorted(self._latest[resource].items())]

    def runs(self) -> list[dict[str, Any]]:
        """All Failover objects."""
        return self._objects(FAILOVERS)

    def status(self) -> dict[str, Any]:
        """The policy's status."""
        return dict(status_of(self._policy()))

    def _unforeseen(self) -> None:
        self.scheduler.failure = ViolationError("a visit ended with an exception that nobody foresaw")

    def _wall(self, place: int) -> Callable[[], float]:
        return lambda: WALL + self.scheduler.now + self.wall_steps[place]

    def _uid(self) -> str:
        self._uids += 1
        return f"00000000-0000-4000-8000-{self._uids:012d}"

    def _furnish(self) -> None:
        for place, name in enumerate(NAMES):
            self.server.put(REGIONS, region(name, priority=100 - 10 * place))
            self.server.put(SERVICES, service(name))
        shared = self.flavour.spec.get("topology") == "ActiveActive"
        self.server.put(HTTP_ROUTES, route({EU: 34, US: 33, AP: 33} if shared else {EU: 100, US: 0, AP: 0}))
        self.server.put(FAILOVER_POLICIES, policy(**self.flavour.spec))
        for resource in (REGIONS, HTTP_ROUTES, FAILOVER_POLICIES):
            for obj in at_once(self.server.list(resource)):
                self._latest[resource][obj["metadata"]["name"]] = obj
        self.sites.furnish(self.flavour.steps, EU)
        if self.flavour.agents:
            spec, _ = policy_spec(self._policy())
            for site in self.sites.all.values():
                site.agent = Agent(
                    site, server=self.server, scheduler=self.scheduler, spec=spec, policy=self._policy,
                    trace=self.trace, became_active=self._became_active,
                )  # fmt: skip
        self._gateway()


def describe(event: str, resource: Resource, obj: dict[str, Any]) -> str:
    """An object's change on one line."""
    metadata, status = obj["metadata"], status_of(obj)
    text = f"{event.lower()} {resource.kind}/{metadata['name']}@{metadata['resourceVersion']}"
    if resource is FAILOVER_POLICIES:
        operation = (status.get("operation") or {}).get("name", "")
        return f"{text} epoch {status.get('epoch')} active {status.get('active')} operation {operation or '-'}"
    if resource is FAILOVERS:
        last = next((f"{s['attempt']} {s['name']} {s['state']}" for s in reversed(status.get("steps") or ())), "-")
        step = status.get("currentStep")
        steps = {f"{s['name']}": s["state"] for s in status.get("steps") or ()}
        chosen = (status.get("plan") or {}).get("chosen")
        return (
            f"{text} {status.get('phase')} epoch {status.get('epoch')} to {chosen} at {step} {steps.get(step)} ({last})"
        )
    if resource is HTTP_ROUTES:
        weights = [ref.get("weight") for ref in obj["spec"]["rules"][0]["backendRefs"]]
        return f"{text} weights {weights} fence {(metadata.get('annotations') or {}).get('regent.dev/fence')}"
    return text


class _Log(logging.Handler):
    """Puts what the engine logs as an error into the trace."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(logging.ERROR)
        self._scenario = scenario

    def emit(self, record: logging.LogRecord) -> None:
        self._scenario.trace("log", self.format(record))


def play(seed: int, *, only: str = "", lease: bool = True, tail: int = 120) -> Result:
    """Play the scenario of `seed`, with a policy of the kind `only` where one is named.

    Args:
        lease: False: a replica may begin a write without the lease. What keeps the world whole then are the fences.

    Raises:
        ViolationError: with the seed, the flavour and the end of the trace.
    """
    scenario = Scenario(seed, only, lease=lease)
    exact, copy.deepcopy = copy.deepcopy, clone  # the same for JSON, and half of the time otherwise
    handler, logger = _Log(scenario), logging.getLogger("regent")
    level, logger.level, logger.propagate = logger.level, logging.ERROR, False
    logger.addHandler(handler)
    try:
        return scenario.play()
    except ViolationError as violation:
        shown = "\n".join(f"{time:9.3f}  {who:10} {what}" for time, who, what in scenario.lines[-tail:])
        raise ViolationError(
            f"seed {seed} ({scenario.flavour.name}) at {scenario.scheduler.now:.3f} s: {violation}\n{shown}\n"
            f"again: SEED={seed} {f'KIND={only} ' if only else ''}make simulate"
        ) from None
    finally:
        copy.deepcopy = exact
        logger.removeHandler(handler)
        logger.level, logger.propagate = level, True
