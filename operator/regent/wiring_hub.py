"""Builds what decides whether this hub acts, and what keeps a standby hub up to date: the fourth part of `wiring`.

It has connections of its own to the regions: it must be told at once whether another hub has taken over, whatever
failovers and copies are waiting for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

from regent.adapters.kubernetes.copying import CopyingCluster
from regent.adapters.kubernetes.member import MemberClusterPool
from regent.adapters.replication.access import ReplicationAccess
from regent.adapters.replication.reflector import WatchReflectors
from regent.api.v1alpha1.convert_region import region_plan
from regent.domain.health.plan import ClusterReference, SecretReference
from regent.engine.hub_guard import GuardedLeadership, HubGuard
from regent.engine.hub_identity import HubIdentity
from regent.engine.hub_notice import HubNotice
from regent.engine.ports import Clock, Cluster, Leadership, Metrics
from regent.engine.region_access import RegionAccess
from regent.engine.region_secrets import RegionSecrets
from regent.engine.resources import REGIONS
from regent.engine.standby.copies import FOLLOWED
from regent.engine.standby.follower import HubFollower
from regent.engine.store import Store
from regent.settings import Settings

KUBECONFIG = "kubeconfig"
"""Key of the Secret that leads to the active hub."""


class HubParts:
    """The guard of this hub's role and, in a standby, the follower."""

    def __init__(
        self,
        settings: Settings,
        *,
        cluster: Cluster,
        store: Store,
        identity: HubIdentity,
        leadership: Leadership,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._store = store
        self._identity = identity
        self._clock = clock
        self._metrics = metrics
        self._secrets = RegionSecrets(cluster=cluster, namespace=settings.namespace, allowed=settings.secret_namespaces)
        self._access = RegionAccess(
            store=store,
            read_reference=lambda region: region_plan(region).facts.cluster,
            secrets=self._secrets,
            members=MemberClusterPool(clock=clock, metrics=metrics),
            hub=lambda _account: cluster,
            clock=clock,
        )
        self.guard = HubGuard(
            cluster=cluster,
            namespace=settings.namespace,
            identity=identity,
            store=store,
            members=self._access,
            notice=HubNotice(cluster=cluster, store=store, clock=clock, metrics=metrics),
            follows=bool(settings.standby.follow),
            leading=lambda: leadership.leading,
            clock=clock,
            metrics=metrics,
        )
        self.leadership = GuardedLeadership(leadership, self.guard)
        self._followed: RegionAccess | None = None
        self._parts: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {"role": self.guard.run}
        if settings.standby.follow:
            self._follow(settings.standby.follow)

    def parts(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What runs as long as the process."""
        return self._parts

    async def close(self) -> None:
        """Close all connections."""
        await self._access.close()
        if self._followed is not None:
            await self._followed.close()

    def _follow(self, secret: str) -> None:
        clock, metrics, settings = self._clock, self._metrics, self._settings
        # The active hub is reached as regions are; it is no Region of this hub, so it stands in a store of its own.
        alone = Store()
        alone.observe(REGIONS, {"metadata": {"name": FOLLOWED, "uid": FOLLOWED, "resourceVersion": "1"}})
        reference = ClusterReference(kubeconfig=SecretReference(name=secret, key=KUBECONFIG))
        self._followed = RegionAccess(
            store=alone,
            read_reference=lambda _region: reference,
            secrets=self._secrets,
            members=MemberClusterPool(
                clock=clock,
                metrics=metrics,
                timeout=settings.kubernetes.request_timeout,
                pool=0,
                make=CopyingCluster,
            ),
            hub=lambda _account: self._cluster,
            clock=clock,
        )
        source = ReplicationAccess(self._followed)
        reflectors = WatchReflectors(source, clock=clock, metrics=metrics, jitter=random.random)
        follower = HubFollower(
            cluster=self._cluster,
            store=self._store,
            source=source,
            reflectors=reflectors,
            guard=self.guard,
            identity=self._identity,
            namespace=settings.namespace,
            secret=secret,
            secret_namespaces={settings.namespace, *settings.secret_namespaces} if settings.standby.secrets else (),
            clock=clock,
            metrics=metrics,
        )
        self._parts |= {"hub-watches": reflectors.run, "follower": follower.run}
