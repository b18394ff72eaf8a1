"""When a FailoverPolicy acts and what holds it back: triggers, transition, cascade, safety and failback."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from regent.api.v1alpha1 import cel
from regent.api.v1alpha1.base import LIST_ATOMIC, LIST_SET, ApiModel, Rule, nested
from regent.api.v1alpha1.common import Cron, Duration, TimeZone

TriggerMode = Literal["Enabled", "Disabled"]
_HOLD = cel.within("0s", "1h")
PositivePercent = Annotated[int, Field(ge=1, le=100)]


class UnreachableTrigger(ApiModel):
    """Fires when the region's verdict is Down. Priority High."""

    mode: TriggerMode = Field(default="Enabled", description="Enabled or Disabled.")


class ErrorRateTrigger(ApiModel):
    """Fires when too many requests fail. Priority Medium."""

    percent: PositivePercent = Field(default=10, description="Fires above this error rate in percent.")
    for_: Annotated[Duration, _HOLD] = Field(
        default="10s", alias="for", description="How long it must hold, so that a blip never fires."
    )
    source: Literal["Load", "Probes"] = Field(
        default="Load",
        description="Load: the figure of spec.load or of a report of the Region. Probes: the share of failed probes.",
    )
    mode: TriggerMode = Field(default="Enabled", description="Enabled or Disabled.")


class LatencyTrigger(ApiModel):
    """Fires when the region is slow (95th percentile). Priority Medium."""

    threshold: Annotated[Duration, cel.within("1ms", "30s")] = Field(
        default="5s",
        description="Fires above this latency. Some probe's timeout must be longer, else the trigger could never fire "
        "and the policy says Ready=False/TriggerCannotFire.",
    )
    for_: Annotated[Duration, _HOLD] = Field(
        default="10s", alias="for", description="How long it must hold, so that a blip never fires."
    )
    mode: TriggerMode = Field(
        default="Disabled", description="Enabled or Disabled; disabled by default, as slow is often better than moved."
    )


class CapacityTrigger(ApiModel):
    """Fires when the region runs out of capacity. Priority Low."""

    available_percent: PositivePercent = Field(default=50, description="Fires below this free capacity in percent.")
    for_: Annotated[Duration, _HOLD] = Field(
        default="60s", alias="for", description="How long it must hold, so that a peak never fires."
    )
    mode: TriggerMode = Field(default="Enabled", description="Enabled or Disabled.")


class Triggers(ApiModel):
    """What starts an automatic run; any one is enough."""

    unreachable: UnreachableTrigger = nested(UnreachableTrigger, "The region's verdict is Down; priority High.")
    error_rate: ErrorRateTrigger = nested(ErrorRateTrigger, "Too many requests fail; priority Medium.")
    latency: LatencyTrigger = nested(LatencyTrigger, "The region is slow; priority Medium; disabled by default.")
    capacity: CapacityTrigger | None = Field(
        default=None, description="Free capacity is short; priority Low. Absent by default; enabled when present."
    )


class GradualStep(ApiModel):
    """A stage of a gradual transition."""

    percent: Annotated[int, Field(ge=1, le=99)] = Field(description="Share of the new region in percent, 1-99.")
    hold: Annotated[Duration, cel.within("0s", "24h")] = Field(description="How long the share is held and watched.")


# The API server checks `default: {}` against these rules before the defaults inside it apply: hence the has().
_STEP_RULES = (
    Rule(
        "!has(self.type) || self.type != 'Gradual' || (has(self.steps) && self.steps.size() > 0)",
        "give steps with type: Gradual, such as [{percent: 10, hold: 30s}, {percent: 50, hold: 60s}]",
        ".steps",
    ),
    Rule(
        "!has(self.steps) || self.steps.all(s, self.steps.exists_one(t, t.percent == s.percent)) && "
        "self.steps.map(s, s.percent).isSorted()",
        "write steps with ascending percent below 100; the step to 100 follows by itself",
        ".steps",
    ),
)
_DRAIN = "Graceful: how long requests in flight on the old side may finish before its writers stop."
_STEPS = "Gradual: the shares of the new region on the way to 100 percent, ascending."
_TYPE = (
    "Immediate: all at once. Graceful: the new side first, then the old one drains. Gradual: by steps. "
    "A run away from an Unreachable region is always immediate."
)
TransitionType = Literal["Immediate", "Graceful", "Gradual"]
GradualSteps = Annotated[list[GradualStep], Field(max_length=16), LIST_ATOMIC]


class Transition(ApiModel):
    """How traffic moves."""

    type: TransitionType = Field(default="Immediate", description=_TYPE)
    drain: Annotated[Duration, cel.within("0s", "1h")] = Field(default="2s", description=_DRAIN)
    steps: GradualSteps = Field(default_factory=list, description=_STEPS)

    RULES = _STEP_RULES


class TransitionOverride(ApiModel):
    """How traffic moves in one run; replaces the policy's transition as a whole."""

    type: TransitionType = Field(description=_TYPE)
    drain: Annotated[Duration, cel.within("0s", "1h")] = Field(default="2s", description=_DRAIN)
    steps: GradualSteps = Field(default_factory=list, description=_STEPS)

    RULES = _STEP_RULES


class Cascade(ApiModel):
    """What happens when a candidate fails during the run."""

    max_attempts: Annotated[int, Field(ge=1, le=64)] = Field(
        default=3, description="How many candidates are tried, one after the other; 1 turns cascading off."
    )


class MaxShift(ApiModel):
    """How much traffic may move in a while."""

    percent: PositivePercent = Field(default=100, description="Share of the traffic in percent; 100: no limit.")
    per: Annotated[Duration, cel.within("1s", "24h")] = Field(default="1m", description="Length of the while.")


class Budget(ApiModel):
    """How many automatic failovers may happen in a while."""

    failovers: Annotated[int, Field(ge=0, le=1000)] = Field(default=3, description="Number of failovers.")
    per: Annotated[Duration, cel.within("1m", "720h")] = Field(default="6h", description="Length of the while.")


class Window(ApiModel):
    """A recurring span of time in which some kinds of runs may start by themselves."""

    start: Cron = Field(description="When the window opens, as a cron schedule of five fields.")
    duration: Annotated[Duration, cel.within("1m", "168h")] = Field(description="How long it stays open.")
    time_zone: TimeZone = Field(default="", description="IANA time zone of the schedule. Empty: UTC.")
    allow: Annotated[
        list[Literal["Failover", "Switchover", "Failback", "Rebalance", "Drill"]],
        Field(min_length=1, max_length=5),
        LIST_SET,
    ] = Field(
        default=["Failback", "Drill"],
        description="Types of runs that wait for the window. Types that no window names may start at any time; an "
        "automatic failover from an Unreachable region never waits unless Failover is named.",
    )


Fencing = Literal["Required", "BestEffort", "None"]


class Safety(ApiModel):
    """What must hold before a run commits."""

    min_active_regions: Annotated[int, Field(ge=0, le=64)] = Field(
        default=1, description="Regions with a weight above zero after the run; with fewer the run is Blocked."
    )
    quorum: Annotated[int, Field(ge=1, le=32)] = Field(
        default=1,
        description="Vantages that must agree that the active region is down. It may only be stricter than the "
        "Region's quorum.",
    )
    panic_percent: PositivePercent = Field(
        default=50,
        description="When more than this share of at least four regions went down within 10 seconds, hold: the "
        "observer is more likely wrong than all of them.",
    )
    fencing: Fencing | None = Field(
        default=None,
        description="Required: no promotion before the old side is proved unable to write. BestEffort: try, then go "
        "on. None: do not try. Unset: Required when a promotion step holds data (Patroni, CloudNativePG, "
        "VolumeReplication, HTTP with data: Held), else BestEffort; status.effective.fencing shows which.",
    )
    max_replication_lag: Annotated[Duration, cel.within("0s", "168h")] = Field(
        default="30s",
        description="Greatest lag of the Required replicationPolicyRefs and of the database drivers; an unknown lag "
        "counts as over.",
    )
    max_shift: MaxShift = nested(
        MaxShift, "How much traffic may move in a while; never delays leaving an Unreachable region."
    )
    cooldown: Annotated[Duration, cel.within("0s", "24h")] = Field(
        default="5m",
        description="After a committed run: how long Medium and Low triggers, failback and an automatic return to a "
        "region just left are blocked. Doubles with each automatic run in a row, at most 1h.",
    )
    budget: Budget = nested(
        Budget,
        "How many automatic failovers may happen in a while. Holds Medium and Low triggers and failback; a High "
        "trigger over budget only raises an alert.",
    )
    approval: Literal["Never", "Always", "WhenDataLoss"] = Field(
        default="Never",
        description="Whether a person must approve the plan. WhenDataLoss: only when lag is over the gate or fencing "
        "is not proved.",
    )
    approval_timeout: Annotated[Duration, cel.within("1m", "168h")] = Field(
        default="1h", description="How long a run waits for approval before it is Cancelled."
    )
    windows: Annotated[list[Window], Field(max_length=16), LIST_ATOMIC] = Field(
        default_factory=list, description="Times at which some kinds of runs may start. Empty: always."
    )


class Failback(ApiModel):
    """How the role returns to the region it was taken from."""

    mode: Literal["Manual", "Automatic", "Never"] | None = Field(
        default=None,
        description="Manual: a person makes a Failback. Automatic: after stabilization. Never. Unset: Automatic for "
        "ActiveActive, else Manual; status.effective.failbackMode shows which.",
    )
    stabilization: Annotated[Duration, cel.within("0s", "168h")] = Field(
        default="120s", description="How long the region must have been healthy before an automatic failback."
    )
