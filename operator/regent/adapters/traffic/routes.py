"""Gateway API routes as traffic targets: HTTPRoute and GRPCRoute, which hold weights alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from regent.adapters.traffic.kinds import REGION_LABEL, RegionOfService
from regent.adapters.traffic.weighted import Reference, WeightedKind
from regent.domain.traffic.backends import Total
from regent.engine.ports import Cluster, Object
from regent.engine.resources import GRPC_ROUTES, HTTP_ROUTES, Resource


class _Route(WeightedKind):
    """`spec.rules[].backendRefs[].weight`; relative, 0 to 1,000,000, 1 when absent."""

    weight_fields: ClassVar[tuple[str, ...]] = ("rules",)
    labelled: ClassVar[bool] = True
    total: ClassVar[Total] = Total.RELATIVE

    def rules(self, obj: Object) -> Iterable[tuple[str, list[Reference]]]:
        """See `WeightedKind.rules`."""
        for index, rule in enumerate((obj.get("spec") or {}).get("rules") or []):
            yield str(index), rule.get("backendRefs") or []

    def name_of(self, reference: Mapping[str, Any]) -> str:
        """See `WeightedKind.name_of`."""
        return str(reference.get("name", ""))

    def region_of(self, reference: Mapping[str, Any], region_of: RegionOfService) -> str | None:
        """See `WeightedKind.region_of`."""
        if reference.get("kind", "Service") != "Service" or reference.get("group", "") != "":
            return None
        name = self.name_of(reference)
        namespace = str(reference.get("namespace") or self._policy.namespace)
        if name in self._spec.regions_by_service and namespace == self._policy.namespace:
            return self._spec.regions_by_service[name]
        region = region_of(namespace, name)
        # A label that names a region outside the policy is somebody else's: its backend is left alone.
        return region if region and self._policy.region(region) else None

    def accepted(self, obj: Object) -> tuple[bool, str]:
        """Every parent took this very generation. Gateways write it before they use the weights (Traefik) or after
        (Envoy Gateway), so it is necessary and not sufficient."""
        parents = ((obj.get("status") or {}).get("parents")) or []
        if not parents:
            return False, "no gateway has reported on the route"
        generation = obj["metadata"].get("generation", 0)
        for parent in parents:
            name = parent.get("controllerName", "a gateway")
            for kind in ("Accepted", "ResolvedRefs"):
                condition = _condition(parent.get("conditions") or (), kind)
                if condition is None or int(condition.get("observedGeneration", 0)) < generation:
                    return False, f"{name} has not reported {kind} on it yet"
                if condition.get("status") != "True":
                    return False, f"{name}: {kind}={condition.get('status')}, {condition.get('reason')}"[:256]
        return True, f"accepted at generation {generation}"


class HttpRoute(_Route):
    """`ObjectKind` of HTTPRoutes."""

    resource: ClassVar[Resource] = HTTP_ROUTES
    mapping: ClassVar[str] = "targets[].httpRoute.backends"
    how_to_map: ClassVar[str] = (
        f"add a backendRef and label its Service {REGION_LABEL}=<region>, or list it under {mapping}"
    )

    async def read(self, cluster: Cluster, namespace: str) -> Object:
        """GET the route."""
        return await cluster.get(HTTP_ROUTES, namespace, self._spec.name)

    async def write(self, cluster: Cluster, obj: Object) -> Object:
        """PUT the route."""
        return await cluster.replace(HTTP_ROUTES, obj)


class GrpcRoute(_Route):
    """`ObjectKind` of GRPCRoutes."""

    resource: ClassVar[Resource] = GRPC_ROUTES
    mapping: ClassVar[str] = "targets[].grpcRoute.backends"
    how_to_map: ClassVar[str] = (
        f"add a backendRef and label its Service {REGION_LABEL}=<region>, or list it under {mapping}"
    )

    async def read(self, cluster: Cluster, namespace: str) -> Object:
        """GET the route."""
        return await cluster.get(GRPC_ROUTES, namespace, self._spec.name)

    async def write(self, cluster: Cluster, obj: Object) -> Object:
        """PUT the route."""
        return await cluster.replace(GRPC_ROUTES, obj)


def _condition(conditions: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    return next((item for item in conditions if item.get("type") == kind), None)
