"""What is known of one kind of objects in one namespace of one region.

A watch feeds it (`adapters.replication`), and so do the answers to our own writes, so that a copy is known before its
echo arrives. Time never goes back: an older version is ignored, and what was deleted stays deleted. Absence means
something only while `complete` holds: then every object of the namespace has been listed and followed since.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from regent.engine.ports import Object
from regent.engine.resources import Resource

log = logging.getLogger("regent.replication")

TOMBSTONES = 20_000
"""How many deleted uids are remembered: far more than go while one LIST is under way."""

Name = tuple[str, str]
"""Namespace and name."""

Listener = Callable[[Name], None]


@dataclass(frozen=True, slots=True)
class _Entry:
    obj: Object
    version: int
    mark: int


class Reflection:
    """The objects of `resource` in `namespace` of `region`. Everything happens on the event loop.

    Args:
        slim: takes out of an object what nobody reads, before it is kept.
    """

    def __init__(
        self, region: str, resource: Resource, namespace: str, *, slim: Callable[[Object], Object] = lambda obj: obj
    ) -> None:
        self.region = region
        self.resource = resource
        self.namespace = namespace
        self.complete = False
        """All objects have been listed, and followed without a gap since."""
        self.listed = 0
        """How many times the objects have been listed whole."""
        self.heard_at: float | None = None
        """Monotonic time of the last proof that the watch lives: an event, a bookmark, a list. None: none yet."""
        self.problem = ""
        """Why there is no watch now, for people; "" while there is one."""
        self.absent = False
        """The cluster does not know the kind: there can be no objects of it."""
        self._slim = slim
        self._entries: dict[Name, _Entry] = {}
        self._tombstones: OrderedDict[str, None] = OrderedDict()
        self._mark = 0
        self._listeners: list[Listener] = []
        self._state_listeners: list[Callable[[], None]] = []

    def __len__(self) -> int:
        """Return how many objects are known."""
        return len(self._entries)

    def get(self, name: Name) -> Object | None:
        """Return the object, or None. It is shared: never change it."""
        entry = self._entries.get(name)
        return entry.obj if entry else None

    def items(self) -> Iterator[tuple[Name, Object]]:
        """Give all names and objects, as they are now."""
        for name, entry in list(self._entries.items()):
            yield name, entry.obj

    def subscribe(self, listener: Listener, changed: Callable[[], None]) -> None:
        """Call `listener` with the name of every object that changes or goes, and `changed` when the reflection
        becomes complete, loses its watch, or is listed anew."""
        self._listeners.append(listener)
        self._state_listeners.append(changed)

    def unsubscribe(self, listener: Listener, changed: Callable[[], None]) -> None:
        """Undo `subscribe`."""
        self._listeners.remove(listener)
        self._state_listeners.remove(changed)

    def mark(self) -> int:
        """Return a point in its history, to be taken before a LIST begins and given to `replace_all`."""
        return self._mark

    def observe(self, obj: Object) -> bool:
        """Take in a version of an object; True when it was news."""
        name, version = _name(obj), _version(obj)
        if str(obj["metadata"].get("uid", "")) in self._tombstones:
            return False
        entry = self._entries.get(name)
        if entry is not None and version <= entry.version:
            return False
        self._put(name, obj, version)
        return True

    def remove(self, obj: Object) -> None:
        """The object with this uid is gone; a namesake with another uid stays."""
        name, uid = _name(obj), str(obj["metadata"].get("uid", ""))
        self._bury(uid)
        entry = self._entries.get(name)
        if entry is not None and entry.obj["metadata"].get("uid", "") == uid:
            self._mark += 1
            del self._entries[name]
            self._notify(name)

    def replace_all(self, objs: Iterable[Object], *, mark: int) -> None:
        """Take in a complete list that began at `mark`: what it lacks is gone, unless it came in since.

        The list is believed also where its version of an object is an older one: a cluster that was restored from a
        backup counts from an earlier number again.
        """
        listed: set[Name] = set()
        for obj in objs:
            name, version = _name(obj), _version(obj)
            listed.add(name)
            entry = self._entries.get(name)
            uid = str(obj["metadata"].get("uid", ""))
            if uid in self._tombstones or (entry and (entry.mark > mark or entry.version == version)):
                continue
            self._put(name, obj, version)
        for name, entry in list(self._entries.items()):
            if name not in listed and entry.mark <= mark:
                self._mark += 1
                del self._entries[name]
                self._bury(str(entry.obj["metadata"].get("uid", "")))
                self._notify(name)

    def list_completed(self) -> None:
        """The objects have been listed whole."""
        self.complete = True
        self.listed += 1
        self._tell()

    def lost(self, problem: str, *, gap: bool) -> None:
        """There is no watch now. `gap`: what happens meanwhile will not be reported, only the next LIST tells."""
        changed = problem != self.problem or (gap and self.complete)
        self.problem = problem
        if gap:
            self.complete = False
        if changed:
            self._tell()

    def heard(self, now: float) -> None:
        """The watch has shown a sign of life at monotonic time `now`."""
        self.heard_at = now
        if self.problem:
            self.problem = ""
            self._tell()

    def _put(self, name: Name, obj: Object, version: int) -> None:
        self._mark += 1
        self._entries[name] = _Entry(self._slim(obj), version, self._mark)
        self._notify(name)

    def _bury(self, uid: str) -> None:
        self._tombstones[uid] = None
        while len(self._tombstones) > TOMBSTONES:
            self._tombstones.popitem(last=False)

    def _notify(self, name: Name) -> None:
        for listener in list(self._listeners):
            try:
                listener(name)
            except Exception:
                # One broken listener must not keep the news from the others, nor stop the watch.
                log.exception("Listener failed", extra={"object": "/".join(name)})

    def _tell(self) -> None:
        for listener in list(self._state_listeners):
            listener()


def _name(obj: Object) -> Name:
    metadata = obj["metadata"]
    return str(metadata.get("namespace", "")), str(metadata["name"])


def _version(obj: Object) -> int:
    return int(obj["metadata"].get("resourceVersion", 0))
