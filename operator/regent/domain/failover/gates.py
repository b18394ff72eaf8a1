"""What holds an automatic run back: a chain of pure checks, in the order in which they are explained.

Each check gets the snapshot and the trigger and returns a `Hold` or None. They are kept apart from choosing a
candidate, so that a held failover always says the first rule that stands in its way and what lifts it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from regent.domain.duration import format_duration
from regent.domain.failover import windows
from regent.domain.failover.cooldown import Cooldown, renewed_time, spent
from regent.domain.failover.model import FiredTrigger, Hold, Mode, RunType, Snapshot, TriggerKind, Urgency
from regent.domain.failover.split_brain import suspected
from regent.domain.times import rfc3339

ORDERS = (TriggerKind.ADMIN_STATE, TriggerKind.REGION_REMOVED, TriggerKind.MANUAL)
"""Triggers that a person gave: neither cooldown nor budget nor doubts of the prober stand in their way."""

USUAL_TYPE = {
    TriggerKind.ADMIN_STATE: RunType.SWITCHOVER,
    TriggerKind.PREEMPTION: RunType.SWITCHOVER,
    TriggerKind.FAILBACK: RunType.FAILBACK,
    TriggerKind.MANUAL: RunType.REBALANCE,
}
"""The type of run that a trigger leads to, which is what a window names; Failover for the others."""

ROLES_RETRY = 0.5
"""Seconds after which it is asked again whether the roles were seen."""


@dataclass(frozen=True, slots=True)
class Case:
    """One trigger to be judged."""

    snapshot: Snapshot
    trigger: FiredTrigger
    cooldown: Cooldown
    run_type: RunType
    """Type of the run that the trigger would lead to."""

    def hold(
        self, reason: str, message: str, *, action_required: bool = False, retry_after: float | None = None
    ) -> Hold:
        """Build the Hold of this case."""
        return Hold(
            reason=reason,
            message=message,
            trigger=self.trigger.kind,
            source=self.trigger.region,
            action_required=action_required,
            retry_after=retry_after,
        )


def _unsupported(case: Case) -> Hold | None:
    fields = case.snapshot.policy.unsupported
    if not fields:
        return None
    message = f"this version does not support {', '.join(fields)}; nothing is moved. Remove the field, or move by hand"
    return case.hold("UnsupportedField", message, action_required=True)


def _suspended(case: Case) -> Hold | None:
    if case.snapshot.suspend_all:
        return case.hold(
            "SuspendedGlobally",
            "the setting failover.suspendAll is true; unset it to let runs start",
            action_required=True,
        )
    if case.snapshot.policy.suspend:
        return case.hold("Suspended", "spec.suspend is true; set it to false to let runs start", action_required=True)
    view = case.snapshot.regions.get(case.trigger.region)
    if view is not None and view.suspended:
        message = (
            f"{case.trigger.message}; spec.suspend of Region {view.name} is true, set it to false to let runs start"
        )
        return case.hold("RegionSuspended", message, action_required=True)
    return None


def _split_brain(case: Case) -> Hold | None:
    seen = suspected(case.snapshot)
    return case.hold("SplitBrainSuspected", seen, action_required=True) if seen else None


def _roles(case: Case) -> Hold | None:
    """Clients of a lost region are waiting; everything else can wait until it is known who is active."""
    if case.snapshot.roles_seen or case.trigger.urgency is Urgency.HIGH:
        return None
    message = f"{case.trigger.message}; waiting for a look at which region is active in each promotion step"
    return case.hold("RolesUnknown", message, retry_after=ROLES_RETRY)


def _manual(case: Case) -> Hold | None:
    ordered = case.trigger.kind is TriggerKind.MANUAL and case.run_type is RunType.REBALANCE
    if case.snapshot.policy.mode is Mode.AUTOMATIC or ordered:  # shares set by hand need no second order
        return None
    return case.hold(
        "ManualMode", f"{case.trigger.message}; mode is Manual, so a person starts it", action_required=True
    )


def _grace(case: Case) -> Hold | None:
    view = case.snapshot.regions.get(case.trigger.region)
    if case.snapshot.in_grace or (view is not None and not view.settled):
        message = (
            "Regent has just started: nothing moves before failover.startupGrace is over and every region was probed"
        )
        return case.hold("StartupGrace", message, retry_after=0.25)
    return None


def _observer(case: Case) -> Hold | None:
    if case.trigger.kind in ORDERS:
        return None
    if case.snapshot.suspect_observer:
        return case.hold(
            "ProberSuspect",
            f"the prober doubts itself: {case.snapshot.suspect_observer}. It goes on when that is over",
            retry_after=0.5,
        )
    if case.snapshot.panic:
        return case.hold("Panic", case.snapshot.panic, retry_after=1.0)
    return None


def clock_off(snapshot: Snapshot) -> str:
    """Say why no run that moves data may begin; "" where the clock is right, or no data is moved."""
    if not snapshot.clock_off or not snapshot.policy.options.holds_data:
        return ""
    return f"{snapshot.clock_off}, and the policy moves data; synchronise the clocks (NTP), and it goes on"


def _clock(case: Case) -> Hold | None:
    off = clock_off(case.snapshot)
    return case.hold("ClockSkew", off, action_required=True, retry_after=5.0) if off else None


def _quorum(case: Case) -> Hold | None:
    if case.trigger.kind is not TriggerKind.UNREACHABLE:
        return None
    votes = case.snapshot.regions[case.trigger.region].health.down_votes
    need = case.snapshot.policy.safety.quorum
    if votes >= need:
        return None
    message = f"{votes} of the {need} vantages that safety.quorum asks for say Down; it goes on when enough of them do"
    return case.hold("QuorumMissing", message)


def _cooldown(case: Case) -> Hold | None:
    snapshot = case.snapshot
    if case.trigger.urgency is Urgency.HIGH or not case.cooldown.active(snapshot.wall_time):
        return None
    left = case.cooldown.until_time - snapshot.wall_time
    message = (
        f"{case.trigger.message}; cooldown until {rfc3339(case.cooldown.until_time)}. "
        f'Annotate regent.dev/acknowledge="{snapshot.state.epoch}" to end it'
    )
    return case.hold("Cooldown", message, retry_after=left)


def _budget(case: Case) -> Hold | None:
    snapshot, safety = case.snapshot, case.snapshot.policy.safety
    if case.trigger.urgency is Urgency.HIGH:
        return None
    used = spent(snapshot.runs, since_time=snapshot.wall_time - safety.budget_per)
    if used < safety.budget_failovers:
        return None
    until = renewed_time(snapshot.runs, failovers=safety.budget_failovers, per=safety.budget_per)
    message = (
        f"{case.trigger.message}; {used} automatic runs within {format_duration(safety.budget_per)}, "
        f"and safety.budget.failovers is {safety.budget_failovers}. "
        + (f"The budget allows the next one at {rfc3339(until)}. " if until is not None else "")
        + "Start a Failover by hand, or raise the budget"
    )
    # A run counts up to and including the moment in which it leaves the while.
    left = None if until is None else max(0.0, until - snapshot.wall_time) + 0.01
    return case.hold("BudgetSpent", message, action_required=True, retry_after=left)


def _window(case: Case) -> Hold | None:
    now = case.snapshot.wall_time
    named = [window for window in case.snapshot.policy.safety.windows if case.run_type.value in window.allow]
    if not named or any(windows.open_until(window, now) is not None for window in named):
        return None
    wrong = [text for window in named if (text := windows.problem(window.start, window.time_zone))]
    starts = [start for window in named if (start := windows.opens(window, now)) is not None]
    rule = f"{case.trigger.message}; runs of type {case.run_type.value} wait for a window of safety.windows"
    by_hand = "Start a Failover by hand to go before"
    if not starts:
        why = f": {wrong[0]}" if wrong else ""
        return case.hold("OutsideWindow", f"{rule}, and none ever opens{why}. {by_hand}", action_required=True)
    message = f"{rule}; the next one opens at {rfc3339(min(starts))}. {by_hand}"
    return case.hold("OutsideWindow", message, retry_after=min(starts) - now)


CHAIN: tuple[Callable[[Case], Hold | None], ...] = (
    _unsupported,
    _suspended,
    _split_brain,
    _roles,
    _manual,
    _grace,
    _observer,
    _clock,
    _quorum,
    _cooldown,
    _budget,
    _window,
)


def first_hold(
    snapshot: Snapshot, trigger: FiredTrigger, cooldown: Cooldown, *, run_type: RunType | None = None
) -> Hold | None:
    """Return the first rule that holds a run for `trigger` back, or None when it may be made.

    Args:
        snapshot: the world.
        trigger: what would start the run.
        cooldown: the cooldown in force.
        run_type: the type of the run, where it is not the usual one of the trigger.
    """
    case = Case(snapshot, trigger, cooldown, run_type or USUAL_TYPE.get(trigger.kind, RunType.FAILOVER))
    return next((hold for check in CHAIN if (hold := check(case)) is not None), None)
