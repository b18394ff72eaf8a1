"""Field ownership as the API server records it: what was written by create counts as applied.

A copy is made by POST, so that a foreign object of its name can never be touched by accident. The server records the
fields as set by an Update, and a later apply would then never remove one of them, since the Update keeps owning it. The
record may be corrected, as kubectl does it when it moves from client-side to server-side apply.

An object that becomes a copy was made by somebody else. What that one owns no apply of ours would ever remove: a
port, a variable, a container that the source no longer has would stay for ever. So the content goes over with the
object; metadata and what was written through subresources, by controllers, stays with whoever set it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from regent.domain.replication.marks import FIELD_MANAGER

_METADATA = "f:metadata"


def as_applied(
    obj: Mapping[str, Any], manager: str = FIELD_MANAGER, *, whole: bool = False
) -> list[dict[str, Any]] | None:
    """Return `metadata.managedFields` with what the manager wrote by Update moved to what it applies; None when there
    is nothing to move.

    Send it as a replacement of the whole list together with the object's resourceVersion. Subresources keep theirs.

    Args:
        whole: move what others own of the content too.
    """
    metadata = obj.get("metadata")
    entries = metadata.get("managedFields") if isinstance(metadata, Mapping) else None
    listed = [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
    updates = [entry for entry in listed if _is(entry, manager, "Update")]
    others = [entry for entry in listed if _content(entry, manager)] if whole else []
    if not updates and not others:
        return None
    applied = next((entry for entry in listed if _is(entry, manager, "Apply")), None)
    first = applied if applied is not None else (updates or others)[0]
    union: dict[str, Any] = {**copy.deepcopy(dict(first)), "manager": manager, "operation": "Apply"}
    if first in others:
        union["fieldsV1"] = {}
    union.setdefault("fieldsV1", {})
    for entry in updates:
        _merge(union["fieldsV1"], entry.get("fieldsV1"))
    for entry in others:
        _merge(union["fieldsV1"], _content(entry, manager))
    kept = [
        _without_content(entry) if any(entry is item for item in others) else dict(entry)
        for entry in listed
        if entry is not applied and not any(entry is item for item in updates)
    ]
    return [*(entry for entry in kept if entry.get("fieldsV1") != {}), union]


def _content(entry: Mapping[str, Any], manager: str) -> dict[str, Any]:
    """What somebody else owns of an object's content; {} for our own entries and those of subresources."""
    fields = entry.get("fieldsV1")
    if entry.get("manager") == manager or entry.get("subresource") or not isinstance(fields, Mapping):
        return {}
    return {name: below for name, below in fields.items() if name != _METADATA}


def _without_content(entry: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: below for name, below in entry["fieldsV1"].items() if name == _METADATA}
    return {**entry, "fieldsV1": rest}


def _is(entry: Mapping[str, Any], manager: str, operation: str) -> bool:
    return (entry.get("manager"), entry.get("operation"), entry.get("subresource") or "") == (manager, operation, "")


def _merge(into: dict[str, Any], fields: Any) -> None:
    """Unite two sets of fields, which are maps whose leaves are empty maps."""
    waiting = [(into, fields)]
    while waiting:
        left, right = waiting.pop()
        for name, below in right.items() if isinstance(right, Mapping) else ():
            child = left.setdefault(name, {})
            if isinstance(child, dict) and isinstance(below, Mapping):
                waiting.append((child, below))
