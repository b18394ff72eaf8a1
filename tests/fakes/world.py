"""A policy's world in memory: real store, status writer, engine and converters; fake API server, health and time."""

from __future__ import annotations

import dataclasses
from typing import Any

from regent.api.v1alpha1.convert_failover import run_spec
from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.domain.health.model import Health, RegionHealth
from regent.domain.health.suspicion import ObserverHealth
from regent.engine.alignment import Alignment
from regent.engine.hooks import HookCalls
from regent.engine.notifications import Announcer
from regent.engine.pace import Pace
from regent.engine.policies import PolicyReconciler
from regent.engine.queue import Key, KeyedQueue
from regent.engine.receiver_checks import ReceiverChecks
from regent.engine.region_epochs import RegionEpochs
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS, HTTP_ROUTES, REGIONS, SERVICES
from regent.engine.role_watch import RoleWatch
from regent.engine.runs import RunExecutor
from regent.engine.snapshots import Snapshots
from regent.engine.status import StatusWriter
from regent.engine.store import Store
from tests.fakes.clock import FakeClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.members import FakeMembers
from tests.fakes.ports import FakeLeadership, FakeMetrics, FakeRecorder
from tests.fakes.promotion import FakeIsolation, FakeSteps
from tests.fakes.targets import make_targets

EU, US, AP = "eu-west-1", "us-east-1", "ap-south-1"


class FakeTracker:
    """Health as the test says it is. Figures of rate triggers are in `holding`."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.regions: dict[str, RegionHealth] = {}
        self.holding: set[tuple[str, str]] = set()
        self.suspect = ""
        self.settled = True
        self.listeners: list[Any] = []

    def subscribe(self, listener: Any) -> None:
        self.listeners.append(listener)

    def _tell(self, name: str) -> None:
        for listener in self.listeners:
            listener(name)

    def up(self, name: str, *, since: float | None = None, health: Health = Health.HEALTHY) -> None:
        now = self._clock.monotonic()
        self.regions[name] = RegionHealth(
            region=name, health=health, reason="Fine", message="answers", proved_at=now, vantages=1, probe_interval=1.0,
            up_since=now - 3600 if since is None else since,
        )  # fmt: skip
        self._tell(name)

    def down(self, name: str) -> None:
        now = self._clock.monotonic()
        self.regions[name] = RegionHealth(
            region=name, health=Health.UNREACHABLE, reason="ProbesFail", message="refused", down=True, down_since=now,
            first_failure=now - 0.4, down_votes=1, vantages=1,
        )  # fmt: skip
        self._tell(name)

    def fresh(self) -> None:
        """Let every region that is up answer once more."""
        now = self._clock.monotonic()
        for name, health in self.regions.items():
            if health.proved_at is not None:
                self.regions[name] = dataclasses.replace(health, proved_at=now)

    def health(self, region: str) -> RegionHealth:
        return self.regions.get(region, RegionHealth(region=region))

    def held(self, region: str, *, figure: Any, threshold: float, duration: float) -> object | None:
        return object() if (region, figure.name) in self.holding else None

    def observer(self) -> ObserverHealth:
        return ObserverHealth(suspect=bool(self.suspect), score=0, message=self.suspect)

    def first_round_done(self, region: str) -> bool:
        return self.settled


class FakeVerifier:
    """Answers as the data plane would, from the weights that the route has."""

    def __init__(self) -> None:
        self.wrong = ""

    async def check(self, target: Any, *, expected: frozenset[str]) -> str:
        return self.wrong


def region(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "regent.dev/v1alpha1", "kind": "Region", "metadata": {"name": name},
        "spec": {"endpoint": f"https://{name}.example.com", "probes": [{"name": "web", "http": {"path": "/"}}], **spec},
    }  # fmt: skip


def policy(name: str = "shop", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "regent.dev/v1alpha1", "kind": "FailoverPolicy",
        "metadata": {"namespace": "shop", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "regions": [{"name": EU}, {"name": US}, {"name": AP}],
            "targets": [{"httpRoute": {"name": "shop"}}],
            **spec,
        },
    }  # fmt: skip


def route(weights: dict[str, int], name: str = "shop") -> dict[str, Any]:
    refs = [{"name": f"shop-{region}", "port": 80, "weight": weight} for region, weight in weights.items()]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": refs}]},
    }  # fmt: skip


class CrashError(BaseException):
    """The process is gone: nothing catches it."""


class CrashingCluster(FakeCluster):
    """An API server whose client dies at its n-th write, before or after the write has happened."""

    crash_at = 0
    after = False
    _seen = 0

    def arm(self, nth: int, *, after: bool) -> None:
        self.crash_at, self.after, self._seen = nth, after, 0

    def disarm(self) -> None:
        self.crash_at = 0

    def _enter(self, verb: str, resource: Any, namespace: str, name: str) -> Any:
        fault = super()._enter(verb, resource, namespace, name)
        if verb in ("get", "list") or not self.crash_at:
            return fault
        self._seen += 1
        if self._seen != self.crash_at:
            return fault
        if self.after:
            return CrashError()
        raise CrashError


class World:
    """Three regions, one policy, one route; `visit` reconciles like a worker that is woken until nothing is due."""

    def __init__(self, cluster: FakeCluster | None = None, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.cluster = cluster or FakeCluster()
        self.tracker = FakeTracker(self.clock)
        self.steps, self.isolation = FakeSteps(), FakeIsolation()
        self.members = FakeMembers()
        self.suspend_all = False
        self.clock_off = ""
        self.boot()

    def boot(self) -> None:
        """A new process: everything in memory is gone, the API server and the world stay."""
        self.store = Store()
        self.metrics, self.recorder, self.leadership = FakeMetrics(), FakeRecorder(), FakeLeadership()
        self.verifier = FakeVerifier()
        self.turns: list[Key] = []
        self.pace = Pace(at_once=4, wake=self.turns.append)
        self.cluster.feed(self.store)
        status = StatusWriter(self.cluster, self.store, self.leadership, metrics=self.metrics)
        self.snapshots = Snapshots(
            store=self.store,
            tracker=self.tracker,
            clock=self.clock,
            startup_grace=10.0,
            suspend_all=lambda: self.suspend_all,
            clock_off=lambda: self.clock_off,
        )
        self.snapshots.begin(since=self.clock.monotonic() - 60)
        self.watch = RoleWatch(
            store=self.store, read_policy=policy_spec, drivers=self.steps, queue=KeyedQueue(jitter=lambda: 0.5),
            leadership=self.leadership, clock=self.clock,
        )  # fmt: skip
        alignment = Alignment(
            clock=self.clock, leadership=self.leadership, verifier=self.verifier, metrics=self.metrics
        )
        executor = RunExecutor(
            cluster=self.cluster, store=self.store, status=status, alignment=alignment, leadership=self.leadership,
            clock=self.clock, recorder=self.recorder, metrics=self.metrics, isolation=self.isolation,
            hooks=self.hooks(), epochs=self.epochs(),
        )  # fmt: skip
        self.policies = PolicyReconciler(
            cluster=self.cluster, store=self.store, status=status, snapshots=self.snapshots, executor=executor,
            alignment=alignment, targets=make_targets(
                self.cluster, self.store, members=self.members, leadership=self.leadership, clock=self.clock,
                metrics=self.metrics,
            ),
            read_policy=policy_spec, read_run=run_spec, clock=self.clock, recorder=self.recorder, metrics=self.metrics,
            watch=self.watch, leadership=self.leadership, pace=self.pace,
            drivers=self.steps, announcer=self.announcer(), epochs=self.epochs(),
            receivers=self.receiver_checks(),
        )  # fmt: skip

    def receiver_checks(self) -> ReceiverChecks | None:
        """What looks after the keys of receivers in this process."""
        return None

    def announcer(self) -> Announcer | None:
        """What tells receivers in this process."""
        return None

    def epochs(self) -> RegionEpochs | None:
        """What keeps epochs in the regions' own clusters in this process."""
        return None

    def hooks(self) -> HookCalls | None:
        """What calls hooks in this process."""
        return None

    def furnish(self, **spec: Any) -> World:
        """Put the usual objects in."""
        for name in (EU, US, AP):
            self.cluster.put(REGIONS, region(name, priority={EU: 100, US: 90, AP: 80}[name]))
            self.cluster.put(SERVICES, service(name))
            self.tracker.up(name)
        self.cluster.put(HTTP_ROUTES, route({EU: 100, US: 0, AP: 0}))
        self.cluster.put(FAILOVER_POLICIES, policy(**spec))
        return self

    async def visit(self, name: str = "shop", *, accept: bool = True, times: int = 12) -> None:
        """Reconcile, let the gateway accept, and again, until a visit asks for nothing within a second."""
        looked = -60.0
        for _ in range(times):
            if self.clock.monotonic() - looked >= 2.0:
                await self.watch.look()
                looked = self.clock.monotonic()
            again = await self.policies.reconcile(Key(FAILOVER_POLICIES, "shop", name))
            if accept:
                self.accept()
            if again is None or again > 1.0:
                await self.policies.reconcile(Key(FAILOVER_POLICIES, "shop", name))
                return
            self.clock.advance(max(again, 0.01))
            self.tracker.fresh()

    def accept(self) -> None:
        """The gateway's controller reports on every route at its present generation."""
        for obj in list(self.store.list(HTTP_ROUTES)):
            generation = obj["metadata"].get("generation", 1)
            conditions = [
                {"type": kind, "status": "True", "reason": kind, "observedGeneration": generation}
                for kind in ("Accepted", "ResolvedRefs")
            ]
            parents = [{"controllerName": "example.net/gateway", "conditions": conditions}]
            if (obj.get("status") or {}).get("parents") != parents:
                self.cluster.put(HTTP_ROUTES, {**obj, "status": {"parents": parents}})

    def weights(self, name: str = "shop") -> dict[str, int]:
        obj = self.store.get(HTTP_ROUTES, "shop", name)
        assert obj is not None
        return {ref["name"].removeprefix("shop-"): ref["weight"] for ref in obj["spec"]["rules"][0]["backendRefs"]}

    def status(self, name: str = "shop") -> dict[str, Any]:
        obj = self.store.get(FAILOVER_POLICIES, "shop", name)
        return dict((obj or {}).get("status") or {})

    def condition(self, kind: str, name: str = "shop") -> dict[str, Any]:
        return next(item for item in self.status(name)["conditions"] if item["type"] == kind)

    def ask(self, name: str = "go", **spec: Any) -> None:
        """Make a Failover by hand."""
        self.cluster.put(
            FAILOVERS,
            {
                "apiVersion": "regent.dev/v1alpha1", "kind": "Failover",
                "metadata": {"namespace": "shop", "name": name},
                "spec": {"policyRef": {"name": "shop"}, "type": "Switchover", "from": EU, **spec},
            },
        )  # fmt: skip

    def say(self, name: str = "go", **control: Any) -> None:
        """Change a run's control as a person does."""
        run = self.run(name)
        spec = {**run["spec"], "control": {**(run["spec"].get("control") or {}), **control}}
        self.cluster.put(FAILOVERS, {**run, "spec": spec})

    def run(self, name: str = "go") -> dict[str, Any]:
        return next(run for run in self.runs() if run["metadata"]["name"] == name)

    def journal(self, name: str = "go") -> list[str]:
        """The journal as `1 Shift Succeeded` lines, without the prelude."""
        prelude = ("Accept", "Observe", "Recheck", "Decide", "Snapshot", "Approve")
        steps = self.run(name)["status"]["steps"]
        return [f"{s['attempt']} {s['name']} {s['state']}" for s in steps if s["name"] not in prelude]

    def runs(self) -> list[dict[str, Any]]:
        return sorted(self.store.list(FAILOVERS, "shop"), key=lambda run: run["metadata"]["name"])


def service(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": "shop", "name": f"shop-{name}", "labels": {"regent.dev/region": name}}, "spec": {},
    }  # fmt: skip
