"""Who could take the traffic, in which order, and why the others could not.

Every region of a policy gets a row with all its reasons, so that "why not us-east-1?" is answered by the status alone.
Figures are bucketed before they are compared: a continuous figure would make every later criterion dead.
"""

from __future__ import annotations

from collections.abc import Collection

from regent.domain.failover.model import HEALTH_RANK, Candidate, PolicyRegion, Promotion, RegionView, Snapshot
from regent.domain.health.model import AdminState, Health

PROMOTION_RANK = {Promotion.PREFER: 0, Promotion.NEUTRAL: 1, Promotion.PREFER_NOT: 2, Promotion.NEVER: 3}

LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


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
        desperate: the source is Unreachable, so a Degraded or Recovering region is better than none.
        fresh: demand proof younger than a probe interval. False for showing, where the age of proof would only flicker.
    """
    healthy_exists = any(
        not _refusals(snapshot, entry, not_again=not_again, fresh=fresh, accept={Health.HEALTHY})
        for entry in snapshot.policy.regions
        if entry.name not in exclude
    )
    accept = set(HEALTH_RANK) if desperate and not healthy_exists else {Health.HEALTHY}
    rows: list[tuple[tuple[float, ...], str, tuple[str, ...]]] = []
    for order, entry in enumerate(snapshot.policy.regions):
        if entry.name in exclude:
            continue
        reasons = _refusals(snapshot, entry, not_again=not_again, fresh=fresh, accept=accept)
        rank = _rank(snapshot.regions.get(entry.name), entry, order)
        rows.append(((float(bool(reasons)), *rank), entry.name, reasons))
    rows.sort()
    return tuple(
        Candidate(region=name, eligible=not reasons, rank=0 if reasons else place, reasons=reasons)
        for place, (_, name, reasons) in enumerate(rows, start=1)
    )


def best(candidates: Collection[Candidate]) -> str:
    """The eligible region of the best rank, or "" when there is none."""
    return next((row.region for row in candidates if row.eligible), "")


def proved(view: RegionView, *, now: float) -> bool:
    """Whether all Required probes of the region have succeeded within a probe interval."""
    health = view.health
    return health.proved_at is not None and now - health.proved_at <= health.probe_interval


def _refusals(
    snapshot: Snapshot, entry: PolicyRegion, *, not_again: Collection[str], fresh: bool, accept: Collection[Health]
) -> tuple[str, ...]:
    view = snapshot.regions.get(entry.name)
    if view is None or not view.exists:
        return ("RegionNotFound",)
    reasons = []
    if view.admin_state is not AdminState.ENABLED:
        reasons.append(f"AdminState{view.admin_state.value}")
    if entry.promotion is Promotion.NEVER:
        reasons.append("PromotionNever")
    if view.health.down:
        reasons.append("Unreachable")
    elif view.health.health not in accept:
        reasons.append(f"Health{view.health.health.value}")
    elif view.health.proved_at is None or (fresh and not proved(view, now=snapshot.now)):
        reasons.append("NotProvedHealthy")
    if not view.health.down and view.fired:
        reasons.extend(f"Trigger{trigger.kind.value}" for trigger in view.fired)
    if entry.name in not_again:
        reasons.append("LeftWithinCooldown")
    return tuple(reasons)


def _rank(view: RegionView | None, entry: PolicyRegion, order: int) -> tuple[float, ...]:
    if view is None:
        return (9, 9, 0, 9, 0, 99, order)
    figures = view.health.figures
    free = 100.0 if figures.capacity_available_percent is None else figures.capacity_available_percent
    latency = figures.latency_p50 or 0.0
    return (
        HEALTH_RANK.get(view.health.health, 9),
        PROMOTION_RANK[entry.promotion],
        -view.priority,
        view.tier,
        -(free // 10),
        sum(latency > bound for bound in LATENCY_BUCKETS),
        order,
    )
