"""A complete list on its way into a reflection."""

from __future__ import annotations

from collections.abc import Iterator

from regent.engine.ports import Object
from regent.engine.replication.entries import Entry, Name, name_of, uid_of
from regent.engine.replication.reflection import Reflection

SLICE = 250
"""Objects that are taken in before others have their turn: some milliseconds."""


class Listing:
    """Replaces what a reflection has: objects that the list lacks are gone, unless they came in since it began.

    Objects are packed as they come, so that a long list is never in memory as dicts. To be made before the LIST begins.
    """

    def __init__(self, reflection: Reflection) -> None:
        self._reflection = reflection
        self._mark = reflection.mark()
        self._listed: dict[Name, tuple[Entry, str]] = {}

    def add(self, obj: Object) -> None:
        """The list has this object."""
        self._listed[name_of(obj)] = self._reflection.entry_for(obj, mark=self._mark), uid_of(obj)

    def discard(self, obj: Object) -> None:
        """The object went while the list was on its way."""
        self._listed.pop(name_of(obj), None)

    def finish(self) -> Iterator[None]:
        """Put it into the reflection, slice by slice: between two of them others may have their turn."""
        for number, (name, (entry, uid)) in enumerate(self._listed.items(), 1):
            self._reflection.take_listed(name, entry, uid)
            if number % SLICE == 0:
                yield
        for number, name in enumerate(self._reflection.names(), 1):
            if name not in self._listed:
                self._reflection.drop_unlisted(name, self._mark)
            if number % (10 * SLICE) == 0:
                yield
