"""How a policy wants its runs done: transition, promotion, fencing, safety rules with a person or a clock in them.

Values only. `model.PolicySpec` carries them; durations are seconds, times seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class TransitionType(Enum):
    """How traffic moves; the values are the API's."""

    IMMEDIATE = "Immediate"
    GRACEFUL = "Graceful"
    GRADUAL = "Gradual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage of a gradual transition: the new region's share in percent, and how long it is held and watched."""

    percent: int
    hold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """How traffic moves. `drain`: how long requests in flight on the old side may finish (Graceful)."""

    type: TransitionType = TransitionType.IMMEDIATE
    drain: float = 2.0
    stages: tuple[Stage, ...] = ()


class Fencing(Enum):
    """How sure it must be that the old side writes no more before the new side is promoted."""

    REQUIRED = "Required"
    BEST_EFFORT = "BestEffort"
    NONE = "None"


class Approval(Enum):
    """Whether a person must approve a plan."""

    NEVER = "Never"
    ALWAYS = "Always"
    WHEN_DATA_LOSS = "WhenDataLoss"


class OnFailure(Enum):
    """What a failed run does before its point of no return (`spec.rollback`)."""

    ROLL_BACK = "OnFailure"
    PAUSE = "Pause"


class StepKind(Enum):
    """What a promotion step promotes; the values are the API's."""

    PATRONI = "Patroni"
    CLOUD_NATIVE_PG = "CloudNativePG"
    VOLUME_REPLICATION = "VolumeReplication"
    VIRTUAL_MACHINE = "VirtualMachine"
    SCALE = "Scale"
    CRON_JOB = "CronJob"
    PATCH = "Patch"
    JOB = "Job"
    HTTP = "HTTP"


DATA_KINDS = frozenset({StepKind.PATRONI, StepKind.CLOUD_NATIVE_PG, StepKind.VOLUME_REPLICATION})
"""Steps that hold data: promoting one while its old side still writes loses writes, so fencing defaults to Required."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionStep:
    """One promotion step. `settings` is the member of the union that `kind` names, as the API serves it (camelCase)."""

    name: str
    kind: StepKind
    timeout: float = 30.0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def holds_data(self) -> bool:
        """Whether two active sides would diverge. Of an endpoint of the user's only its author knows."""
        return self.kind in DATA_KINDS or (self.kind is StepKind.HTTP and self.settings.get("data") == "Held")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A recurring span of time; `allow` holds the run types (API values) that wait for it."""

    start: str
    """Cron schedule of five fields."""
    duration: float
    time_zone: str = ""
    allow: tuple[str, ...] = ("Failback", "Drill")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxShift:
    """How much traffic may move in a while. 100 percent: no limit."""

    percent: int = 100
    per: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlueGreen:
    """Two groups of regions that take turns. `desired` is Blue or Green."""

    blue: tuple[str, ...]
    green: tuple[str, ...]
    desired: str = "Blue"
    switch_after: float = 60.0
    observe: float = 600.0


class Preemption(Enum):
    """LeaderElection: whether a better region takes over from a healthy one."""

    NEVER = "Never"
    AFTER_STABILIZATION = "AfterStabilization"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficOverride:
    """A distribution set by hand until `expiration_time`."""

    distribution: Mapping[str, int]
    expiration_time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationRef:
    """A ReplicationPolicy that a run freezes, waits for and turns round. `required`: its lag is a gate."""

    name: str
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReceiver:
    """An HTTP endpoint of the user's, and the Secret (key `key`) that signs each call; "": not signed."""

    url: str
    secret: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A call before a run commits. `veto`: no answer or a bad one stops the run."""

    name: str
    receiver: HttpReceiver
    timeout: float = 5.0
    veto: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """Who is told of which events: Started, Blocked, ActionRequired, Completed."""

    receiver: HttpReceiver
    events: tuple[str, ...] = ("Started", "Blocked", "ActionRequired", "Completed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drills:
    """Failovers that are rehearsed by schedule (cron, five fields)."""

    schedule: str
    time_zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Everything of a policy's spec that says how a run is done."""

    transition: Transition = field(default_factory=Transition)
    max_attempts: int = 3
    """Candidates that are tried one after the other (`cascade.maxAttempts`)."""
    fencing: Fencing = Fencing.BEST_EFFORT
    """The effective value: unset in the spec is Required where a step holds data."""
    on_failure: OnFailure = OnFailure.ROLL_BACK
    promotion: tuple[PromotionStep, ...] = ()
    service_account: str = ""
    approval: Approval = Approval.NEVER
    approval_timeout: float = 3600.0
    max_replication_lag: float = 30.0
    replication: tuple[ReplicationRef, ...] = ()
    hooks: tuple[Hook, ...] = ()
    notifications: tuple[Notification, ...] = ()
    drills: Drills | None = None

    @property
    def holds_data(self) -> bool:
        """Whether the policy promotes something that two active sides would make diverge."""
        return any(step.holds_data for step in self.promotion)
