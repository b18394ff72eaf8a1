"""The status of a Region: what is known of it, and who says so."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from regent.api.v1alpha1.base import ApiModel, list_map
from regent.api.v1alpha1.common import (
    Conditions,
    Count,
    LongCount,
    Message,
    Milliseconds,
    Percent,
    RegionName,
    Time,
    conditions_field,
)

Health = Literal["Healthy", "Degraded", "Unhealthy", "Unreachable", "Recovering", "Unknown"]


class Report(ApiModel):
    """A state that was pushed from outside. It can only worsen the region's health, and it expires."""

    health: Health = Field(description="Health that the report claims.")
    message: Message = Field(default="", description="What the reporter says about it.")
    error_rate_percent: Percent | None = Field(default=None, description="Reported error rate in percent.")
    capacity_available_percent: Percent | None = Field(default=None, description="Reported free capacity in percent.")
    report_time: Time = Field(description="When the report was made.")
    expiration_time: Time = Field(description="When the report stops counting.")


class Vantage(ApiModel):
    """What one vantage sees."""

    name: RegionName = Field(description="Name of the vantage; `operator` is the operator itself.")
    health: Health = Field(description="Health of the region as seen from there.")
    message: Message = Field(default="", description="Why, in a few words.")
    last_change_time: Time | None = Field(default=None, description="When the vantage last changed its mind.")


class RegionStatus(ApiModel):
    """What is known of the region."""

    observed_generation: LongCount | None = Field(
        default=None, description="Generation of the spec that the status is about."
    )
    health: Health = Field(
        default="Unknown",
        description="Healthy; Degraded: slow, failing in part, or short of capacity; Unhealthy: mostly failing; "
        "Unreachable: a quorum of vantages gets no good answer; Recovering: answers again, not for long enough yet; "
        "Unknown: nobody can tell.",
    )
    message: Message = Field(default="", description="Why the region has this health, in one sentence.")
    latency_milliseconds: Milliseconds | None = Field(
        default=None,
        description="Median latency of the last minute in milliseconds, in steps of 1, 2 and 5 times a power of ten.",
    )
    error_rate_percent: Percent | None = Field(default=None, description="Error rate in percent, in steps of 5.")
    capacity_available_percent: Percent | None = Field(
        default=None, description="Free capacity in percent, in steps of 5. Absent when no source gives it."
    )
    last_transition_time: Time | None = Field(default=None, description="When health last changed.")
    primary_of: Count | None = Field(default=None, description="Number of FailoverPolicies that have it active.")
    report: Report | None = Field(default=None, description="The newest report pushed from outside.")
    vantages: Annotated[list[Vantage], Field(max_length=32), list_map("name")] = Field(
        default_factory=list, description="What each vantage sees."
    )
    conditions: Conditions = conditions_field(
        "Ready, Healthy, Reachable, ClusterConnected; only while they are True: HubInsideRegion, CertificateExpiring, "
        "ThresholdUnreachable, LoadSourceUnsupported"
    )
