"""Conditions of a policy that are about its rules rather than its regions: suspended, budget, split brain.

Neighbours: `policy_status` puts them into the status, `policies` makes metrics of them.
"""

from __future__ import annotations

from regent.domain.conditions import Condition
from regent.domain.duration import format_duration
from regent.domain.failover.cooldown import renewed_time, spent
from regent.domain.failover.model import Snapshot
from regent.domain.failover.split_brain import suspected
from regent.domain.health.model import AdminState
from regent.domain.times import rfc3339


def suspensions(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return (reason, what lifts it) of everything that keeps automatic runs of the policy from starting."""
    found = []
    if snapshot.suspend_all:
        found.append(("SuspendedGlobally", "the setting failover.suspendAll is true"))
    if snapshot.policy.suspend:
        found.append(("Suspended", "spec.suspend is true"))
    regions = [name for name, view in snapshot.regions.items() if view.suspended]
    if regions:
        found.append(("RegionSuspended", f"spec.suspend of Region {', '.join(regions)} is true"))
    return found


def suspended(snapshot: Snapshot) -> Condition:
    """The condition Suspended."""
    found = suspensions(snapshot)
    if not found:
        return Condition("Suspended", "False", "Active", "")
    message = f"{'; '.join(text for _, text in found)}: no automatic run starts there"
    return Condition("Suspended", "True", found[0][0], message)


def budget_spent(snapshot: Snapshot) -> bool:
    """Whether automatic runs have used the failover budget up."""
    safety = snapshot.policy.safety
    used = spent(snapshot.runs, since_time=snapshot.wall_time - safety.budget_per)
    return used > 0 and used >= safety.budget_failovers


def budget_end(snapshot: Snapshot) -> float | None:
    """When the budget allows a run again; None while it does, or when it never will (a budget of 0)."""
    safety = snapshot.policy.safety
    if not budget_spent(snapshot):
        return None
    return renewed_time(snapshot.runs, failovers=safety.budget_failovers, per=safety.budget_per)


def budget(snapshot: Snapshot) -> Condition:
    """The condition BudgetSpent: an alert for people, since a High trigger goes on all the same."""
    if not budget_spent(snapshot):
        return Condition("BudgetSpent", "False", "WithinBudget", "")
    safety = snapshot.policy.safety
    until = budget_end(snapshot)
    when = f" until {rfc3339(until)}" if until is not None else ""
    message = (
        f"safety.budget.failovers is {safety.budget_failovers} within {format_duration(safety.budget_per)}, and as "
        f"many automatic runs have been made: failback and the triggers other than unreachable wait{when}"
    )
    return Condition("BudgetSpent", "True", "BudgetSpent", message)


def split_brain(snapshot: Snapshot) -> Condition:
    """The condition SplitBrainSuspected."""
    seen = suspected(snapshot)
    if seen:
        return Condition("SplitBrainSuspected", "True", "TwoActive", seen)
    return Condition("SplitBrainSuspected", "False", "NoSign", "")


def never_fires(snapshot: Snapshot) -> str:
    """Say which trigger no figure can ever reach, and what to change; "" where all can fire."""
    latency = snapshot.policy.triggers.latency
    if latency is None:
        return ""
    listed = {entry.name for entry in snapshot.policy.regions}
    views = [view for view in snapshot.regions.values() if view.name in listed and view.exists]
    probed = [view for view in views if view.admin_state is not AdminState.DISABLED]
    mute = [
        f"{view.name} ({format_duration(view.longest_timeout)})"
        for view in probed
        if view.longest_timeout is not None and view.longest_timeout <= latency.threshold
    ]
    if not mute:
        return ""
    return (
        f"triggers.latency fires above {format_duration(latency.threshold)}, and no probe waits longer in "
        f"{', '.join(mute)}: raise the timeout of a probe there, or lower the threshold"
    )
