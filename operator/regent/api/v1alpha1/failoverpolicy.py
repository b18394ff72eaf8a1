"""FailoverPolicy: which regions serve an application, when and how it moves between them, and where it is now.

The parts stand beside this module: `failoverpolicy_safety.py` (triggers and gates), `failoverpolicy_targets.py`
(what is shifted), `failoverpolicy_promotion.py` (what is promoted), `failoverpolicy_status.py` (what is shown).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from regent.api.v1alpha1 import cel
from regent.api.v1alpha1.base import AGE, LIST_ATOMIC, LIST_SET, ApiModel, Column, Resource, Rule, list_map, nested
from regent.api.v1alpha1.common import (
    Duration,
    ObjectMeta,
    ObjectName,
    OptionalObjectName,
    Percent,
    RegionName,
    RegionShare,
    Time,
)
from regent.api.v1alpha1.failoverpolicy_promotion import Drills, Hooks, Notification, Promotion
from regent.api.v1alpha1.failoverpolicy_safety import Cascade, Failback, Safety, Transition, Triggers
from regent.api.v1alpha1.failoverpolicy_status import FailoverPolicyStatus
from regent.api.v1alpha1.failoverpolicy_targets import TARGET_RULES, Target

Topology = Literal["ActiveActive", "ActivePassive", "LeaderElection", "BlueGreen"]


class PolicyRegion(ApiModel):
    """A region that may serve the application."""

    name: RegionName = Field(description="Name of the Region.")
    weight_percent: Percent | None = Field(
        default=None,
        description="Share of the traffic in percent, with topology ActiveActive only. Give it to all regions, adding "
        "up to 100, or to none for equal shares.",
    )
    promotion: Literal["Prefer", "Neutral", "PreferNot", "Never"] = Field(
        default="Neutral",
        description="Preference among candidates of equal health. Never: the region is never made active.",
    )


_Group = Annotated[list[RegionName], Field(min_length=1, max_length=64), LIST_SET]


class BlueGreen(ApiModel):
    """Two groups of regions that take turns."""

    blue: _Group = Field(description="Regions of the blue group.")
    green: _Group = Field(description="Regions of the green group.")
    desired: Literal["Blue", "Green"] = Field(default="Blue", description="Group that should serve.")
    switch_after: Annotated[Duration, cel.within("0s", "24h")] = Field(
        default="60s", description="How long the desired group must have been wholly healthy before the switch."
    )
    observe: Annotated[Duration, cel.within("0s", "168h")] = Field(
        default="10m", description="How long a failure of the new group switches back after the switch."
    )

    RULES = (
        Rule(
            "self.blue.all(b, !(b in self.green))",
            "put each region into one of the groups only: blue and green must not overlap",
            ".green",
        ),
    )


class TrafficOverride(ApiModel):
    """A distribution set by hand, for a while."""

    distribution: Annotated[list[RegionShare], Field(min_length=1, max_length=64), list_map("region")] = Field(
        description="Shares of the regions; they add up to 100."
    )
    expiration_time: Time = Field(description="When the override ends, at most 24 hours ahead.")

    RULES = (
        Rule(
            "self.distribution.map(d, d.weightPercent).sum() == 100",
            "write weightPercent values that add up to 100",
            ".distribution",
        ),
    )


class ReplicationPolicyRef(ApiModel):
    """A ReplicationPolicy that a failover looks at."""

    name: ObjectName = Field(description="Name of the ReplicationPolicy.")
    gate: Literal["Required", "Advisory"] | None = Field(
        default=None,
        description="Required: a candidate must be in sync within safety.maxReplicationLag. Advisory: only shown. "
        "Unset: Required when there are promotion steps, else Advisory.",
    )


_TARGET_LIST = Annotated[list[Target], Field(max_length=16), LIST_ATOMIC]


class FailoverPolicySpec(ApiModel):
    """Which regions serve an application, and when and how it moves between them."""

    topology: Topology = Field(
        default="ActivePassive",
        description="ActivePassive: one region serves, the others stand by. ActiveActive: all serve by weight. "
        "LeaderElection: the best one serves. BlueGreen: two groups take turns.",
    )
    regions: Annotated[list[PolicyRegion], Field(min_length=1, max_length=64), list_map("name")] = Field(
        description="Regions that may serve the application, 1-64. The active region cannot be removed."
    )
    blue_green: BlueGreen | None = Field(default=None, description="The two groups, with topology BlueGreen.")
    preemption: Literal["Never", "AfterStabilization"] = Field(
        default="Never",
        description="LeaderElection: whether a better region takes over from a healthy one, never or after "
        "failback.stabilization.",
    )
    mode: Literal["Automatic", "Manual"] = Field(
        default="Automatic",
        description="Automatic: Regent starts runs. Manual: it only says which command would, in the condition "
        "ActionRequired.",
    )
    suspend: bool = Field(
        default=False, description="Start no new automatic run. A run that has committed is finished."
    )
    triggers: Triggers = nested(Triggers, "What starts an automatic run; any one is enough.")
    transition: Transition = nested(Transition, "How traffic moves.")
    cascade: Cascade = nested(Cascade, "What happens when a candidate fails during the run.")
    safety: Safety = nested(Safety, "What must hold before a run commits.")
    failback: Failback = nested(Failback, "How the role returns to the region it was taken from.")
    rollback: Literal["OnFailure", "Pause"] = Field(
        default="OnFailure",
        description="What a failed run does before its point of no return. OnFailure: restore the state before. Pause: "
        "stop and wait for a person.",
    )
    targets: _TARGET_LIST = Field(
        default_factory=list,
        description="Objects in this namespace whose weights follow the decision, at most 16, each named once.",
    )
    promotion: Promotion | None = Field(
        default=None, description="What must become active in the new region before traffic goes there."
    )
    service_account_name: OptionalObjectName = Field(
        default="",
        description="ServiceAccount of this namespace that Patch and Job steps act as; required for them, so that a "
        "policy's author never borrows Regent's rights.",
    )
    hooks: Hooks | None = Field(default=None, description="Calls at points of a run.")
    notifications: Annotated[list[Notification], Field(max_length=8), LIST_ATOMIC] = Field(
        default_factory=list, description="Who is told, by CloudEvents over HTTP, when runs start, block and end."
    )
    drills: Drills | None = Field(default=None, description="Failovers that are rehearsed by schedule.")
    traffic_override: TrafficOverride | None = Field(
        default=None, description="A distribution set by hand, for at most 24 hours; executed as a Rebalance run."
    )
    replication_policy_refs: Annotated[list[ReplicationPolicyRef], Field(max_length=16), list_map("name")] = Field(
        default_factory=list, description="ReplicationPolicies that a failover freezes, waits for and turns round."
    )
    history_limit: Annotated[int, Field(ge=1, le=200)] = Field(
        default=20, description="Finished runs that are kept as Failover objects."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.topology == 'ActiveActive' || self.regions.all(r, !has(r.weightPercent))",
            "remove weightPercent, or set topology: ActiveActive: only there do regions have shares of their own",
            ".regions",
        ),
        Rule(
            "self.topology != 'ActiveActive' || self.regions.all(r, !has(r.weightPercent)) || "
            "(self.regions.all(r, has(r.weightPercent)) && "
            "self.regions.map(r, has(r.weightPercent) ? r.weightPercent : 0).sum() == 100)",
            "give weightPercent to all regions, adding up to 100, or to none for equal shares",
            ".regions",
        ),
        Rule(
            "(self.topology == 'BlueGreen') == has(self.blueGreen)",
            "give blueGreen with topology: BlueGreen, and only then",
            ".blueGreen",
        ),
        Rule(
            "!has(self.blueGreen) || (self.blueGreen.blue + self.blueGreen.green).all(g, "
            "self.regions.exists(r, r.name == g))",
            "blueGreen.blue and blueGreen.green: name regions of spec.regions only",
            ".blueGreen",
        ),
        Rule(
            "self.preemption == 'Never' || self.topology == 'LeaderElection'",
            "set preemption: Never, or topology: LeaderElection",
            ".preemption",
        ),
        Rule(
            "!has(self.promotion) || !has(self.promotion.steps) || "
            f"!self.promotion.steps.exists(s, s.type in ['Patch', 'Job']) || {cel.filled('self.serviceAccountName')}",
            "name the ServiceAccount that Patch and Job steps act as",
            ".serviceAccountName",
        ),
        Rule(
            "!has(self.promotion) || !has(self.promotion.steps) || self.promotion.steps.all(s, !has(s.patroni) || "
            "s.patroni.clusters.all(c, self.regions.exists(r, r.name == c.region)))",
            "promotion.steps[].patroni.clusters[].region: name a region of spec.regions",
            ".promotion.steps",
        ),
        Rule(
            "!has(self.trafficOverride) || self.trafficOverride.distribution.all(d, "
            "self.regions.exists(r, r.name == d.region))",
            "trafficOverride.distribution[].region: name regions of spec.regions only",
            ".trafficOverride",
        ),
        *TARGET_RULES,
    )


class FailoverPolicy(Resource):
    """Keeps an application in a region that works: decides when to move it, moves its traffic and its roles."""

    KIND = "FailoverPolicy"
    PLURAL = "failoverpolicies"
    SINGULAR = "failoverpolicy"
    SHORT_NAMES = ("fpol",)
    NAMESPACED = True
    COLUMNS = (
        Column("Topology", ".spec.topology", "How the regions share the work"),
        Column("Mode", ".spec.mode", "Automatic or Manual"),
        Column("Active", ".status.active", "Regions with a weight above zero, or the one that holds the role"),
        Column("Phase", ".status.phase", "What the policy is doing, for people"),
        Column("Ready", ".status.failoverReady", "Whether a failover would succeed now"),
        Column("Epoch", ".status.epoch", "Number of the last committed run", "integer"),
        Column("Last", ".status.lastFailover.summary", "The last run in a few words"),
        AGE,
    )
    SELECTABLE_FIELDS = (".spec.topology", ".spec.mode", ".status.phase", ".status.activeRegion")
    RULES = (
        cel.name_rule(52),
        Rule(
            "!has(self.status) || !has(self.status.activeRegion) || self.status.activeRegion == '' || "
            "self.spec.regions.exists(r, r.name == self.status.activeRegion)",
            "the active region cannot be removed: move the role first, with a Failover of type Switchover",
            ".spec.regions",
        ),
    )

    metadata: ObjectMeta = Field(default_factory=ObjectMeta, description="Standard metadata.")
    spec: FailoverPolicySpec = Field(description="Which regions serve, and when and how the application moves.")
    status: FailoverPolicyStatus = nested(FailoverPolicyStatus, "Where the application is now; written by Regent.")
