"""Gateway API HTTPRoutes as traffic targets.

`rules` and `backendRefs` are atomic lists, so server-side apply cannot own a weight alone: the object is read, its
weights are changed in place and it is written back whole with its resourceVersion. Everything else, fields that Regent
does not know included, goes back as it came.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from regent.domain.errors import ConflictError, FencedOffError, NotFoundError, TargetProblemError, UnavailableError
from regent.domain.failover.fence import ANNOTATION as FENCE_ANNOTATION
from regent.domain.failover.fence import Fence, parse_fence
from regent.domain.failover.model import PolicySpec
from regent.domain.traffic.backends import Backend, Weights, adopt_ratios, shares_of, weigh
from regent.domain.traffic.targets import TargetSpec
from regent.engine.ports import Cluster, Object
from regent.engine.resources import HTTP_ROUTES, SERVICES
from regent.engine.store import Store
from regent.engine.traffic import OWNER_ANNOTATION, TargetState

REGION_LABEL = "regent.dev/region"
RATIOS_ANNOTATION = "regent.dev/backend-ratios"
MANAGER = "regent"
MAX_CONFLICTS = 8
"""Rereads after a conflict before giving up until the next visit."""


class HttpRouteTarget:
    """One HTTPRoute of a policy's namespace."""

    def __init__(self, *, cluster: Cluster, store: Store, policy: PolicySpec, spec: TargetSpec) -> None:
        self._cluster = cluster
        self._store = store
        self._policy = policy
        self._spec = spec

    @property
    def spec(self) -> TargetSpec:
        """What the policy says about the route."""
        return self._spec

    async def observe(self, distribution: Mapping[str, int], *, fresh: bool = False) -> TargetState:
        """Look at the route, in the store or (fresh) at the API server."""
        route = await self._read() if fresh else self._store.get(HTTP_ROUTES, self._policy.namespace, self._spec.name)
        if route is None:
            return TargetState(
                ref=self._spec.ref,
                exists=False,
                problem="TargetNotFound",
                message=f"{self._spec.ref} does not exist in namespace {self._policy.namespace}; create it",
            )
        return self._state(route, distribution)

    async def apply(self, distribution: Mapping[str, int], *, fence: Fence, owner: str) -> TargetState:
        """Write the weights; see `TrafficTarget.apply`."""
        route = self._store.get(HTTP_ROUTES, self._policy.namespace, self._spec.name) or await self._read()
        for _ in range(MAX_CONFLICTS):
            if route is None:
                raise TargetProblemError("TargetNotFound", f"{self._spec.ref} does not exist; create it")
            state = self._state(route, distribution)
            if state.problem:
                raise TargetProblemError(state.problem, state.message)
            if state.fence is not None and state.fence > fence:
                raise FencedOffError(f"{self._spec.ref} carries fence {state.fence}, ours is {fence}")
            if state.aligned and state.fence == fence and state.owner == owner:
                return state
            try:
                written = await self._cluster.replace(HTTP_ROUTES, self._edited(route, distribution, fence, owner))
            except ConflictError:
                # Somebody wrote since we read: their change is kept, so read again and edit that.
                route = await self._read()
                continue
            except NotFoundError:
                route = None
                continue
            self._store.observe(HTTP_ROUTES, written)
            return self._state(written, distribution)
        raise UnavailableError(f"{self._spec.ref} was changed by others {MAX_CONFLICTS} times while we wrote it")

    async def _read(self) -> Object | None:
        try:
            route = await self._cluster.get(HTTP_ROUTES, self._policy.namespace, self._spec.name)
        except NotFoundError:
            return None
        self._store.observe(HTTP_ROUTES, route)
        return route

    def _edited(self, route: Object, distribution: Mapping[str, int], fence: Fence, owner: str) -> Object:
        edited = copy.deepcopy(route)
        backends = self._backends(route)
        ratios = _ratios(route) or adopt_ratios(backends)
        for rule, weights in zip(_rules(edited), weigh(backends, distribution, ratios).rules, strict=True):
            for reference, backend, weight in zip(_refs(rule), self._rule_backends(rule), weights, strict=True):
                if weight != backend.weight:  # an absent weight that is right by its default stays absent
                    reference["weight"] = weight
        annotations = edited["metadata"].setdefault("annotations", {})
        annotations[FENCE_ANNOTATION] = str(fence)
        annotations[OWNER_ANNOTATION] = owner
        if ratios:
            annotations[RATIOS_ANNOTATION] = json.dumps(ratios, sort_keys=True, separators=(",", ":"))
        return edited

    def _state(self, route: Object, distribution: Mapping[str, int]) -> TargetState:
        backends = self._backends(route)
        weights = weigh(backends, distribution, _ratios(route) or adopt_ratios(backends))
        annotations = route["metadata"].get("annotations") or {}
        problem, message = self._problem(backends, weights, distribution)
        accepted, accepted_message = _accepted(route)
        return TargetState(
            ref=self._spec.ref,
            shares=shares_of(backends),
            aligned=[[backend.weight for backend in rule] for rule in backends]
            == [list(rule) for rule in weights.rules],
            fence=parse_fence(annotations.get(FENCE_ANNOTATION, "")),
            owner=annotations.get(OWNER_ANNOTATION, ""),
            problem=problem,
            message=message,
            accepted=accepted,
            accepted_message=accepted_message,
            writer=_last_writer(route),
            snapshot=json.dumps([[[b.service, b.weight] for b in rule] for rule in backends], separators=(",", ":")),
        )

    def _problem(
        self, backends: list[list[Backend]], weights: Weights, distribution: Mapping[str, int]
    ) -> tuple[str, str]:
        present = {backend.region for rule in backends for backend in rule}
        services = {backend.service for rule in backends for backend in rule}
        unknown = sorted(set(self._spec.regions_by_service) - services)
        if unknown:
            return "BackendNotFound", (
                f"targets[].httpRoute.backends names {', '.join(unknown)}, which {self._spec.ref} has no backendRef for"
            )
        missing = sorted(entry.name for entry in self._policy.regions if entry.name not in present)
        if missing:
            return "MappingIncomplete", (
                f"{self._spec.ref} has no backend for {', '.join(missing)}: add a backendRef and label its Service "
                f"{REGION_LABEL}=<region>, or list it under targets[].httpRoute.backends"
            )
        covered = len(weights.uncovered) < sum(any(b.region for b in rule) for rule in backends)
        if distribution and not covered:
            return "RuleNotCovered", f"no rule of {self._spec.ref} has a backend of a region with a share"
        return "", _uncovered_message(self._spec.ref, weights)

    def _backends(self, route: Object) -> list[list[Backend]]:
        return [self._rule_backends(rule) for rule in _rules(route)]

    def _rule_backends(self, rule: Mapping[str, Any]) -> list[Backend]:
        return [
            Backend(service=str(ref.get("name", "")), region=self._region_of(ref), weight=int(ref.get("weight", 1)))
            for ref in _refs(rule)
        ]

    def _region_of(self, reference: Mapping[str, Any]) -> str | None:
        if reference.get("kind", "Service") != "Service" or reference.get("group", "") != "":
            return None
        name = str(reference.get("name", ""))
        namespace = str(reference.get("namespace") or self._policy.namespace)
        if name in self._spec.regions_by_service and namespace == self._policy.namespace:
            return self._spec.regions_by_service[name]
        service = self._store.get(SERVICES, namespace, name)
        region = ((service or {}).get("metadata", {}).get("labels") or {}).get(REGION_LABEL)
        # A label that names a region outside the policy is somebody else's: its backend is left alone.
        return region if region and self._policy.region(region) else None


def _rules(route: Object) -> list[dict[str, Any]]:
    return (route.get("spec") or {}).get("rules") or []


def _refs(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    return rule.get("backendRefs") or []


def _ratios(route: Object) -> dict[str, int]:
    """The ratios that were remembered at adoption; text that is not ours is ignored, never trusted."""
    text = (route["metadata"].get("annotations") or {}).get(RATIOS_ANNOTATION, "")
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): value for name, value in found.items() if isinstance(value, int) and 0 <= value <= 1_000_000}


def _uncovered_message(ref: str, weights: Weights) -> str:
    if not weights.uncovered:
        return ""
    numbers = ", ".join(str(index) for index in weights.uncovered)
    return f"RuleNotCovered: rule {numbers} of {ref} has no backend of a region with a share and stays as it is"


def _accepted(route: Object) -> tuple[bool, str]:
    """Whether every parent took this very generation. Gateways write it before they use the weights (Traefik) or after
    (Envoy Gateway), so it is necessary and not sufficient."""
    parents = ((route.get("status") or {}).get("parents")) or []
    if not parents:
        return False, "no gateway has reported on the route"
    generation = route["metadata"].get("generation", 0)
    for parent in parents:
        for kind in ("Accepted", "ResolvedRefs"):
            condition = _condition(parent.get("conditions") or (), kind)
            if condition is None or int(condition.get("observedGeneration", 0)) < generation:
                return False, f"{parent.get('controllerName', 'a gateway')} has not reported {kind} on it yet"
            if condition.get("status") != "True":
                name = parent.get("controllerName", "a gateway")
                return False, f"{name}: {kind}={condition.get('status')}, {condition.get('reason')}"[:256]
    return True, f"accepted at generation {generation}"


def _condition(conditions: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    return next((item for item in conditions if item.get("type") == kind), None)


def _last_writer(route: Object) -> str:
    """The field manager, other than ours, that wrote the rules last."""
    writers = [
        entry
        for entry in route["metadata"].get("managedFields") or ()
        if "f:rules" in json.dumps((entry.get("fieldsV1") or {}).get("f:spec") or {}) and not entry.get("subresource")
    ]
    latest = max(writers, key=lambda entry: str(entry.get("time", "")), default=None)
    manager = str((latest or {}).get("manager", ""))
    return "" if manager == MANAGER else manager


class RouteTargets:
    """The `TargetFactory` of this version: HTTPRoutes of the hub."""

    def __init__(self, *, cluster: Cluster, store: Store) -> None:
        self._cluster = cluster
        self._store = store

    def targets(self, policy: PolicySpec, specs: Sequence[TargetSpec]) -> Sequence[HttpRouteTarget]:
        """Return one target for each spec."""
        return [HttpRouteTarget(cluster=self._cluster, store=self._store, policy=policy, spec=spec) for spec in specs]
