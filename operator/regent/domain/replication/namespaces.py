"""Moving an object to another namespace: its own, and the references inside that name the old one.

Only kinds whose fields are known are searched. In custom kinds a text that happens to be the namespace's name may mean
anything; transforms are for them.
"""

from __future__ import annotations

from typing import Any

from regent.domain.replication.kinds import (
    DATA_VOLUME,
    GRPC_ROUTE,
    HTTP_ROUTE,
    NETWORK_POLICY,
    ROLE_BINDING,
    VIRTUAL_MACHINE,
    VOLUME_CLAIM,
    kind_of,
)
from regent.domain.replication.model import Object

NAME_LABEL = "kubernetes.io/metadata.name"
"""Label that every namespace has, with its name: how network policies select one."""

_REFERRING = frozenset(
    kind.group_kind
    for kind in (ROLE_BINDING, HTTP_ROUTE, GRPC_ROUTE, DATA_VOLUME, VIRTUAL_MACHINE, VOLUME_CLAIM, NETWORK_POLICY)
)
_FIELDS = ("spec", "subjects")


def move(body: Object, source: str, target: str) -> None:
    """Put `body` into the namespace `target`, in place; references to `source` follow."""
    metadata = body.get("metadata")
    if isinstance(metadata, dict):
        metadata["namespace"] = target
    if source != target and kind_of(body).group_kind in _REFERRING:
        for field in _FIELDS:
            _rewrite(body.get(field), source, target)


def _rewrite(value: Any, source: str, target: str) -> None:
    # Without recursion: an object's depth is bounded, but by a number that Python's stack should not have to know.
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            for name in ("namespace", NAME_LABEL):
                if item.get(name) == source:
                    item[name] = target
            if item.get("key") == NAME_LABEL and isinstance(item.get("values"), list):
                item["values"] = [target if entry == source else entry for entry in item["values"]]
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
