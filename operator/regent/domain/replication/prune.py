"""Which copies may be deleted, and when: two passes with a brake.

A copy whose source is gone is first marked with a tombstone and deleted only after the grace period, if the source is
still gone then. Nothing is marked or deleted unless the list of the source is complete and its region healthy, and
nothing at all when too much would go at once: a source that looks empty is more often a source that cannot be seen.
Neighbours: `plan` hands copies over with PRUNE, `marks` writes the tombstones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from regent.domain.replication import marks
from regent.domain.replication.kinds import wave
from regent.domain.replication.marks import Marks
from regent.domain.replication.model import Link, ObjectKey, ReplicationSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """How well the source is known."""

    complete: bool
    """Every kind of the policy was listed to the end, after the watch had become healthy."""
    healthy: bool
    """The source's region is Healthy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A copy to be deleted. Both preconditions must be sent: an object that was made anew or changed since is kept."""

    key: ObjectKey
    uid: str
    resource_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """What to do about copies whose source is gone."""

    mark: tuple[ObjectKey, ...] = ()
    """Put a tombstone on these (`marks.tombstone_patch`)."""
    delete: tuple[Victim, ...] = ()
    """Delete these, in this order."""
    waiting: int = 0
    """Copies with a tombstone whose grace period runs."""
    next_due: float | None = None
    """Seconds until the next of them may be deleted."""
    blocked_reason: str = ""
    """CamelCase, for the condition PruneBlocked; "" when nothing is held back."""
    message: str = ""
    unproved: tuple[ObjectKey, ...] = ()
    """Missing in the source, but not known to have been there since the direction turned: the copy may be the only one
    left, so it is kept and reported."""


def plan_prune(
    *,
    spec: ReplicationSpec,
    link: Link,
    copies: Mapping[ObjectKey, Mapping[str, Any]],
    wanted: Collection[ObjectKey],
    source: SourceView,
    now: float,
    deleted: Collection[ObjectKey] = frozenset(),
    elsewhere: Collection[ObjectKey] = frozenset(),
    others: int = 0,
) -> PrunePlan:
    """Plan the pruning of one target.

    Args:
        spec: the policy.
        link: which way.
        copies: objects in the target by key; those that are not ours are never part of the plan. Copies that are
            wanted may be left out.
        wanted: keys of the copies that should be there.
        source: how well the source is known.
        now: seconds since the epoch.
        deleted: keys (of the copies) whose source was seen to be deleted by this process, which is proof by itself.
        elsewhere: keys whose source exists and has its copies in other targets (Sharded, Partial): these lose nothing,
            so the brake is not for them.
        others: how many copies of ours were left out of `copies`.
    """
    own = {
        key: written
        for key, obj in copies.items()
        if (written := marks.read_marks(obj)) is not None
        and written.policy_uid == spec.uid
        and not (obj.get("metadata") or {}).get("deletionTimestamp")
    }
    missing = {key: written for key, written in own.items() if key not in wanted}
    if not missing or not spec.prune.enabled:
        return PrunePlan()
    held = _held(link, source)
    if held:
        return PrunePlan(waiting=len(missing), blocked_reason=held[0], message=held[1])
    proved = {
        key: written
        for key, written in missing.items()
        if key in deleted or key in elsewhere or _made_this_way(written, link)
    }
    unproved = tuple(sorted(key for key in missing if key not in proved))
    reason, message = _brake(
        spec, copies=len(own) + others, gone=sum(key not in elsewhere for key in proved), wanted=len(wanted)
    )
    if reason:
        proved = {key: written for key, written in proved.items() if key in elsewhere}
    return _two_passes(spec, copies, proved, now, blocked=(reason, message), unproved=unproved)


def _held(link: Link, source: SourceView) -> tuple[str, str] | None:
    if link.target_active:
        return "TargetIsActive", "the failover policy has this region active"
    if not source.complete:
        return "SourceIncomplete", "the source could not be listed to the end: nothing is deleted"
    if not source.healthy:
        return "SourceNotHealthy", "the source's region is not healthy: nothing is deleted"
    return None


def _made_this_way(written: Marks, link: Link) -> bool:
    """Whether the copy was confirmed since the direction turned last. One from before may hold what only it has: the
    object may never have reached the present source."""
    return written.source_region == link.source_region and written.epoch == link.epoch


def _brake(spec: ReplicationSpec, *, copies: int, gone: int, wanted: int) -> tuple[str, str]:
    if gone and not wanted:
        return "SourceEmpty", f"the source has none of the {copies} objects any more: nothing is deleted"
    limit = spec.prune.max_percent
    # One object is no landslide, however few there are: without this, small policies could never prune.
    allowed = max(copies * limit // 100, 1 if limit else 0)
    if gone > allowed:
        return (
            "TooMany",
            f"{gone} of {copies} copies would be deleted, prune.maxPercent is {limit}: check the source, then raise it",
        )
    return "", ""


def _two_passes(
    spec: ReplicationSpec,
    copies: Mapping[ObjectKey, Mapping[str, Any]],
    gone: Mapping[ObjectKey, Marks],
    now: float,
    *,
    blocked: tuple[str, str],
    unproved: tuple[ObjectKey, ...],
) -> PrunePlan:
    mark, due, rests = [], [], []
    for key, written in gone.items():
        since = written.missing_since
        if since is None or since > now:
            # A time to come was written by a clock that has been set back since: the grace period starts anew.
            mark.append(key)
        elif now - since >= spec.prune.grace:
            due.append(key)
        else:
            rests.append(since + spec.prune.grace - now)
    # What refers to others goes before what it refers to.
    due.sort(key=lambda key: (-wave(key.kind), key))
    return PrunePlan(
        mark=tuple(sorted(mark)),
        delete=tuple(_victim(key, copies[key]) for key in due[: spec.batch_size]),
        waiting=len(rests),
        next_due=min(rests, default=None),
        blocked_reason=blocked[0],
        message=blocked[1],
        unproved=unproved,
    )


def _victim(key: ObjectKey, obj: Mapping[str, Any]) -> Victim:
    metadata = obj.get("metadata") or {}
    return Victim(
        key=key, uid=str(metadata.get("uid") or ""), resource_version=str(metadata.get("resourceVersion") or "")
    )
