"""How far the data of volumes is behind, by what the objects of the storage's own replication say.

Regent moves no data: csi-addons (VolumeReplication) or VolSync (ReplicationSource, ReplicationDestination) do. What
they tell is when the newest complete copy was made (`status.lastSyncTime`) and what is wrong; the lag is the time since
then. Of several volumes the one that is farthest behind counts, and one of which nothing is known makes all unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from regent.domain.replication.sleep import PRIMARY
from regent.domain.times import parse_rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """What one object of a driver says. `synced_at`: when the newest complete copy was made, None when not known."""

    synced_at: float | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """What is known of all volumes that go to one target."""

    volumes: int
    synced_at: float | None = None
    """Of the volume that is farthest behind; None when it is not known of one of them."""
    problems: tuple[str, ...] = ()

    def lag(self, now: float) -> float | None:
        """Return how far the data is behind, in seconds; None when that is not known."""
        return None if self.synced_at is None else max(0.0, now - self.synced_at)


def together(sources: Iterable[Volume], destinations: Iterable[Volume] = ()) -> Storage | None:
    """Return what is known of all volumes; None where there are none.

    Args:
        sources: what is said where the data comes from, one for each volume.
        destinations: what is said where it goes to, which may be of the same volumes.
    """
    here, there = list(sources), list(destinations)
    found = [*here, *there]
    if not found:
        return None
    known = [volume.synced_at for volume in found if volume.synced_at is not None]
    return Storage(
        volumes=max(len(here), len(there)),
        synced_at=min(known) if len(known) == len(found) else None,
        problems=tuple(problem for volume in found for problem in volume.problems),
    )


def primary(obj: Mapping[str, Any], region: str) -> Volume:
    """Read a VolumeReplication in the region that is copied from."""
    problems, role = _faults(obj, region), _map(obj, "spec").get("replicationState")
    if role != PRIMARY:
        # Only a primary knows how far its copies are, and this one has none.
        return Volume(problems=(f"{_what(obj)} is {role} in {region}: nothing is replicated from there", *problems))
    return Volume(synced_at=_synced_at(obj), problems=problems)


def standby_problems(obj: Mapping[str, Any], region: str) -> tuple[str, ...]:
    """Return what is wrong with the VolumeReplication in a region that gets the data."""
    twice = _map(obj, "spec").get("replicationState") == PRIMARY
    return (*((f"{_what(obj)} is primary in {region} as well",) if twice else ()), *_faults(obj, region))


def moved(obj: Mapping[str, Any], region: str) -> Volume:
    """Read a ReplicationSource or ReplicationDestination: a side that has stopped keeps the time of its last copy."""
    problems = []
    if _map(obj, "spec").get("paused") is True:
        problems.append(f"{_what(obj)} is paused in {region}")
    if _map(_map(obj, "status"), "latestMoverStatus").get("result") == "Failed":
        # Its logs may hold anything, and are left where they are.
        problems.append(f"{_what(obj)} in {region}: the last copy failed, see status.latestMoverStatus.logs")
    state = _condition(obj, "Synchronizing")
    if state.get("status") == "False" and state.get("reason") == "Error":
        problems.append(f"{_what(obj)} in {region}: {_text(state)}")
    return Volume(synced_at=_synced_at(obj), problems=tuple(problems))


def _faults(obj: Mapping[str, Any], region: str) -> tuple[str, ...]:
    found = (("Completed", "False", "is not what is asked of it"), ("Degraded", "True", "is degraded"))
    return tuple(
        f"{_what(obj)} in {region} {text}: {_text(state)}"
        for kind, wrong, text in found
        if (state := _condition(obj, kind)).get("status") == wrong
    )


def _synced_at(obj: Mapping[str, Any]) -> float | None:
    try:
        return parse_rfc3339(str(_map(obj, "status")["lastSyncTime"]))
    except (KeyError, ValueError):
        return None


def _condition(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = _map(obj, "status").get("conditions")
    items = found if isinstance(found, list) else []
    return next((item for item in items if isinstance(item, Mapping) and item.get("type") == kind), {})


def _text(state: Mapping[str, Any]) -> str:
    return " ".join(str(state.get("message") or state.get("reason") or "it does not say why").split())[:256]


def _what(obj: Mapping[str, Any]) -> str:
    return f"{obj.get('kind')}/{_map(obj, 'metadata').get('name')}"


def _map(obj: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    found = obj.get(field)
    return found if isinstance(found, Mapping) else {}
