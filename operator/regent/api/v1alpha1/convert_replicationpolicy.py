"""ReplicationPolicy objects to domain values. The only module that knows both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.api.v1alpha1.replicationpolicy import ReplicationPolicy, ReplicationTarget
from regent.api.v1alpha1.replicationpolicy_resources import ResourceSelection
from regent.api.v1alpha1.replicationpolicy_resources import Transform as TransformModel
from regent.domain.duration import parse_duration
from regent.domain.replication.model import (
    Adoption,
    Assignment,
    Category,
    ConflictPolicy,
    DeletionPolicy,
    Direction,
    KindChoice,
    Prune,
    ReplicationSpec,
    ResourceSelector,
    SourceRef,
    Standby,
    StorageDriver,
    Strategy,
    TargetSpec,
    Transform,
    Trigger,
    TriggerMode,
)


def replication_spec(obj: Mapping[str, Any]) -> ReplicationSpec:
    """Return what the ReplicationPolicy object wants.

    Raises:
        pydantic.ValidationError: the object was never accepted by an API server with Regent's CRDs.
    """
    policy = ReplicationPolicy.parse(dict(obj))
    spec, metadata = policy.spec, policy.metadata
    namespace = metadata.namespace or ""
    return ReplicationSpec(
        namespace=namespace,
        name=metadata.name or "",
        uid=metadata.uid or "",
        generation=metadata.generation or 1,
        labels=dict(metadata.labels),
        source=SourceRef(region=spec.source.region or "", follow_policy=spec.source.follow_policy or ""),
        targets=tuple(_target(target, namespace) for target in spec.targets),
        resources=tuple(map(_selector, spec.resources)),
        strategy=Strategy(spec.strategy),
        hot_accesses=spec.hot_accesses_per_day,
        sharding_replicas=spec.sharding.replicas,
        direction=Direction(spec.direction),
        conflict_policy=ConflictPolicy(spec.conflict_policy),
        adoption=Adoption(spec.adoption),
        trigger=Trigger(
            mode=TriggerMode(spec.trigger.mode),
            interval=parse_duration(spec.trigger.interval),
            schedule=spec.trigger.schedule,
            time_zone=spec.trigger.time_zone,
            sync_token=spec.trigger.sync_token,
        ),
        verify_interval=parse_duration(spec.verify_interval),
        prune=Prune(
            enabled=spec.prune.mode == "Enabled",
            max_percent=spec.prune.max_percent,
            grace=parse_duration(spec.prune.grace_period),
        ),
        deletion_policy=DeletionPolicy(spec.deletion_policy),
        standby=Standby(spec.standby),
        batch_size=spec.batch_size,
        out_of_sync_after=parse_duration(spec.out_of_sync_after),
        suspend=spec.suspend,
    )


def _target(model: ReplicationTarget, namespace: str) -> TargetSpec:
    return TargetSpec(
        region=model.region,
        namespace=model.namespace or namespace,
        transforms=tuple(map(_transform, model.transforms)),
    )


def _transform(model: TransformModel) -> Transform:
    return Transform(
        kinds=frozenset(model.kinds),
        names=frozenset(model.names),
        patch=tuple(operation.model_dump(mode="json", exclude_unset=True) for operation in model.patch or ()),
        cel=tuple(Assignment(path=item.path, expression=item.expression) for item in model.assignments or ()),
        when=model.when,
    )


def _selector(model: ResourceSelection) -> ResourceSelector:
    return ResourceSelector(
        category=Category(model.category),
        kinds=tuple(
            KindChoice(group=kind.group, version=kind.version, kind=kind.kind, include_status=kind.include_status)
            for kind in model.kinds
        ),
        include_secrets=model.include_secrets,
        include_rbac=model.include_rbac,
        storage=StorageDriver(model.storage.driver) if model.storage is not None else StorageDriver.VOLUME_REPLICATION,
        selector=model.selector.to_manifest() if model.selector is not None else {},
        names=frozenset(model.names),
        exclude=frozenset(model.exclude),
    )
