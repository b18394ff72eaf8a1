"""Builds the replicator: the third part of `wiring`.

It has connections of its own, to the hub and to the members, so that copying never delays a failover: nor does a
failover's watching of clusters see a copy that hangs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from regent.adapters.kubernetes.connection import Connection
from regent.adapters.kubernetes.copying import CopyingCluster
from regent.adapters.kubernetes.member import MemberClusterPool
from regent.adapters.replication.access import ReplicationAccess
from regent.adapters.replication.reflector import WatchReflectors
from regent.adapters.replication.transforms import Transformations
from regent.api.v1alpha1.convert_region import region_plan
from regent.api.v1alpha1.convert_replicationpolicy import replication_spec
from regent.engine.ports import Clock, Leadership, Metrics, Recorder
from regent.engine.queue import KeyedQueue
from regent.engine.region_access import RegionAccess
from regent.engine.region_epochs import RegionEpochs
from regent.engine.region_secrets import RegionSecrets
from regent.engine.replication.controller import ReplicationReconciler
from regent.engine.replication.farewell import Farewell
from regent.engine.replication.freeze import EpochCheck
from regent.engine.replication.session import LinkTasks, Sessions
from regent.engine.status import StatusWriter
from regent.engine.store import Store
from regent.settings import Settings


class ReplicationParts:
    """Reflections, links and the visits of ReplicationPolicies."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        *,
        store: Store,
        queue: KeyedQueue,
        leadership: Leadership,
        recorder: Recorder,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        timeout = settings.kubernetes.request_timeout
        # No bound on connections: a watch holds one, and what is written at once is bounded by the links.
        client = partial(CopyingCluster, clock=clock, metrics=metrics, timeout=timeout, pool=0)
        self._hub = client(connection)
        regions = RegionAccess(
            store=store,
            read_reference=lambda region: region_plan(region).facts.cluster,
            secrets=RegionSecrets(cluster=self._hub, namespace=settings.namespace, allowed=settings.secret_namespaces),
            members=MemberClusterPool(clock=clock, metrics=metrics, timeout=timeout, pool=0, make=CopyingCluster),
            hub=lambda account: self._hub.acting_as(account) if account else self._hub,
            clock=clock,
        )
        self._access = ReplicationAccess(regions)
        self._reflectors = WatchReflectors(self._access, clock=clock, metrics=metrics, jitter=random.random)
        self._transforms = Transformations(clock=clock)
        self._tasks = LinkTasks()
        may_write = EpochCheck(
            store=store, epochs=RegionEpochs(members=regions, namespace=settings.namespace)
        ).may_write
        sessions = Sessions(
            access=self._access,
            reflectors=self._reflectors,
            transforms=self._transforms,
            tasks=self._tasks,
            may_write=may_write,
            leadership=leadership,
            clock=clock,
            jitter=random.random,
            metrics=metrics,
        )
        self.reconciler = ReplicationReconciler(
            store=store,
            queue=queue,
            status=StatusWriter(self._hub, store, leadership, metrics=metrics),
            sessions=sessions,
            access=self._access,
            farewell=Farewell(
                cluster=self._hub, store=store, access=self._access, leadership=leadership, may_write=may_write
            ),
            read_policy=replication_spec,
            recorder=recorder,
            clock=clock,
            metrics=metrics,
        )

    def parts(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What runs as long as the process."""
        return {"reflections": self._reflectors.run, "links": self._tasks.run}

    async def close(self) -> None:
        """Close all connections."""
        self._transforms.close()
        await self._access.close()
        await self._hub.close()
