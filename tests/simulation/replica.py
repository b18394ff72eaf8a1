"""One operator process: the real elector, queue, workers, store and engine on a simulated machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from regent.adapters.kubernetes.lease import LeaseElector, request_timeout
from regent.api.v1alpha1.convert_failover import run_spec
from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.domain.errors import ClusterError, LeadershipLostError
from regent.domain.failover.runspec import RunSpec
from regent.engine.agent_isolation import AgentIsolation
from regent.engine.alignment import Alignment
from regent.engine.pace import Pace
from regent.engine.policies import PolicyReconciler
from regent.engine.policy_watch import PolicyWatch
from regent.engine.queue import Key, KeyedQueue
from regent.engine.reconcile import Workers
from regent.engine.resources import FAILOVER_POLICIES
from regent.engine.role_watch import RoleWatch
from regent.engine.runs import RunExecutor
from regent.engine.snapshots import Snapshots
from regent.engine.status import StatusWriter
from regent.engine.store import Store
from tests.fakes.targets import make_targets
from tests.simulation.drivers import Reach, SimSteps
from tests.simulation.health import SimTracker
from tests.simulation.hub import WATCHED, Crash, Hub, HubClient, WatchStream
from tests.simulation.invariants import ViolationError
from tests.simulation.sites import Sites
from tests.simulation.virtual import ProcessClock, ProcessLoop

LEASE, RENEW = 3.0, 1.0
GRACE = 1.5
RESYNC = 20.0
SKEW = 1.0


class QuietMetrics:
    """Counts nothing; visits that fail unforeseen are told."""

    def __init__(self, unforeseen: Callable[[], None]) -> None:
        self._unforeseen = unforeseen

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        if name == "regent_reconcile_total" and labels.get("result") == "error":
            self._unforeseen()

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Nobody looks."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Nobody looks."""

    def forget(self, **labels: str) -> None:
        """Nobody looks."""


class QuietRecorder:
    """Events go nowhere."""

    def event(self, obj: Any, *, kind: str, reason: str, action: str, note: str) -> None:
        """Nobody looks."""


class NoVerifier:
    """No target of a scenario has a verification."""

    async def check(self, target: Any, *, expected: frozenset[str]) -> str:
        return ""


class Replica:
    """A replica that is started again after each end of its process.

    Args:
        wall: the wall clock of its machine.
        rate: how fast its monotonic clock runs.
        visits: called with the name at each visit of a policy.
    """

    def __init__(
        self,
        hub: Hub,
        sites: Sites,
        name: str,
        *,
        wall: Callable[[], float],
        rate: float,
        unforeseen: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._sites = sites
        self.name = name
        self._wall = wall
        self._rate = rate
        self._unforeseen = unforeseen
        self._starts = 0
        self._read: dict[tuple[str, int], RunSpec] = {}
        self.loop = ProcessLoop(hub.scheduler)
        self.loop.dead = True
        self.crash_effect: Crash | None = None
        self.tracker: SimTracker | None = None
        self.stay_down = False

    @property
    def running(self) -> bool:
        return not self.loop.dead

    @property
    def leads(self) -> bool:
        """Whether it believes so now."""
        return self.running and self.elector.leading

    def start(self) -> None:
        """Start a new process, unless one runs or the machine is down."""
        if self.running or self.stay_down:
            return
        hub, scheduler = self._hub, self._hub.scheduler
        self._starts += 1
        hub.trace(self.name, "starts")
        self.loop = loop = ProcessLoop(scheduler, rate=self._rate)
        self.client = HubClient(hub, self.name, loop, self.die)
        lease_client = HubClient(hub, self.name, loop, self.die, timeout=request_timeout(LEASE))
        clock = ProcessClock(loop, self._wall)
        metrics, recorder = QuietMetrics(self._unforeseen), QuietRecorder()
        self.store = store = Store(WATCHED)
        self.watch = WatchStream(hub, self.name, loop, store)
        self.elector = elector = LeaseElector(
            lease_client, namespace="regent", name="regent", identity=f"{self.name}-{self._starts}", clock=clock,
            metrics=metrics, jitter=scheduler.random.random, duration=LEASE, renew=RENEW,
        )  # fmt: skip
        self.tracker = tracker = SimTracker(
            scheduler, loop, list(self._sites.all),
            lambda region: self._sites.all[region].answers, lambda region: self._sites.all[region].errors,
        )  # fmt: skip
        self.client.before_write = self._claim_lease
        self.client.term = lambda: elector.transitions
        status = StatusWriter(self.client, store, elector, metrics=metrics)
        self.snapshots = Snapshots(
            store=store, tracker=tracker, clock=clock, startup_grace=GRACE, suspend_all=lambda: False
        )
        alignment = Alignment(clock=clock, leadership=elector, verifier=NoVerifier(), metrics=metrics)
        isolation = AgentIsolation(cluster=self.client, namespace="regent", leadership=elector, clock=clock, skew=SKEW)
        executor = RunExecutor(
            cluster=self.client, store=store, status=status, alignment=alignment, leadership=elector, clock=clock,
            recorder=recorder, metrics=metrics, isolation=isolation,
        )  # fmt: skip
        drivers = SimSteps(Reach(hub, self._sites, loop, self._at_effect, self._claim_lease))
        self.queue = KeyedQueue(jitter=scheduler.random.random)
        roles = RoleWatch(
            store=store, read_policy=policy_spec, drivers=drivers, queue=self.queue, leadership=elector, clock=clock
        )
        policies = PolicyReconciler(
            cluster=self.client, store=store, status=status, snapshots=self.snapshots, executor=executor,
            alignment=alignment, targets=make_targets(self.client, store, leadership=elector, clock=clock),
            read_policy=policy_spec,
            read_run=self._read_run, clock=clock, recorder=recorder, metrics=metrics,
            drivers=drivers, watch=roles, leadership=elector, pace=Pace(at_once=4, wake=self.queue.add),
        )  # fmt: skip
        PolicyWatch(store=store, tracker=tracker, queue=self.queue)
        workers = Workers(self.queue, {FAILOVER_POLICIES: policies}, clock=clock, metrics=metrics, count=1)
        loop.create_task(self._main(workers, roles))

    def _read_run(self, run: Mapping[str, Any]) -> RunSpec:
        """Read a run's spec once for each of its generations: validating takes a tenth of a scenario's time."""
        metadata = run["metadata"]
        key = (str(metadata["uid"]), int(metadata.get("generation", 1)))
        if key not in self._read:
            self._read[key] = run_spec(run)
        return self._read[key]

    def die(self) -> None:
        """The process is gone, and started again after a while."""
        if self.running:
            self._hub.trace(self.name, "dies")
            self.loop.kill()
            self.crash_effect = None
            self._hub.scheduler.after(0.5 + 2 * self._hub.scheduler.random.random(), self.start)

    async def _main(self, workers: Workers, roles: RoleWatch) -> None:
        loop = asyncio.get_running_loop()
        assert self.tracker is not None
        self.tracker.start()
        lease = loop.create_task(self.elector.run())
        parts = [lease, loop.create_task(self._resync()), loop.create_task(self._lead(workers))]
        if self._sites.promoting:
            parts.append(loop.create_task(roles.run()))
        try:
            await asyncio.gather(*parts)
        except LeadershipLostError:
            self._hub.trace(self.name, "has lost the lease")
        except Exception as error:
            self._hub.scheduler.failure = ViolationError(f"{self.name} ends with {error!r}")
        self._hub.scheduler.after(0.0, self.die)

    async def _lead(self, workers: Workers) -> None:
        await self.store.wait_synced()
        self.snapshots.begin(since=asyncio.get_running_loop().time())
        await self.elector.elected()
        self._hub.trace(self.name, f"leads, term {self.elector.transitions}")
        for policy in self.store.list(FAILOVER_POLICIES):
            self.queue.add(Key(FAILOVER_POLICIES, policy["metadata"]["namespace"], policy["metadata"]["name"]))
        await workers.run()

    async def _resync(self) -> None:
        """Complete lists: at the start, now and then, and after the watches were down."""
        since = float("-inf")
        while True:
            now = asyncio.get_running_loop().time()
            if self.watch.missed or now - since > RESYNC:
                self.watch.missed = False
                try:
                    for resource in WATCHED:
                        mark = self.store.mark()
                        self.store.replace_all(resource, await self.client.list(resource), mark=mark)
                        self.store.mark_synced(resource)
                    since = now
                except ClusterError:
                    self.watch.missed = True
            await asyncio.sleep(0.5)

    def _claim_lease(self) -> None:
        """Every effect is begun under a lease that is valid at that moment."""
        if self._hub.lease and not self.elector.leading:
            self._hub.scheduler.failure = ViolationError(f"{self.name} begins a write without the lease")

    def _at_effect(self, moment: str) -> bool:
        crash = self.crash_effect
        if crash is None or self.loop.dead:
            return False
        if moment == "before":
            crash.nth -= 1
        if crash.nth > 0 or (moment == "after") is not crash.after:
            return False
        self.die()
        return True
