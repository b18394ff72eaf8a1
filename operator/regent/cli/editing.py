"""Changing an object that others write too: read, change, write with its version, and again when it was late."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from regent.domain.errors import ConflictError
from regent.engine.ports import Cluster, Object
from regent.engine.resources import Resource

CONFLICTS = 10


async def edit(
    cluster: Cluster, resource: Resource, namespace: str, name: str, change: Callable[[Object], None]
) -> tuple[Object, bool]:
    """Let `change` edit a copy of the object and write it; nothing is written when nothing changed.

    Returns:
        The object as it is now, and whether it was changed.

    Raises:
        ConflictError: others kept writing to it.
    """
    for _ in range(CONFLICTS):
        found = await cluster.get(resource, namespace, name)
        wanted = copy.deepcopy(found)
        change(wanted)
        if wanted == found:
            return found, False
        try:
            return await cluster.replace(resource, wanted), True
        except ConflictError:
            continue
    raise ConflictError(f"{resource.kind} {name} changes too often to be written; try again")


def differences(wanted: Any, found: Any, path: str = "spec") -> list[str]:
    """Name the fields of `wanted` that `found` has otherwise; what the API server has filled in does not count."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return [item for field in wanted for item in differences(wanted[field], found.get(field), f"{path}.{field}")]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [item for place, (a, b) in pairs for item in differences(a, b, f"{path}[{place}]")]
    return [] if wanted == found else [path]
