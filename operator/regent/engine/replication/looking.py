"""Looks at one object on both sides and says what is to be done about its copy: no request is made for that.

What was found is remembered by the versions of both sides, so that looking again at what has not changed costs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from regent.domain.replication import conflict
from regent.domain.replication.compare import changed_at
from regent.domain.replication.content import MAX_OBJECT_BYTES
from regent.domain.replication.kinds import (
    AUTOSCALER,
    CRON_JOB,
    DEPLOYMENT,
    REPLICATION_SOURCE,
    STATEFUL_SET,
    VIRTUAL_MACHINE,
    VOLUME_REPLICATION,
)
from regent.domain.replication.marks import ours
from regent.domain.replication.model import KindRef, ReplicationSpec, ResourceSelector, Standby
from regent.domain.replication.model import Link as Way
from regent.domain.replication.normalise import skip_reason
from regent.domain.replication.plan import Action, ActionKind, copy_hash, decide_object
from regent.domain.replication.selection import selected
from regent.domain.replication.shape import Desired, Transformer, desired
from regent.engine.ports import Object
from regent.engine.replication.entries import Bodies
from regent.engine.replication.reflection import Reflection
from regent.engine.resources import Resource

SLEEPERS = tuple(
    kind.group_kind
    for kind in (
        DEPLOYMENT,
        STATEFUL_SET,
        CRON_JOB,
        AUTOSCALER,
        VIRTUAL_MACHINE,
        VOLUME_REPLICATION,
        REPLICATION_SOURCE,
    )
)
"""Kinds whose copies sleep in a standby."""


TOO_MUCH = ("levels", f"an API server takes {MAX_OBJECT_BYTES}")
"""How the reasons end for which an object should be copied and cannot be: it is reported. The others are no loss."""


class ItemKey(NamedTuple):
    """An object of a policy: its kind in the source, and its name. The namespaces are those of the link."""

    resource: Resource
    name: str

    def __str__(self) -> str:
        return f"{self.resource.kind}/{self.name}"


class Outcome(Enum):
    """How an object stands in one target."""

    IN_SYNC = "in sync"
    PENDING = "pending"
    DRIFTED = "drifted"
    CONFLICTED = "conflicted"
    FAILED = "failed"
    ORPHANED = "orphaned"
    UNWANTED = "unwanted"
    """Not selected, and not there as a copy of ours: of no interest."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """One kind of a link: where it is read, where it is written, and what of it is selected."""

    kind: KindRef
    source: Reflection
    target: Reflection
    selectors: tuple[ResourceSelector, ...]
    include_status: bool
    wave: int
    optional: bool = False
    """Its definitions need not be installed: without them in the source there is nothing to copy."""

    @property
    def ready(self) -> bool:
        """Whether both sides are known whole, or are known not to know the kind."""
        return (self.source.complete or self.source.absent) and (self.target.complete or self.target.absent)


@dataclass(frozen=True, slots=True)
class Look:
    """What was found about an object. `wanted` is None where no copy should be."""

    key: ItemKey
    source: Object | None
    target: Object | None
    wanted: Desired | None
    action: Action
    pair: conflict.Outcome | None = None
    """What is to be done about both sides, where both may change the object."""
    rest: Object | None = None
    """Merge patch that makes a workload of the target rest as it should; nothing else differs."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was made of an object, in which versions of both sides."""

    source_version: str
    wanted_hash: str
    target_version: str
    copied_hash: str


class Looker:
    """One link's view of its objects.

    Args:
        transformer: carries out the target's transforms.
        denied: why an object with these labels may not be in the target's region; "" when it may.
        chosen: which of the selected objects go to the target; None: all of them, as with most strategies.
    """

    def __init__(
        self,
        spec: ReplicationSpec,
        way: Way,
        tracked: Mapping[Resource, Tracked],
        *,
        transformer: Transformer,
        denied: Callable[[Mapping[str, str]], str],
        chosen: Callable[[KindRef, Object], bool] | None = None,
    ) -> None:
        self._spec = spec
        self._way = way
        self._tracked = tracked
        self._transformer = transformer
        self._denied = denied
        self._chosen = chosen
        self._namespace = way.target.namespace
        self._seen: dict[ItemKey, _Seen] = {}
        self._outcomes: dict[ItemKey, Outcome] = {}
        self._messages: dict[ItemKey, str] = {}
        self.counts: Counter[Outcome] = Counter()

    def source(self, key: ItemKey) -> Object | None:
        """The object in the source."""
        return self._tracked[key.resource].source.get((self._spec.namespace, key.name))

    def target(self, key: ItemKey) -> Object | None:
        """The object of this name in the target."""
        return self._tracked[key.resource].target.get((self._namespace, key.name))

    def glance(self, key: ItemKey) -> Object | None:
        """The object in the source with its metadata, and the rest of it where bodies are kept."""
        return self._tracked[key.resource].source.glance((self._spec.namespace, key.name))

    def copy(self, key: ItemKey) -> Object | None:
        """The object of this name in the target with its metadata, and the rest of it where bodies are kept."""
        return self._tracked[key.resource].target.glance((self._namespace, key.name))

    def tracked(self, key: ItemKey) -> Tracked:
        """How the object's kind is tracked."""
        return self._tracked[key.resource]

    def there(self, resource: Resource) -> list[str]:
        """Return the names of all objects of a kind in the target's namespace, whoever's they are."""
        return [name for _, name in self._tracked[resource].target.names()]

    def remember(self, key: ItemKey, source: str, wanted: str, target: str, copied: str) -> None:
        """Remember the hashes of both sides, and of which versions they are."""
        self._seen[key] = _Seen(source, wanted, target, copied)

    def hashes(self, key: ItemKey) -> tuple[str, str]:
        """Return the hashes of both sides; of a version that was not looked at yet it is known only that it is none
        of those."""
        seen, unknown = self._seen.get(key), ("not looked at", "not looked at either")
        if seen is None:
            return unknown
        here, there = self.versions(key)
        left = seen.wanted_hash if seen.source_version == (here or "") else unknown[0]
        right = seen.copied_hash if seen.target_version == (there or "") else unknown[1]
        return left, right

    def versions(self, key: ItemKey) -> tuple[str | None, str | None]:
        """Return which versions source and target have; None where there is no object."""
        tracked = self._tracked[key.resource]
        here = tracked.source.entry((self._spec.namespace, key.name))
        there = tracked.target.entry((self._namespace, key.name))
        return here.version if here else None, there.version if there else None

    def keys(self, resource: Resource) -> set[ItemKey]:
        """All names of a kind that may concern the link: everything in the source, and our copies in the target."""
        tracked = self._tracked[resource]
        found = {ItemKey(resource, name) for _, name in tracked.source.names()}
        found |= {ItemKey(resource, name) for _, name in tracked.target.names(copies_of=self._spec.uid)}
        return found | {key for key in self._outcomes if key.resource == resource}

    def look(self, key: ItemKey) -> Look | None:
        """Look at an object; None when nothing is to be done about it, which is noted.

        Raises:
            ValueError: a transform does not fit the object.
            BodyMissingError: a body that is not kept has to be fetched first.
        """
        tracked = self._tracked[key.resource]
        if self.unchanged(tracked, key):
            return None
        source, target = self.glance(key), self.copy(key)
        if source is not None and not self._selects(tracked, source):
            source = None
        if source is not None:
            source, target = self._whole(tracked, key, source, target)
        mine = target is not None and ours(target, self._spec.uid)
        if source is None and not mine:
            self.note(key, Outcome.UNWANTED)
            return None
        if source is not None and (reason := skip_reason(source)):
            source = None
            if reason.endswith(TOO_MUCH):
                self.note(key, Outcome.FAILED, reason)
                return None
        if source is not None and (reason := self._refusal(tracked, source)):
            self.note(key, Outcome.FAILED, reason)
            return None
        wanted = self.wanted(tracked, source, target) if source is not None else None
        action = decide_object(wanted, target, spec=self._spec, link=self._way)
        if wanted is not None and source is not None:
            copied = copy_hash(wanted, target) if target is not None else ""
            self._seen[key] = _Seen(version_of(source), wanted.content_hash, version_of(target), copied)
        return Look(key, source, target, wanted, action)

    def settle(self, look: Look) -> None:
        """The copy is what it should be: nothing differs, or the API server found nothing to change, or the policy
        leaves what differs to the target. Digests count it as equal until either side changes."""
        if look.wanted is not None:
            wanted = look.wanted.content_hash
            self._seen[look.key] = _Seen(version_of(look.source), wanted, version_of(look.target), wanted)
        self.note(look.key, Outcome.IN_SYNC)

    def conclude(self, look: Look) -> None:
        """Note how an object stands about which nothing is to be written."""
        match look.action.kind:
            case ActionKind.WAIT:
                self.note(look.key, Outcome.PENDING, look.action.message)
            case ActionKind.CONFLICT | ActionKind.REFUSE_FOREIGN:
                self.note(look.key, Outcome.CONFLICTED, look.action.message)
            case ActionKind.PRUNE:
                # Absence is for the pruner to judge, which sees all of it.
                self.note(look.key, Outcome.ORPHANED)
            case _ if look.wanted is None:
                self.note(look.key, Outcome.UNWANTED)
            case _:
                self.settle(look)

    def confirm(self, done: Look) -> None:
        """It was written, and the answer is in the reflection of the target: see whether that is what it should be."""
        self.note(done.key, Outcome.PENDING)
        try:
            look = self.look(done.key)
        except Exception:
            return  # it has changed meanwhile, or it is another look's matter: the worklist has it
        if look is not None and look.wanted is not None and look.action.kind in (ActionKind.SKIP, ActionKind.KEEP):
            self.settle(look)

    def note(self, key: ItemKey, outcome: Outcome, message: str = "") -> None:
        """Remember how an object stands."""
        before = self._outcomes.get(key)
        if before is not outcome:
            if before is not None:
                self.counts[before] -= 1
            self.counts[outcome] += 1
            self._outcomes[key] = outcome
        if outcome is Outcome.UNWANTED:
            del self._outcomes[key]
            self.counts[outcome] -= 1
            self._seen.pop(key, None)
        if message:
            self._messages[key] = message
        else:
            self._messages.pop(key, None)

    def outcome(self, key: ItemKey) -> Outcome | None:
        """Return how an object stands, as far as it was looked at."""
        return self._outcomes.get(key)

    def standing(self, outcome: Outcome) -> Iterator[ItemKey]:
        """Give the objects that stand so."""
        return (key for key, found in self._outcomes.items() if found is outcome)

    def messages(self) -> list[str]:
        """What is wrong, each with the object that it is about, in the order of their names."""
        return [f"{key}: {text}" for key, text in sorted(self._messages.items(), key=lambda item: str(item[0]))]

    def digests(self, keys: Iterable[ItemKey]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the hashes of what should be in the target, and of what is there, by name; from what is known.

        Args:
            keys: of one kind.
        """
        should, is_there = {}, {}
        for key in keys:
            outcome, seen = self._outcomes.get(key), self._seen.get(key)
            here, there = self.versions(key)
            if here is not None and outcome not in (None, Outcome.UNWANTED, Outcome.ORPHANED):
                fresh = seen is not None and seen.source_version == here
                should[key.name] = seen.wanted_hash if seen is not None and fresh else "not looked at"
            if there is not None and outcome is not Outcome.ORPHANED and self.is_copy(key):
                fresh = seen is not None and seen.target_version == there
                is_there[key.name] = seen.copied_hash if seen is not None and fresh else "not looked at"
        return should, is_there

    def is_copy(self, key: ItemKey) -> bool:
        """Whether the object of this name in the target is a copy of this policy."""
        entry = self._tracked[key.resource].target.entry((self._namespace, key.name))
        return entry is not None and bool(self._spec.uid) and entry.policy_uid == self._spec.uid

    def elsewhere(self, key: ItemKey) -> bool:
        """Whether the object is selected and has its place in other regions: no copy here is no loss."""
        tracked, source = self._tracked[key.resource], self.glance(key)
        return source is not None and selects(tracked, source) and not self._goes_here(tracked, source)

    def _selects(self, tracked: Tracked, source: Object) -> bool:
        return selects(tracked, source) and self._goes_here(tracked, source)

    def _goes_here(self, tracked: Tracked, source: Object) -> bool:
        return self._chosen is None or self._chosen(tracked.kind, source)

    def _refusal(self, tracked: Tracked, source: Object) -> str:
        """Why an object that is selected is not copied: "" when it is."""
        if tracked.target.absent:
            return tracked.target.problem or "the target does not know the kind"
        return self._denied(source["metadata"].get("labels") or {})

    def unchanged(self, tracked: Tracked, key: ItemKey) -> bool:
        """Whether nothing has changed on either side since the object was found to be in sync."""
        seen, versions = self._seen.get(key), self.versions(key)
        if self._outcomes.get(key) is not Outcome.IN_SYNC or seen is None or None in versions:
            return False
        if (seen.source_version, seen.target_version) != versions:
            return False
        if self._chosen is None:
            return True
        source = self.glance(key)
        return source is not None and self._chosen(tracked.kind, source)

    def _whole(
        self, tracked: Tracked, key: ItemKey, source: Object, target: Object | None
    ) -> tuple[Object | None, Object | None]:
        """Both with their bodies, which are not at hand where they are not kept."""
        if tracked.source.bodies is Bodies.KEPT and tracked.target.bodies is Bodies.KEPT:
            return source, target
        return self.source(key), self.target(key)

    def wanted(self, tracked: Tracked, source: Object, target: Object | None) -> Desired:
        """Return what the copy of an object should be. ValueError when a transform does not fit it."""
        return desired(
            source,
            self._spec,
            self._way,
            kind=tracked.kind,
            transformer=self._transformer,
            include_status=tracked.include_status,
            target=target,
            autoscaled=self._autoscaled(tracked, source),
            changed_at=changed_at(source),
        )

    def _autoscaled(self, tracked: Tracked, source: Object) -> bool:
        """Whether an autoscaler sets the replicas of a workload that runs in both regions: each has its own then."""
        if self._spec.standby is not Standby.RUNNING or tracked.kind not in (DEPLOYMENT, STATEFUL_SET):
            return False
        wanted = (tracked.kind.kind, source["metadata"]["name"])
        scalers = (item.source for item in self._tracked.values() if item.kind == AUTOSCALER)
        references = (
            (obj.get("spec") or {}).get("scaleTargetRef") or {} for scaler in scalers for _, obj in scaler.items()
        )
        return any((reference.get("kind"), reference.get("name")) == wanted for reference in references)


def selects(tracked: Tracked, source: Object) -> bool:
    """Whether any selection of the policy takes the object."""
    gone = source["metadata"].get("deletionTimestamp")
    return not gone and any(selected(source, selector) for selector in tracked.selectors)


def version_of(obj: Object | None) -> str:
    """Return the object's version; "" without an object."""
    return "" if obj is None else str(obj["metadata"].get("resourceVersion", ""))
