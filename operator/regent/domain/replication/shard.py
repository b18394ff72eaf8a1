"""Strategy Sharded: which targets hold an object, by rendezvous hashing (highest random weight).

Each object ranks all targets by a hash of both and takes the first ones that can be used. When a target is lost, only
its own objects move; when it is back, only they move back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from regent.domain.replication.model import ObjectKey

STABILITY = 120.0
"""Seconds that a target must have been healthy before objects are moved back to it."""


@dataclass(frozen=True, slots=True)
class TargetHealth:
    """Whether a target can be used, and since when that is so (seconds on any clock, the same for all)."""

    healthy: bool
    since: float


def placement(key: ObjectKey, targets: Iterable[str], replicas: int) -> tuple[str, ...]:
    """Return the targets (regions) that hold the object, the best first; all of them when there are not more.

    Args:
        key: of the object in the source, so that every target gives the same answer.
        targets: the regions that are in use (`in_use`).
        replicas: how many shall hold it, at least 1.
    """
    name = "\0".join((*key.kind.group_kind, key.namespace, key.name))
    ranked = sorted(set(targets), key=lambda region: (_weight(name, region), region), reverse=True)
    return tuple(ranked[: max(1, replicas)])


def in_use(
    targets: Mapping[str, TargetHealth], *, before: Collection[str], now: float, stability: float = STABILITY
) -> frozenset[str]:
    """Return the targets that objects are spread over.

    One that is not healthy leaves at once. One that was not in use comes back when it has been healthy for `stability`
    seconds, or at once while there is nothing in use: at the beginning, and after all were lost.

    Args:
        targets: all targets of the policy.
        before: what this returned last; empty at the start.
        now: on the same clock as `TargetHealth.since`.
        stability: seconds.
    """
    healthy = {region: health for region, health in targets.items() if health.healthy}
    kept = {region for region in healthy if region in before}
    if not kept:
        return frozenset(healthy)
    back = {region for region, health in healthy.items() if now - health.since >= stability}
    return frozenset(kept | back)


def _weight(name: str, region: str) -> bytes:
    return hashlib.sha256(f"{region}\0{name}".encode("utf-8", "surrogatepass")).digest()
