"""Writes status: the only place that does.

A change is a function from the object as it is to the status that is wanted. Nothing is written when that is what is
there already. A write carries the resourceVersion that was read, so two writers never overwrite each other unseen;
after a conflict the object is read past every cache and the function is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from regent.domain.errors import ConflictError, NotFoundError
from regent.engine.ports import Cluster, Leadership, Metrics, Object
from regent.engine.queue import Key
from regent.engine.resources import Resource
from regent.engine.store import Store

ATTEMPTS = 6
"""Writes that are tried before a fight with another writer is left to the caller."""

Change = Callable[[Object], dict[str, Any]]


class StatusWriter:
    """Transactions on the status of one object."""

    def __init__(self, cluster: Cluster, store: Store, leadership: Leadership, *, metrics: Metrics) -> None:
        self._cluster = cluster
        self._store = store
        self._leadership = leadership
        self._metrics = metrics
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    async def transact(
        self, resource: Resource, namespace: str, name: str, change: Change, *, uid: str = ""
    ) -> Object | None:
        """Bring the status of an object to what `change` returns for it; return the object as it is then.

        `change` gets a shared object, must not alter it, and may be called several times.

        Returns:
            None when the object is gone, or is another one than `uid` says.

        Raises:
            LeadershipLostError: this replica may not write.
            ConflictError: another writer was faster each time.
            ClusterError: the API server refused, or was away; the write may have happened all the same.
        """
        # Two tasks of this process that write the same status would only make conflicts for each other.
        lock = self._locks.setdefault(Key(resource, namespace, name), asyncio.Lock())
        async with lock:
            current = self._store.get(resource, namespace, name)
            for attempt in range(ATTEMPTS):
                try:
                    if current is None:
                        current = await self._cluster.get(resource, namespace, name)
                        self._store.observe(resource, current)
                    if uid and current["metadata"].get("uid") != uid:
                        return None
                    return await self._write(resource, current, change)
                except NotFoundError:
                    return None
                except ConflictError:
                    self._metrics.count("regent_status_writes_total", kind=resource.kind, result="conflict")
                    if attempt == ATTEMPTS - 1:
                        raise
                    current = None
        return None

    async def read(self, resource: Resource, namespace: str, name: str) -> Object:
        """Read an object past the cache, and let the cache know.

        Raises:
            ClusterError: it cannot be read; NotFoundError when it is gone.
        """
        current = await self._cluster.get(resource, namespace, name)
        self._store.observe(resource, current)
        return current

    async def _write(self, resource: Resource, current: Object, change: Change) -> Object:
        wanted = change(current)
        if wanted == current.get("status", {}):
            return current
        self._leadership.check()
        written = await self._cluster.replace_status(resource, {**current, "status": wanted})
        self._metrics.count("regent_status_writes_total", kind=resource.kind, result="written")
        self._store.observe(resource, written)
        return written
