"""Places in an object that a transform gives new values, by JSON pointers in which `*` stands for every element.

What the new values are is computed elsewhere (`adapters.replication.expressions`): between `places` and `put` an object
does not change, so that all values are computed from the object as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MAX_PLACES = 1000
"""Places of one assignment in one object."""

APPEND = "-"
"""As a last part: the place after the last element of a list."""


@dataclass(frozen=True, slots=True)
class Place:
    """A member of an object or an element of a list, there already or to be added."""

    holder: dict[str, Any] | list[Any]
    key: str | int
    value: Any
    """What is there; None for what is to be added."""


def places(obj: dict[str, Any], path: str) -> list[Place]:
    """Return where `path` leads.

    Without `*` it leads to one place, whose parent has to be there. With `*` it leads to as many as there are, and none
    is no fault: not every pod has init containers.

    Raises:
        ValueError: it leads nowhere, or to more than MAX_PLACES.
    """
    *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:])
    holders: list[Any] = [obj]
    for part in parents:
        holders = [child.value for holder in holders for child in _at(holder, part, present=True)]
        _bound(holders, path)
    found = [place for holder in holders for place in _at(holder, last, present=False)]
    _bound(found, path)
    if not found and "*" not in (*parents, last):
        raise ValueError(f"{path}: there is no such place, and nothing to add it to")
    return found


def overlap(first: str, second: str) -> bool:
    """Whether one of two paths can lead into what the other replaces: then it would depend on their order what is
    left."""
    pairs = zip(first.split("/")[1:], second.split("/")[1:], strict=False)
    return all(one == other or "*" in (one, other) for one, other in pairs)


def put(place: Place, value: Any) -> None:
    """Set a place; None removes a member of an object.

    Raises:
        ValueError: None for an element of a list.
    """
    if isinstance(place.holder, dict):
        if value is None:
            place.holder.pop(str(place.key), None)
        else:
            place.holder[str(place.key)] = value
    elif value is None:
        raise ValueError("null removes members of objects only: give the list as a whole, with filter()")
    elif place.key == APPEND:
        place.holder.append(value)
    else:
        place.holder[int(place.key)] = value


def _at(holder: Any, part: str, *, present: bool) -> Iterator[Place]:
    """Give the places of one part of a path; `present`: only what is there."""
    if isinstance(holder, dict):
        keys = list(holder) if part == "*" else [part] if part in holder or not present else []
        yield from (Place(holder, key, holder.get(key)) for key in keys)
    elif isinstance(holder, list):
        if part == "*":
            yield from (Place(holder, index, value) for index, value in enumerate(holder))
        elif part == APPEND and not present:
            yield Place(holder, APPEND, None)
        elif part.isascii() and part.isdigit() and len(part) < 10 and int(part) < len(holder):
            yield Place(holder, int(part), holder[int(part)])


def _bound(found: list[Any], path: str) -> None:
    if len(found) > MAX_PLACES:
        raise ValueError(f"{path}: leads to more than {MAX_PLACES} places")
