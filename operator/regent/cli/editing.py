"""Changing an object that others write too: read, change, write with its version, and again when it was late."""

from __future__ import annotations

import copy
from collections.abc import Callable

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
