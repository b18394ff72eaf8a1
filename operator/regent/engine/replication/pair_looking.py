"""Looks at an object that both sides may change, and says what is to be done about it, without making a request.

The decision is `domain.replication.conflict`; here is what it needs to know of the two regions, and what stands against
a write whatever it says: a failover that is ahead, a placement, a side that is not known whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from regent.domain.replication import conflict, marks
from regent.domain.replication.conflict import OutcomeKind
from regent.domain.replication.model import Link as Way
from regent.domain.replication.model import ReplicationSpec
from regent.domain.replication.normalise import skip_reason
from regent.domain.replication.pairs import mirrored, rest_change
from regent.domain.replication.plan import Action, ActionKind
from regent.domain.replication.selection import selected
from regent.engine.ports import Object
from regent.engine.replication.looking import SLEEPERS, TOO_MUCH, ItemKey, Look, Looker, Outcome, Tracked, version_of
from regent.engine.resources import Resource

SETTLED = "settled"


class PairLooker(Looker):
    """The view of a link whose two sides are copied to each other.

    Args:
        denied_back: why an object with these labels may not be in the source's region; "" when it may.
    """

    def __init__(
        self,
        spec: ReplicationSpec,
        way: Way,
        tracked: Mapping[Resource, Tracked],
        *,
        denied_back: Callable[[Mapping[str, str]], str],
        **options: Any,
    ) -> None:
        super().__init__(spec, way, tracked, **options)
        self._denied_back = denied_back
        self._back = mirrored(way, spec)
        self._gone: dict[ItemKey, str] = {}

    def keys(self, resource: Resource) -> set[ItemKey]:
        """All names of a kind on either side."""
        return super().keys(resource) | {ItemKey(resource, name) for name in self.there(resource)}

    def gone(self, region: str) -> list[ItemKey]:
        """Objects of a region that were deleted on the other side, and nobody changed since."""
        return [key for key, where in self._gone.items() if where == region]

    def note(self, key: ItemKey, outcome: Outcome, message: str = "") -> None:
        """Remember how an object stands."""
        super().note(key, outcome, message)
        if outcome is not Outcome.ORPHANED:
            self._gone.pop(key, None)

    def look(self, key: ItemKey) -> Look | None:
        """Look at an object on both sides; None when nothing is to be written, which is noted."""
        tracked = self.tracked(key)
        if self.unchanged(tracked, key):
            return None
        source, target = self.source(key), self.target(key)
        known = [obj for obj in (source, target) if obj is not None]
        if not any(selected(obj, selector) for obj in known for selector in tracked.selectors):
            # What nobody selects any more is left alone on both sides: the last change to it was carried over.
            self.note(key, Outcome.UNWANTED)
        elif not self._ruled_out(key, tracked, source, target):
            return self._decide(key, tracked, source, target)
        return None

    def confirm(self, done: Look) -> None:
        """It was written on one side or on both: their answers ask for another look."""
        self.note(done.key, Outcome.PENDING)

    def settle(self, look: Look) -> None:
        """Both sides are equal."""
        source, target = self.versions(look.key)
        self.remember(look.key, source or "", SETTLED, target or "", SETTLED)
        self.note(look.key, Outcome.IN_SYNC)

    def digests(self, keys: Iterable[ItemKey]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the hashes of both sides by name, from what is known."""
        here, there = {}, {}
        for key in keys:
            if self.outcome(key) not in (None, Outcome.UNWANTED, Outcome.FAILED, Outcome.ORPHANED):
                (left, right), (source, target) = self.hashes(key), self.versions(key)
                here.update({key.name: left} if source is not None else {})
                there.update({key.name: right} if target is not None else {})
        return here, there

    def _ruled_out(self, key: ItemKey, tracked: Tracked, source: Object | None, target: Object | None) -> bool:
        """Note an object about which nothing can be decided now."""
        regions = {self._way.source_region: (source, tracked.source), self._way.target.region: (target, tracked.target)}
        ending = [region for region, (obj, _) in regions.items() if obj and obj["metadata"].get("deletionTimestamp")]
        if ending and source is not None and target is not None and len(ending) == 1:
            # What becomes of the other one is decided when it is gone: until then it may have a namesake again.
            self.note(key, Outcome.PENDING, f"it is being deleted in {ending[0]}")
            return True
        if ending:
            self.note(key, Outcome.UNWANTED)
            return True
        for obj, reflection in regions.values():
            if obj is None and reflection.absent:
                self.note(
                    key, Outcome.FAILED, reflection.problem or f"region {reflection.region} does not know the kind"
                )
                return True
            if obj is not None and (reason := skip_reason(obj) or self._ahead(obj)):
                failed, stale = reason.endswith(TOO_MUCH), not skip_reason(obj)
                outcome = Outcome.FAILED if failed else Outcome.CONFLICTED if stale else Outcome.UNWANTED
                self.note(key, outcome, "" if outcome is Outcome.UNWANTED else reason)
                return True
        return False

    def _ahead(self, obj: Object) -> str:
        """Why a newer epoch stands against every write: a replicator that was left behind must not undo a failover."""
        written, epoch = marks.read_marks(obj), self._way.epoch
        if written is None or not self._spec.source.follow_policy:
            # With a fixed source a failover turns nothing round, and how its workloads run is each side's own.
            return ""
        if written.epoch > epoch:
            return f"it was copied in epoch {written.epoch}, this direction is of epoch {epoch}"
        if written.fence_epoch > epoch:
            return f"a failover wrote it in epoch {written.fence_epoch}, this direction is of epoch {epoch}"
        return ""

    def _decide(self, key: ItemKey, tracked: Tracked, source: Object | None, target: Object | None) -> Look | None:
        left, right = conflict.sides(source, target, spec=self._spec, link=self._way)
        outcome = conflict.decide_pair(left, right, spec=self._spec)
        if source is not None and target is not None:
            self.remember(key, version_of(source), left.essence, version_of(target), right.essence)
        if outcome.kind is OutcomeKind.NOTHING and _tombstoned(source, target):
            outcome = replace(outcome, kind=OutcomeKind.MARK, reason="IsBack")
        match outcome.kind:
            case OutcomeKind.NOTHING:
                return self._resting(key, tracked, source, target)
            case OutcomeKind.CONFLICT:
                self.note(key, Outcome.CONFLICTED, f"{outcome.message} ({self._between})")
            case OutcomeKind.DELETE_SOURCE | OutcomeKind.DELETE_TARGET:
                self._orphaned(key, outcome)
            case _ if self._way.target_active and outcome.keep_loser and outcome.kind is OutcomeKind.TO_TARGET:
                text = f"{outcome.message}, and the failover policy has {right.region} active: it is not overwritten"
                self.note(key, Outcome.CONFLICTED, text)
            case _ if reason := self._refused(outcome, source, target):
                self.note(key, Outcome.FAILED, reason)
            case _:
                wanted = None
                if outcome.kind is OutcomeKind.TO_TARGET and source is not None:
                    wanted = self.wanted(tracked, source, target)
                action = Action(kind=ActionKind.APPLY, reason=outcome.reason, message=outcome.message, force=True)
                return Look(key, source, target, wanted, action, outcome)
        return None

    @property
    def _between(self) -> str:
        return f"{self._way.source_region} and {self._way.target.region}"

    def _orphaned(self, key: ItemKey, outcome: conflict.Outcome) -> None:
        """It was deleted on one side: the pruner decides, which sees all of them."""
        back = outcome.kind is OutcomeKind.DELETE_SOURCE
        self.note(key, Outcome.ORPHANED)
        self._gone[key] = self._way.source_region if back else self._way.target.region

    def _refused(self, outcome: conflict.Outcome, source: Object | None, target: Object | None) -> str:
        """Why what was decided may not leave the region where it is."""
        if outcome.kind is OutcomeKind.TO_TARGET and source is not None:
            return self._denied(source["metadata"].get("labels") or {})
        if outcome.kind is OutcomeKind.TO_SOURCE and target is not None:
            return self._denied_back(target["metadata"].get("labels") or {})
        return ""

    def _resting(self, key: ItemKey, tracked: Tracked, source: Object | None, target: Object | None) -> Look | None:
        """Both say the same. A workload of the target may have to rest otherwise than it does."""
        change = None
        if source is not None and target is not None and tracked.kind.group_kind in SLEEPERS:
            wanted = self.wanted(tracked, source, target)
            change = rest_change(wanted, target, self._spec, self._way)
        if change is None:
            self.note(key, Outcome.IN_SYNC if source is not None else Outcome.UNWANTED)
            return None
        action = Action(kind=ActionKind.APPLY, reason="Rest", force=True)
        return Look(
            key, source, target, None, action, conflict.Outcome(kind=OutcomeKind.NOTHING, reason="Rest"), change
        )


def turned(tracked: Tracked) -> Tracked:
    """Return the kind as it is tracked for the way back."""
    return replace(tracked, source=tracked.target, target=tracked.source)


def _tombstoned(*objs: Object | None) -> bool:
    found = [marks.read_marks(obj) for obj in objs if obj is not None]
    return any(written is not None and written.missing_since is not None for written in found)
