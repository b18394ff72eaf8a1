"""The values of replication: what a policy wants, what an object's key is, what goes from where to where.

Objects themselves are plain mappings in the API's own shape and are never changed in place. Times are seconds since the
epoch, durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object as served, `apiVersion` and `kind` included. Read it; never change it in place."""


class Category(Enum):
    """Sets of kinds that a policy names in one word; the values are the API's."""

    CONFIG = "Config"
    WORKLOAD = "Workload"
    NETWORK = "Network"
    STORAGE = "Storage"
    VM = "VM"
    STATE = "State"


class Strategy(Enum):
    """Which objects go to which targets; the values are the API's."""

    FULL = "Full"
    PARTIAL = "Partial"
    SHARDED = "Sharded"
    LOCAL = "Local"


class Direction(Enum):
    """Whether changes in a target are copied back; the values are the API's."""

    ONE_WAY = "OneWay"
    BIDIRECTIONAL = "Bidirectional"


class ConflictPolicy(Enum):
    """Who wins when an object was changed in source and target; the values are the API's."""

    SOURCE_WINS = "SourceWins"
    TARGET_WINS = "TargetWins"
    NEWEST_WINS = "NewestWins"
    MANUAL = "Manual"


class Adoption(Enum):
    """What happens to an object that is already in the target and not a copy; the values are the API's."""

    REFUSE = "Refuse"
    IF_IDENTICAL = "IfIdentical"
    FORCE = "Force"


class TriggerMode(Enum):
    """When objects are copied; the values are the API's."""

    WATCH = "Watch"
    INTERVAL = "Interval"
    SCHEDULE = "Schedule"
    MANUAL = "Manual"


class DeletionPolicy(Enum):
    """What happens to the copies when the policy goes; the values are the API's."""

    ORPHAN = "Orphan"
    DELETE = "Delete"


class Standby(Enum):
    """How workloads and virtual machines look in a standby; the values are the API's."""

    SCALED0 = "Scaled0"
    RUNNING = "Running"
    SUSPENDED = "Suspended"


class StorageDriver(Enum):
    """Who moves the data of volumes; the values are the API's."""

    VOLUME_REPLICATION = "VolumeReplication"
    VOL_SYNC = "VolSync"


@dataclass(frozen=True, slots=True, order=True)
class KindRef:
    """A kind of objects and where it is served. `plural` is "" where only the API server can tell it."""

    group: str
    version: str
    kind: str
    plural: str = ""
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_kind(self) -> tuple[str, str]:
        """The kind without its version, which may differ between two clusters."""
        return self.group, self.kind


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Which object: its kind, namespace and name."""

    kind: KindRef
    namespace: str
    name: str

    def __str__(self) -> str:
        """For people: `ConfigMap shop/settings`."""
        return f"{self.kind.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KindChoice:
    """A kind that a selection lists. `version` is "" for the category's own one."""

    group: str = ""
    version: str = ""
    kind: str
    include_status: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSelector:
    """A set of objects of the policy's namespace."""

    category: Category
    kinds: tuple[KindChoice, ...] = ()
    """Category STATE: the kinds. Else: only these kinds of the category; empty: all of them."""
    include_secrets: bool = False
    include_rbac: bool = False
    storage: StorageDriver = StorageDriver.VOLUME_REPLICATION
    selector: Mapping[str, Any] = field(default_factory=dict)
    """A label selector in the API's shape; empty: everything."""
    names: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A place (a JSON pointer in which `*` is every element) and the CEL expression that gives its new value."""

    path: str
    expression: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """A change to the copies of some kinds and names; empty sets mean all. It is a JSON patch (RFC 6902, as parsed
    JSON) or values by CEL."""

    patch: tuple[Mapping[str, Any], ...] = ()
    cel: tuple[Assignment, ...] = ()
    when: str = ""
    """CEL condition on the object; "": always."""
    kinds: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    def applies(self, kind: str, name: str) -> bool:
        """Whether it is for objects of this kind and name."""
        return (not self.kinds or kind in self.kinds) and (not self.names or name in self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """A region that gets copies. `namespace` is never empty: it is the policy's own where none was given."""

    region: str
    namespace: str
    transforms: tuple[Transform, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRef:
    """Where objects are copied from: exactly one of a Region's name and a FailoverPolicy's name of the namespace."""

    region: str = ""
    follow_policy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """When objects are copied."""

    mode: TriggerMode = TriggerMode.WATCH
    interval: float = 300.0
    schedule: str = ""
    time_zone: str = ""
    sync_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """What happens to copies whose source is gone."""

    enabled: bool = True
    max_percent: int = 20
    grace: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationSpec:
    """What a ReplicationPolicy wants. The source's objects are those of `namespace`."""

    namespace: str
    name: str
    uid: str
    source: SourceRef
    targets: tuple[TargetSpec, ...]
    resources: tuple[ResourceSelector, ...]
    generation: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the policy itself: PlacementPolicies select by them."""
    strategy: Strategy = Strategy.FULL
    hot_accesses: int = 10
    sharding_replicas: int = 2
    direction: Direction = Direction.ONE_WAY
    conflict_policy: ConflictPolicy = ConflictPolicy.SOURCE_WINS
    adoption: Adoption = Adoption.IF_IDENTICAL
    trigger: Trigger = field(default_factory=Trigger)
    verify_interval: float = 600.0
    prune: Prune = field(default_factory=Prune)
    deletion_policy: DeletionPolicy = DeletionPolicy.ORPHAN
    standby: Standby = Standby.SCALED0
    batch_size: int = 200
    out_of_sync_after: float = 60.0
    suspend: bool = False

    @property
    def full_name(self) -> str:
        """`namespace/name`: what a copy says about who made it."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One way that objects of a policy go now: from the source region to one target."""

    source_region: str
    target: TargetSpec
    epoch: int = 0
    """Epoch of the FailoverPolicy that the source follows; 0 with a fixed source."""
    target_active: bool = False
    """The followed FailoverPolicy has the target active: nothing there may be written, whatever the epochs say."""
