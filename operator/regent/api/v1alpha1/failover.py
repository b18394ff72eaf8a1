"""Failover: one run of a FailoverPolicy, its journal and its audit record.

A run is made by a person, by a schedule or by Regent, and never used again. Its spec is immutable but for `control`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from regent.api.v1alpha1 import cel
from regent.api.v1alpha1.base import AGE, ApiModel, Column, Resource, Rule, check, nested
from regent.api.v1alpha1.common import (
    ObjectMeta,
    OptionalRegionName,
    Text1024,
    Time,
)
from regent.api.v1alpha1.failover_status import FailoverStatus
from regent.api.v1alpha1.failoverpolicy_safety import TransitionOverride

RunType = Literal["Failover", "Switchover", "Failback", "Rebalance", "Drill"]
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
