"""What a reflection keeps of an object: itself, packed, and beside it what is asked of all objects again and again.

There may be many thousands of them. Bodies of Secrets are not kept at all: they are lent for as long as one is looked
at, by whoever has fetched it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum

from regent.domain.replication.marks import MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL, labels_of
from regent.engine.ports import Object
from regent.engine.replication.packing import pack
from regent.engine.resources import SECRETS, Resource

Name = tuple[str, str]
"""Namespace and name."""


class Bodies(Enum):
    """What is kept of objects."""

    KEPT = "kept"
    FETCHED = "fetched"
    """Metadata only: the body is fetched when it is needed, and forgotten then."""

    @staticmethod
    def of(resource: Resource) -> Bodies:
        """Return what is kept of a kind."""
        return Bodies.FETCHED if (resource.group, resource.kind) == (SECRETS.group, SECRETS.kind) else Bodies.KEPT


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one object without unpacking it."""

    version: str
    """Its resourceVersion."""
    policy_uid: str
    """Of the policy whose copy it is; "" when it is no copy."""
    packed: bytes
    mark: int
    """When it came in: a point in the history of its reflection."""

    @property
    def number(self) -> int:
        """Its resourceVersion, to compare with others of the same cluster."""
        return int(self.version or 0)


def entry_of(obj: Object, *, mark: int) -> Entry:
    """Make an entry of what is to be kept of an object."""
    labels = labels_of(obj)
    uid = labels.get(POLICY_LABEL, "") if labels.get(MANAGED_BY_LABEL) == MANAGED_BY else ""
    # Thousands of copies of one policy share the text of its uid.
    return Entry(version_text(obj), sys.intern(str(uid)), pack(obj), mark)


def metadata_only(obj: Object, resource: Resource) -> Object:
    """Return the object without its body, under the name of its kind, which an answer without bodies does not bear."""
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": obj["metadata"]}


def name_of(obj: Object) -> Name:
    """Return the object's namespace and name."""
    metadata = obj["metadata"]
    return str(metadata.get("namespace", "")), str(metadata["name"])


def uid_of(obj: Object) -> str:
    """Return the object's uid; "" where it has none."""
    return str(obj["metadata"].get("uid", ""))


def version_text(obj: Object) -> str:
    """Return the object's resourceVersion; "" where it has none."""
    return str(obj["metadata"].get("resourceVersion", ""))


def version_number(obj: Object) -> int:
    """Return the object's resourceVersion, to compare with others of the same cluster; 0 where it has none."""
    return int(version_text(obj) or 0)
