"""Makes the objects of a standby hub equal to those of the hub that it follows, one at a time.

What is taken along is what `regent hub export` takes (`domain.hub`): specs, and of a FailoverPolicy's status what is
memory. Every write is compared and set, and none lowers an epoch: a copy that comes late cannot undo a promotion, whose
epochs are out of its reach. Objects that were not copied are never deleted, and Secrets of others never overwritten.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from regent.domain.errors import AlreadyExistsError, ConflictError, NotFoundError
from regent.domain.hub import COPIED, COPIED_UID, KEPT_STATUS, OPERATION, exported
from regent.engine.ports import Cluster, Object
from regent.engine.records import annotations_of, status_of
from regent.engine.resources import (
    FAILOVER_POLICIES,
    NAMESPACES,
    PLACEMENT_POLICIES,
    REGIONS,
    REPLICATION_POLICIES,
    SECRETS,
    Resource,
)
from regent.engine.store import Store

log = logging.getLogger("regent.hub")

FOLLOWED = "followed-hub"
"""What the active hub is called where regions have names."""
COPIED_KINDS = (REGIONS, PLACEMENT_POLICIES, FAILOVER_POLICIES, REPLICATION_POLICIES)
"""What is taken from one hub into another, in the order in which it is made: what others refer to comes first."""
CONFLICTS = 8


class HubCopies:
    """Writes the copies.

    Args:
        cluster: the standby hub.
        store: what is known of it.
    """

    def __init__(self, *, cluster: Cluster, store: Store) -> None:
        self._cluster = cluster
        self._store = store
        self._warned: set[str] = set()

    async def put(self, resource: Resource, source: Object, *, hub: str) -> bool:
        """Make the copy of `source` what it is there; True when something was written.

        Raises:
            ClusterError: it could not be written, or others keep writing.
        """
        wanted = _copy(resource, source, hub)
        namespace, name = _place(wanted)
        current = self._store.get(resource, namespace, name)
        for _ in range(CONFLICTS):
            try:
                if current is None:
                    return await self._make(resource, wanted)
                return await self._change(resource, current, wanted)
            except (AlreadyExistsError, ConflictError):
                try:
                    current = await self._cluster.get(resource, namespace, name)
                except NotFoundError:
                    current = None
        raise ConflictError(f"{resource.kind} {namespace}/{name} changes too often to be written")

    async def drop(self, resource: Resource, namespace: str, name: str, *, hub: str) -> bool:
        """Delete the copy of what is gone there; True when there was one. What was not copied from there stays."""
        current = self._store.get(resource, namespace, name)
        if current is None or annotations_of(current).get(COPIED) != hub:
            return False
        metadata = current["metadata"]
        if metadata.get("finalizers"):
            # Of an operator that led here before: nobody would ever carry them out, and what they are for was done by
            # the hub that the object was deleted in.
            current = await self._cluster.replace(resource, {**current, "metadata": {**metadata, "finalizers": []}})
        try:
            await self._cluster.delete(resource, namespace, name, uid=str(metadata["uid"]))
        except NotFoundError:
            return False
        return True

    async def put_secret(self, secret: Object, *, hub: str) -> bool:
        """Make the copy of a Secret; True when something was written. One that is no copy stays as it is."""
        metadata = secret["metadata"]
        namespace, name = str(metadata["namespace"]), str(metadata["name"])
        marks = {COPIED: hub, COPIED_UID: str(metadata["uid"])}
        content = {"type": secret.get("type") or "Opaque", "data": secret.get("data") or {}}
        try:
            current = await self._cluster.get(SECRETS, namespace, name)
        except NotFoundError:
            head = {"apiVersion": "v1", "kind": "Secret"}
            await self._namespace(namespace)
            placed = {"namespace": namespace, "name": name, "annotations": marks}
            await self._cluster.create(SECRETS, {**head, "metadata": placed, **content})
            return True
        if COPIED not in annotations_of(current):
            return False
        notes = {**annotations_of(current), **marks}
        changed = {**current, **content, "metadata": {**current["metadata"], "annotations": notes}}
        if changed == current:
            return False
        await self._cluster.replace(SECRETS, changed)
        return True

    async def _make(self, resource: Resource, wanted: Object) -> bool:
        bare = {field: wanted[field] for field in ("apiVersion", "kind", "metadata", "spec")}
        try:
            made = await self._cluster.create(resource, bare)
        except NotFoundError:
            await self._namespace(_place(wanted)[0])
            made = await self._cluster.create(resource, bare)
        await self._remember(resource, made, wanted)
        return True

    async def _change(self, resource: Resource, current: Object, wanted: Object) -> bool:
        if not self._may_follow(resource, current, wanted):
            return False
        before, told = current["metadata"], wanted["metadata"]
        metadata = {field: value for field, value in before.items() if field not in ("labels", "annotations")}
        metadata |= {field: told[field] for field in ("labels", "annotations") if field in told}
        changed = {**current, "metadata": metadata, "spec": wanted["spec"]}
        written = changed != current
        if written:
            current = await self._cluster.replace(resource, changed)
        return await self._remember(resource, current, wanted) or written

    async def _remember(self, resource: Resource, current: Object, wanted: Object) -> bool:
        """Bring the memory in its status to what it is there; the rest of the status is this hub's."""
        if resource != FAILOVER_POLICIES:
            return False
        there: Mapping[str, Any] = wanted.get("status") or {}
        here = status_of(current)
        own = {field: value for field, value in here.items() if field not in (*KEPT_STATUS, OPERATION)}
        status = {**own, **there}
        if status == here:
            return False
        await self._cluster.replace_status(resource, {**current, "status": status})
        return True

    def _may_follow(self, resource: Resource, current: Object, wanted: Object) -> bool:
        """An epoch never goes back, unless the policy there is another one of the same name."""
        if resource != FAILOVER_POLICIES:
            return True
        here, there = (int(status_of(obj).get("epoch") or 0) for obj in (current, wanted))
        known = annotations_of(current).get(COPIED_UID)
        if here <= there or (known and known != annotations_of(wanted)[COPIED_UID]):
            return True
        key = "/".join(_place(wanted))
        if key not in self._warned:
            self._warned.add(key)
            log.warning("Not copied: it has epoch %d here and %d there", here, there, extra={"object": key})
        return False

    async def _namespace(self, name: str) -> None:
        try:
            await self._cluster.create(
                NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            )
        except AlreadyExistsError:
            return


def _copy(resource: Resource, source: Object, hub: str) -> Object:
    copy = exported(source, with_status=resource == FAILOVER_POLICIES)
    marks = {COPIED: hub, COPIED_UID: str(source["metadata"]["uid"])}
    copy["metadata"]["annotations"] = {**(copy["metadata"].get("annotations") or {}), **marks}
    return copy


def _place(obj: Object) -> tuple[str, str]:
    metadata = obj["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata["name"])
