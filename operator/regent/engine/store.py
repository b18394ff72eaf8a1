"""What this replica knows of the cluster: the last version of every watched object.

The kopf bridge puts objects in as watch events arrive, the resync puts whole lists in, the status writer puts the
results of its own writes in. Reconcilers, triggers and the status writer read. The rule that makes this safe is that
time never goes back: an older version of the same object is ignored, and an object that was deleted stays deleted,
whichever of the three sources is late.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from regent.engine.ports import Object
from regent.engine.queue import Key
from regent.engine.resources import DNS_ENDPOINTS, GRPC_ROUTES, HTTP_ROUTES, VIRTUAL_SERVICES, Resource

log = logging.getLogger("regent.store")

Listener = Callable[[Key], None]
_Name = tuple[str, str]

WRITERS_MATTER = frozenset({HTTP_ROUTES, GRPC_ROUTES, VIRTUAL_SERVICES, DNS_ENDPOINTS})
"""Resources whose `managedFields` are read: who else writes a target's weights. Of all others they are dropped: they
are a third of an object's memory, and a write without them leaves the API server's own untouched."""

TOMBSTONES = 20_000
"""How many deleted uids are remembered. Far more than can be deleted while one LIST is under way."""


@dataclass(slots=True)
class _Entry:
    obj: Object
    uid: str
    version: int
    mark: int
    """The store's count of changes when this version came in; tells what a LIST that began earlier cannot know."""


@dataclass(slots=True)
class _Shelf:
    entries: dict[_Name, _Entry] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)
    synced: bool = False


class Store:
    """Objects by resource, namespace and name. Not thread-safe: everything happens on the event loop.

    Args:
        resources: what must have been listed once before `synced()` is true.
    """

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self._shelves: dict[Resource, _Shelf] = {resource: _Shelf() for resource in resources}
        self._required: set[Resource] = set(self._shelves)
        self._tombstones: OrderedDict[str, None] = OrderedDict()
        self._mark = 0
        self._all_synced = asyncio.Event()

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Return the object, or None. It is shared: never change it, copy it first."""
        shelf = self._shelves.get(resource)
        entry = shelf.entries.get((namespace, name)) if shelf else None
        return entry.obj if entry else None

    def list(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        """Return all objects of `resource` in the order they were first seen; of one namespace when one is named."""
        shelf = self._shelves.get(resource)
        if shelf is None:
            return []
        return [entry.obj for (of, _), entry in shelf.entries.items() if namespace is None or of == namespace]

    def observe(self, resource: Resource, obj: Object) -> bool:
        """Take in a version of an object; True when it was news, and then the listeners have been called.

        Older versions of the same object are ignored (resourceVersions are compared as integers, which the API allows
        for the versions of one resource), so that an echo of the watch never undoes a newer write of our own.
        """
        metadata = obj["metadata"]
        uid, version = str(metadata.get("uid", "")), _version(obj)
        if uid in self._tombstones:
            return False
        entry = self._shelf(resource).entries.get(_name(obj))
        if entry is not None and version <= entry.version:
            return False
        self._put(resource, obj, uid, version)
        return True

    def remove(self, resource: Resource, obj: Object) -> bool:
        """Forget the object with this uid; True when it was known. A namesake with another uid stays."""
        uid = str(obj["metadata"].get("uid", ""))
        self._bury(uid)
        shelf = self._shelf(resource)
        entry = shelf.entries.get(_name(obj))
        if entry is None or entry.uid != uid:
            return False
        self._mark += 1
        del shelf.entries[_name(obj)]
        self._notify(resource, _name(obj))
        return True

    def mark(self) -> int:
        """Return a point in the store's history, to be taken before a LIST begins and given to `replace_all`."""
        return self._mark

    def replace_all(self, resource: Resource, objs: Iterable[Object], *, mark: int | None = None) -> int:
        """Take in a complete list: prune what is gone, observe the rest; return how many objects that changed.

        A change that came in after `mark` is newer than the list may be, and is kept: an object created since is not
        pruned, one deleted since is not brought back. What did not change since is set to what the list says even when
        that is an older version, because a cluster restored from a backup counts from an earlier number again.
        """
        mark = self._mark if mark is None else mark
        shelf = self._shelf(resource)
        changed = 0
        listed: set[_Name] = set()
        for obj in objs:
            name, uid, version = _name(obj), str(obj["metadata"].get("uid", "")), _version(obj)
            listed.add(name)
            entry = shelf.entries.get(name)
            if uid in self._tombstones or (entry and (entry.mark > mark or entry.version == version)):
                continue
            self._put(resource, obj, uid, version)
            changed += 1
        for name, entry in list(shelf.entries.items()):
            if name not in listed and entry.mark <= mark:
                self._mark += 1
                del shelf.entries[name]
                self._bury(entry.uid)
                self._notify(resource, name)
                changed += 1
        return changed

    def subscribe(self, resource: Resource, listener: Listener) -> None:
        """Call `listener` with the key of every object of `resource` that changes or goes, at once and in order."""
        self._shelf(resource).listeners.append(listener)

    def mark_synced(self, resource: Resource) -> None:
        """Say that all objects of `resource` have been taken in once."""
        self._shelf(resource).synced = True
        if self.synced():
            self._all_synced.set()

    async def wait_synced(self) -> None:
        """Wait until everything that was named to the constructor has been listed once."""
        if not self.synced():
            await self._all_synced.wait()

    def synced(self, resource: Resource | None = None) -> bool:
        """Say whether `resource`, or everything that was named to the constructor, has been listed once."""
        if resource is not None:
            return resource in self._shelves and self._shelves[resource].synced
        return all(self._shelves[required].synced for required in self._required)

    def counts(self) -> dict[Resource, int]:
        """Return how many objects are known of each resource."""
        return {resource: len(shelf.entries) for resource, shelf in self._shelves.items()}

    def _shelf(self, resource: Resource) -> _Shelf:
        shelf = self._shelves.get(resource)
        if shelf is None:
            shelf = self._shelves[resource] = _Shelf()
        return shelf

    def _put(self, resource: Resource, obj: Object, uid: str, version: int) -> None:
        obj = _slim(resource, obj)
        self._mark += 1
        self._shelf(resource).entries[_name(obj)] = _Entry(obj, uid, version, self._mark)
        self._notify(resource, _name(obj))

    def _bury(self, uid: str) -> None:
        self._tombstones[uid] = None
        self._tombstones.move_to_end(uid)
        while len(self._tombstones) > TOMBSTONES:
            self._tombstones.popitem(last=False)

    def _notify(self, resource: Resource, name: _Name) -> None:
        key = Key(resource, *name)
        for listener in self._shelf(resource).listeners:
            try:
                listener(key)
            except Exception:
                # One broken listener must not keep the news from the others, nor stop the watch.
                log.exception("Listener failed", extra={"object": str(key)})


def _name(obj: Object) -> _Name:
    metadata = obj["metadata"]
    return str(metadata.get("namespace", "")), str(metadata["name"])


def _version(obj: Object) -> int:
    return int(obj["metadata"].get("resourceVersion", 0))


def _slim(resource: Resource, obj: Object) -> Object:
    """The object without what nobody reads."""
    metadata = obj["metadata"]
    if resource in WRITERS_MATTER or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {field: value for field, value in metadata.items() if field != "managedFields"}}
