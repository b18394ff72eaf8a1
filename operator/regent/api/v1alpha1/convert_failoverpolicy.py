"""FailoverPolicy objects to domain values. The only module that knows both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.api.v1alpha1.convert_options import run_options
from regent.api.v1alpha1.convert_targets import target_spec
from regent.api.v1alpha1.failoverpolicy import BlueGreen as BlueGreenModel
from regent.api.v1alpha1.failoverpolicy import FailoverPolicy
from regent.api.v1alpha1.failoverpolicy import TrafficOverride as TrafficOverrideModel
from regent.api.v1alpha1.failoverpolicy_safety import Triggers as TriggersModel
from regent.api.v1alpha1.failoverpolicy_safety import Window as WindowModel
from regent.domain.duration import parse_duration
from regent.domain.failover.model import (
    FailbackMode,
    Mode,
    PolicyRegion,
    PolicySpec,
    Promotion,
    RateTrigger,
    Safety,
    Topology,
    Triggers,
)
from regent.domain.failover.options import BlueGreen, MaxShift, Preemption, TrafficOverride, Window
from regent.domain.traffic.targets import TargetSpec


def policy_spec(obj: Mapping[str, Any]) -> tuple[PolicySpec, tuple[TargetSpec, ...]]:
    """Return what the FailoverPolicy object wants, and its targets.

    Raises:
        pydantic.ValidationError: the object was never accepted by an API server with Regent's CRDs.
    """
    policy = FailoverPolicy.parse(dict(obj))
    spec, metadata = policy.spec, policy.metadata
    default_failback = "Automatic" if spec.topology == "ActiveActive" else "Manual"
    resolved = PolicySpec(
        namespace=metadata.namespace or "",
        name=metadata.name or "",
        uid=metadata.uid or "",
        generation=metadata.generation or 1,
        created_time=metadata.creation_timestamp.timestamp() if metadata.creation_timestamp else 0.0,
        topology=Topology(spec.topology),
        regions=tuple(
            PolicyRegion(name=entry.name, weight_percent=entry.weight_percent, promotion=Promotion(entry.promotion))
            for entry in spec.regions
        ),
        mode=Mode(spec.mode),
        suspend=spec.suspend,
        triggers=_triggers(spec.triggers),
        safety=Safety(
            min_active_regions=spec.safety.min_active_regions,
            quorum=spec.safety.quorum,
            panic_percent=spec.safety.panic_percent,
            cooldown=parse_duration(spec.safety.cooldown),
            budget_failovers=spec.safety.budget.failovers,
            budget_per=parse_duration(spec.safety.budget.per),
            max_shift=MaxShift(percent=spec.safety.max_shift.percent, per=parse_duration(spec.safety.max_shift.per)),
            windows=tuple(map(_window, spec.safety.windows)),
        ),
        failback_mode=FailbackMode(spec.failback.mode or default_failback),
        failback_stabilization=parse_duration(spec.failback.stabilization),
        blue_green=_blue_green(spec.blue_green),
        preemption=Preemption(spec.preemption),
        traffic_override=_override(spec.traffic_override),
        options=run_options(spec),
    )
    return resolved, tuple(map(target_spec, spec.targets))


def _triggers(model: TriggersModel) -> Triggers:
    error, latency, capacity = model.error_rate, model.latency, model.capacity
    return Triggers(
        unreachable=model.unreachable.mode == "Enabled",
        error_rate=RateTrigger(
            threshold=error.percent, duration=parse_duration(error.for_), probes_only=error.source == "Probes"
        )
        if error.mode == "Enabled"
        else None,
        latency=RateTrigger(threshold=parse_duration(latency.threshold), duration=parse_duration(latency.for_))
        if latency.mode == "Enabled"
        else None,
        capacity=RateTrigger(threshold=capacity.available_percent, duration=parse_duration(capacity.for_))
        if capacity is not None and capacity.mode == "Enabled"
        else None,
    )


def _window(model: WindowModel) -> Window:
    return Window(
        start=model.start,
        duration=parse_duration(model.duration),
        time_zone=model.time_zone,
        allow=tuple(str(kind) for kind in model.allow),
    )


def _blue_green(model: BlueGreenModel | None) -> BlueGreen | None:
    if model is None:
        return None
    return BlueGreen(
        blue=tuple(model.blue),
        green=tuple(model.green),
        desired=model.desired,
        switch_after=parse_duration(model.switch_after),
        observe=parse_duration(model.observe),
    )


def _override(model: TrafficOverrideModel | None) -> TrafficOverride | None:
    if model is None:
        return None
    return TrafficOverride(
        distribution={item.region: item.weight_percent for item in model.distribution},
        expiration_time=model.expiration_time.timestamp(),
    )
