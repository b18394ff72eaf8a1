"""Builds the operator from its settings: the one place that knows every part.

What runs on every replica is warm: watches, resync, probes, the queue. What runs on the leader only (the workers)
starts on election and ends with the lease, and with it the process. Read `Operator` from top to bottom for how data
flows; read `main` for how the process starts and stops.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import signal
import socket
from functools import partial

import uvloop

from regent import __version__
from regent.adapters import logging as logs
from regent.adapters.clock import LeaseClock, SystemClock
from regent.adapters.host import HostSignals
from regent.adapters.kopf.bridge import WatchBridge
from regent.adapters.kubernetes.alone import Alone
from regent.adapters.kubernetes.client import KubernetesCluster
from regent.adapters.kubernetes.connection import Connection, connect
from regent.adapters.kubernetes.events import EventRecorder
from regent.adapters.kubernetes.lease import LeaseElector, request_timeout
from regent.adapters.kubernetes.member import MemberClusterPool
from regent.adapters.metrics import PrometheusMetrics
from regent.adapters.probes.prober import ProbePool
from regent.api.v1alpha1.convert_region import region_plan
from regent.engine.clock_check import ClockCheck
from regent.engine.health import HealthTracker
from regent.engine.hub_identity import HubIdentity
from regent.engine.placements import PlacementReconciler
from regent.engine.ports import Leadership
from regent.engine.queue import Key, KeyedQueue, Priority
from regent.engine.reconcile import Reconciler, Workers
from regent.engine.region_clusters import ClusterChecks
from regent.engine.region_secrets import RegionSecrets
from regent.engine.region_setup import RegionSetup
from regent.engine.regions import RegionReconciler
from regent.engine.resources import FAILOVER_POLICIES, PLACEMENT_POLICIES, REGIONS, REPLICATION_POLICIES, Resource
from regent.engine.resync import WATCHED, Resync
from regent.engine.status import StatusWriter
from regent.engine.store import Store
from regent.engine.supervise import Supervisor
from regent.server import liveness
from regent.server.admission import AdmissionServer
from regent.server.operational import Check, Heartbeat, OperationalServer
from regent.settings import Settings
from regent.wiring_failover import FailoverParts
from regent.wiring_hub import HubParts
from regent.wiring_replication import ReplicationParts

log = logging.getLogger("regent")


class Operator:
    """All parts of one replica. `run` returns the exit code."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._supervisor = Supervisor()
        self._clock = clock = SystemClock()
        self._metrics = metrics = PrometheusMetrics()
        self._identity = f"{socket.gethostname()}_{secrets.token_hex(4)}"

        kubernetes = settings.kubernetes
        client = partial(KubernetesCluster, connection, clock=clock, metrics=metrics)
        self._cluster = client(timeout=kubernetes.request_timeout, pool=kubernetes.connections)
        self._failover_cluster = client(
            timeout=kubernetes.failover_request_timeout, pool=kubernetes.failover_connections
        )
        self._lease_cluster = client(timeout=request_timeout(settings.leader_election.lease_duration), pool=2)
        self._clusters = (self._cluster, self._failover_cluster, self._lease_cluster)

        self._elector = self._make_elector() if settings.leader_election.enabled else None
        self._alone = Alone(self._lease_cluster)
        self._recorder = EventRecorder(self._cluster, instance=self._identity, clock=clock, metrics=metrics)

        self._store = Store(watch.resource for watch in WATCHED)
        self._queue = KeyedQueue(jitter=random.random)
        self._resync = Resync(
            self._cluster, self._store, clock=clock, metrics=metrics, interval=settings.watch.resync_interval
        )
        self._bridge = WatchBridge(
            connection,
            self._store,
            self._resync,
            watched=WATCHED,
            metrics=metrics,
            install_signal_handlers=self.install_signal_handlers,
        )
        self._probes = ProbePool()
        self._tracker = HealthTracker(
            prober=self._probes,
            clock=clock,
            chance=random.random,
            signals=HostSignals([lambda of=cluster: of.last_answer for cluster in self._clusters]),  # type: ignore[misc]
            metrics=metrics,
        )
        self._members = MemberClusterPool(clock=clock, metrics=metrics)
        region_secrets = RegionSecrets(
            cluster=self._cluster, namespace=settings.namespace, allowed=settings.secret_namespaces
        )
        self._hub = HubIdentity(cluster=self._cluster, found=self._regions_changed)
        self._role = HubParts(
            settings,
            cluster=self._cluster,
            store=self._store,
            identity=self._hub,
            leadership=self._elector or self._alone,
            clock=clock,
            metrics=metrics,
        )
        # Whoever writes asks this one: a replica leads only in a hub that acts.
        self._leadership: Leadership = self._role.leadership
        self._checks = ClusterChecks(
            members=self._members, secrets=region_secrets, clock=clock, changed=self._region_changed
        )
        self._replication = ReplicationParts(
            settings,
            connection,
            store=self._store,
            queue=self._queue,
            leadership=self._leadership,
            recorder=self._recorder,
            clock=clock,
            metrics=metrics,
        )
        self._clock_check = ClockCheck(
            offset=self._lease_cluster.clock_offset, limit=settings.failover.max_clock_skew, metrics=metrics
        )
        self._failover = FailoverParts(
            settings,
            cluster=self._failover_cluster,
            store=self._store,
            queue=self._queue,
            tracker=self._tracker,
            leadership=self._leadership,
            recorder=self._recorder,
            clock=clock,
            metrics=metrics,
            session=self._replication.reconciler.session,
            clock_off=self._clock_check.problem,
        )
        self._setup = RegionSetup(
            store=self._store,
            tracker=self._tracker,
            secrets=region_secrets,
            checks=self._checks,
            read_plan=region_plan,
            changed=self._region_changed,
            clock=clock,
            metrics=metrics,
            jitter=random.random,
        )
        self._workers = Workers(
            self._queue,
            self._make_reconcilers(),
            clock=clock,
            metrics=metrics,
            count=settings.reconcile.workers,
        )
        self._heartbeat = Heartbeat(clock=clock, metrics=metrics)
        self._server = OperationalServer(
            settings.http.address,
            metrics=metrics,
            live=self._live_checks(),
            ready=self._ready_checks(),
            before_scrape=self._before_scrape,
        )
        self._supervise()

    def install_signal_handlers(self) -> None:
        """Stop cleanly on SIGTERM and SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    async def run(self) -> int:
        """Run until a signal, a fault, or the loss of the lease; return the exit code."""
        self.install_signal_handlers()
        try:
            code = await self._supervisor.run()
            if self._elector is not None:
                # After the workers have ended: from here on nothing is written under this lease.
                await self._elector.release()
            return code
        finally:
            await self._tracker.close()
            await self._probes.close()
            await self._members.close()
            await self._failover.close()
            await self._replication.close()
            await self._role.close()
            for cluster in self._clusters:
                await cluster.close()

    def _make_elector(self) -> LeaseElector:
        election = self._settings.leader_election
        return LeaseElector(
            self._lease_cluster,
            namespace=self._settings.namespace,
            name=election.lease_name,
            identity=self._identity,
            clock=LeaseClock(),
            metrics=self._metrics,
            jitter=random.random,
            duration=election.lease_duration,
            renew=election.renew_interval,
        )

    def _make_reconcilers(self) -> dict[Resource, Reconciler]:
        """Return what the leader's workers call, by kind. Failovers are handled in the visit of their policy."""
        regions = RegionReconciler(
            store=self._store,
            # Not over the failover's connections: this is the storm that must not delay them.
            status=StatusWriter(self._cluster, self._store, self._leadership, metrics=self._metrics),
            queue=self._queue,
            tracker=self._tracker,
            setup=self._setup,
            checks=self._checks,
            recorder=self._recorder,
            clock=self._clock,
            hub=lambda: self._hub.uid,
            stand_back=self._failover.pace.stand_back,
        )
        return {
            FAILOVER_POLICIES: self._failover.reconciler(),
            REGIONS: regions,
            REPLICATION_POLICIES: self._replication.reconciler,
            PLACEMENT_POLICIES: PlacementReconciler(
                store=self._store,
                status=StatusWriter(self._cluster, self._store, self._leadership, metrics=self._metrics),
                queue=self._queue,
                clock=self._clock,
            ),
        }

    def _region_changed(self, region: str) -> None:
        self._queue.add(Key(REGIONS, "", region), priority=Priority.LOW)

    def _regions_changed(self) -> None:
        for region in self._store.list(REGIONS):
            self._region_changed(region["metadata"]["name"])

    def _supervise(self) -> None:
        add = self._supervisor.add
        add("http", self._server.run)
        asked = self._settings.admission
        if asked.address:
            add("admission", AdmissionServer(asked.address, certificate=asked.certificate, key=asked.key).run)
        add("heartbeat", self._heartbeat.run)
        add("resync", self._resync.run)
        add("watch", self._bridge.run)
        add("health", self._tracker.run)
        add("regions", self._setup.run)
        add("members", self._checks.run)
        add("hub", self._hub.run)
        add("events", self._recorder.run)
        add("begin", self._begin)
        add("clock", self._clock_check.run)
        for name, part in (self._failover.parts() | self._replication.parts() | self._role.parts()).items():
            add(name, part)
        if self._elector is not None:
            add("lease", self._elect)
        else:
            add("contact", self._alone.run)
        add("lead", self._lead)

    async def _begin(self) -> None:
        """Say once when this replica began to know the world: the grace after a start counts from there."""
        await self._store.wait_synced()
        self._failover.snapshots.begin(since=self._clock.monotonic())
        log.info("Synced", extra={"objects": sum(self._store.counts().values())})
        await asyncio.Event().wait()

    async def _elect(self) -> None:
        """Compete for the lease, in a hub that acts: a standby is ready, and takes nothing."""
        await self._role.guard.may_elect()
        if self._elector is not None:
            await self._elector.run()

    async def _lead(self) -> None:
        """Let the workers run once this replica leads, in a hub that acts, and knows the world."""
        if self._elector is not None:
            await self._elector.elected()
        await self._role.guard.may_act()
        await self._store.wait_synced()
        for resource in (FAILOVER_POLICIES, REGIONS, REPLICATION_POLICIES, PLACEMENT_POLICIES):
            # The queue has filled on the standby, but what was visited by nobody may have been asked for late.
            for obj in self._store.list(resource):
                metadata = obj["metadata"]
                priority = Priority.NORMAL if resource == FAILOVER_POLICIES else Priority.LOW
                self._queue.add(Key(resource, metadata.get("namespace", ""), metadata["name"]), priority=priority)
        await self._workers.run()

    def _on_signal(self, number: int) -> None:
        log.info("Stopping", extra={"signal": signal.Signals(number).name})
        self._supervisor.stop()

    def _live_checks(self) -> dict[str, Check]:
        settings = self._settings
        checks = {
            "event-loop": liveness.event_loop(self._heartbeat),
            "resync": liveness.resync(self._resync, interval=settings.watch.resync_interval),
            "workers": liveness.workers(self._workers, stuck_after=settings.reconcile.stuck_after),
            "health": liveness.health(self._tracker),
            "probes": liveness.probes(self._tracker),
        }
        if self._elector is not None:
            checks["lease"] = liveness.lease(self._elector, competing=lambda: self._role.guard.electing)
        return checks

    def _ready_checks(self) -> dict[str, Check]:
        checks = {
            "watches": liveness.watches(self._store, watching=lambda: self._bridge.watching),
            "probes": liveness.probed(self._store, self._tracker),
        }
        if self._elector is not None:
            checks["lease"] = liveness.lease_seen(self._elector)
        return checks

    def _before_scrape(self) -> None:
        self._metrics.gauge("regent_queue_depth", self._queue.depth)
        self._failover.before_scrape()
        self._metrics.gauge("regent_resync_age_seconds", self._resync.age())
        self._metrics.gauge("regent_leader", float(self._leadership.leading))
        for resource, count in self._store.counts().items():
            self._metrics.gauge("regent_store_objects", count, kind=resource.kind)


async def _run(settings: Settings) -> int:
    connection = await connect(kubeconfig=settings.kubernetes.kubeconfig, context=settings.kubernetes.context)
    log.info("Starting", extra={"version": __version__, "server": connection.server, "credentials": connection.source})
    return await Operator(settings, connection).run()


def main(settings: Settings) -> int:
    """Run the operator in this process; return its exit code.

    Raises:
        SettingsError: there is no cluster to connect to.
    """
    logs.configure(level=settings.log.level, style=settings.log.format)
    return uvloop.run(_run(settings))
