"""What to do about one object in one target: the whole decision, from what the source has and what the target has.

Order matters, and the first rule that fits decides: an object that is not ours is never changed without leave, one that
a failover has promoted is never put back to sleep, one that equals what it should be is never written.
Neighbours: `shape` says how the copy should be, `compare` what differs, `prune` what may be deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from regent.domain.replication import marks
from regent.domain.replication.compare import changed_at, differences, surplus
from regent.domain.replication.content import content_hash
from regent.domain.replication.marks import Marks
from regent.domain.replication.model import Adoption, ConflictPolicy, Link, Object, ReplicationSpec
from regent.domain.replication.normalise import normalise
from regent.domain.replication.shape import Desired, source_essence, with_weights

APPLY_SET_LABEL = "applyset.kubernetes.io/part-of"
"""An object of another tool's ApplySet (KEP-3659), which that tool prunes by its own rules."""


class ActionKind(Enum):
    """What to do about an object."""

    SKIP = "Skip"
    """In sync, nothing is written."""
    APPLY = "Apply"
    """Server-side apply `applied_body`, with `Action.force`. After `Action.removal`, if there is one."""
    ADOPT = "Adopt"
    """The same, for an object that was not a copy until now."""
    REVIVE = "Revive"
    """Take the tombstone off (`marks.revive_patch`); nothing else differs."""
    KEEP = "Keep"
    """Leave it as it is, and count it as in sync: the policy wants it so."""
    WAIT = "Wait"
    """It is being deleted; look again when it is gone. Counts as pending."""
    CONFLICT = "Conflict"
    """Leave it alone and report it: counts as conflicted."""
    REFUSE_FOREIGN = "RefuseForeign"
    """The same, because it belongs to somebody else."""
    PRUNE = "Prune"
    """The source has no such object: hand the copy to `prune.plan_prune`, which decides over all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What to do and why. `reason` is CamelCase for programs, `message` a sentence for people without any content."""

    kind: ActionKind
    reason: str
    message: str = ""
    force: bool = False
    """Take fields over from other field managers."""
    keep_loser: bool = False
    """What the target has is lost by this; keep a record of it first."""
    removal: Object | None = None
    """Merge patch to send first: entries of a ConfigMap or Secret that the source does not have, which server-side
    apply would leave to whoever wrote them."""

    @property
    def writes(self) -> bool:
        """Whether anything is sent to the target."""
        return self.kind in (ActionKind.APPLY, ActionKind.ADOPT, ActionKind.REVIVE)


def decide_object(
    source: Desired | None, target: Mapping[str, Any] | None, *, spec: ReplicationSpec, link: Link
) -> Action:
    """Decide about one object of a one-way policy.

    Args:
        source: what the copy should be; None when the source has no such object, or it is not selected (any more).
        target: the object in the target, as served; None when there is none.
        spec: the policy.
        link: which way.
    """
    if target is None:
        if source is None:
            return Action(kind=ActionKind.SKIP, reason="Absent")
        return _guarded(link, Action(kind=ActionKind.APPLY, reason="Missing", force=_source_wins(spec)))
    written = marks.read_marks(target)
    own = written if written is not None and marks.ours(target, spec.uid) else None
    if source is None:
        if own is None:
            return Action(kind=ActionKind.KEEP, reason="NotOurs", message="it is no copy of this policy")
        return _guarded(link, Action(kind=ActionKind.PRUNE, reason="SourceGone"))
    if (target.get("metadata") or {}).get("deletionTimestamp"):
        return Action(kind=ActionKind.WAIT, reason="Terminating", message="the object in the target is being deleted")
    blocked = _blocked(link, written)
    if blocked is not None:
        return blocked
    if _returning(source, target, own, link):
        return _take_back(source, target, spec)
    if own is not None:
        return _keep_in_step(source, target, own, spec, link)
    return _adopt(source, target, written, spec)


def applied_body(
    desired: Desired,
    spec: ReplicationSpec,
    link: Link,
    *,
    observed_at: float,
    target: Mapping[str, Any] | None = None,
    home: str = "",
    last_common: str = "",
) -> Object:
    """Return what is sent for APPLY and ADOPT: the copy with its marks and, for a steered route, the target's weights.

    A `status` in it is for the status subresource, which takes a request of its own. `observed_at`: when the source's
    change was seen, seconds since the epoch.
    """
    body = with_weights(desired.body, target) if desired.steered else desired.body
    return marks.mark(
        body,
        policy_uid=spec.uid,
        policy_name=spec.full_name,
        source_region=link.source_region,
        source_uid=desired.source_uid,
        source_rv=desired.source_version,
        content_hash=desired.content_hash,
        source_hash=desired.source_hash,
        essence=desired.essence,
        epoch=link.epoch,
        observed_at=observed_at,
        home=home,
        last_common=last_common,
    )


def compared(desired: Desired, target: Mapping[str, Any]) -> Object:
    """Return the target's object in the form in which it is compared with `desired.body`."""
    return normalise(target, include_status="status" in desired.body, keep_originals=True, drop_weights=desired.steered)


def drift(desired: Desired, target: Mapping[str, Any]) -> tuple[str, ...]:
    """Return where the target's object is not what it should be, as JSON pointers, at most 16; () when it is.

    Fields that only the target has are no drift: they are defaults of its API server or belong to controllers there,
    and server-side apply leaves them. Entries of ConfigMaps and Secrets are, because nobody else owns these.
    """
    present = compared(desired, target)
    return (*differences(desired.body, present), *surplus(desired.body, present))[:16]


def copy_hash(desired: Desired, target: Mapping[str, Any]) -> str:
    """Return the hash of a copy for digests: the source's when the copy is what it should be, else its own."""
    return desired.content_hash if not drift(desired, target) else content_hash(compared(desired, target))


def after_refusal(spec: ReplicationSpec, source: Desired, target: Mapping[str, Any], fields: tuple[str, ...]) -> Action:
    """Decide again after an apply without force was refused (409), because others own `fields` of the target's object.

    Never asks for another apply without force: the answer would be the same.
    """
    named = ", ".join(fields[:4]) + (f" and {len(fields) - 4} more" if len(fields) > 4 else "")
    if spec.conflict_policy is ConflictPolicy.TARGET_WINS:
        return Action(kind=ActionKind.KEEP, reason="TargetWins", message=f"changed in the target: {named}")
    if spec.conflict_policy is ConflictPolicy.SOURCE_WINS or _source_newer(spec, source, target):
        return Action(kind=ActionKind.APPLY, reason="SourceWins", message=f"was {named}", force=True, keep_loser=True)
    if spec.conflict_policy is ConflictPolicy.NEWEST_WINS:
        return Action(kind=ActionKind.KEEP, reason="TargetNewer", message=f"changed in the target later: {named}")
    return Action(
        kind=ActionKind.CONFLICT, reason="FieldsOwnedByOthers", message=f"somebody else in the target sets {named}"
    )


def _guarded(link: Link, action: Action) -> Action:
    return _blocked(link, None) or action


def _blocked(link: Link, written: Marks | None) -> Action | None:
    """What stops every write, whoever's the object is: a newer epoch has been here."""
    if link.target_active:
        return Action(
            kind=ActionKind.CONFLICT, reason="TargetIsActive", message="the failover policy has this region active"
        )
    if written is None:
        return None
    if written.epoch > link.epoch:
        return Action(
            kind=ActionKind.CONFLICT,
            reason="StaleEpoch",
            message=f"it was copied in epoch {written.epoch}, this direction is of epoch {link.epoch}",
        )
    if written.fence_epoch > link.epoch:
        return Action(
            kind=ActionKind.CONFLICT,
            reason="Promoted",
            message=f"a failover wrote it in epoch {written.fence_epoch}, this direction is of epoch {link.epoch}",
        )
    return None


def _returning(source: Desired, target: Mapping[str, Any], own: Marks | None, link: Link) -> bool:
    """Whether the source was last copied *from* this very object: the direction has turned round since."""
    before = source.source_marks
    if before is None or not before.source_uid or before.source_uid != (target.get("metadata") or {}).get("uid"):
        return False
    if own is None or own.source_region != link.source_region:
        return True
    return (own.epoch, own.observed_at or 0.0) < (before.epoch, before.observed_at or 0.0)


def _take_back(source: Desired, target: Mapping[str, Any], spec: ReplicationSpec) -> Action:
    """The old active side becomes a copy. What was written there after the last copy is reported, and kept."""
    before = source.source_marks
    known = before.source_hash if before is not None else ""
    if known == _essence_of(source, target) or not drift(source, target):
        return Action(kind=ActionKind.ADOPT, reason="TurnedRound", force=True, removal=_removal(source, target))
    return _diverged(source, target, spec, ActionKind.ADOPT)


def _diverged(source: Desired, target: Mapping[str, Any], spec: ReplicationSpec, kind: ActionKind) -> Action:
    message = "it was changed there while that side was active, and the change never arrived here"
    if spec.conflict_policy is ConflictPolicy.SOURCE_WINS or _source_newer(spec, source, target):
        removal = _removal(source, target)
        return Action(kind=kind, reason="Diverged", message=message, force=True, keep_loser=True, removal=removal)
    return Action(kind=ActionKind.CONFLICT, reason="Diverged", message=message)


def _essence_of(source: Desired, target: Mapping[str, Any]) -> str:
    return source_essence(target, include_status="status" in source.body, steered_route=source.steered)


def _keep_in_step(source: Desired, target: Mapping[str, Any], own: Marks, spec: ReplicationSpec, link: Link) -> Action:
    different = drift(source, target)
    changed = own.content_hash != source.content_hash
    if not different:
        if own.missing_since is not None:
            return Action(kind=ActionKind.REVIVE, reason="SourceIsBack")
        moved = (own.epoch, own.source_region, own.source_uid) != (link.epoch, link.source_region, source.source_uid)
        if changed or moved:
            return Action(kind=ActionKind.APPLY, reason="Remark", force=_source_wins(spec))
        return Action(kind=ActionKind.SKIP, reason="InSync")
    turned = own.epoch < link.epoch or own.source_region != link.source_region
    if turned and own.essence != _essence_of(source, target):
        # The copy was active meanwhile, and was changed: the source has never seen it.
        return _diverged(source, target, spec, ActionKind.APPLY)
    where = f"differs in {', '.join(different[:4])}"
    removal = _removal(source, target)
    if spec.conflict_policy is ConflictPolicy.SOURCE_WINS:
        reason = "SourceChanged" if changed else "Drifted"
        return Action(kind=ActionKind.APPLY, reason=reason, message=where, force=True, removal=removal)
    if changed:
        # Whether the target was changed too is best told by the API server: it knows who set which field.
        return Action(kind=ActionKind.APPLY, reason="SourceChanged", message=where, force=False)
    if spec.conflict_policy is ConflictPolicy.MANUAL:
        return Action(kind=ActionKind.CONFLICT, reason="Drifted", message=where)
    return Action(kind=ActionKind.KEEP, reason="TargetWins", message=where)


def _adopt(source: Desired, target: Mapping[str, Any], written: Marks | None, spec: ReplicationSpec) -> Action:
    if written is not None and not _predecessor(source, written, spec):
        return Action(
            kind=ActionKind.REFUSE_FOREIGN,
            reason="OtherPolicy",
            message=f"it is a copy of ReplicationPolicy {written.policy_name or written.policy_uid}"[:256],
        )
    tool = marks.labels_of(target).get(APPLY_SET_LABEL)
    if tool:
        return Action(
            kind=ActionKind.REFUSE_FOREIGN, reason="OtherTool", message="it is part of another tool's ApplySet"
        )
    if spec.adoption is Adoption.REFUSE:
        return Action(
            kind=ActionKind.REFUSE_FOREIGN, reason="Exists", message="it was there before, and adoption is Refuse"
        )
    if spec.adoption is Adoption.FORCE:
        return Action(
            kind=ActionKind.ADOPT, reason="Forced", force=True, keep_loser=True, removal=_removal(source, target)
        )
    present, wanted = compared(source, target), normalise(source.body, include_status=True)
    different = (*differences(wanted, present), *surplus(wanted, present))
    if different:
        message = f"it was there before, and differs in {', '.join(different[:4])}"
        return Action(kind=ActionKind.CONFLICT, reason="NotIdentical", message=message)
    return Action(kind=ActionKind.ADOPT, reason="Identical", force=True)


def _predecessor(source: Desired, written: Marks, spec: ReplicationSpec) -> bool:
    """Whether the copy was made by an earlier policy of the same name from the same object: the policy was deleted and
    made anew, or came from an export of the hub. Then the rules of adoption hold."""
    return (
        written.policy_name == spec.full_name and bool(written.source_uid) and written.source_uid == source.source_uid
    )


def _removal(source: Desired, target: Mapping[str, Any]) -> Object | None:
    patch: Object = {}
    for pointer in surplus(source.body, compared(source, target), limit=None):
        _, field, entry = pointer.split("/", 2)
        patch.setdefault(field, {})[entry.replace("~1", "/").replace("~0", "~")] = None
    return patch or None


def _source_wins(spec: ReplicationSpec) -> bool:
    return spec.conflict_policy is ConflictPolicy.SOURCE_WINS


def _source_newer(spec: ReplicationSpec, source: Desired, target: Mapping[str, Any]) -> bool:
    """For NewestWins: whether the source was changed last. Unknown times never win against known ones."""
    if spec.conflict_policy is not ConflictPolicy.NEWEST_WINS:
        return False
    theirs = changed_at(target)
    return source.source_changed_at is not None and (theirs is None or source.source_changed_at > theirs)
