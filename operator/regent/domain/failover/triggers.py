"""Which triggers hold for a region that carries traffic: pure, highest urgency first."""

from __future__ import annotations

from regent.domain.failover.model import FiredTrigger, Snapshot, TriggerKind, Urgency
from regent.domain.health.model import AdminState


def fired(snapshot: Snapshot, region: str) -> tuple[FiredTrigger, ...]:
    """Return the triggers that hold for `region` now, the most urgent first.

    Orders of people (a region drained, disabled or removed) come before what the probes say, because they explain the
    run better: a region that was disabled is no longer probed at all.
    """
    view = snapshot.regions.get(region)
    if view is None or not view.exists:
        message = f"Region {region} was deleted"
        return (FiredTrigger(kind=TriggerKind.REGION_REMOVED, urgency=Urgency.HIGH, region=region, message=message),)
    if view.admin_state is not AdminState.ENABLED:
        message = f"Region {region} has adminState {view.admin_state.value}"
        return (FiredTrigger(kind=TriggerKind.ADMIN_STATE, urgency=Urgency.HIGH, region=region, message=message),)
    found = []
    if snapshot.policy.triggers.unreachable and view.health.down:
        found.append(
            FiredTrigger(
                kind=TriggerKind.UNREACHABLE,
                urgency=Urgency.HIGH,
                region=region,
                message=f"Region {region} does not answer: {view.health.message}",
            )
        )
    found.extend(view.fired)
    return tuple(sorted(found, key=lambda trigger: trigger.urgency.value))
