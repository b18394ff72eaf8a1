"""The file that `regent hub export` writes and `regent hub import` reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from regent.cli.fields import name_of, value_at
from regent.cli.group import Failure
from regent.engine.ports import Object
from regent.engine.resources import FAILOVER_POLICIES, Resource
from regent.engine.standby.copies import COPIED_KINDS

API_VERSION = "hub.regent.dev/v1"
KIND = "HubExport"
TAKEN = COPIED_KINDS
MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HubExport:
    """A hub as it was."""

    uid: str
    """Of the hub's kube-system namespace: which cluster it was."""
    time: str
    objects: dict[Resource, list[Object]]

    @property
    def policies(self) -> list[Object]:
        """The FailoverPolicies."""
        return self.objects[FAILOVER_POLICIES]

    @property
    def namespaces(self) -> set[str]:
        """Namespaces that the objects are in."""
        found = {str(value_at(obj, ".metadata.namespace") or "") for objs in self.objects.values() for obj in objs}
        return found - {""}

    def document(self) -> dict[str, Any]:
        """Give the file's content."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "hub": {"uid": self.uid},
            "exportTime": self.time,
            "items": [obj for resource in TAKEN for obj in self.objects[resource]],
        }


def read_export(path: Path) -> HubExport:
    """Read a file; JSON is YAML too.

    Raises:
        Failure: it is none that `regent hub export` has written.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise Failure(f"{path} is larger than {MAX_BYTES} bytes")
        found = yaml.safe_load(text.decode())
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Failure(f"{path} is no YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found, dict) or (found.get("apiVersion"), found.get("kind")) != (API_VERSION, KIND):
        raise Failure(f"{path} was not written by regent hub export: it is no {KIND} of {API_VERSION}")
    uid, items = value_at(found, ".hub.uid"), found.get("items")
    if not isinstance(uid, str) or not uid or not isinstance(items, list):
        raise Failure(f"{path} is not whole: hub.uid or items is missing")
    objects: dict[Resource, list[Object]] = {resource: [] for resource in TAKEN}
    for item in items:
        objects[_resource(item, path)].append(item)
    return HubExport(uid=uid, time=str(found.get("exportTime") or ""), objects=objects)


def _resource(item: Any, path: Path) -> Resource:
    """Nothing but Regent's own kinds is ever made from a file."""
    if isinstance(item, Mapping) and isinstance(item.get("metadata"), dict) and isinstance(item.get("spec"), dict):
        for resource in TAKEN:
            if (item.get("apiVersion"), item.get("kind")) == (resource.api_version, resource.kind):
                placed = bool(item["metadata"].get("namespace")) == resource.namespaced
                if placed and isinstance(item["metadata"].get("name"), str):
                    return resource
    said = f"{item.get('kind')} {name_of(item)}" if isinstance(item, Mapping) else type(item).__name__
    raise Failure(f"{path} has an item that does not belong there: {said}")
