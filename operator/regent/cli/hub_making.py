"""Makes the objects of an export in this hub, each with the memory that its status is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from regent.cli.fields import name_of, value_at
from regent.domain.errors import AlreadyExistsError, ConflictError
from regent.domain.hub import COPIED, COPIED_UID, IMPORTED
from regent.engine.ports import Cluster, Object
from regent.engine.resources import NAMESPACES, Resource

CONFLICTS = 8


@dataclass(frozen=True, slots=True)
class Made:
    """What was done about an object; `place` is its kind, namespace and name."""

    place: tuple[str, str, str]
    result: str


async def make(
    cluster: Cluster, objects: Mapping[Resource, Sequence[Object]], namespaces: set[str]
) -> AsyncIterator[Made]:
    """Make or change everything, in this order; the spec becomes that of the export."""
    for name in sorted(namespaces):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        try:
            await cluster.create(NAMESPACES, namespace)
            yield Made(("Namespace", "", name), "created")
        except AlreadyExistsError:
            continue
    for resource, objs in objects.items():
        for obj in objs:
            place = (resource.kind, str(value_at(obj, ".metadata.namespace") or ""), name_of(obj))
            yield Made(place, await _make(cluster, resource, obj))


async def _make(cluster: Cluster, resource: Resource, wanted: Object) -> str:
    bare = {field: wanted[field] for field in ("apiVersion", "kind", "metadata", "spec")}
    try:
        current, result = await cluster.create(resource, bare), "created"
    except AlreadyExistsError:
        current, result = await _change(cluster, resource, bare)
    remembered = await _remember(cluster, resource, current, wanted.get("status") or {})
    return result if result != "unchanged" or not remembered else "changed"


async def _change(cluster: Cluster, resource: Resource, wanted: Object) -> tuple[Object, str]:
    namespace, name = str(value_at(wanted, ".metadata.namespace") or ""), name_of(wanted)
    for _ in range(CONFLICTS):
        found = await cluster.get(resource, namespace, name)
        # From now on it is no copy any more, which a standby would delete when its original is gone.
        notes = {
            note: text
            for note, text in (found["metadata"].get("annotations") or {}).items()
            if note not in (COPIED, COPIED_UID)
        }
        told = wanted["metadata"].get("annotations") or {}
        notes |= {IMPORTED: told[IMPORTED]} if IMPORTED in told else {}
        metadata = {field: value for field, value in found["metadata"].items() if field != "annotations"}
        metadata |= {"annotations": notes} if notes else {}
        changed = {**found, "metadata": metadata, "spec": wanted["spec"]}
        if changed == found:
            return found, "unchanged"
        try:
            return await cluster.replace(resource, changed), "changed"
        except ConflictError:
            continue
    raise ConflictError(f"{resource.kind} {name} changes too often to be written; is an operator running here?")


async def _remember(cluster: Cluster, resource: Resource, current: Object, status: Mapping[str, object]) -> bool:
    """Write the memory, and give whether that was needed; conditions and figures that are there already stay."""
    for _ in range(CONFLICTS):
        wanted = {**(current.get("status") or {}), **status}
        if wanted == (current.get("status") or {}):
            return False
        try:
            await cluster.replace_status(resource, {**current, "status": wanted})
            return True
        except ConflictError:
            namespace = str(value_at(current, ".metadata.namespace") or "")
            current = await cluster.get(resource, namespace, name_of(current))
    raise ConflictError(f"{resource.kind} {name_of(current)} changes too often; is an operator running here?")
