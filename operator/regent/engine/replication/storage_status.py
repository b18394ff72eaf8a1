"""What the status of a ReplicationPolicy says about the data of volumes: written here, and read by the lag gate.

The time of the last complete copy is what counts: the gate takes the time since then. The lag beside it is for people,
and such that a driver which copies in rounds is written about once a round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regent.domain.conditions import Condition
from regent.domain.replication.storage import Storage
from regent.domain.times import rfc3339
from regent.engine.records import time_of

CONDITION = "StorageReplicating"
LEAST_LAG = 60.0
"""Seconds below which a lag is not told apart: drivers copy all few minutes."""


def storage_row(storage: Storage, before: Mapping[str, Any], *, now: float) -> dict[str, Any]:
    """Return `status.targets[].storage`.

    Args:
        before: what it is now.
        now: seconds since the epoch; when the source was lost, where it was.
    """
    row: dict[str, Any] = {"volumes": storage.volumes}
    lag = storage.lag(now)
    if lag is None or storage.synced_at is None:
        return row
    earlier, shown = time_of(before.get("lastSyncTime")), before.get("lagMilliseconds")
    row["lastSyncTime"] = rfc3339(storage.synced_at)
    greatest = lag
    if earlier is not None and row["lastSyncTime"] != before["lastSyncTime"]:
        greatest = max(lag, storage.synced_at - earlier)
    row["lagMilliseconds"] = _step(greatest)
    if row["lastSyncTime"] == before.get("lastSyncTime") and isinstance(shown, int):
        row["lagMilliseconds"] = max(shown, row["lagMilliseconds"])
    return row


def shown_storage(row: Mapping[str, Any]) -> Storage | None:
    """Read a target's row of the status; None where it says nothing about volumes."""
    shown = row.get("storage")
    if not isinstance(shown, Mapping):
        return None
    return Storage(volumes=int(shown.get("volumes") or 0), synced_at=time_of(shown.get("lastSyncTime")))


def storage_condition(found: Sequence[tuple[str, Storage]]) -> Condition | None:
    """Return the condition for what was found by region; None where there are no volumes."""
    if not found:
        return None
    problems = [f"{region}: {problem}" for region, storage in found for problem in storage.problems]
    if problems:
        return Condition(CONDITION, "False", "NotReplicating", "; ".join(problems))
    unknown = [region for region, storage in found if storage.synced_at is None]
    if unknown:
        text = f"no complete copy of all volumes is known in {', '.join(unknown)}"
        return Condition(CONDITION, "Unknown", "NeverSynced", text)
    return Condition(CONDITION, "True", "Replicating", "the storage has complete copies of all volumes")


def _step(seconds: float) -> int:
    """In steps of 1-2-5, upwards."""
    seconds = max(seconds, LEAST_LAG)
    steps = (base * 10.0**power for power in range(1, 8) for base in (1, 2, 5))
    return int(next((step for step in steps if step >= seconds), 1e8) * 1000)
