"""What a copy says about itself: labels to find it by, annotations that tell where it came from and what it was.

Everything that is needed to go on after a restart stands on the copies themselves; no other memory has to survive.
Marks are no content: `normalise` takes them off, so a copy and its source have the same hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regent.domain.failover import fence
from regent.domain.replication.model import Object
from regent.domain.times import parse_rfc3339, rfc3339

FIELD_MANAGER = "regent-replication"
"""Name under which copies are applied; a change by another manager is somebody else's."""

MANAGED_BY_LABEL, MANAGED_BY = "regent.dev/managed-by", "regent"
POLICY_LABEL = "regent.dev/policy"
"""UID of the ReplicationPolicy: the label that copies are listed by."""
SOURCE_LABEL = "regent.dev/source"
"""Region that the copy was made from last."""

POLICY_NAME = "regent.dev/replication-policy"
SOURCE_UID = "regent.dev/source-uid"
SOURCE_VERSION = "regent.dev/source-resource-version"
CONTENT_HASH = "regent.dev/content-hash"
SOURCE_HASH = "regent.dev/source-hash"
ESSENCE = "regent.dev/essence-hash"
EPOCH = "regent.dev/replication-epoch"
OBSERVED_AT = "regent.dev/observed-at"
HOME = "regent.dev/home-region"
LAST_COMMON = "regent.dev/last-common-hash"
SERVED = "regent.dev/served-hash"
"""`<hash>@<last common hash>`: what this side's API server made of what was written, where that is not the same."""
MISSING_SINCE = "regent.dev/missing-since"
"""Tombstone: since when the source of a copy has been seen missing. Set and removed by merge patch, never applied."""

KEPT_LABEL = "regent.dev/kept-for"
"""On records of what was overwritten: the uid of the policy. Such records are never copied."""

REPLICAS = "regent.dev/replicas"
SUSPEND = "regent.dev/suspended"
RUN_STRATEGY = "regent.dev/run-strategy"
MIN_REPLICAS = "regent.dev/min-replicas"
REPLICATION_STATE = "regent.dev/replication-state"
PAUSED = "regent.dev/paused"
ORIGINALS = frozenset({REPLICAS, SUSPEND, RUN_STRATEGY, MIN_REPLICAS, REPLICATION_STATE, PAUSED})
"""What a sleeping copy was in its source, so that it can be woken without the source."""

LABELS = frozenset({MANAGED_BY_LABEL, POLICY_LABEL, SOURCE_LABEL})
ANNOTATIONS = frozenset(
    {
        POLICY_NAME,
        SOURCE_UID,
        SOURCE_VERSION,
        CONTENT_HASH,
        SOURCE_HASH,
        ESSENCE,
        EPOCH,
        OBSERVED_AT,
        HOME,
        LAST_COMMON,
        SERVED,
        MISSING_SINCE,
        fence.ANNOTATION,
    }
)
_MAX_TEXT = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What a copy says. Texts are "" and numbers 0 or None where it does not say it, or nonsense."""

    policy_uid: str = ""
    policy_name: str = ""
    """`namespace/name` of the policy."""
    source_region: str = ""
    source_uid: str = ""
    source_version: str = ""
    content_hash: str = ""
    """Hash of the copy as it was applied, without marks."""
    source_hash: str = ""
    """Hash of the normalised source, before it was changed for this target."""
    essence: str = ""
    """Hash of the copy's own essence as it was applied: whether it was changed since, however it sleeps or runs."""
    epoch: int = 0
    observed_at: float | None = None
    home: str = ""
    last_common: str = ""
    missing_since: float | None = None
    fence_epoch: int = 0
    """Epoch of the last failover run that wrote to the object; 0: none has."""


def mark(
    obj: Mapping[str, Any],
    *,
    policy_uid: str,
    source_region: str,
    source_uid: str,
    source_rv: str,
    content_hash: str,
    epoch: int,
    observed_at: float,
    policy_name: str = "",
    source_hash: str = "",
    essence: str = "",
    home: str = "",
    last_common: str = "",
) -> Object:
    """Return `obj` with the marks of a copy; `obj` is not changed. `observed_at`: seconds since the epoch."""
    labels = {MANAGED_BY_LABEL: MANAGED_BY, POLICY_LABEL: policy_uid, SOURCE_LABEL: source_region}
    notes = {
        POLICY_NAME: policy_name,
        SOURCE_UID: source_uid,
        SOURCE_VERSION: source_rv,
        CONTENT_HASH: content_hash,
        SOURCE_HASH: source_hash,
        ESSENCE: essence,
        EPOCH: str(epoch),
        OBSERVED_AT: rfc3339(observed_at),
        HOME: home,
        LAST_COMMON: last_common,
    }
    notes = {name: text for name, text in notes.items() if text}
    metadata = dict(obj.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **notes}
    return {**obj, "metadata": metadata}


def read_marks(obj: Mapping[str, Any]) -> Marks | None:
    """Return what the object says about being a copy; None when it does not carry Regent's labels of a copy.

    Anybody who may write to the target may write marks, so nothing in them is trusted further than it has to be.
    """
    labels, notes = labels_of(obj), annotations_of(obj)
    if labels.get(MANAGED_BY_LABEL) != MANAGED_BY or not labels.get(POLICY_LABEL):
        return None
    written = fence.parse_fence(notes.get(fence.ANNOTATION, ""))
    return Marks(
        policy_uid=labels[POLICY_LABEL],
        policy_name=notes.get(POLICY_NAME, "")[:_MAX_TEXT],
        source_region=labels.get(SOURCE_LABEL, ""),
        source_uid=notes.get(SOURCE_UID, "")[:_MAX_TEXT],
        source_version=notes.get(SOURCE_VERSION, "")[:_MAX_TEXT],
        content_hash=notes.get(CONTENT_HASH, "")[:_MAX_TEXT],
        source_hash=notes.get(SOURCE_HASH, "")[:_MAX_TEXT],
        essence=notes.get(ESSENCE, "")[:_MAX_TEXT],
        epoch=_number(notes.get(EPOCH, "")),
        observed_at=_time(notes.get(OBSERVED_AT, "")),
        home=notes.get(HOME, "")[:_MAX_TEXT],
        last_common=notes.get(LAST_COMMON, "")[:_MAX_TEXT],
        missing_since=_time(notes.get(MISSING_SINCE, "")),
        fence_epoch=written.epoch if written is not None else 0,
    )


def ours(obj: Mapping[str, Any], policy_uid: str) -> bool:
    """Whether the object is a copy that the policy with this uid made. Nothing else is ever deleted."""
    labels = labels_of(obj)
    return bool(policy_uid) and labels.get(MANAGED_BY_LABEL) == MANAGED_BY and labels.get(POLICY_LABEL) == policy_uid


def copies_selector(policy_uid: str) -> str:
    """Return the label selector, as a query's text, of the copies of a policy."""
    return f"{MANAGED_BY_LABEL}={MANAGED_BY},{POLICY_LABEL}={policy_uid}"


def tombstone_patch(now: float) -> Object:
    """Return the merge patch that marks a copy as one whose source is missing since `now`."""
    return {"metadata": {"annotations": {MISSING_SINCE: rfc3339(now)}}}


def revive_patch() -> Object:
    """Return the merge patch that takes the tombstone off a copy whose source is there (again)."""
    return {"metadata": {"annotations": {MISSING_SINCE: None}}}


def release_patch() -> Object:
    """Return the merge patch that makes a copy an object like any other: what deletionPolicy Orphan leaves behind.

    What a sleeping workload was stays on it: its owner needs that to wake it.
    """
    notes = sorted(ANNOTATIONS - {fence.ANNOTATION})
    return {"metadata": {"labels": dict.fromkeys(sorted(LABELS)), "annotations": dict.fromkeys(notes)}}


def labels_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the labels of an object; empty where there are none or they are not a map."""
    return _map((obj.get("metadata") or {}), "labels")


def annotations_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the annotations of an object; empty where there are none or they are not a map."""
    return _map((obj.get("metadata") or {}), "annotations")


def _map(metadata: Any, name: str) -> Mapping[str, str]:
    found = metadata.get(name) if isinstance(metadata, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def _time(text: str) -> float | None:
    try:
        return parse_rfc3339(text) if text else None
    except (ValueError, OverflowError):
        return None
