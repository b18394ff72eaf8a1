"""Makes the targets of a policy: a kind for what an object is, a place for where it is; receivers stand apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from regent.adapters.traffic.dns_endpoint import DnsEndpoint
from regent.adapters.traffic.kinds import ObjectKind
from regent.adapters.traffic.object_target import ObjectTarget
from regent.adapters.traffic.places import HubPlace, MemberMemory, MemberPlace, Place
from regent.adapters.traffic.routes import GrpcRoute, HttpRoute
from regent.adapters.traffic.virtual_service import VirtualService
from regent.adapters.traffic.webhook import Webhooks
from regent.domain.failover.model import PolicySpec
from regent.domain.traffic.targets import DNS_ENDPOINT, GRPC_ROUTE, HTTP_ROUTE, VIRTUAL_SERVICE, WEBHOOK, TargetSpec
from regent.engine.ports import Clock, Cluster, Leadership
from regent.engine.promotion import MemberAccess
from regent.engine.store import Store
from regent.engine.traffic import TrafficTarget

KINDS: Mapping[str, Callable[[PolicySpec, TargetSpec], ObjectKind]] = {
    HTTP_ROUTE: HttpRoute,
    GRPC_ROUTE: GrpcRoute,
    VIRTUAL_SERVICE: VirtualService,
    DNS_ENDPOINT: DnsEndpoint,
}


class Targets:
    """Implements `TargetFactory`.

    Args:
        cluster: the hub, over the connections that failovers have for themselves.
        store: the hub's watched objects.
        members: the clusters of regions.
        webhooks: receivers of users.
        leadership: looked at right before each write.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        members: MemberAccess,
        webhooks: Webhooks,
        leadership: Leadership,
        clock: Clock,
    ) -> None:
        self._hub = HubPlace(cluster=cluster, store=store, leadership=leadership)
        self._leadership = leadership
        self._members = members
        self._webhooks = webhooks
        self._memory = MemberMemory()
        self._clock = clock

    def targets(self, policy: PolicySpec, specs: Sequence[TargetSpec]) -> Sequence[TrafficTarget]:
        """Return one target for each spec."""
        return [self._target(policy, spec) for spec in specs]

    def _target(self, policy: PolicySpec, spec: TargetSpec) -> TrafficTarget:
        if spec.kind == WEBHOOK:
            return self._webhooks.target(policy, spec)
        return ObjectTarget(kind=KINDS[spec.kind](policy, spec), place=self._place(spec), namespace=policy.namespace)

    def _place(self, spec: TargetSpec) -> Place:
        if not spec.cluster:
            return self._hub
        return MemberPlace(
            spec.cluster, access=self._members, memory=self._memory, leadership=self._leadership, clock=self._clock
        )
