"""The words of failover: a policy, its recorded state, the world around it, and what can be decided.

`decide` reads a `Snapshot` and nothing else. The engine builds it (`engine.snapshots`) from the store and the health
tracker. Times are monotonic seconds unless the name ends in `_time` (seconds since the epoch).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from regent.domain.failover.options import BlueGreen, MaxShift, Preemption, RunOptions, TrafficOverride, Window
from regent.domain.health.model import AdminState, Health, RegionHealth


class Topology(Enum):
    """How a policy's regions share the traffic; the values are the API's."""

    ACTIVE_ACTIVE = "ActiveActive"
    ACTIVE_PASSIVE = "ActivePassive"
    LEADER_ELECTION = "LeaderElection"
    BLUE_GREEN = "BlueGreen"


class Mode(Enum):
    """Whether Regent starts runs by itself."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


class Promotion(Enum):
    """How gladly a region is chosen; earlier in rank first."""

    PREFER = "Prefer"
    NEUTRAL = "Neutral"
    PREFER_NOT = "PreferNot"
    NEVER = "Never"


class FailbackMode(Enum):
    """Whether traffic returns to where it was before an unplanned run."""

    MANUAL = "Manual"
    AUTOMATIC = "Automatic"
    NEVER = "Never"


class TriggerKind(Enum):
    """Why a run was started; the values are those of `Failover.status.trigger`."""

    UNREACHABLE = "Unreachable"
    ERROR_RATE = "ErrorRate"
    LATENCY = "Latency"
    CAPACITY = "Capacity"
    ADMIN_STATE = "AdminState"
    REGION_REMOVED = "RegionRemoved"
    MANUAL = "Manual"
    SCHEDULE = "Schedule"
    FAILBACK = "Failback"
    PREEMPTION = "Preemption"
    """LeaderElection: a better region has been there for long enough."""


class Urgency(Enum):
    """How much a trigger may override: HIGH ignores cooldown towards a fresh region and the budget."""

    HIGH = 0
    MEDIUM = 1
    LOW = 2


class RunType(Enum):
    """What kind of run a Failover object is."""

    FAILOVER = "Failover"
    SWITCHOVER = "Switchover"
    FAILBACK = "Failback"
    REBALANCE = "Rebalance"
    DRILL = "Drill"


@dataclass(frozen=True, slots=True, kw_only=True)
class FiredTrigger:
    """A trigger that holds now for a region, with the figure that proves it."""

    kind: TriggerKind
    urgency: Urgency
    region: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRegion:
    """A region as a policy lists it. `weight_percent` is None outside ActiveActive or for equal shares."""

    name: str
    weight_percent: int | None = None
    promotion: Promotion = Promotion.NEUTRAL


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTrigger:
    """Fires when a figure is beyond `threshold` for `duration` seconds; None instead of one means disabled."""

    threshold: float
    duration: float
    probes_only: bool = False
    """Error rate: judge the probes' own failures instead of the reported load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggers:
    """Which triggers are enabled and at what figures."""

    unreachable: bool = True
    error_rate: RateTrigger | None = None
    latency: RateTrigger | None = None
    capacity: RateTrigger | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Safety:
    """The rules that hold a run back (`spec.safety`). Durations in seconds."""

    min_active_regions: int = 1
    quorum: int = 1
    panic_percent: int = 50
    cooldown: float = 300.0
    budget_failovers: int = 3
    budget_per: float = 6 * 3600.0
    max_shift: MaxShift = field(default_factory=MaxShift)
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """What a FailoverPolicy wants, resolved from its object."""

    namespace: str
    name: str
    uid: str
    generation: int = 1
    created_time: float = 0.0
    topology: Topology = Topology.ACTIVE_PASSIVE
    regions: tuple[PolicyRegion, ...] = ()
    mode: Mode = Mode.AUTOMATIC
    suspend: bool = False
    triggers: Triggers = field(default_factory=Triggers)
    safety: Safety = field(default_factory=Safety)
    failback_mode: FailbackMode = FailbackMode.MANUAL
    failback_stabilization: float = 120.0
    blue_green: BlueGreen | None = None
    preemption: Preemption = Preemption.NEVER
    traffic_override: TrafficOverride | None = None
    options: RunOptions = field(default_factory=RunOptions)
    unsupported: tuple[str, ...] = ()
    """Fields that ask for what this version does not do. Such a policy is held, never half obeyed."""

    @property
    def key(self) -> str:
        """`namespace/name`, for messages and maps."""
        return f"{self.namespace}/{self.name}"

    def region(self, name: str) -> PolicyRegion | None:
        """Return the entry of `name`, or None when the policy does not list it."""
        return next((entry for entry in self.regions if entry.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The committed run that holds the policy."""

    uid: str
    name: str
    to: str
    source: str = ""
    """The region that was active when the run committed."""


class LatchKind(Enum):
    """Why a BlueGreen group is not switched to though it is desired; the values are the API's."""

    FAILED_IN_OBSERVE = "FailedInObserve"
    """It failed soon after the switch: only a change of `desired` (or a run of a person) opens the latch."""
    FAILED_OVER = "FailedOver"
    """An unplanned run left it: the return is a failback."""
    MOVED_BY_HAND = "MovedByHand"
    """A person moved away from it though it is desired: only a change of `desired` opens the latch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupState:
    """What a BlueGreen policy remembers. It stands in the policy's status, so that a new leader remembers it too."""

    group: str = ""
    """Group that the last switch made active; "" before the first."""
    switch_time: float | None = None
    """When that switch ended; its commit until then. The observation counts from here."""
    latched: str = ""
    """Group that is not switched to by itself; "" when there is none."""
    latch: LatchKind = LatchKind.FAILED_IN_OBSERVE


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyState:
    """What the policy's status says: the record of decisions, not a view of the world."""

    active_region: str = ""
    distribution: Mapping[str, int] = field(default_factory=dict)
    """Share of every region in percent; empty before adoption."""
    epoch: int = 0
    run_number: int = 0
    operation: Operation | None = None
    failback_region: str = ""
    """Where ActivePassive traffic was before the first unplanned run since; empty: at home."""
    acknowledged_epoch: int = 0
    """From the annotation `regent.dev/acknowledge`: ends the cooldown of that epoch."""
    groups: GroupState = field(default_factory=GroupState)
    """BlueGreen only."""
    challenger: str = ""
    """LeaderElection: the region that has been better than the leader since `challenger_time`."""
    challenger_time: float | None = None

    @property
    def adopted(self) -> bool:
        """Whether it is known what is active."""
        return self.epoch > 0 and bool(self.distribution)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionView:
    """A region as the decision sees it."""

    name: str
    exists: bool = True
    admin_state: AdminState = AdminState.ENABLED
    tier: int = 1
    """0 Primary, 1 Secondary, 2 Tertiary."""
    priority: int = 100
    health: RegionHealth
    fired: tuple[FiredTrigger, ...] = ()
    """Rate triggers that hold now, by the policy's figures."""
    settled: bool = True
    """The first probe round is over, so that silence means something."""
    suspended: bool = False
    """No automatic run moves traffic to or away from it."""
    capacity_total: float | None = None
    """What it can serve in all, in the user's unit; None: not said."""
    longest_timeout: float | None = None
    """Seconds of its most patient probe: no latency above it is ever seen. None: not known."""
    placement_denied: str = ""
    """Why the namespace's PlacementPolicies rule it out; "" when they do not."""
    placement_preferred: bool = True
    """False: a PlacementPolicy with locality Region would rather have another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A finished or running run of the policy, as its Failover object tells it."""

    name: str
    type: RunType
    trigger: TriggerKind
    committed: bool
    automatic: bool
    left: frozenset[str] = frozenset()
    """Regions that lost their whole share by it."""
    completion_time: float | None = None
    phase: str = ""
    source: str = ""
    to: str = ""
    before: Mapping[str, int] = field(default_factory=dict)
    after: Mapping[str, int] = field(default_factory=dict)
    message: str = ""
    """How a drill ended, in words."""
    scheduled_time: float | None = None
    """Time of the schedule that a drill was made for; None for all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The world at one moment, frozen. All that a decision may depend on."""

    policy: PolicySpec
    state: PolicyState
    regions: Mapping[str, RegionView]
    now: float
    wall_time: float
    runs: tuple[RunRecord, ...] = ()
    in_grace: bool = False
    """Within the start-up grace: nothing is decided automatically."""
    suspend_all: bool = False
    suspect_observer: str = ""
    """Why the prober doubts itself; empty: it does not."""
    clock_off: str = ""
    """Why this machine's clock is not to be trusted; empty: it is."""
    panic: str = ""
    """Why too many regions went down at once to be believed; empty: no panic."""
    lags: Mapping[str, float | None] = field(default_factory=dict)
    """Seconds that the data steps of a region are behind, the worst of them; None: unknown. A region that is not in
    it has no data step."""
    lag_doubts: Mapping[str, str] = field(default_factory=dict)
    """By region, what is known where `lags` has None."""
    diverged: Mapping[str, str] = field(default_factory=dict)
    """By region, why its data has another history than the active one's, and what helps."""
    replication: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """By Required ReplicationPolicy, the same of each region that it replicates to from the active one."""
    roles: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By region, the names of the promotion steps that were seen active there."""
    roles_seen: bool = True
    """Whether they were looked at lately. A process that has just begun to lead knows no second active side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A region judged as the next active one; a row of `status.candidates`."""

    region: str
    eligible: bool
    rank: int = 0
    """1 is the best; 0 for regions that are not eligible."""
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """The reasons in full, with rule and figure, for the message of a hold."""
    lag: str = ""
    """How far its data is behind, in steps (`lag.Lag.step`); "" where nothing is replicated that counts."""

    def explain(self) -> str:
        """`us: ReplicationLag (…), Unreachable`: the row in one line."""
        return f"{self.region}: {', '.join(self.notes or self.reasons)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run that should be made, with everything that it rests on."""

    type: RunType
    trigger: TriggerKind
    source: str
    """The region that is left; for ActiveActive one of them, for a regained region the region itself is in `to`."""
    to: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    candidates: tuple[Candidate, ...]
    reason: str
    detected: float | None = None
    """Monotonic time of the first sign of the failure."""
    urgency: Urgency = Urgency.LOW
    """How urgent the trigger is; HIGH is never divided or delayed by `maxShift`."""
    shortfall: str = ""
    """What could not be moved because nobody has room for it (CapacityShort); "" when everything fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A trigger holds, or a failback is due, but nothing may be done. `reason` is CamelCase and goes into
    conditions, events and metrics; `message` says which rule, which figure, and what lifts it."""

    reason: str
    message: str
    trigger: TriggerKind
    source: str
    candidates: tuple[Candidate, ...] = ()
    action_required: bool = False
    """A person has to act: nothing will happen by itself."""
    retry_after: float | None = None
    """Seconds until the rule may judge otherwise without any event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """Nothing is to be done. `retry_after` as in Hold, for a stabilization that runs."""

    candidates: tuple[Candidate, ...] = ()
    retry_after: float | None = None
    failback_pending: str = ""
    """What a failback waits for, or that it needs a person; empty: at home."""
    switch_pending: str = ""
    """What a wanted change (another group, a better leader, a rest to be moved) waits for; empty: nothing is wanted."""
    challenger: str = ""
    """LeaderElection: the region that is better than the leader now."""


Decision = Plan | Hold | Steady

HEALTH_RANK = {Health.HEALTHY: 0, Health.DEGRADED: 1, Health.RECOVERING: 2}
"""Verdicts that can carry traffic, best first; the others never can."""
