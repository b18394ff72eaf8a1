"""When a pass is due: by syncToken in every mode, and by interval or schedule where changes wait for it.

What was done last is read from the policy's status, so that a new leader neither repeats a pass nor leaves one out.
"""

from __future__ import annotations

from dataclasses import dataclass

from regent.domain.failover import windows
from regent.domain.replication.model import Trigger, TriggerMode

LOOK_BACK = 7 * 24 * 3600.0
"""Seconds for which a missed time of the schedule is made up for."""


@dataclass(frozen=True, slots=True)
class Due:
    """Whether a pass is due now, and when the next one comes (wall time; None: not by itself)."""

    now: bool
    next_time: float | None = None
    problem: str = ""


def due(trigger: Trigger, *, token: str, last: float | None, wall: float) -> Due:
    """Say whether a pass is due.

    Args:
        trigger: of the policy.
        token: the syncToken of the last complete pass.
        last: wall time of the last complete pass; None: there was none.
        wall: now.
    """
    asked = bool(trigger.sync_token) and trigger.sync_token != token
    match trigger.mode:
        case TriggerMode.WATCH | TriggerMode.MANUAL:
            return Due(asked)
        case TriggerMode.INTERVAL:
            following = last + trigger.interval if last is not None else wall
            return Due(asked or following <= wall, following)
        case TriggerMode.SCHEDULE:
            return _by_schedule(trigger, asked, last, wall)


def _by_schedule(trigger: Trigger, asked: bool, last: float | None, wall: float) -> Due:
    wrong = windows.problem(trigger.schedule, trigger.time_zone)
    if wrong:
        return Due(asked, problem=f"spec.trigger: {wrong}")
    cron, zone = windows.parse(trigger.schedule), windows.zone(trigger.time_zone)
    previous = windows.previous(cron, zone, wall, within=LOOK_BACK)
    # Without a first pass there would be no copies at all until the schedule comes round.
    missed = last is None or (previous is not None and previous > last)
    return Due(asked or missed, windows.following(cron, zone, wall))
