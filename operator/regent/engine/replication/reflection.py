"""What is known of one kind of objects in one namespace of one region.

A watch feeds it (`adapters.replication`), and so do the answers to our own writes, so that a copy is known before its
echo arrives. Time never goes back: an older version is ignored, and what was deleted stays deleted. Absence means
something only while `complete` holds: then every object of the namespace has been listed and followed since.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import inf

from regent.engine.ports import Object
from regent.engine.replication.entries import (
    Bodies,
    Entry,
    Name,
    entry_of,
    metadata_only,
    name_of,
    uid_of,
    version_number,
    version_text,
)
from regent.engine.replication.packing import unpack
from regent.engine.resources import Resource

log = logging.getLogger("regent.replication")

TOMBSTONES = 20_000
"""How many deleted uids are remembered: far more than go while one LIST is under way."""

Listener = Callable[[Name], None]


class BodyMissingError(LookupError):
    """The object is there, and its body is not kept: fetch it, lend it, and look again."""

    def __init__(self, reflection: Reflection, name: Name) -> None:
        super().__init__(f"the body of {reflection.resource.kind} {'/'.join(name)} is not kept")
        self.reflection = reflection
        self.name = name


@dataclass(frozen=True, slots=True)
class _Tombstone:
    mark: int
    version: float


class Reflection:
    """The objects of `resource` in `namespace` of `region`. Everything happens on the event loop.

    Args:
        selector: only objects with these labels, as the text of a query; "": all. One that loses them is gone.
        bodies: what is kept of the objects.
        slim: takes out of an object what nobody reads, before it is kept.
    """

    def __init__(
        self,
        region: str,
        resource: Resource,
        namespace: str,
        *,
        selector: str = "",
        bodies: Bodies = Bodies.KEPT,
        slim: Callable[[Object], Object] = lambda obj: obj,
    ) -> None:
        self.region = region
        self.resource = resource
        self.namespace = namespace
        self.selector = selector
        self.bodies = bodies
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
        self._entries: dict[Name, Entry] = {}
        self._lent: dict[Name, tuple[str, Object]] = {}
        self._tombstones: OrderedDict[str, _Tombstone] = OrderedDict()
        self._mark = 0
        self._listeners: list[Listener] = []
        self._state_listeners: list[Callable[[], None]] = []

    def __len__(self) -> int:
        """Return how many objects are known."""
        return len(self._entries)

    def get(self, name: Name) -> Object | None:
        """Return the object, which may be shared: never change it. None where there is none.

        Raises:
            BodyMissingError: it is there, and its body is not kept and not lent now.
        """
        entry = self._entries.get(name)
        if entry is None:
            return None
        if self.bodies is Bodies.KEPT:
            return unpack(entry.packed)
        version, obj = self._lent.get(name, ("", None))
        if obj is None or version != entry.version:
            raise BodyMissingError(self, name)
        return obj

    def glance(self, name: Name) -> Object | None:
        """Return the object with its metadata; the rest of it is there only where bodies are kept."""
        entry = self._entries.get(name)
        return unpack(entry.packed) if entry else None

    def entry(self, name: Name) -> Entry | None:
        """Return what is known of the object without unpacking it; None where there is none."""
        return self._entries.get(name)

    def names(self, *, copies_of: str = "") -> list[Name]:
        """Return the names of all objects, or of the copies of the policy with this uid."""
        if not copies_of:
            return list(self._entries)
        return [name for name, entry in self._entries.items() if entry.policy_uid == copies_of]

    def items(self) -> Iterator[tuple[Name, Object]]:
        """Give all names and objects, as they are now. For few objects: each is unpacked. Raises as `get` does."""
        for name in self.names():
            obj = self.get(name)
            if obj is not None:
                yield name, obj

    def lend(self, obj: Object) -> None:
        """Here is an object whole, for `get`: fetched, or as the answer to a write."""
        self.observe(obj)
        name, version = name_of(obj), version_text(obj)
        entry = self._entries.get(name)
        if self.bodies is Bodies.FETCHED and entry is not None and entry.version == version:
            self._lent[name] = version, self._slim(obj)

    def take_back(self, name: Name) -> None:
        """The object's body is not needed any more."""
        self._lent.pop(name, None)

    def subscribe(self, listener: Listener, changed: Callable[[], None]) -> None:
        """Call `listener` with the name of every object that changes or goes, and `changed` when the reflection
        becomes complete, loses its watch, or is listed anew."""
        self._listeners.append(listener)
        self._state_listeners.append(changed)

    def unsubscribe(self, listener: Listener, changed: Callable[[], None]) -> None:
        """Undo `subscribe`."""
        self._listeners.remove(listener)
        self._state_listeners.remove(changed)

    def observe(self, obj: Object) -> bool:
        """Take in a version of an object; True when it was news."""
        name, version = name_of(obj), version_number(obj)
        tombstone = self._tombstones.get(uid_of(obj))
        if tombstone is not None and version <= tombstone.version:
            return False
        entry = self._entries.get(name)
        if entry is not None and version <= entry.number:
            return False
        self._put(name, self.entry_for(obj, mark=self._mark))
        return True

    def remove(self, obj: Object) -> None:
        """The object with this uid is gone, or no longer fits the selector; a namesake with another uid stays."""
        name, uid = name_of(obj), uid_of(obj)
        # Without a selector what is gone never comes back. With one it does when its labels fit again, which is later.
        self._bury(uid, version_number(obj) if self.selector else inf)
        entry = self._entries.get(name)
        if entry is not None and uid_of(unpack(entry.packed)) == uid:
            self._drop(name)

    def mark(self) -> int:
        """Return a point in its history, to be taken before a LIST begins."""
        return self._mark

    def entry_for(self, obj: Object, *, mark: int) -> Entry:
        """Make of an object what is kept of it."""
        if self.bodies is Bodies.FETCHED:
            obj = metadata_only(obj, self.resource)
        return entry_of(self._slim(obj), mark=mark)

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

    def take_listed(self, name: Name, entry: Entry, uid: str) -> None:
        """Take in an object of a complete list (`listing`). `entry.mark`: when the list began.

        The list is believed also where its version of an object is an older one: a cluster that was restored from a
        backup counts from an earlier number again.
        """
        tombstone, known = self._tombstones.get(uid), self._entries.get(name)
        if tombstone is not None and tombstone.mark > entry.mark and entry.number <= tombstone.version:
            return  # it went while the list was on its way
        self._tombstones.pop(uid, None)
        if known is None or (known.mark <= entry.mark and known.version != entry.version):
            self._put(name, entry)

    def drop_unlisted(self, name: Name, mark: int) -> None:
        """A complete list that began at `mark` has no such object: it is gone, unless it came in since."""
        entry = self._entries.get(name)
        if entry is None or entry.mark > mark:
            return
        if not self.selector:
            self._bury(uid_of(unpack(entry.packed)), inf)
        self._drop(name)

    def _put(self, name: Name, entry: Entry) -> None:
        self._mark += 1
        if name[0] == self.namespace:
            name = self.namespace, name[1]  # one text for all of them
        self._entries[name] = replace(entry, mark=self._mark)
        self._lent.pop(name, None)
        self._notify(name)

    def _drop(self, name: Name) -> None:
        self._mark += 1
        del self._entries[name]
        self._lent.pop(name, None)
        self._notify(name)

    def _bury(self, uid: str, version: float) -> None:
        self._mark += 1
        self._tombstones.pop(uid, None)
        self._tombstones[uid] = _Tombstone(self._mark, version)
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
