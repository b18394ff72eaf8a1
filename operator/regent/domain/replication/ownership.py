"""Field ownership as the API server records it: what was written by create counts as applied.

A copy is made by POST, so that a foreign object of its name can never be touched by accident. The server records the
fields as set by an Update, and a later apply would then never remove one of them, since the Update keeps owning it. The
record may be corrected, as kubectl does it when it moves from client-side to server-side apply.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from regent.domain.replication.marks import FIELD_MANAGER


def as_applied(obj: Mapping[str, Any], manager: str = FIELD_MANAGER) -> list[dict[str, Any]] | None:
    """Return `metadata.managedFields` with what the manager wrote by Update moved to what it applies; None when there
    is nothing to move.

    Send it as a replacement of the whole list together with the object's resourceVersion. Subresources keep theirs.
    """
    metadata = obj.get("metadata")
    entries = metadata.get("managedFields") if isinstance(metadata, Mapping) else None
    listed = [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
    updates = [entry for entry in listed if _is(entry, manager, "Update")]
    if not updates:
        return None
    applied = next((entry for entry in listed if _is(entry, manager, "Apply")), None)
    union: dict[str, Any] = copy.deepcopy(dict(applied if applied is not None else updates[0]))
    union["operation"] = "Apply"
    union.setdefault("fieldsV1", {})
    for entry in updates:
        _merge(union["fieldsV1"], entry.get("fieldsV1"))
    kept = [dict(entry) for entry in listed if entry is not applied and not any(entry is item for item in updates)]
    return [*kept, union]


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
