"""Builds the part of the operator that decides about policies and carries it out: the second half of `wiring`.

Everything here writes over the failover's own connections, so that a storm of other writes cannot delay it.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from regent.adapters.clock import LeaseClock
from regent.adapters.egress.receivers import Receivers
from regent.adapters.kubernetes.client import KubernetesCluster
from regent.adapters.kubernetes.member import MemberClusterPool
from regent.adapters.promotion.factory import PromotionDrivers, object_drivers
from regent.adapters.promotion.patroni import patroni_steps
from regent.adapters.promotion.patroni_api import Clients as PatroniClients
from regent.adapters.traffic.factory import Targets
from regent.adapters.traffic.verification import DataPlaneVerifier
from regent.api.v1alpha1.convert_failover import run_spec
from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.api.v1alpha1.convert_region import region_plan
from regent.api.v1alpha1.convert_replicationpolicy import replication_spec
from regent.engine.agent_isolation import AgentIsolation
from regent.engine.alignment import Alignment
from regent.engine.health import HealthTracker
from regent.engine.hooks import HookCalls
from regent.engine.pace import Pace
from regent.engine.policies import PolicyReconciler
from regent.engine.policy_secrets import PolicySecrets
from regent.engine.policy_watch import PolicyWatch
from regent.engine.ports import Clock, Leadership, Metrics, Recorder
from regent.engine.queue import Key, KeyedQueue, Priority
from regent.engine.receiver_checks import ReceiverChecks
from regent.engine.region_access import RegionAccess
from regent.engine.region_epochs import RegionEpochs
from regent.engine.region_secrets import RegionSecrets
from regent.engine.replication.runs import ReplicationInRuns
from regent.engine.replication.session import Session
from regent.engine.requesters import Requesters
from regent.engine.resources import FAILOVER_POLICIES
from regent.engine.role_watch import RoleWatch
from regent.engine.runs import RunExecutor
from regent.engine.snapshots import Snapshots
from regent.engine.status import StatusWriter
from regent.engine.store import Store
from regent.settings import Settings


class FailoverParts:
    """Policies, runs, targets, promotion steps, and what is told to receivers of users."""

    def __init__(
        self,
        settings: Settings,
        *,
        cluster: KubernetesCluster,
        store: Store,
        queue: KeyedQueue,
        tracker: HealthTracker,
        leadership: Leadership,
        recorder: Recorder,
        clock: Clock,
        metrics: Metrics,
        session: Callable[[Key], Session | None],
        clock_off: Callable[[], str],
    ) -> None:
        self._session = session
        self._settings = settings
        self._cluster = cluster
        self._store = store
        self._queue = queue
        self._leadership = leadership
        self._recorder = recorder
        self._clock = clock
        self._metrics = metrics
        self._receivers = Receivers(
            allow_loopback=settings.egress.allow_loopback,
            cluster=cluster,
            clock=clock,
            chance=random.random,
            nonce=partial(secrets.token_hex, 8),
            metrics=metrics,
        )
        self._hooks = HookCalls(self._receivers.hooks(), answered=self._policy_due)
        self._receiver_checks = ReceiverChecks(self._receivers.secrets, clock=clock, changed=self._policy_due)
        self._notifier = self._receivers.notifier(leadership=leadership, recorder=recorder)
        self.snapshots = Snapshots(
            store=store,
            tracker=tracker,
            clock=clock,
            startup_grace=settings.failover.startup_grace,
            suspend_all=lambda: settings.failover.suspend_all,
            clock_off=clock_off,
        )
        PolicyWatch(store=store, tracker=tracker, queue=queue)
        self.pace = Pace(
            at_once=settings.reconcile.failovers,
            wake=lambda key: queue.add(key, priority=Priority.HIGH),
        )
        self._access = RegionAccess(
            store=store,
            read_reference=lambda region: region_plan(region).facts.cluster,
            # Over the failover's connections, and with a pool of its own: see the module.
            secrets=RegionSecrets(cluster=cluster, namespace=settings.namespace, allowed=settings.secret_namespaces),
            members=MemberClusterPool(
                clock=clock, metrics=metrics, timeout=settings.kubernetes.failover_request_timeout
            ),
            hub=lambda account: cluster.acting_as(account) if account else cluster,
            clock=clock,
        )
        self._patroni = PatroniClients(allow_loopback=settings.egress.allow_loopback)
        databases = patroni_steps(
            clients=self._patroni, secrets=PolicySecrets(cluster=cluster, clock=clock), clock=clock
        )
        self._drivers = PromotionDrivers(
            {**object_drivers(self._access, clock=clock), **self._receivers.steps(), **databases}
        )
        self._role_watch = RoleWatch(
            store=store,
            read_policy=policy_spec,
            drivers=self._drivers,
            queue=queue,
            leadership=leadership,
            clock=clock,
        )

    def parts(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What runs as long as the process."""
        return {
            "hooks": self._hooks.run,
            "notifications": self._notifier.run,
            "receivers": self._receiver_checks.run,
            "roles": self._role_watch.run,
        }

    def before_scrape(self) -> None:
        """Bring gauges up to date that nothing else sets."""
        self._metrics.gauge("regent_notifications_waiting", self._notifier.waiting)

    async def close(self) -> None:
        """Close what is open towards regions and receivers."""
        self._receivers.close()
        self._patroni.close()
        await self._access.close()

    def reconciler(self) -> PolicyReconciler:
        """What the leader's workers call for a policy and its runs."""
        clock, metrics, store, recorder = self._clock, self._metrics, self._store, self._recorder
        cluster, leadership = self._cluster, self._leadership
        status = StatusWriter(cluster, store, leadership, metrics=metrics)
        alignment = Alignment(
            clock=clock,
            leadership=leadership,
            verifier=DataPlaneVerifier(self._receivers.client, allow_loopback=self._settings.egress.allow_loopback),
            metrics=metrics,
        )
        epochs = RegionEpochs(members=self._access, namespace=self._settings.namespace)
        executor = RunExecutor(
            cluster=cluster,
            store=store,
            status=status,
            alignment=alignment,
            leadership=leadership,
            clock=clock,
            recorder=recorder,
            metrics=metrics,
            isolation=AgentIsolation(
                cluster=cluster,
                namespace=self._settings.namespace,
                leadership=leadership,
                clock=LeaseClock(),
                skew=self._settings.failover.max_clock_skew,
            ),
            epochs=epochs,
            requesters=Requesters(cluster=cluster, policy=self._settings.admission.policy),
            hooks=self._hooks,
            replication=ReplicationInRuns(
                store=store,
                queue=self._queue,
                session=self._session,
                members=self._access,
                leadership=leadership,
                read_policy=replication_spec,
            ),
        )
        return PolicyReconciler(
            cluster=cluster,
            store=store,
            status=status,
            snapshots=self.snapshots,
            executor=executor,
            alignment=alignment,
            targets=Targets(
                cluster=cluster,
                store=store,
                members=self._access,
                webhooks=self._receivers.webhooks(),
                leadership=leadership,
                clock=clock,
            ),
            read_policy=policy_spec,
            read_run=run_spec,
            clock=clock,
            recorder=recorder,
            pace=self.pace,
            drivers=self._drivers,
            epochs=epochs,
            watch=self._role_watch,
            leadership=leadership,
            announcer=self._notifier,
            receivers=self._receiver_checks,
            metrics=metrics,
        )

    def _policy_due(self, namespace: str, name: str) -> None:
        self._queue.add(Key(FAILOVER_POLICIES, namespace, name), priority=Priority.HIGH)
