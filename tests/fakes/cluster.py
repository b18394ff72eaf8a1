"""An API server in memory that behaves as the real one where Regent could notice.

It passes the same contract tests (tests/contract/cluster) as the adapter against a real API server: resourceVersions,
uids, generation, conflicts, the status subresource, deletion with a uid, finalizers. It does not know schemas: no
defaulting, no validation. Faults are injected with `fail`; `subscribe` delivers changes as a watch would.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from regent.domain.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from regent.domain.merge_patch import merged
from regent.engine import resources
from regent.engine.ports import Object
from regent.engine.resources import Resource
from tests.fakes.cloning import clone

WITH_STATUS = frozenset(
    {
        resources.REGIONS,
        resources.FAILOVER_POLICIES,
        resources.FAILOVERS,
        resources.REPLICATION_POLICIES,
        resources.PLACEMENT_POLICIES,
        resources.HTTP_ROUTES,
        resources.GRPC_ROUTES,
        resources.VIRTUAL_SERVICES,
        resources.DNS_ENDPOINTS,
        resources.SERVICES,
        resources.DEPLOYMENTS,
        resources.STATEFUL_SETS,
        resources.CRON_JOBS,
        resources.JOBS,
        resources.CNPG_CLUSTERS,
        resources.VOLUME_REPLICATIONS,
        resources.VIRTUAL_MACHINES,
    }
)
WITHOUT_GENERATION = frozenset({resources.LEASES, resources.SECRETS, resources.SERVICES, resources.EVENTS})

Listener = Callable[[str, Resource, Object], None]


@dataclass
class Fault:
    """The next `times` calls that match raise `error`; `after` lets the effect happen first (an ambiguous write)."""

    verb: str
    resource: Resource | None
    error: ClusterError
    times: int
    after: bool


class FakeCluster:
    """Implements `regent.engine.ports.Cluster`."""

    def __init__(
        self,
        *,
        wall: Callable[[], str] = lambda: "2026-01-01T00:00:00Z",
        uid: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._uid = uid
        self.calls: list[tuple[str, Resource, str, str]] = []
        """Every call as (verb, resource, namespace, name), in order."""
        self.served = {value for value in vars(resources).values() if isinstance(value, Resource)}
        """The kinds that `discover` finds."""
        self._wall = wall
        self._objects: dict[Resource, dict[tuple[str, str], Object]] = {}
        self._version = 100
        self._faults: list[Fault] = []
        self._listeners: list[Listener] = []

    @property
    def version(self) -> int:
        """The latest resourceVersion: it rises with every change, and only then."""
        return self._version

    @property
    def writes(self) -> list[tuple[str, Resource, str, str]]:
        """The calls that change something."""
        return [call for call in self.calls if call[0] not in ("get", "list")]

    def fail(
        self, verb: str, error: ClusterError, *, resource: Resource | None = None, times: int = 1, after: bool = False
    ) -> None:
        """Let the next calls of `verb` raise."""
        self._faults.append(Fault(verb, resource, error, times, after))

    def subscribe(self, listener: Listener) -> None:
        """Call `listener("ADDED"|"MODIFIED"|"DELETED", resource, object)` after each change."""
        self._listeners.append(listener)

    def feed(self, store: object) -> None:
        """Let a `regent.engine.store.Store` follow this cluster, as the bridge does."""
        for resource, shelf in self._objects.items():
            for obj in shelf.values():
                store.observe(resource, clone(obj))  # type: ignore[attr-defined]

        def deliver(event: str, resource: Resource, obj: Object) -> None:
            (store.remove if event == "DELETED" else store.observe)(resource, obj)  # type: ignore[attr-defined]

        self.subscribe(deliver)

    def put(self, resource: Resource, obj: Object) -> Object:
        """Set an object with its status, whatever was there: the test's own hand."""
        obj = clone(obj)
        metadata = obj["metadata"]
        shelf = self._objects.setdefault(resource, {})
        old = shelf.get(_key(resource, obj))
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        metadata.setdefault("uid", old["metadata"]["uid"] if old else self._uid())
        metadata.setdefault("creationTimestamp", self._wall())
        if resource not in WITHOUT_GENERATION:
            same = old is not None and old.get("spec") == obj.get("spec")
            generation = old["metadata"].get("generation", 0) if old else 0
            metadata.setdefault("generation", generation if same else generation + 1)
        self._store(resource, obj, "MODIFIED" if old else "ADDED")
        return clone(obj)

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        self._enter("get", resource, namespace, name)
        obj = self._objects.get(resource, {}).get((namespace, name))
        if obj is None:
            raise NotFoundError(f"{resource.kind} {namespace}/{name} not found", status=404, reason="NotFound")
        await asyncio.sleep(0)
        return clone(obj)

    async def list(self, resource: Resource, namespace: str = "", *, label_selector: str = "") -> Sequence[Object]:
        self._enter("list", resource, namespace, "")
        await asyncio.sleep(0)
        return [
            clone(obj)
            for (of, _), obj in sorted(self._objects.get(resource, {}).items())
            if namespace in ("", of) and matches(label_selector, obj["metadata"].get("labels", {}))
        ]

    async def create(self, resource: Resource, obj: Object) -> Object:
        namespace, name = _key(resource, obj)
        fault = self._enter("create", resource, namespace, name)
        if (namespace, name) in self._objects.get(resource, {}):
            raise AlreadyExistsError(f"{resource.kind} {name!r} already exists", status=409, reason="AlreadyExists")
        if obj["metadata"].get("resourceVersion"):
            # A 500, odd as that is: so says the real one.
            raise UnavailableError("resourceVersion should not be set on objects to be created", status=500)
        new = clone(obj)
        if resource in WITH_STATUS:
            new.pop("status", None)
        new["metadata"].update(uid=self._uid(), creationTimestamp=self._wall())
        if resource not in WITHOUT_GENERATION:
            new["metadata"]["generation"] = 1
        return await self._answer(self._store(resource, new, "ADDED"), fault)

    async def replace(self, resource: Resource, obj: Object) -> Object:
        old, fault = self._for_update("replace", resource, obj)
        new = clone(obj)
        if resource in WITH_STATUS:
            new.pop("status", None)
            if "status" in old:
                new["status"] = clone(old["status"])
        return await self._answer(self._update(resource, old, new), fault)

    async def replace_status(self, resource: Resource, obj: Object) -> Object:
        old, fault = self._for_update("replace_status", resource, obj)
        if resource not in WITH_STATUS:
            raise NotFoundError("the server could not find the requested resource", status=404, reason="NotFound")
        new = clone(old)
        new.pop("status", None)
        if "status" in obj:
            new["status"] = clone(obj["status"])
        return await self._answer(self._update(resource, old, new), fault)

    async def patch(self, resource: Resource, namespace: str, name: str, change: Object) -> Object:
        fault = self._enter("patch", resource, namespace, name)
        old = self._objects.get(resource, {}).get((namespace, name))
        if old is None:
            raise NotFoundError(f"{resource.kind} {namespace}/{name} not found", status=404, reason="NotFound")
        new = merged(old, change)
        metadata = new["metadata"]
        if metadata.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
            raise ConflictError("the object has been modified", status=409, reason="Conflict")
        for field in ("name", "namespace", "uid"):
            if metadata.get(field) != old["metadata"].get(field):
                raise InvalidError(f"metadata.{field}: field is immutable", status=422)
        if resource in WITH_STATUS:
            new.pop("status", None)
            if "status" in old:
                new["status"] = clone(old["status"])
        metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        return await self._answer(self._update(resource, old, new), fault)

    async def discover(self, api_version: str, kind: str) -> Resource:
        for resource in self.served:
            if (resource.api_version, resource.kind) == (api_version, kind):
                return resource
        raise NotFoundError(f"the API server knows no {kind} in {api_version}", status=404, reason="NotFound")

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        fault = self._enter("delete", resource, namespace, name)
        old = self._objects.get(resource, {}).get((namespace, name))
        if old is None:
            raise NotFoundError(f"{resource.kind} {namespace}/{name} not found", status=404, reason="NotFound")
        if old["metadata"]["uid"] != uid:
            raise ConflictError("Precondition failed: UID in precondition", status=409, reason="Conflict")
        if old["metadata"].get("finalizers"):
            if not old["metadata"].get("deletionTimestamp"):
                new = clone(old)
                new["metadata"]["deletionTimestamp"] = self._wall()
                self._store(resource, new, "MODIFIED")
        else:
            self._drop(resource, old)
        await self._answer(old, fault)

    def _enter(self, verb: str, resource: Resource, namespace: str, name: str) -> ClusterError | None:
        self.calls.append((verb, resource, namespace, name))
        for fault in self._faults:
            if fault.verb == verb and fault.resource in (None, resource) and fault.times > 0:
                fault.times -= 1
                if fault.after:
                    return fault.error
                raise fault.error
        return None

    def _for_update(self, verb: str, resource: Resource, obj: Object) -> tuple[Object, ClusterError | None]:
        namespace, name = _key(resource, obj)
        fault = self._enter(verb, resource, namespace, name)
        old = self._objects.get(resource, {}).get((namespace, name))
        if old is None:
            raise NotFoundError(f"{resource.kind} {namespace}/{name} not found", status=404, reason="NotFound")
        uid, version = obj["metadata"].get("uid"), obj["metadata"].get("resourceVersion")
        if uid and uid != old["metadata"]["uid"]:
            raise ConflictError("Precondition failed: UID in precondition", status=409, reason="Conflict")
        if not version:
            raise InvalidError("metadata.resourceVersion: must be specified for an update", status=422)
        if version != old["metadata"]["resourceVersion"]:
            raise ConflictError("the object has been modified", status=409, reason="Conflict")
        return old, fault

    def _update(self, resource: Resource, old: Object, new: Object) -> Object:
        for field in ("uid", "creationTimestamp", "generation", "deletionTimestamp"):
            new["metadata"].pop(field, None)
            if field in old["metadata"]:
                new["metadata"][field] = old["metadata"][field]
        if resource not in WITHOUT_GENERATION and _without_status(new) != _without_status(old):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if _comparable(new) == _comparable(old):
            return old  # The API server writes nothing when nothing changes: same resourceVersion, no event.
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            self._drop(resource, new)
            return new
        return self._store(resource, new, "MODIFIED")

    def _store(self, resource: Resource, obj: Object, event: str) -> Object:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        self._objects.setdefault(resource, {})[_key(resource, obj)] = obj
        self._emit(event, resource, obj)
        return obj

    def _drop(self, resource: Resource, obj: Object) -> None:
        self._version += 1
        gone = clone(obj)
        gone["metadata"]["resourceVersion"] = str(self._version)
        del self._objects[resource][_key(resource, obj)]
        self._emit("DELETED", resource, gone)

    def _emit(self, event: str, resource: Resource, obj: Object) -> None:
        for listener in self._listeners:
            listener(event, resource, clone(obj))

    async def _answer(self, obj: Object, fault: ClusterError | None) -> Object:
        obj = clone(obj)
        await asyncio.sleep(0)
        if fault is not None:
            raise fault
        return obj


def _key(resource: Resource, obj: Object) -> tuple[str, str]:
    metadata = obj["metadata"]
    if resource.namespaced and not metadata.get("namespace"):
        raise InvalidError(f"{resource.kind} {metadata.get('name')!r} needs a namespace", status=400)
    return (metadata["namespace"] if resource.namespaced else ""), metadata["name"]


def _without_status(obj: Object) -> Object:
    return {field: value for field, value in obj.items() if field not in ("metadata", "status")}


def _comparable(obj: Object) -> Object:
    metadata = {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}
    return {**obj, "metadata": metadata}


def matches(selector: str, labels: dict[str, str]) -> bool:
    """Whether labels fit a selector's text, of equalities and names of labels only."""
    for term in filter(None, selector.split(",")):
        name, equals, value = term.partition("=")
        if name not in labels or (equals and labels[name] != value.lstrip("=")):
            return False
    return True
