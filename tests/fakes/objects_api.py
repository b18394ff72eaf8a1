"""A model of an API server's objects, for tests of pure code: create, server-side apply with field ownership, delete.

Only what replication relies on: uids and resource versions, ownership of leaves (lists are leaves), conflicts without
force, removal of what a manager does not apply any more, preconditions.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from regent.domain.times import rfc3339

Object = dict[str, Any]
Path = tuple[str, ...]
IDENTITY = ("apiVersion", "kind")
SERVER = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "name", "namespace")


class RefusedError(Exception):
    """The API server would answer with an error: the name is taken, a precondition fails, or fields are owned."""

    def __init__(self, fields: tuple[str, ...] = ()) -> None:
        super().__init__(*fields)
        self.fields = fields


class ObjectsApi:
    """The objects of one namespace of one cluster, by `Kind/name`."""

    def __init__(self, region: str, namespace: str = "shop") -> None:
        self.region, self.namespace = region, namespace
        self.objects: dict[str, Object] = {}
        self.owners: dict[str, dict[Path, set[str]]] = {}
        self.version = 0
        self.writes = 0

    def snapshot(self) -> dict[str, Object]:
        return copy.deepcopy(self.objects)

    def create(self, obj: Mapping[str, Any], *, manager: str, now: float = 0.0) -> Object:
        key = key_of(obj)
        if key in self.objects:
            raise RefusedError
        self.version += 1
        made: Object = {name: obj[name] for name in IDENTITY}
        made["metadata"] = {
            "name": obj["metadata"]["name"],
            "namespace": self.namespace,
            "uid": f"{self.region}-{self.version}",
        }
        self.objects[key], self.owners[key] = made, {}
        for path, value in leaves(obj):
            put(made, path, copy.deepcopy(value))
            self.owners[key][path] = {manager}
        return self._written(key, manager, now)

    def apply(
        self, obj: Mapping[str, Any], *, manager: str, force: bool, uid: str, version: str = "", now: float = 0.0
    ) -> Object:
        """Server-side apply to the object with this uid (and version, if given)."""
        key = key_of(obj)
        current = self._checked(key, uid, version)
        wanted, owners = dict(leaves(obj)), self.owners[key]
        present = dict(leaves(current))
        taken = tuple(
            "/" + "/".join(path)
            for path, value in wanted.items()
            if path in present and present[path] != value and owners.get(path, set()) - {manager}
        )
        if taken and not force:
            raise RefusedError(taken)
        before = copy.deepcopy(current)
        for path, value in wanted.items():
            shared = present.get(path) == value
            owners[path] = (owners.get(path, set()) if shared else set()) | {manager}
            put(current, path, copy.deepcopy(value))
        for path in [path for path, by in owners.items() if manager in by and path not in wanted]:
            owners[path].discard(manager)
            if not owners[path]:
                del owners[path]
                remove(current, path)
        return current if current == before else self._written(key, manager, now)

    def patch(self, key: str, change: Mapping[str, Any], *, manager: str, uid: str = "", version: str = "") -> Object:
        """Merge patch."""
        current = self._checked(key, uid or self.objects[key]["metadata"]["uid"], version)
        before = copy.deepcopy(current)
        for path, value in leaves(change, nulls=True):
            if value is None:
                remove(current, path)
                self.owners[key].pop(path, None)
            elif dict(leaves(current)).get(path) != value:
                put(current, path, value)
                self.owners[key][path] = {manager}
        return current if current == before else self._written(key, manager, None)

    def delete(self, key: str, *, uid: str = "", version: str = "") -> None:
        if uid:
            self._checked(key, uid, version)
        self.writes += 1
        del self.objects[key], self.owners[key]

    def _checked(self, key: str, uid: str, version: str) -> Object:
        current = self.objects.get(key)
        if current is None or current["metadata"]["uid"] != uid:
            raise RefusedError
        if version and current["metadata"]["resourceVersion"] != version:
            raise RefusedError
        return current

    def _written(self, key: str, manager: str, now: float | None) -> Object:
        self.version += 1
        self.writes += 1
        metadata = self.objects[key]["metadata"]
        metadata["resourceVersion"] = str(self.version)
        if now is not None:
            entry = {"manager": manager, "operation": "Update", "time": rfc3339(now)}
            kept = [item for item in metadata.get("managedFields", []) if item["manager"] != manager]
            metadata["managedFields"] = [*kept, entry]
        return self.objects[key]


def key_of(obj: Mapping[str, Any]) -> str:
    return f"{obj['kind']}/{obj['metadata']['name']}"


def leaves(obj: Mapping[str, Any], *, nulls: bool = False) -> Iterator[tuple[Path, Any]]:
    """Give every leaf below what is not identity or the server's."""
    for name, value in obj.items():
        if name in IDENTITY:
            continue
        below = value if name != "metadata" else {key: item for key, item in value.items() if key not in SERVER}
        yield from _leaves((name,), below, nulls)


def _leaves(path: Path, value: Any, nulls: bool) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _leaves((*path, name), below, nulls)
    elif value is not None or nulls:
        yield path, value


def put(obj: Object, path: Path, value: Any) -> None:
    for name in path[:-1]:
        obj = obj.setdefault(name, {})
    obj[path[-1]] = value


def remove(obj: Object, path: Path) -> None:
    """Take a leaf out, and the maps that are empty after it."""
    trail = [obj]
    for name in path[:-1]:
        below = trail[-1].get(name)
        if not isinstance(below, dict):
            return
        trail.append(below)
    trail[-1].pop(path[-1], None)
    for depth in range(len(trail) - 1, 0, -1):
        if not trail[depth]:
            del trail[depth - 1][path[depth - 1]]
