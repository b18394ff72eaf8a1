"""PlacementPolicy: where the data and the work of a namespace may be."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from regent.api.v1alpha1 import cel
from regent.api.v1alpha1.base import AGE, ApiModel, Column, Resource, Rule, nested
from regent.api.v1alpha1.common import (
    ComplianceSet,
    Conditions,
    Count,
    LabelSelector,
    LongCount,
    ObjectMeta,
    RegionSet,
    conditions_field,
)


class PlacementPolicySpec(ApiModel):
    """Where the data and the work of the namespace may be."""

    selector: LabelSelector | None = Field(
        default=None, description="Objects of the namespace that the policy is about, by labels. Empty: all."
    )
    compliance: ComplianceSet = Field(
        default_factory=list, description="Frameworks that a region must all carry in its spec.compliance."
    )
    allowed_regions: RegionSet = Field(
        default_factory=list, description="Regions that are allowed. Empty: every region that satisfies compliance."
    )
    locality: Literal["Strict", "Region", "None"] = Field(
        default="Strict",
        description="Strict: never leaves the allowed set. Region: prefers it. None: it does not matter.",
    )
    cross_region_transfer: Literal["Allowed", "Denied"] = Field(
        default="Allowed", description="Whether data may be copied from one region to another."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.compliance) && self.compliance.size() > 0) || "
            "(has(self.allowedRegions) && self.allowedRegions.size() > 0) || self.crossRegionTransfer == 'Denied'",
            "the policy restricts nothing: give compliance or allowedRegions, or set crossRegionTransfer: Denied",
        ),
    )


class PlacementPolicyStatus(ApiModel):
    """What the policy comes to."""

    observed_generation: LongCount | None = Field(
        default=None, description="Generation of the spec that the status is about."
    )
    eligible_regions: Annotated[str, Field(max_length=4096)] = Field(
        default="", description="Regions that satisfy the policy now, joined by commas."
    )
    violations: Count | None = Field(
        default=None,
        description="Policies of the namespace that break it now: a FailoverPolicy that is active in a region where it "
        "may not be, a ReplicationPolicy with a target that nothing may be copied to.",
    )
    conditions: Conditions = conditions_field("Ready")


class PlacementPolicy(Resource):
    """Says where the data and the work of its namespace may be; replication, failover and routing obey it."""

    KIND = "PlacementPolicy"
    PLURAL = "placementpolicies"
    SINGULAR = "placementpolicy"
    SHORT_NAMES = ("ppol",)
    NAMESPACED = True
    COLUMNS = (
        Column("Locality", ".spec.locality", "Whether the allowed set may be left"),
        Column("Transfer", ".spec.crossRegionTransfer", "Whether data may cross regions"),
        Column("Regions", ".status.eligibleRegions", "Regions that satisfy the policy"),
        Column("Violations", ".status.violations", "What breaks the policy", "integer"),
        AGE,
    )
    SELECTABLE_FIELDS = (".spec.locality", ".spec.crossRegionTransfer")
    RULES = (cel.name_rule(63),)

    metadata: ObjectMeta = Field(default_factory=ObjectMeta, description="Standard metadata.")
    spec: PlacementPolicySpec = Field(description="Where the data and the work of the namespace may be.")
    status: PlacementPolicyStatus = nested(PlacementPolicyStatus, "What the policy comes to; written by Regent.")
