"""Who could take the traffic, in which order, and why the others could not.

Every region of a policy gets a row with all its reasons, so that "why not us-east-1?" is answered by the status alone.
`ranking` orders the rows, `capacity` and `lag` give two of the reasons.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from regent.domain.failover import capacity
from regent.domain.failover.lag import Lag, lag_of
from regent.domain.failover.model import HEALTH_RANK, Candidate, PolicyRegion, Promotion, RegionView, Snapshot, Topology
from regent.domain.failover.ranking import rank
from regent.domain.failover.split_brain import also_active
from regent.domain.health.model import AdminState, Health


@dataclass(frozen=True, slots=True, kw_only=True)
class _Demands:
    """What a region has to fulfil to be eligible."""

    not_again: Collection[str]
    fresh: bool
    accept: Collection[Health]
    rooms: Mapping[str, int | None]
    need: int
    """Percent points that the region would have to take on top of what it has; 0: any room will do."""


def judge(
    snapshot: Snapshot,
    *,
    exclude: Collection[str] = (),
    not_again: Collection[str] = (),
    desperate: bool,
    fresh: bool = True,
) -> tuple[Candidate, ...]:
    """Judge every region of the policy but those in `exclude`; eligible ones first, best first.

    Args:
        snapshot: the world.
        exclude: regions that are being left; they get no row.
        not_again: regions left within the cooldown: an automatic run does not return to them.
        desperate: the source is Unreachable, so a Degraded or Recovering region, or one without room for everything,
            is better than none.
        fresh: demand proof younger than a probe interval. False for showing, where the age of proof would only flicker.
    """
    rooms = capacity.rooms(snapshot)
    single = snapshot.policy.topology in (Topology.ACTIVE_PASSIVE, Topology.LEADER_ELECTION)
    entries = [(order, item) for order, item in enumerate(snapshot.policy.regions) if item.name not in exclude]
    levels = [({Health.HEALTHY}, 100 if single else 0)]
    if desperate:
        levels += [(set(HEALTH_RANK), 100 if single else 0), (set(HEALTH_RANK), 0)]
    rows: list[tuple[tuple[float, ...], Candidate]] = []
    for accept, need in levels:
        demands = _Demands(not_again=not_again, fresh=fresh, accept=accept, rooms=rooms, need=need)
        rows = [_row(snapshot, entry, order, demands) for order, entry in entries]
        if any(row.eligible for _, row in rows):
            break
    rows.sort(key=lambda item: item[0])
    return tuple(
        Candidate(
            region=row.region,
            eligible=row.eligible,
            rank=place if row.eligible else 0,
            reasons=row.reasons,
            notes=row.notes,
            lag=row.lag,
        )
        for place, (_, row) in enumerate(rows, start=1)
    )


def _row(snapshot: Snapshot, entry: PolicyRegion, order: int, demands: _Demands) -> tuple[tuple[float, ...], Candidate]:
    lag = lag_of(snapshot, entry.name)
    refusals = _refusals(snapshot, entry, lag, demands)
    key = (float(bool(refusals)), *rank(snapshot, entry, order=order, lag=lag.seconds if lag is not None else None))
    reasons = tuple(reason for reason, _ in refusals)
    notes = tuple(f"{reason} ({note})" if note else reason for reason, note in refusals)
    behind = lag.step(snapshot.policy.options.max_replication_lag) if lag is not None else ""
    return key, Candidate(region=entry.name, eligible=not reasons, reasons=reasons, notes=notes, lag=behind)


def best(candidates: Collection[Candidate]) -> str:
    """The eligible region of the best rank, or "" when there is none."""
    return next((row.region for row in candidates if row.eligible), "")


def explain(candidates: Collection[Candidate]) -> str:
    """Why nobody can take over, in one line: each region with its reasons, rules and figures."""
    return "; ".join(row.explain() for row in candidates if row.reasons) or "the policy lists no other"


def proved(view: RegionView, *, now: float) -> bool:
    """Whether all Required probes of the region have succeeded within a probe interval."""
    health = view.health
    return health.proved_at is not None and now - health.proved_at <= health.probe_interval


def _refusals(snapshot: Snapshot, entry: PolicyRegion, lag: Lag | None, demands: _Demands) -> list[tuple[str, str]]:
    """Every (reason, rule and figure) against the region."""
    view = snapshot.regions.get(entry.name)
    if view is None or not view.exists:
        return [("RegionNotFound", "")]
    reasons = _by_order(view, entry) + _by_health(view, demands, now=snapshot.now)
    if view.placement_denied:
        reasons.append(("PlacementDenied", view.placement_denied))
    apart = snapshot.diverged.get(entry.name, "")
    if apart:  # whatever its lag is said to be: it is one of another history
        reasons.append(("Diverged", apart))
    elif lag is not None and lag.refusal:
        reasons.append(("ReplicationLag", lag.refusal))
    short = capacity.short(snapshot, entry.name, demands.rooms, need=demands.need)
    if short:
        reasons.append(("CapacityShort", short))
    double = also_active(snapshot, entry.name)
    if double:
        reasons.append(("SplitBrainSuspected", f"{', '.join(double)} is active there too"))
    if entry.name in demands.not_again:
        reasons.append(("LeftWithinCooldown", "an automatic run does not return before status.cooldownUntil"))
    return reasons


def _by_order(view: RegionView, entry: PolicyRegion) -> list[tuple[str, str]]:
    reasons = []
    if view.admin_state is not AdminState.ENABLED:
        reasons.append((f"AdminState{view.admin_state.value}", ""))
    if view.suspended:
        reasons.append(("RegionSuspended", "spec.suspend of the Region is true"))
    if entry.promotion is Promotion.NEVER:
        reasons.append(("PromotionNever", ""))
    return reasons


def _by_health(view: RegionView, demands: _Demands, *, now: float) -> list[tuple[str, str]]:
    if view.health.down:
        return [("Unreachable", "")]
    reasons = []
    if view.health.health not in demands.accept:
        reasons.append((f"Health{view.health.health.value}", ""))
    elif view.health.proved_at is None or (demands.fresh and not proved(view, now=now)):
        reasons.append(("NotProvedHealthy", ""))
    reasons.extend((f"Trigger{trigger.kind.value}", "") for trigger in view.fired)
    return reasons
