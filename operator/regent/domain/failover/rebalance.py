"""Shares that differ from what is wanted though no region fails: set by hand for a while, or left over.

A `trafficOverride` is in force until it expires, among the regions that are not Down; then the topology's own shares
come back. The same rule finishes a move that `safety.maxShift` has divided. Both are Rebalance runs.
"""

from __future__ import annotations

from collections.abc import Mapping

from regent.domain.failover.candidates import judge, proved
from regent.domain.failover.cooldown import Cooldown
from regent.domain.failover.gates import first_hold
from regent.domain.failover.model import (
    HEALTH_RANK,
    FiredTrigger,
    Hold,
    Plan,
    RunType,
    Snapshot,
    Steady,
    TriggerKind,
    Urgency,
)
from regent.domain.failover.options import TrafficOverride
from regent.domain.failover.triggers import fired
from regent.domain.health.model import AdminState
from regent.domain.times import rfc3339
from regent.domain.traffic import shares

LONGEST = 24 * 3600.0
"""Seconds for which an override may hold: what was set by hand and forgotten must not stay for good."""
SLACK = 60.0
"""Seconds by which the clock of whoever set it may differ from ours."""


def override(snapshot: Snapshot) -> TrafficOverride | None:
    """The distribution set by hand while it is in force."""
    found = snapshot.policy.traffic_override
    if found is None or too_long(snapshot) or snapshot.wall_time >= found.expiration_time:
        return None
    return found


def too_long(snapshot: Snapshot) -> str:
    """Say that the override ends too late to be obeyed; "" when it does not. Only a clock can tell, so admission
    cannot."""
    found = snapshot.policy.traffic_override
    if found is None or found.expiration_time - snapshot.wall_time <= LONGEST + SLACK:
        return ""
    return (
        f"trafficOverride.expirationTime is {rfc3339(found.expiration_time)}: an override that ends more than 24 h "
        "from now is not obeyed. Set an earlier time, and set it again when that is over"
    )


def expires_in(snapshot: Snapshot) -> float | None:
    """Seconds until the override ends, or is near enough to be obeyed; None when there is none any more. Nothing
    announces these moments."""
    found = snapshot.policy.traffic_override
    if found is None or snapshot.wall_time >= found.expiration_time:
        return None
    left = found.expiration_time - snapshot.wall_time
    return left - LONGEST - SLACK if too_long(snapshot) else left


def single_active(snapshot: Snapshot, cooldown: Cooldown) -> Plan | Hold | Steady | None:
    """Bring the shares of ActivePassive or LeaderElection to what is wanted; None when they are.

    Called when no trigger holds for the active region.
    """
    if not snapshot.state.distribution.get(snapshot.state.active_region):
        # A run was overtaken and its shares were never recorded: what the targets hold now is a newer leader's word,
        # and a Rebalance would overrule it with a higher epoch.
        return None
    broken = _broken_share(snapshot, cooldown)
    if broken is not None:
        return broken
    names = [entry.name for entry in snapshot.policy.regions]
    asked = override(snapshot)
    if asked is not None:
        return _overridden(snapshot, cooldown, asked, names)
    home = _home(snapshot)
    if home:
        if not usable(snapshot, home, left=cooldown.left):
            return Steady(switch_pending=f"the traffic override is over; {home} takes over again once it is healthy")
        return toward(
            snapshot,
            cooldown,
            shares.only(names, home),
            to=home,
            reason=f"the traffic override is over; {home} takes over again",
        )
    reason = "the rest of the traffic follows"
    return toward(snapshot, cooldown, at_rest(snapshot), to=snapshot.state.active_region, reason=reason)


def at_rest(snapshot: Snapshot) -> dict[str, int]:
    """What a single-active topology wants while nothing is the matter: everything on the active region."""
    return shares.only([entry.name for entry in snapshot.policy.regions], snapshot.state.active_region)


def toward(
    snapshot: Snapshot, cooldown: Cooldown, wanted: Mapping[str, int], *, to: str, reason: str
) -> Plan | Hold | Steady | None:
    """Plan a Rebalance to `wanted`, or say what holds it; None when the shares are there already."""
    before = {name: snapshot.state.distribution.get(name, 0) for name in wanted}
    extra = {name: share for name, share in snapshot.state.distribution.items() if name not in wanted and share > 0}
    if before == dict(wanted) and not extra:
        return None
    before |= extra
    shrinking = [name for name in before if before[name] > wanted.get(name, 0)]
    trigger = FiredTrigger(
        kind=TriggerKind.MANUAL, urgency=Urgency.HIGH, region=shrinking[0] if shrinking else to, message=reason
    )
    hold = first_hold(snapshot, trigger, cooldown, run_type=RunType.REBALANCE)
    if hold is not None:
        return hold
    growing = [name for name in wanted if wanted[name] > before.get(name, 0)]
    unproved = [name for name in growing if not proved(snapshot.regions[name], now=snapshot.now)]
    if unproved:
        return Steady(switch_pending=f"{reason}; waiting for a fresh probe of {', '.join(unproved)}", retry_after=0.5)
    return Plan(
        type=RunType.REBALANCE,
        trigger=TriggerKind.MANUAL,
        source=trigger.region,
        to=to,
        before=before,
        after=dict(wanted),
        candidates=judge(snapshot, exclude={snapshot.state.active_region}, desperate=False, fresh=False),
        reason=reason,
    )


def usable(snapshot: Snapshot, region: str, *, left: frozenset[str]) -> bool:
    """Whether traffic may be sent to `region` by hand: it is there and answers, and did not fail just now."""
    view = snapshot.regions.get(region)
    if view is None or not view.exists or view.admin_state is not AdminState.ENABLED or view.health.down:
        return False
    if snapshot.state.distribution.get(region, 0) > 0:
        return True
    return view.health.health in HEALTH_RANK and not view.placement_denied and region not in left


def _overridden(
    snapshot: Snapshot, cooldown: Cooldown, asked: TrafficOverride, names: list[str]
) -> Plan | Hold | Steady | None:
    left = cooldown.left if cooldown.active(snapshot.wall_time) else frozenset[str]()
    given = {name: float(asked.distribution.get(name, 0)) for name in names}
    able = [name for name in names if given[name] > 0 and usable(snapshot, name, left=left)]
    wanted = shares.among(given, able)
    until = f"trafficOverride until {rfc3339(asked.expiration_time)}"
    if not wanted:
        listed = ", ".join(name for name in names if given[name] > 0)
        return Steady(switch_pending=f"{until}: none of {listed} can take traffic now; the shares stay as they are")
    active = snapshot.state.active_region
    to = active if wanted.get(active, 0) > 0 else max(wanted, key=lambda name: wanted[name])
    return toward(snapshot, cooldown, wanted, to=to, reason=until)


def _broken_share(snapshot: Snapshot, cooldown: Cooldown) -> Plan | Hold | None:
    """Regions that carry a part of the traffic without being the active one fail: the active one takes their part."""
    active = snapshot.state.active_region
    parts = [name for name in shares.carrying(snapshot.state.distribution) if name != active]
    lost: list[FiredTrigger] = []
    held: Hold | None = None
    for name in parts:
        trigger = next((item for item in fired(snapshot, name) if item.urgency is Urgency.HIGH), None)
        if trigger is None:
            continue
        hold = first_hold(snapshot, trigger, cooldown)
        held = held or hold
        if hold is None:
            lost.append(trigger)
    if not lost:
        return held
    gone = {item.region for item in lost}
    after = {name: 0 if name in gone else share for name, share in snapshot.state.distribution.items()}
    after[active] = after.get(active, 0) + sum(snapshot.state.distribution[name] for name in gone)
    failures = [view.health.first_failure for name in gone if (view := snapshot.regions.get(name)) is not None]
    return Plan(
        type=RunType.REBALANCE,
        trigger=lost[0].kind,
        source=lost[0].region,
        to=active,
        before=dict(snapshot.state.distribution),
        after=after,
        candidates=judge(snapshot, exclude={active}, desperate=False, fresh=False),
        reason="; ".join(item.message for item in lost),
        detected=min((moment for moment in failures if moment is not None), default=None),
        urgency=Urgency.HIGH,
    )


def _home(snapshot: Snapshot) -> str:
    """Where an override that is over has taken the active role from: the last committed run was that one."""
    ended = [run for run in snapshot.runs if run.committed and run.completion_time is not None]
    last = max(ended, key=lambda run: run.completion_time or 0.0, default=None)
    home = snapshot.state.failback_region
    if last is None or last.type is not RunType.REBALANCE or last.trigger is not TriggerKind.MANUAL or not home:
        return ""
    moved = last.source == home and last.to == snapshot.state.active_region != home
    return home if moved and snapshot.policy.region(home) is not None else ""
