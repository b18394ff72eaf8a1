"""Bidirectional replication: what to do about one object that both sides may change.

A three-way comparison against the hash that both sides had in common last, which stands on both of them. A change that
is no change against it was made by the replicator itself, so nothing goes round in circles. An object that is absent on
one side was deleted there if the other side says that both had it, else it is new.

The order of writes matters, because the replicator may die between two of them: a copy is written first, with the new
common hash on it, and only then is that hash put on the side that it came from. The other way round a crash would
leave a mark that says "both had it" on an object that the other side never got, and that reads as a deletion.
Neighbours: `pairs` says what is written for an outcome, `plan` is the one-way decision, `prune` holds the brake for
deletions of both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from regent.domain.replication import marks
from regent.domain.replication.compare import changed_at
from regent.domain.replication.content import content_hash
from regent.domain.replication.model import Adoption, ConflictPolicy, Direction, Link, ReplicationSpec, Strategy
from regent.domain.replication.namespaces import move
from regent.domain.replication.normalise import normalise, steered
from regent.domain.replication.plan import APPLY_SET_LABEL
from regent.domain.replication.shape import REGION_LABEL
from regent.domain.replication.sleep import essence


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
    own: bool = False
    """It carries the marks of this policy."""
    tool: bool = False
    """It is part of another tool's ApplySet, which prunes it by its own rules."""


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


def refusal(spec: ReplicationSpec, *, targets: int | None = None) -> str:
    """Return why the policy cannot be bidirectional, for the condition Ready; "" when it can or does not want to.

    `targets`: how many there are besides the source, where the source is one of those that the spec lists.
    """
    if spec.direction is Direction.ONE_WAY:
        return ""
    if any(target.transforms for target in spec.targets):
        return "transforms cannot be undone on the way back: remove targets[].transforms, or set direction: OneWay"
    if any(kind.include_status for selector in spec.resources for kind in selector.kinds):
        return "a status is written by controllers on each side: remove includeStatus, or set direction: OneWay"
    if spec.strategy is not Strategy.FULL:
        return f"direction: Bidirectional has all objects on both sides: set strategy: Full, not {spec.strategy.value}"
    if (len(spec.targets) if targets is None else targets) != 1:
        return "direction: Bidirectional has exactly one target: with more, nobody could say which change is the last"
    return ""


def sides(
    source: Mapping[str, Any] | None, target: Mapping[str, Any] | None, *, spec: ReplicationSpec, link: Link
) -> tuple[Side, Side]:
    """Describe both sides of a pair by their objects as served."""
    drop = any(obj is not None and steered(obj) for obj in (source, target))
    regions = link.source_region, link.target.region
    return (
        Side(region=regions[0]) if source is None else _side(source, regions, spec, link, drop),
        Side(region=regions[1]) if target is None else _side(target, regions[::-1], spec, link, drop),
    )


def pair_essence(
    obj: Mapping[str, Any], *, region: str, other: str, spec: ReplicationSpec, link: Link, steered_route: bool = False
) -> str:
    """Return the hash of what an object in `region` says, by which it is compared with the one in `other`.

    Namespaces are as in the source. Which region an object says it belongs to is "this one" or "the other one", so the
    hash is the same on both sides, and stays so when the direction turns round.
    """
    body = normalise(obj, drop_weights=steered_route)
    move(body, link.target.namespace, spec.namespace)
    labels = (body.get("metadata") or {}).get("labels") or {}
    if labels.get(REGION_LABEL) in (region, other):
        labels[REGION_LABEL] = "own" if labels[REGION_LABEL] == region else "other"
    return content_hash(essence(body))


def _side(obj: Mapping[str, Any], regions: tuple[str, ...], spec: ReplicationSpec, link: Link, drop: bool) -> Side:
    region, other = regions
    notes, written = marks.annotations_of(obj), marks.read_marks(obj)
    own = written is not None and written.policy_uid == spec.uid
    foreign = ""
    # Of an earlier policy of the same name, which was deleted and made anew, it may be taken over like any other.
    if written is not None and not own and written.policy_name != spec.full_name:
        foreign = f"it is a copy of ReplicationPolicy {written.policy_name or written.policy_uid}"[:256]
    found = pair_essence(obj, region=region, other=other, spec=spec, link=link, steered_route=drop)
    common = notes.get(marks.LAST_COMMON, "") if own else ""
    if common and notes.get(marks.SERVED) == f"{found}@{common}":
        # What its API server made of the common content: nobody has changed it.
        found = common
    return Side(
        region=region,
        present=True,
        essence=found,
        common=common,
        home=notes.get(marks.HOME, "") if own else "",
        changed_at=changed_at(obj),
        foreign=foreign,
        own=own,
        tool=APPLY_SET_LABEL in marks.labels_of(obj),
    )


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


def _both(source: Side, target: Side, spec: ReplicationSpec, home: str) -> Outcome:
    # A crash between the two writes leaves an old hash on one side: what equals either was not changed by anybody else.
    commons = {common for common in (source.common, target.common) if common}
    if not (commons or source.own or target.own) and (refused := _refused(source, target, spec)):
        return refused
    if source.essence == target.essence:
        known = source.common == target.common == source.essence and source.home == target.home == home
        kind, reason = (OutcomeKind.NOTHING, "InSync") if known else (OutcomeKind.MARK, "Equal")
        return Outcome(kind=kind, reason=reason, common=source.essence, home=home)
    if not commons:
        return _first_sight(source, target, spec, home)
    source_changed, target_changed = source.essence not in commons, target.essence not in commons
    if source_changed and not target_changed:
        return _copy(OutcomeKind.TO_TARGET, "SourceChanged", source, home)
    if target_changed and not source_changed:
        return _copy(OutcomeKind.TO_SOURCE, "TargetChanged", target, home)
    return _resolve(source, target, spec, home)


def _refused(source: Side, target: Side, spec: ReplicationSpec) -> Outcome | None:
    """Why two objects that were never a pair do not become one, however equal they are."""
    if source.tool or target.tool:
        return Outcome(kind=OutcomeKind.CONFLICT, reason="OtherTool", message="it is part of another tool's ApplySet")
    if spec.adoption is Adoption.REFUSE:
        message = "both sides had one before, and adoption is Refuse"
        return Outcome(kind=OutcomeKind.CONFLICT, reason="Exists", message=message)
    return None


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
