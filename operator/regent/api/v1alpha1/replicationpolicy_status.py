"""The status of a ReplicationPolicy: how far its copies are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from regent.api.v1alpha1.base import LIST_ATOMIC, ApiModel, list_map
from regent.api.v1alpha1.common import (
    Conditions,
    Count,
    LongCount,
    Milliseconds,
    OptionalRegionName,
    RegionName,
    Text63,
    Text128,
    Text1024,
    Time,
    conditions_field,
    tally,
)

ReplicationState = Literal["InSync", "Syncing", "OutOfSync", "Failed", "Paused", "Unknown"]


class ObjectCounts(ApiModel):
    """Objects of one target by state."""

    desired: Count = tally("Objects that should be there.")
    in_sync: Count = tally("Copies that are equal.")
    pending: Count = tally("Copies to be written.")
    drifted: Count = tally("Copies that somebody changed in the target.")
    conflicted: Count = tally("Objects changed on both sides, or not ours.")
    failed: Count = tally("Objects that cannot be written.")


class StorageStatus(ApiModel):
    """How far the data of volumes is, by what their storage driver says."""

    volumes: Count = tally("Volumes that the policy selects. Zero with no time: they cannot be read.")
    last_sync_time: Time | None = Field(
        default=None,
        description="When the newest complete copy was made of the volume that is farthest behind. Absent: not known "
        "of all volumes.",
    )
    lag_milliseconds: Milliseconds | None = Field(
        default=None, description="The greatest lag since the copy before that one, in steps. Absent: unknown."
    )


class ReplicationTargetStatus(ApiModel):
    """How far one target is."""

    region: RegionName = Field(description="Name of the Region.")
    state: ReplicationState = Field(description="InSync, Syncing, OutOfSync, Failed, Paused or Unknown.")
    lag_milliseconds: Milliseconds | None = Field(
        default=None, description="Age of the oldest change that is not there yet. Absent: unknown."
    )
    objects: ObjectCounts | None = Field(default=None, description="Objects by state.")
    last_sync_time: Time | None = Field(default=None, description="When a pass last completed.")
    last_verified_time: Time | None = Field(default=None, description="When digests were last found equal.")
    sync_token: Text128 = Field(default="", description="The trigger.syncToken of the last complete pass.")
    storage: StorageStatus | None = Field(
        default=None, description="With category Storage: the data of volumes. Absent: there are none."
    )
    errors: Annotated[list[Text1024], Field(max_length=16), LIST_ATOMIC] = Field(
        default_factory=list, description="What went wrong last, each with the object it is about."
    )


class Transferred(ApiModel):
    """What has been copied from one region to another."""

    source: RegionName = Field(description="Region that was copied from.")
    target: RegionName = Field(description="Region that was copied to.")
    objects: LongCount = tally("Copies that the target's API server has taken: made, changed or repaired.")
    size: LongCount = Field(
        default=0,
        alias="bytes",
        description="Their size as JSON without spaces.",
        json_schema_extra={"default": None},
    )


class ReplicationPolicyStatus(ApiModel):
    """How far the copies are."""

    observed_generation: LongCount | None = Field(
        default=None, description="Generation of the spec that the status is about."
    )
    state: ReplicationState = Field(
        default="Unknown",
        description="The worst of the targets. InSync: nothing pending and the digests were found equal lately. "
        "Syncing: writing. OutOfSync: too far behind, different, in conflict or prune blocked. Failed: a target cannot "
        "be written. Paused: suspended or frozen by a failover.",
    )
    source_region: OptionalRegionName = Field(default="", description="Region that objects are copied from now.")
    target_regions: Annotated[str, Field(max_length=4096)] = Field(
        default="", description="Regions that get copies now, joined by commas."
    )
    in_sync_targets: Text63 = Field(default="", description="Targets in sync of all, such as 1/2.")
    lag_milliseconds: Milliseconds | None = Field(
        default=None, description="The greatest lag of the targets in milliseconds. Absent: unknown."
    )
    objects: Count | None = Field(default=None, description="Objects selected in the source.")
    last_verified_time: Time | None = Field(
        default=None, description="When all targets were last found equal to the source."
    )
    targets: Annotated[list[ReplicationTargetStatus], Field(max_length=32), list_map("region")] = Field(
        default_factory=list, description="How far each target is."
    )
    transferred: Annotated[list[Transferred], Field(max_length=128), list_map("source", "target")] = Field(
        default_factory=list, description="What has been copied since the policy was made, by pair of regions."
    )
    conditions: Conditions = conditions_field(
        "Ready, InSync, SourceReachable, Verified, Conflicts, PruneBlocked; with volumes StorageReplicating"
    )
