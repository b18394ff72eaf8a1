"""When a drill is due by its schedule (`spec.drills`)."""

from __future__ import annotations

from dataclasses import dataclass

from regent.domain.failover import windows
from regent.domain.failover.model import RunType, Snapshot
from regent.domain.failover.runspec import LATEST
from regent.domain.times import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """What the schedule says now."""

    due_time: float | None = None
    """The time of the schedule that a drill is to be started for; None: none is due."""
    next_time: float | None = None
    """When the next one comes."""
    reason: str = ""
    """Why a time of the schedule is let pass (CamelCase), or that the schedule cannot be read."""
    message: str = ""


def decide_drill(snapshot: Snapshot, last_drill_time: float | None) -> Drill:
    """Decide whether a drill is to be started.

    A time of the schedule that is more than ten minutes ago is let pass: Regent was away, and a rehearsal out of hours
    is worse than none. Nor is there one while it is not known what is active, a run holds the policy, the policy is
    suspended, or windows that name Drill are shut.

    Args:
        snapshot: the world.
        last_drill_time: when the last scheduled drill was started (or the time it was started for), in seconds since
            the epoch; None: there was none.
    """
    plan = snapshot.policy.options.drills
    if plan is None:
        return Drill()
    wrong = windows.problem(plan.schedule, plan.time_zone)
    if wrong:
        return Drill(reason="InvalidSchedule", message=f"drills: {wrong}")
    cron, zone, now = windows.parse(plan.schedule), windows.zone(plan.time_zone), snapshot.wall_time
    following = windows.following(cron, zone, now)
    due = windows.previous(cron, zone, now, within=LATEST)
    done = max(last_drill_time or 0.0, snapshot.policy.created_time)
    if due is None or due <= done:
        return Drill(next_time=following)
    reason, message = _not_now(snapshot)
    if reason:
        return Drill(next_time=following, reason=reason, message=f"the drill of {rfc3339(due)} waits: {message}")
    return Drill(due_time=due, next_time=following)


def _not_now(snapshot: Snapshot) -> tuple[str, str]:
    if not snapshot.state.adopted:
        return "NotAdopted", "it is not known yet what is active"
    if snapshot.state.operation is not None:
        return "RunInProgress", f"{snapshot.state.operation.name} holds the policy"
    if snapshot.policy.suspend or snapshot.suspend_all:
        return "Suspended", "runs are suspended"
    named = [item for item in snapshot.policy.safety.windows if RunType.DRILL.value in item.allow]
    if named and all(windows.open_until(item, snapshot.wall_time) is None for item in named):
        return "OutsideWindow", "no window of safety.windows that allows Drill is open"
    return "", ""
