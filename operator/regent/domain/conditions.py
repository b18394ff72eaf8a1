"""Kubernetes conditions as values: building, merging without churn, reading.

Conditions in objects are dicts in the API's shape; `merge` keeps `lastTransitionTime` unless the status turns and
returns the very same list when nothing changed, so that "no write when nothing changed" can be judged by equality.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_MESSAGE = 1024
"""Longer messages are cut: conditions are read by people, details belong in the log."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One observation. `status` is "True", "False" or "Unknown"; `reason` is CamelCase and never empty."""

    type: str
    status: str
    reason: str
    message: str = ""


def merge(
    existing: Sequence[Mapping[str, Any]], wanted: Iterable[Condition], *, now: str, generation: int
) -> list[dict[str, Any]]:
    """Return `existing` with `wanted` put in, sorted as they first appeared.

    Args:
        existing: conditions of the object as read.
        wanted: conditions that hold now; types not named here are kept as they are.
        now: RFC 3339 time written as lastTransitionTime where a status turns.
        generation: metadata.generation that the observation is about.
    """
    result = {str(item["type"]): dict(item) for item in existing}
    for condition in wanted:
        previous = result.get(condition.type)
        turned = previous is None or previous.get("status") != condition.status
        result[condition.type] = {
            "type": condition.type,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message[:MAX_MESSAGE],
            "observedGeneration": generation,
            "lastTransitionTime": now if turned or previous is None else previous.get("lastTransitionTime", now),
        }
    return list(result.values())


def find(conditions: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    """Return the condition of type `kind`, or None."""
    return next((item for item in conditions if item.get("type") == kind), None)
