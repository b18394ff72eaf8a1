"""Bidirectional replication: what to do about one object that both sides may change.

A three-way comparison against the hash that both sides had in common last, which stands on both of them. A change that
is no change against it was made by the replicator itself, so nothing goes round in circles. An object that is absent on
one side was deleted there if the other side says that both had it, else it is new.

The order of writes matters, because the replicator may die between two of them: a copy is written first, with the new
common hash on it, and only then is that hash put on the side that it came from. The other way round a crash would
leave a mark that says "both had it" on an object that the other side never got, and that reads as a deletion.
Neighbours: `plan` is the one-way decision, `prune` holds the brake for deletions of both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from regent.domain.merge_patch import merged
from regent.domain.replication import marks
from regent.domain.replication.compare import changed_at
from regent.domain.replication.content import content_hash
from regent.domain.replication.model import Adoption, ConflictPolicy, Direction, Link, Object, ReplicationSpec
from regent.domain.replication.namespaces import move
from regent.domain.replication.normalise import normalise, steered
from regent.domain.replication.shape import relabel
from regent.domain.replication.sleep import essence, retain_rest, woken


class OutcomeKind(Enum):
    """What to do about a pair."""

    NOTHING = "Nothing"
    MARK = "Mark"
    """Both are equal; put the common hash on the sides that do not have it (`mark_patch`)."""
    TO_TARGET = "ToTarget"
    """Copy the source's object to the target, then mark the source."""
    TO_SOURCE = "ToSource"
    """Copy the target's object to the source, then mark the target."""
    DELETE_TARGET = "DeleteTarget"
    """It was deleted in the source: hand the target's object to the pruner."""
    DELETE_SOURCE = "DeleteSource"
    """It was deleted in the target: hand the source's object to the pruner."""
    CONFLICT = "Conflict"
    """Leave both alone and report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a pair. Without an object everything else is empty."""

    region: str
    present: bool = False
    essence: str = ""
    """Hash of what it says, whether it sleeps or not, in whichever namespace it is."""
    common: str = ""
    """The hash that both sides had in common, as this side remembers it; "" when it never was one of a pair."""
    home: str = ""
    changed_at: float | None = None
    foreign: str = ""
    """Why it may not be touched, for people; "" when it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What to do and why. `reason` is CamelCase, `message` for people and without any content."""

    kind: OutcomeKind
    reason: str
    message: str = ""
    keep_loser: bool = False
    """What is overwritten is lost by this; keep a record of it first."""
    common: str = ""
    """The common hash after it."""
    home: str = ""
    """The home region that both sides get."""


def refusal(spec: ReplicationSpec) -> str:
    """Return why the policy cannot be bidirectional, for the condition Ready; "" when it can or does not want to."""
    if spec.direction is Direction.ONE_WAY:
        return ""
    if any(target.transforms for target in spec.targets):
        return "transforms cannot be undone on the way back: remove targets[].transforms, or set direction: OneWay"
    if len(spec.targets) != 1:
        return "direction: Bidirectional has exactly one target: with more, nobody could say which change is the last"
    return ""


def sides(
    source: Mapping[str, Any] | None,
    target: Mapping[str, Any] | None,
    *,
    spec: ReplicationSpec,
    link: Link,
    include_status: bool = False,
) -> tuple[Side, Side]:
    """Describe both sides of a pair by their objects as served. Bodies are compared as they would be in the source."""
    steered_route = any(obj is not None and steered(obj) for obj in (source, target))
    found = []
    for obj, region in ((source, link.source_region), (target, link.target.region)):
        if obj is None:
            found.append(Side(region=region))
            continue
        notes, written = marks.annotations_of(obj), marks.read_marks(obj)
        own = written is not None and written.policy_uid == spec.uid
        foreign = ""
        if written is not None and not own:
            foreign = f"it is a copy of ReplicationPolicy {written.policy_name or written.policy_uid}"[:256]
        body = normalise(obj, include_status=include_status, drop_weights=steered_route)
        move(body, link.target.namespace, spec.namespace)
        relabel(body, region, link.source_region)
        found.append(
            Side(
                region=region,
                present=True,
                essence=content_hash(essence(body)),
                common=notes.get(marks.LAST_COMMON, "") if own else "",
                home=notes.get(marks.HOME, "") if own else "",
                changed_at=changed_at(obj),
                foreign=foreign,
            )
        )
    return found[0], found[1]


def decide_pair(source: Side, target: Side, *, spec: ReplicationSpec) -> Outcome:
    """Decide about one object of a bidirectional policy; the source is the side of `spec.source`."""
    for one in (source, target):
        if one.foreign:
            return Outcome(kind=OutcomeKind.CONFLICT, reason="OtherPolicy", message=f"in {one.region} {one.foreign}")
    home = source.home or target.home or (source.region if source.present else target.region)
    if source.present and target.present:
        return _both(source, target, spec, home)
    if source.present:
        kinds = OutcomeKind.TO_TARGET, OutcomeKind.DELETE_SOURCE
        return _one(source, copy=kinds[0], delete=kinds[1], absent_region=target.region, spec=spec, home=home)
    if target.present:
        kinds = OutcomeKind.TO_SOURCE, OutcomeKind.DELETE_TARGET
        return _one(target, copy=kinds[0], delete=kinds[1], absent_region=source.region, spec=spec, home=home)
    return Outcome(kind=OutcomeKind.NOTHING, reason="Absent")


def pair_body(
    winner: Mapping[str, Any],
    loser: Mapping[str, Any] | None,
    spec: ReplicationSpec,
    link: Link,
    outcome: Outcome,
    *,
    observed_at: float,
    include_status: bool = False,
) -> Object:
    """Return what is applied to the source for TO_SOURCE: the target's object, awake, moved back, with its marks.

    How the source's own workloads rest or run is theirs: replicas, suspension and run strategy stay as in `loser`.
    For TO_TARGET use `shape.desired` and `plan.applied_body` with the outcome's `home` and `common`.
    """
    woke = woken(winner)
    body = normalise(winner if woke is None else merged(winner, woke), include_status=include_status)
    move(body, link.target.namespace, spec.namespace)
    relabel(body, link.target.region, link.source_region)
    if loser is not None:
        retain_rest(body, loser)
    metadata = winner.get("metadata") or {}
    return marks.mark(
        body,
        policy_uid=spec.uid,
        policy_name=spec.full_name,
        source_region=link.target.region,
        source_uid=str(metadata.get("uid") or ""),
        source_rv=str(metadata.get("resourceVersion") or ""),
        content_hash=outcome.common,
        source_hash=outcome.common,
        epoch=link.epoch,
        observed_at=observed_at,
        home=outcome.home,
        last_common=outcome.common,
    )


def mark_patch(outcome: Outcome, spec: ReplicationSpec, *, other_region: str, epoch: int = 0) -> Object:
    """Return the merge patch that makes a side remember the pair; `epoch` is the link's."""
    return {
        "metadata": {
            "labels": {
                marks.MANAGED_BY_LABEL: marks.MANAGED_BY,
                marks.POLICY_LABEL: spec.uid,
                marks.SOURCE_LABEL: other_region,
            },
            "annotations": {
                marks.POLICY_NAME: spec.full_name,
                marks.LAST_COMMON: outcome.common,
                marks.HOME: outcome.home,
                marks.EPOCH: str(epoch),
                marks.MISSING_SINCE: None,
            },
        }
    }


def _both(source: Side, target: Side, spec: ReplicationSpec, home: str) -> Outcome:
    if source.essence == target.essence:
        known = source.common == target.common == source.essence and source.home == target.home == home
        kind, reason = (OutcomeKind.NOTHING, "InSync") if known else (OutcomeKind.MARK, "Equal")
        return Outcome(kind=kind, reason=reason, common=source.essence, home=home)
    # A crash between the two writes leaves an old hash on one side: what equals either was not changed by anybody else.
    commons = {common for common in (source.common, target.common) if common}
    if not commons:
        return _first_sight(source, target, spec, home)
    source_changed, target_changed = source.essence not in commons, target.essence not in commons
    if source_changed and not target_changed:
        return _copy(OutcomeKind.TO_TARGET, "SourceChanged", source, home)
    if target_changed and not source_changed:
        return _copy(OutcomeKind.TO_SOURCE, "TargetChanged", target, home)
    return _resolve(source, target, spec, home)


def _first_sight(source: Side, target: Side, spec: ReplicationSpec, home: str) -> Outcome:
    if spec.adoption is Adoption.FORCE:
        return _resolve(source, target, spec, home)
    return Outcome(
        kind=OutcomeKind.CONFLICT,
        reason="NotIdentical",
        message=f"both sides had one before, they differ, and adoption is {spec.adoption.value}",
    )


def _resolve(source: Side, target: Side, spec: ReplicationSpec, home: str) -> Outcome:
    message = "it was changed on both sides"
    match spec.conflict_policy:
        case ConflictPolicy.MANUAL:
            return Outcome(kind=OutcomeKind.CONFLICT, reason="BothChanged", message=message)
        case ConflictPolicy.SOURCE_WINS:
            winner = source
        case ConflictPolicy.TARGET_WINS:
            winner = target
        case ConflictPolicy.NEWEST_WINS:
            winner = _newest(source, target, home)
    kind = OutcomeKind.TO_TARGET if winner is source else OutcomeKind.TO_SOURCE
    return _copy(kind, "BothChanged", winner, home, message=message, keep_loser=True)


def _newest(source: Side, target: Side, home: str) -> Side:
    """The side that was changed last, by the clocks of two API servers; where these do not decide, the home region."""
    left = float("-inf") if source.changed_at is None else source.changed_at
    right = float("-inf") if target.changed_at is None else target.changed_at
    if left != right:
        return source if left > right else target
    return target if home == target.region else source


def _one(
    present: Side, *, copy: OutcomeKind, delete: OutcomeKind, absent_region: str, spec: ReplicationSpec, home: str
) -> Outcome:
    if not present.common:
        return _copy(copy, "New", present, home)
    if present.essence == present.common:
        return Outcome(kind=delete, reason="DeletedThere", message=f"it was deleted in {absent_region}")
    message = f"it was deleted in {absent_region} and changed in {present.region}"
    if spec.conflict_policy is ConflictPolicy.MANUAL:
        return Outcome(kind=OutcomeKind.CONFLICT, reason="DeletedAndChanged", message=message)
    # Whoever wins elsewhere: what was changed is wanted by somebody, and a deletion can be done again.
    return _copy(copy, "DeletedAndChanged", present, home, message=message)


def _copy(
    kind: OutcomeKind, reason: str, winner: Side, home: str, *, message: str = "", keep_loser: bool = False
) -> Outcome:
    return Outcome(kind=kind, reason=reason, message=message, keep_loser=keep_loser, common=winner.essence, home=home)
