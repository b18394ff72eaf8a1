"""ReplicationPolicy: which objects of a namespace are kept in step in other regions, and how far they are.

What is selected and transformed stands in `replicationpolicy_resources.py`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from regent.api.v1alpha1 import cel
from regent.api.v1alpha1.base import AGE, LIST_ATOMIC, ApiModel, Column, Resource, Rule, list_map, nested
from regent.api.v1alpha1.common import (
    Duration,
    ObjectMeta,
    OptionalCron,
    OptionalNamespace,
    Percent,
    RegionName,
    Text128,
    TimeZone,
)
from regent.api.v1alpha1.failover import PolicyName
from regent.api.v1alpha1.replicationpolicy_resources import ResourceSelection, Transform
from regent.api.v1alpha1.replicationpolicy_status import ReplicationPolicyStatus


class Source(ApiModel):
    """Where objects are copied from."""

    region: RegionName | None = Field(default=None, description="Always this Region.")
    follow_policy: PolicyName | None = Field(
        default=None,
        description="The region that this FailoverPolicy's status.replicationSource names, so that the direction turns "
        "round by itself, at the right step of a failover.",
    )

    RULES = (Rule(cel.exactly_one("region", "followPolicy"), "give exactly one of region and followPolicy"),)


class ReplicationTarget(ApiModel):
    """A region that gets copies."""

    region: RegionName = Field(description="Name of the Region. The source itself is skipped.")
    namespace: OptionalNamespace = Field(
        default="", description="Namespace of the copies there, which has to exist. Empty: the policy's namespace."
    )
    transforms: Annotated[list[Transform], Field(max_length=8), LIST_ATOMIC] = Field(
        default_factory=list, description="Changes that copies get on the way, in this order."
    )


class Sharding(ApiModel):
    """How strategy Sharded spreads objects."""

    replicas: Annotated[int, Field(ge=1, le=32)] = Field(
        default=2, description="Regions that hold each object; all of them when there are fewer targets."
    )


class ReplicationTrigger(ApiModel):
    """When objects are copied."""

    mode: Literal["Watch", "Interval", "Schedule", "Manual"] = Field(
        default="Watch",
        description="Watch: as they change. Interval: all `interval`. Schedule: by `schedule`. Manual: when syncToken "
        "changes.",
    )
    interval: Annotated[Duration, cel.within("1s", "168h")] = Field(
        default="5m", description="For mode Interval: from one pass to the next."
    )
    schedule: OptionalCron = Field(
        default="", description="For mode Schedule: a cron schedule of five fields. Empty: unset."
    )
    time_zone: TimeZone = Field(default="", description="IANA time zone of the schedule. Empty: UTC.")
    sync_token: Text128 = Field(
        default="",
        description="Any new text starts a pass at once, in every mode; it appears in status.targets[].syncToken when "
        "the pass is complete.",
    )

    RULES = (
        Rule(
            f"!has(self.mode) || self.mode != 'Schedule' || {cel.filled('self.schedule')}",
            "give a cron schedule with mode: Schedule, such as 0 2 * * 6",
            ".schedule",
        ),
    )


class Prune(ApiModel):
    """What happens to copies whose source is gone."""

    mode: Literal["Enabled", "Disabled"] = Field(
        default="Enabled", description="Enabled: they are deleted after gracePeriod. Disabled: they stay."
    )
    max_percent: Percent = Field(
        default=20,
        description="Brake: when more than this share of the copies would be deleted at once, none is, and "
        "PruneBlocked says so.",
    )
    grace_period: Annotated[Duration, cel.within("0s", "168h")] = Field(
        default="10m", description="From when an object is seen missing until its copies are deleted."
    )


class ReplicationPolicySpec(ApiModel):
    """Which objects of the namespace are kept in step, and where."""

    source: Source = Field(description="Where objects are copied from.")
    targets: Annotated[list[ReplicationTarget], Field(min_length=1, max_length=32), list_map("region")] = Field(
        description="Regions that get copies, 1-32. With followPolicy, list all regions that may become a target."
    )
    resources: Annotated[list[ResourceSelection], Field(min_length=1, max_length=32), LIST_ATOMIC] = Field(
        description='What is copied; at least one selection, as there is no "everything".'
    )
    strategy: Literal["Full", "Partial", "Sharded", "Local"] = Field(
        default="Full",
        description="Full: everything selected, everywhere. Partial: hot objects everywhere, cold ones only in the "
        "primary. Sharded: each object on some targets. Local: nothing leaves the region; only digests are compared.",
    )
    hot_accesses_per_day: Annotated[int, Field(ge=0, le=2_147_483_647)] = Field(
        default=10,
        description="For strategy Partial: an object is hot above this many accesses per day, by its annotation "
        "regent.dev/accesses-per-day.",
    )
    sharding: Sharding = nested(Sharding, "For strategy Sharded: how objects are spread.")
    direction: Literal["OneWay", "Bidirectional"] = Field(
        default="OneWay", description="Whether changes in a target are copied back."
    )
    conflict_policy: Literal["SourceWins", "TargetWins", "NewestWins", "Manual"] = Field(
        default="SourceWins",
        description="What happens when an object was changed in source and target. Manual: it is left alone and "
        "reported.",
    )
    adoption: Literal["Refuse", "IfIdentical", "Force"] = Field(
        default="IfIdentical",
        description="What happens to an object that is already in the target and not a copy. Refuse: reported. "
        "IfIdentical: taken over when equal, else reported. Force: overwritten.",
    )
    trigger: ReplicationTrigger = nested(ReplicationTrigger, "When objects are copied.")
    verify_interval: Annotated[Duration, cel.within("10s", "168h")] = Field(
        default="10m", description="How often digests of source and targets are compared; InSync needs a fresh one."
    )
    prune: Prune = nested(Prune, "What happens to copies whose source is gone.")
    deletion_policy: Literal["Orphan", "Delete"] = Field(
        default="Orphan", description="What happens to the copies when the policy is deleted: they stay, or they go."
    )
    standby: Literal["Scaled0", "Running", "Suspended"] = Field(
        default="Scaled0",
        description="How workloads and virtual machines look in a standby: with no replicas, as in the source, or "
        "suspended.",
    )
    batch_size: Annotated[int, Field(ge=1, le=5000)] = Field(
        default=200, description="Objects that are applied before others get a turn."
    )
    out_of_sync_after: Annotated[Duration, cel.within("1s", "168h")] = Field(
        default="60s", description="Lag above which a target is OutOfSync."
    )
    suspend: bool = Field(default=False, description="Copy nothing; the state is Paused.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.source.region) || self.targets.all(t, t.region != self.source.region || "
            f"{cel.filled('t.namespace')})",
            "a target in the source's own region needs a namespace of its own: set targets[].namespace",
            ".targets",
        ),
        Rule(
            "self.direction == 'OneWay' || self.strategy == 'Full'",
            "set strategy: Full with direction: Bidirectional",
            ".strategy",
        ),
    )


class ReplicationPolicy(Resource):
    """Keeps Kubernetes objects of its namespace in step in other regions."""

    KIND = "ReplicationPolicy"
    PLURAL = "replicationpolicies"
    SINGULAR = "replicationpolicy"
    SHORT_NAMES = ("rpol",)
    NAMESPACED = True
    COLUMNS = (
        Column("Source", ".status.sourceRegion", "Region that objects are copied from"),
        Column("Targets", ".status.targetRegions", "Regions that get copies"),
        Column("State", ".status.state", "The worst of the targets"),
        Column("InSync", ".status.inSyncTargets", "Targets in sync of all"),
        Column("Lag", ".status.lagMilliseconds", "Greatest lag in milliseconds", "integer"),
        Column("Objects", ".status.objects", "Objects selected in the source", "integer"),
        Column("Verified", ".status.lastVerifiedTime", "Time since all targets were found equal", "date"),
        AGE,
    )
    SELECTABLE_FIELDS = (
        ".spec.strategy",
        ".spec.source.region",
        ".spec.source.followPolicy",
        ".status.state",
        ".status.sourceRegion",
    )
    RULES = (cel.name_rule(63),)

    metadata: ObjectMeta = Field(default_factory=ObjectMeta, description="Standard metadata.")
    spec: ReplicationPolicySpec = Field(description="Which objects of the namespace are kept in step, and where.")
    status: ReplicationPolicyStatus = nested(ReplicationPolicyStatus, "How far the copies are; written by Regent.")
