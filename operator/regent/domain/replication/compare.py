"""Where two objects differ, and when somebody last changed one. Tells places, never contents: they may be secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from regent.domain.replication.kinds import CONFIG_MAP, SECRET, kind_of
from regent.domain.replication.marks import FIELD_MANAGER
from regent.domain.times import parse_rfc3339

CHANGED_AT = "regentChangedAt"
"""Where a cache that drops managedFields leaves in an object's metadata what `changed_at` said of it. The cache may
have turned it into the time of one clock, so that two clusters can be compared whose clocks differ."""

_ENTRIES = {
    CONFIG_MAP.group_kind: ("data", "binaryData"),
    SECRET.group_kind: ("data", "stringData"),
}


def differences(wanted: Any, present: Any, *, limit: int = 16) -> tuple[str, ...]:
    """Return JSON pointers to what `wanted` says and `present` does not, at most `limit`; () when all of it is there.

    What only `present` has is no difference. Nothing, null and empty maps and lists are the same, as they are to an API
    server. Items of lists are compared by position.
    """
    return tuple(islice(_differences(wanted, present, ""), limit))


def surplus(wanted: Mapping[str, Any], present: Mapping[str, Any], *, limit: int | None = 16) -> tuple[str, ...]:
    """Return JSON pointers to entries of a ConfigMap or Secret that only `present` has; () for any other kind.

    No controller adds entries to them, so in a copy each one is somebody's edit.
    """
    found = (
        f"/{field}/{_escaped(name)}"
        for field in _ENTRIES.get(kind_of(wanted).group_kind, ())
        for name in sorted(_map(present.get(field)))
        if name not in _map(wanted.get(field))
    )
    return tuple(islice(found, limit))


def changed_at(obj: Mapping[str, Any]) -> float | None:
    """Return when somebody other than the replicator last changed an object, in seconds since the epoch by the clock of
    its API server; None when that cannot be told.

    From `metadata.managedFields`, without the status's; then from its creation.
    """
    metadata = obj.get("metadata")
    facts = metadata if isinstance(metadata, Mapping) else {}
    kept = facts.get(CHANGED_AT)
    if isinstance(kept, float):
        return kept
    managed = facts.get("managedFields")
    times = [
        _time(entry.get("time"))
        for entry in (managed if isinstance(managed, list) else ())
        if isinstance(entry, Mapping) and entry.get("manager") != FIELD_MANAGER and entry.get("subresource") != "status"
    ]
    known = [time for time in times if time is not None]
    return max(known) if known else _time(facts.get("creationTimestamp"))


def _differences(wanted: Any, present: Any, path: str) -> Iterator[str]:
    if isinstance(wanted, Mapping):
        if not isinstance(present, Mapping):
            if present or any(_filled(value) for value in wanted.values()):
                yield path or "/"
            return
        for name in sorted(wanted, key=str):
            yield from _differences(wanted[name], present.get(name), f"{path}/{_escaped(str(name))}")
    elif isinstance(wanted, list) and isinstance(present, list) and len(wanted) == len(present):
        for index, (left, right) in enumerate(zip(wanted, present, strict=True)):
            yield from _differences(left, right, f"{path}/{index}")
    elif not _same(wanted, present):
        yield path or "/"


def _same(wanted: Any, present: Any) -> bool:
    if wanted is None or wanted == [] or present is None:
        return not _filled(wanted) and not _filled(present)
    # In Python True equals 1; in an object a flag is never a number.
    return isinstance(wanted, bool) == isinstance(present, bool) and bool(wanted == present)


def _filled(value: Any) -> bool:
    """Whether a value says anything: no map that is empty all the way down does."""
    if isinstance(value, Mapping):
        return any(_filled(item) for item in value.values())
    return value is not None and value != []


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _time(text: Any) -> float | None:
    try:
        return parse_rfc3339(text) if isinstance(text, str) and text else None
    except (ValueError, OverflowError):
        return None
