"""What if a region failed: a snapshot with a fault put in, for `decide` to judge as it judges the world. Pure.

A fault is taken at the moment when it counts: a region that is down has been found down by every vantage that looks at
it now, a rate has been past its threshold for as long as the trigger asks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from enum import Enum

from regent.domain.duration import format_duration
from regent.domain.failover.model import FiredTrigger, PolicySpec, RegionView, Snapshot, TriggerKind, Urgency
from regent.domain.health.model import AdminState, Health, RegionHealth
from regent.domain.health.panic import panicking


class Fault(Enum):
    """What goes wrong with a region; the values are those of `regent simulate --fault`."""

    DOWN = "down"
    """It does not answer."""
    DEGRADED = "degraded"
    """More of its requests fail than the trigger errorRate allows."""
    SLOW = "slow"
    """Its p95 latency is above what the trigger latency allows."""
    DRAINED = "drained"
    """A person takes it out of service."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measurable:
    """What can be measured of a region at all: a trigger on anything else never fires, whatever the region does."""

    load_errors: bool = False
    """The region reports its error rate, so that a trigger on Load can fire."""
    longest_timeout: float = 0.0
    """Seconds of its most patient probe: no latency above it is ever seen."""


def with_fault(
    snapshot: Snapshot,
    regions: Collection[str],
    fault: Fault,
    *,
    measurable: Mapping[str, Measurable],
    enabled: Mapping[str, RegionHealth],
) -> Snapshot:
    """Return the snapshot as it would be with `fault` in all of `regions` at the same moment.

    Args:
        snapshot: the world as it is.
        regions: names.
        fault: what goes wrong with them.
        measurable: by region; one that is missing reports nothing.
        enabled: the health of every enabled region, also of those that the policy does not list: when too many of them
            fail together, the operator doubts itself instead.
    """
    changed = {
        name: _broken(view, fault, snapshot, measurable.get(name, Measurable())) if name in regions else view
        for name, view in snapshot.regions.items()
    }
    panic = snapshot.panic
    if fault is Fault.DOWN:
        healths = [down(health, snapshot.now) if name in regions else health for name, health in enabled.items()]
        found = panicking(healths, percent=snapshot.policy.safety.panic_percent)
        panic = found.message if found is not None else ""
    return dataclasses.replace(snapshot, regions=changed, panic=panic)


def down(health: RegionHealth, now: float) -> RegionHealth:
    """Return the health of the region once every vantage that looks at it has found it down."""
    votes = max(1, health.vantages)
    return dataclasses.replace(
        health,
        health=Health.UNREACHABLE,
        reason="Simulated",
        message="simulated",
        down=True,
        down_since=now,
        first_failure=now,
        down_votes=votes,
        vantages=votes,
        proved_at=None,
        up_since=None,
    )


def _broken(view: RegionView, fault: Fault, snapshot: Snapshot, measurable: Measurable) -> RegionView:
    if not view.exists:
        return view
    if fault is Fault.DRAINED:
        return dataclasses.replace(view, admin_state=AdminState.DRAINED)
    health = view.health
    if fault is Fault.DOWN:
        return dataclasses.replace(view, health=down(health, snapshot.now), fired=())
    poor = dataclasses.replace(health, health=Health.DEGRADED, reason="Simulated", message=f"{fault.value} (simulated)")
    trigger = _trigger(view.name, fault, snapshot.policy, measurable)
    kept = tuple(item for item in view.fired if trigger is None or item.kind is not trigger.kind)
    return dataclasses.replace(view, health=poor, fired=(*kept, *((trigger,) if trigger else ())))


def _trigger(region: str, fault: Fault, policy: PolicySpec, measurable: Measurable) -> FiredTrigger | None:
    triggers = policy.triggers
    if fault is Fault.SLOW:
        rate = triggers.latency
        if rate is None or measurable.longest_timeout <= rate.threshold:
            return None
        message = f"Region {region}: p95 latency above {format_duration(rate.threshold)}"
        kind = TriggerKind.LATENCY
    else:
        rate = triggers.error_rate
        if rate is None or not (rate.probes_only or measurable.load_errors):
            return None
        message = f"Region {region}: error rate above {rate.threshold:g} %"
        kind = TriggerKind.ERROR_RATE
    held = f"{message} for {format_duration(rate.duration)} (simulated)"
    return FiredTrigger(kind=kind, urgency=Urgency.MEDIUM, region=region, message=held)


def silence(fault: Fault, policy: PolicySpec, measurable: Measurable) -> str:
    """Say why nothing fires for the fault; "" where a trigger does."""
    triggers = policy.triggers
    if fault is Fault.DOWN:
        return "" if triggers.unreachable else "spec.triggers.unreachable is Disabled"
    if fault is Fault.SLOW:
        if triggers.latency is None:
            return "spec.triggers.latency is Disabled"
        if measurable.longest_timeout <= triggers.latency.threshold:
            threshold = format_duration(triggers.latency.threshold)
            return f"no probe of the region waits longer than {threshold}, the threshold of spec.triggers.latency"
    if fault is Fault.DEGRADED:
        if triggers.error_rate is None:
            return "spec.triggers.errorRate is Disabled"
        if not (triggers.error_rate.probes_only or measurable.load_errors):
            return "spec.triggers.errorRate looks at Load, and the region reports none (spec.load)"
    return ""
