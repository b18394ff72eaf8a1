"""The status of a Failover: its plan, its journal and its result."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from regent.api.v1alpha1.base import LIST_ATOMIC, ApiModel, list_map
from regent.api.v1alpha1.common import (
    Candidate,
    Conditions,
    Count,
    LongCount,
    Message,
    Milliseconds,
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
    "Preemption",
]
StepState = Literal["Pending", "Running", "Succeeded", "Skipped", "Failed", "Undone"]


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
    planned: bool = Field(default=False, description="Whether the old side works and hands over.")
    transition: Text63 = Field(default="", description="How traffic moves in this run.")
    order: Annotated[list[Text128], Field(max_length=64), LIST_ATOMIC] = Field(
        default_factory=list, description="The steps after Commit, in the order in which they are done."
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
    applied_time: Time | None = Field(
        default=None, description="When its effect had been asked for; a stage of a gradual shift is held from here."
    )
    completion_time: Time | None = Field(default=None, description="When it ended.")
    message: Message = Field(default="", description="Evidence, or the error.")


class Attempt(ApiModel):
    """A candidate that was tried."""

    region: RegionName = Field(description="Name of the Region.")
    result: Text63 = Field(default="", description="How the attempt ended.")
    reason: Text1024 = Field(default="", description="Why.")
    epoch: LongCount | None = Field(default=None, description="Epoch at which it was undone.")


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


class HookOutcome(ApiModel):
    """What a hook answered before the run committed."""

    name: Text63 = Field(description="Name of the hook.")
    result: Literal["Passed", "Failed", "Vetoed"] = Field(
        description="Passed: it lets the run go. Failed: no answer or a bad one, and the run goes on all the same. "
        "Vetoed: no answer or a bad one, and its onError is Abort."
    )
    message: Text1024 = Field(default="", description="The receiver's words, or why there was no answer.")
    plan: Text128 = Field(default="", description="Hash of the plan that it was asked about.")
    number: Count = tally("How often it has been asked about this plan.")
    time: Time | None = Field(default=None, description="When it answered.")


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
    lease_transitions: LongCount | None = Field(
        default=None, description="Number of the leader that carries the run out, from Commit on."
    )
    leader_time: Time | None = Field(
        default=None,
        description="When that leader took the run up from another one. Time-outs of steps do not count the time "
        "before, in which nobody may have led.",
    )
    plan: Plan | None = Field(default=None, description="What was decided, before acting.")
    steps: Annotated[list[Step], Field(max_length=2048), list_map("attempt", "name")] = Field(
        default_factory=list, description="The journal: every step of every attempt."
    )
    snapshot: StateSnapshot | None = Field(default=None, description="What the targets looked like before the run.")
    attempts: Annotated[list[Attempt], Field(max_length=64), LIST_ATOMIC] = Field(
        default_factory=list, description="Candidates that were tried, in order."
    )
    hooks: Annotated[list[HookOutcome], Field(max_length=8), list_map("name")] = Field(
        default_factory=list, description="What the hooks said to the plan."
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
