"""What of a hub goes into another one: what is kept of its objects, and by how much epochs rise when a hub takes over.

A hub that takes over must be obeyed instead of the old one, which may still run behind a cut network. Each of its
policies therefore gets an epoch that the old hub cannot reach by failing over on its own: the next multiple of a
million. Regions that have seen it refuse what carries less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from regent.domain.failover.fence import Fence

TERM = 1_000_000
"""Epochs of one hub's term: more runs than a policy ever makes under one hub."""
LONGEST_TERM = 9_000_000_000
"""The epoch of the API ends there, after nine thousand takeovers."""

IMPORTED = "regent.dev/imported-epoch"
"""On a FailoverPolicy: its epoch in the export that it was taken over from."""
COPIED = "regent.dev/copied-from-hub"
"""On what a standby hub has copied: uid of the hub that it was copied from."""
COPIED_UID = "regent.dev/copied-uid"
"""Beside it: uid of the object there."""
KEPT_ANNOTATIONS_WITHOUT = frozenset({"kubectl.kubernetes.io/last-applied-configuration", IMPORTED, COPIED, COPIED_UID})
KEPT_STATUS = (
    "activeRegion",
    "activeRegions",
    "active",
    "distribution",
    "replicationSource",
    "failbackRegion",
    "blueGreen",
    "rejoin",
    "epoch",
    "runNumber",
    "lastFailover",
    "lastDrill",
    "cooldownUntil",
    "totals",
)
"""Fields of a FailoverPolicy's status that are memory. The others are found out anew."""
OPERATION = "operation"
"""Beside them: the run under way, whose journal is not taken along. What it had moved is not known elsewhere."""


def promotion_fence(highest: int, *, exported_epoch: int = 0) -> Fence:
    """Return the fence of a hub that takes over where `highest` is the highest epoch that is known.

    Its last number is the epoch in the export, so that an older export is told from the one that was taken over.

    Raises:
        ValueError: the epoch is so high that somebody must have made it up.
    """
    epoch = (highest // TERM + 1) * TERM
    if epoch > LONGEST_TERM:
        raise ValueError(f"epoch {highest} cannot be real")
    return Fence(epoch, 0, exported_epoch)


def is_promotion(fence: Fence) -> bool:
    """Whether a hub that took over has left this fence, and not a run."""
    return fence.epoch >= TERM and fence.epoch % TERM == 0 and fence.transitions == 0


def exported(obj: Mapping[str, Any], *, with_status: bool) -> dict[str, Any]:
    """Return what is taken along of an object: its name, labels, annotations and spec, and of a FailoverPolicy's status
    what only the status knows."""
    metadata = obj.get("metadata") or {}
    kept = {field: metadata[field] for field in ("name", "namespace", "labels") if metadata.get(field)}
    annotations = {
        name: text for name, text in (metadata.get("annotations") or {}).items() if name not in KEPT_ANNOTATIONS_WITHOUT
    }
    if annotations:
        kept["annotations"] = annotations
    found = {field: obj[field] for field in ("apiVersion", "kind")} | {"metadata": kept, "spec": obj.get("spec") or {}}
    if with_status:
        status = obj.get("status") or {}
        found["status"] = {field: status[field] for field in (*KEPT_STATUS, OPERATION) if field in status}
    return found


def secrets_named(obj: Mapping[str, Any], operator_namespace: str) -> Iterator[tuple[str, str]]:
    """Give namespace and name of the Secrets that an object refers to."""
    own = str((obj.get("metadata") or {}).get("namespace") or operator_namespace)
    yield from _secrets(obj.get("spec"), own)


def _secrets(node: Any, namespace: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for field, value in node.items():
            if str(field).lower().endswith("secretref") and isinstance(value, Mapping):
                if value.get("name"):
                    yield str(value.get("namespace") or namespace), str(value["name"])
            else:
                yield from _secrets(value, namespace)
    elif isinstance(node, list):
        for item in node:
            yield from _secrets(item, namespace)
