"""The status of a FailoverPolicy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from regent.api.v1alpha1.base import LIST_SET, ApiModel, list_map
from regent.api.v1alpha1.common import (
    Candidate,
    Conditions,
    ConditionStatus,
    LongCount,
    Message,
    OptionalRegionName,
    RegionName,
    RegionShare,
    Text63,
    Text128,
    Text253,
    Text256,
    Time,
    conditions_field,
    tally,
)

PolicyPhase = Literal["Steady", "Suspect", "FailingOver", "Recovering", "Cooldown", "Blocked", "Suspended", "Unknown"]
VerificationState = Literal["Verified", "AcceptedOnly", "Pending", "Failed", "Conflict"]


class Operation(ApiModel):
    """The committed run that holds the policy."""

    uid: Text128 = Field(description="UID of the Failover object.")
    name: Text253 = Field(description="Name of the Failover object.")
    from_: OptionalRegionName = Field(
        default="", alias="from", description="Region that was active when the run committed."
    )
    to: OptionalRegionName = Field(default="", description="Region that is being made active.")


class BlueGreenStatus(ApiModel):
    """What a policy with topology BlueGreen remembers of its switches."""

    group: Literal["Blue", "Green"] | None = Field(default=None, description="Group that the last run made active.")
    switch_time: Time | None = Field(
        default=None, description="When the switch to it ended; blueGreen.observe counts from here."
    )
    latched_group: Literal["Blue", "Green"] | None = Field(
        default=None, description="Group that is not switched to by itself."
    )
    latch_reason: Literal["FailedInObserve", "FailedOver", "MovedByHand"] | None = Field(
        default=None,
        description="FailedInObserve: it failed soon after the switch; MovedByHand: a person moved away from it; both "
        "last until blueGreen.desired changes. FailedOver: an unplanned run left it; failback.mode says how it "
        "returns.",
    )


class Challenger(ApiModel):
    """The region that is better than the leader, with topology LeaderElection."""

    region: RegionName = Field(description="Name of the Region.")
    since_time: Time = Field(description="Since when it has been better without a break.")


class Effective(ApiModel):
    """What unset fields of the spec mean here."""

    fencing: Literal["Required", "BestEffort", "None"] | None = Field(default=None, description="The fencing in force.")
    failback_mode: Literal["Manual", "Automatic", "Never"] | None = Field(
        default=None, description="The failback mode in force."
    )


class TargetStatus(ApiModel):
    """How far one target has followed the decision."""

    target: Text256 = Field(description="Kind and name, such as HTTPRoute/shop.")
    epoch: LongCount | None = Field(default=None, description="Epoch of the weights that were last written to it.")
    verification: VerificationState = Field(
        description="Verified: requests through it prove it. AcceptedOnly: the gateway accepted the weights. Pending: "
        "not accepted yet. Failed: could not be written or verified. Conflict: another writer or policy owns it."
    )
    message: Message = Field(default="", description="Why, and what to do.")


class LastFailover(ApiModel):
    """The last run that ended."""

    name: Text253 = Field(description="Name of the Failover object.")
    from_: OptionalRegionName = Field(default="", alias="from", description="Region that was left.")
    to: OptionalRegionName = Field(default="", description="Region that became active.")
    reason: Text256 = Field(default="", description="What started the run.")
    start_time: Time | None = Field(default=None, description="When the run started.")
    completion_time: Time | None = Field(default=None, description="When it ended.")
    result: Text63 = Field(default="", description="Phase in which the run ended, such as Succeeded.")
    summary: Text256 = Field(default="", description="The run in a few words, such as eu-west-1→eu-central-1 0.8s.")


class LastDrill(ApiModel):
    """The last drill that ended. Survives the pruning of its Failover object."""

    name: Text253 = Field(description="Name of the Failover object.")
    to: OptionalRegionName = Field(default="", description="Region that would have become active.")
    completion_time: Time | None = Field(default=None, description="When it ended.")
    result: Text63 = Field(default="", description="Succeeded: the move would have worked. Failed: it would not.")
    message: Message = Field(default="", description="What would have been done, or everything that stood in the way.")


class Totals(ApiModel):
    """How many runs ended how. Survives the pruning of Failover objects."""

    succeeded: LongCount = tally("Runs that succeeded.")
    failed: LongCount = tally("Runs that failed.")
    rolled_back: LongCount = tally("Runs that were rolled back.")
    cancelled: LongCount = tally("Runs that were cancelled.")
    not_needed: LongCount = tally("Runs whose trigger was gone.")
    superseded: LongCount = tally("Runs that gave way to another.")


class LeftRegion(ApiModel):
    """A region that a run left without proof that it stopped."""

    region: RegionName = Field(description="Name of the Region.")
    message: Message = Field(default="", description="What it waits for, or what it wrote after it was left.")


class FailoverPolicyStatus(ApiModel):
    """Where the application is now."""

    observed_generation: LongCount | None = Field(
        default=None, description="Generation of the spec that the status is about."
    )
    active_region: OptionalRegionName = Field(
        default="",
        description="Region that holds the writer role: the truth, where the spec only says what is wanted. Empty with "
        "topology ActiveActive.",
    )
    active_regions: Annotated[list[RegionName], Field(max_length=64), LIST_SET] = Field(
        default_factory=list, description="Regions with a weight above zero."
    )
    active: Annotated[str, Field(max_length=4096)] = Field(
        default="", description="activeRegion, or activeRegions joined by commas: the column of `kubectl get`."
    )
    failback_region: OptionalRegionName = Field(
        default="",
        description="Region that the first unplanned run left, and that a failback returns to. Empty: traffic is at "
        "home.",
    )
    blue_green: BlueGreenStatus | None = Field(
        default=None, description="With topology BlueGreen: the last switch, and what keeps a group from serving."
    )
    challenger: Challenger | None = Field(
        default=None,
        description="With preemption AfterStabilization: the region that takes over once it has been better for "
        "failback.stabilization.",
    )
    replication_source: OptionalRegionName = Field(
        default="", description="Region that data is replicated from; changes only when replication is turned round."
    )
    epoch: LongCount | None = Field(
        default=None, description="Number of the last committed run; only grows, and fences everything that is written."
    )
    run_number: LongCount | None = Field(
        default=None,
        description="Number of the last automatic run; raised by its commit, at the latest before it is pruned.",
    )
    operation: Operation | None = Field(default=None, description="The committed run that holds the policy, if any.")
    phase: PolicyPhase = Field(
        default="Unknown", description="What the policy is doing, for people; programs read the conditions."
    )
    failover_ready: ConditionStatus = Field(
        default="Unknown", description="Status of the condition FailoverReady: the column of `kubectl get`."
    )
    effective: Effective | None = Field(default=None, description="What unset fields of the spec mean here.")
    distribution: Annotated[list[RegionShare], Field(max_length=64), list_map("region")] = Field(
        default_factory=list, description="Shares that were decided."
    )
    candidates: Annotated[list[Candidate], Field(max_length=64), list_map("region")] = Field(
        default_factory=list, description="Which regions could take over now, and why others could not."
    )
    targets: Annotated[list[TargetStatus], Field(max_length=16), list_map("target")] = Field(
        default_factory=list, description="How far each target has followed the decision."
    )
    rejoin: Annotated[list[LeftRegion], Field(max_length=64), list_map("region")] = Field(
        default_factory=list,
        description="Regions that a run left without proof that they stopped, until they are standbys again. What such "
        "a region wrote since is reported here and dropped only after the annotation regent.dev/rejoin: REGION@EPOCH.",
    )
    last_failover: LastFailover | None = Field(default=None, description="The last run that ended.")
    last_drill: LastDrill | None = Field(default=None, description="The last drill that ended, and whether it passed.")
    held_since: Time | None = Field(
        default=None, description="Since when the rule that Progressing names has stood in the way of a failover."
    )
    cooldown_until: Time | None = Field(default=None, description="When the cooldown ends.")
    totals: Totals | None = Field(default=None, description="How many runs ended how.")
    conditions: Conditions = conditions_field(
        "Ready, FailoverReady, ActiveRegionHealthy, ActionRequired, Progressing, TrafficVerified, SplitBrainSuspected, "
        "FailbackPending, CooldownActive, Suspended, BudgetSpent"
    )
