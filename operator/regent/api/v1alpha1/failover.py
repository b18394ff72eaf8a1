"""Failover: one run of a FailoverPolicy, its journal and its audit record.

A run is made by a person, by a schedule or by Regent, and never used again. Its spec is immutable but for `control`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from regent.api.v1alpha1 import cel
from regent.api.v1alpha1.base import AGE, LIST_ATOMIC, ApiModel, Column, Resource, Rule, check, list_map, nested
from regent.api.v1alpha1.common import (
    Candidate,
    Conditions,
    Count,
    LongCount,
    Message,
    Milliseconds,
    ObjectMeta,
    OptionalRegionName,
    RegionName,
    RegionShare,
    Text63,
    Text128,
    Text253,
    Text256,
    Text1024,
    Time,
    conditions_field,
    tally,
)
from regent.api.v1alpha1.failoverpolicy_safety import TransitionOverride

RunType = Literal["Failover", "Switchover", "Failback", "Rebalance", "Drill"]
RunPhase = Literal[
    "Pending",
    "Blocked",
    "AwaitingApproval",
    "Running",
    "Paused",
    "RollingBack",
    "Succeeded",
    "Failed",
    "RolledBack",
    "Cancelled",
    "NotNeeded",
    "Superseded",
]
RunTrigger = Literal[
    "Unreachable",
    "ErrorRate",
    "Latency",
    "Capacity",
    "AdminState",
    "RegionRemoved",
    "Manual",
    "Schedule",
    "Failback",
]
StepState = Literal["Pending", "Running", "Succeeded", "Skipped", "Failed", "Undone"]


PolicyName = Annotated[
    str,
    Field(min_length=1, max_length=52),
    check(cel.matches("self", cel.LABEL), "write the name of a FailoverPolicy in this namespace"),
]


class PolicyRef(ApiModel):
    """A FailoverPolicy of the same namespace."""

    name: PolicyName = Field(description="Name of the FailoverPolicy.")


class Control(ApiModel):
    """What a person says to a run; the only part of the spec that may change."""

    desired: Literal["Run", "Pause", "Cancel", "Rollback"] = Field(
        default="Run",
        description="Run: go on. Pause: stop before the next step. Cancel: end it, before it commits. Rollback: "
        "restore the state before, while that is possible.",
    )
    approved_plan: Annotated[
        str,
        Field(max_length=128),
        check(cel.matches("self", "^[A-Za-z0-9:._=-]*$"), "copy the value of status.plan.hash"),
    ] = Field(default="", description="The value of status.plan.hash: approves exactly that plan. Empty: not approved.")
    accept_data_loss: bool = Field(
        default=False,
        description="Go on although writes may be lost: needed when lag is over the gate or fencing is not proved.",
    )
    force: bool = Field(
        default=False,
        description="Skip budget, windows and the target's health; never lease, epoch and identity.",
    )


_FROZEN = ("policyRef", "type", "from", "to", "transition", "dryRun", "reason", "scheduleTime")


def _frozen(name: str) -> Rule:
    return Rule(
        f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})",
        f"{name} cannot be changed: a run is what it was made for; make a new Failover, or change spec.control",
        f".{name}",
    )


class FailoverSpec(ApiModel):
    """What the run is to do. Immutable, but for control."""

    policy_ref: PolicyRef = Field(description="The FailoverPolicy, in the same namespace.")
    type: RunType = Field(
        default="Failover",
        description="Failover: away from a region that may be down. Switchover: planned, between healthy regions. "
        "Failback: a switchover to where the role came from. Rebalance: shares only. Drill: rehearsed, without change.",
    )
    from_: OptionalRegionName = Field(
        default="",
        alias="from",
        description="Region to leave. It must be the active region (one of them, with ActiveActive), or the run is "
        "refused. May be empty for a Rebalance.",
    )
    to: OptionalRegionName = Field(default="", description="Region to make active. Empty: Regent chooses.")
    transition: TransitionOverride | None = Field(
        default=None, description="How traffic moves in this run. Unset: as the policy says."
    )
    dry_run: bool = Field(default=False, description="Make the plan and check the gates, then end without a change.")
    reason: Text1024 = Field(default="", description="Why, for the audit record.")
    schedule_time: Time | None = Field(
        default=None,
        description="When the run starts. Unset: at once. A run that is more than 10 minutes late is Cancelled.",
    )
    control: Control = nested(Control, "What a person says to the run; the only part that may change.")

    RULES = (
        *(_frozen(name) for name in _FROZEN),
        Rule(
            f"self.type == 'Rebalance' || {cel.filled('self.from')}",
            "name the region to leave, which must be the active one; only a Rebalance may leave it out",
            ".from",
        ),
        Rule(
            f"!{cel.filled('self.from')} || !{cel.filled('self.to')} || self.from != self.to",
            "write a region other than from, or leave it empty and Regent chooses",
            ".to",
        ),
    )


class Plan(ApiModel):
    """What was decided, before acting."""

    chosen: OptionalRegionName = Field(default="", description="Region that becomes active.")
    hash: Text128 = Field(default="", description="Hash of the plan; control.approvedPlan approves it.")
    candidates: Annotated[list[Candidate], Field(max_length=64), list_map("region")] = Field(
        default_factory=list, description="Every region that was considered, with its reasons."
    )
    before: Annotated[list[RegionShare], Field(max_length=64), list_map("region")] = Field(
        default_factory=list, description="Shares before the run; a rollback restores them."
    )
    after: Annotated[list[RegionShare], Field(max_length=64), list_map("region")] = Field(
        default_factory=list, description="Shares that the run makes."
    )


class Step(ApiModel):
    """An entry of the journal."""

    attempt: Annotated[int, Field(ge=1, le=64)] = Field(description="Attempt that the step belongs to, from 1.")
    name: Annotated[str, Field(min_length=1, max_length=128)] = Field(
        description="Name of the step; promotion steps are Promote/<name>."
    )
    state: StepState = Field(description="Pending, Running, Succeeded, Skipped, Failed or Undone.")
    tries: Count = tally("How often it was tried.")
    start_time: Time | None = Field(default=None, description="When it first started.")
    completion_time: Time | None = Field(default=None, description="When it ended.")
    message: Message = Field(default="", description="Evidence, or the error.")


class Attempt(ApiModel):
    """A candidate that was tried."""

    region: RegionName = Field(description="Name of the Region.")
    result: Text63 = Field(default="", description="How the attempt ended.")
    reason: Text1024 = Field(default="", description="Why.")


class PointOfNoReturn(ApiModel):
    """From here the run goes forward only."""

    kind: Literal["Data", "Traffic"] = Field(
        description="Data: the first writer started on the new side. Traffic: the first weight above zero there."
    )
    time: Time = Field(description="When it was passed.")


class StateSnapshot(ApiModel):
    """What the targets looked like before the run."""

    hash: Text128 = Field(default="", description="SHA-256 of the body: a rollback is proved by the same hash.")
    body: Annotated[str, Field(max_length=65_536)] = Field(
        default="", description="The weights of every target before the run, as canonical JSON."
    )


class FailoverStatus(ApiModel):
    """How far the run is."""

    observed_generation: LongCount | None = Field(
        default=None, description="Generation of the spec that the status is about."
    )
    phase: RunPhase = Field(
        default="Pending",
        description="Where the run is; Succeeded, Failed, RolledBack, Cancelled, NotNeeded and Superseded are final.",
    )
    current_step: Text128 = Field(default="", description="Step that is being done.")
    trigger: RunTrigger | None = Field(default=None, description="What started the run.")
    requested_by: Text253 = Field(
        default="", description="The authenticated user that made the run; `unknown` where that is not to be had."
    )
    epoch: LongCount | None = Field(default=None, description="Epoch of the run, from Commit on.")
    plan: Plan | None = Field(default=None, description="What was decided, before acting.")
    steps: Annotated[list[Step], Field(max_length=2048), list_map("attempt", "name")] = Field(
        default_factory=list, description="The journal: every step of every attempt."
    )
    snapshot: StateSnapshot | None = Field(default=None, description="What the targets looked like before the run.")
    attempts: Annotated[list[Attempt], Field(max_length=64), LIST_ATOMIC] = Field(
        default_factory=list, description="Candidates that were tried, in order."
    )
    point_of_no_return: PointOfNoReturn | None = Field(
        default=None, description="Set from where the run goes forward only."
    )
    start_time: Time | None = Field(default=None, description="When the run started.")
    completion_time: Time | None = Field(default=None, description="When it ended.")
    detection_time: Time | None = Field(default=None, description="When the failure was detected.")
    duration_milliseconds: Milliseconds | None = Field(
        default=None, description="From detection (or the start) to the end, in milliseconds."
    )
    estimated_data_loss: Text256 = Field(
        default="", description="Writes that may be lost, as a duration or an amount. Empty: none, or not known."
    )
    conditions: Conditions = conditions_field(
        "Ready, Accepted, Approved, Fenced, Promoted, TrafficShifted, Reprotected, Succeeded, Complete (True in every "
        "final phase, with the phase as its reason)"
    )


class Failover(Resource):
    """One run of a FailoverPolicy: what it is to do, how far it is, and what it did."""

    KIND = "Failover"
    PLURAL = "failovers"
    SINGULAR = "failover"
    SHORT_NAMES = ("fo",)
    NAMESPACED = True
    COLUMNS = (
        Column("Policy", ".spec.policyRef.name", "FailoverPolicy that is run"),
        Column("Type", ".spec.type", "Kind of run"),
        Column("From", ".spec.from", "Region that is left"),
        Column("To", ".status.plan.chosen", "Region that becomes active"),
        Column("Phase", ".status.phase", "Where the run is"),
        Column("Step", ".status.currentStep", "What is being done"),
        Column("Trigger", ".status.trigger", "What started it"),
        Column("Duration", ".status.durationMilliseconds", "Milliseconds from detection to the end", "integer"),
        AGE,
    )
    SELECTABLE_FIELDS = (
        ".spec.policyRef.name",
        ".spec.type",
        ".spec.from",
        ".spec.to",
        ".status.phase",
        ".status.trigger",
    )
    RULES = (cel.name_rule(63),)

    metadata: ObjectMeta = Field(default_factory=ObjectMeta, description="Standard metadata.")
    spec: FailoverSpec = Field(description="What the run is to do. Immutable, but for control.")
    status: FailoverStatus = nested(FailoverStatus, "How far the run is; written by Regent.")
