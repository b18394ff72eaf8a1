"""What a policy will do next, in sentences, read from its spec and status alone.

Nothing is decided here: the operator's own words (conditions, candidates) are put in the order of their weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.cli.fields import items_at, text_at, value_at
from regent.domain.conditions import find
from regent.domain.times import parse_rfc3339
from regent.engine.ports import Object

_SPEAKING = ("ActionRequired", "SplitBrainSuspected", "FailbackPending")
"""Conditions that, when True, say in their message what comes or what is asked for."""

_IDLE = frozenset({"Steady"})
"""Reasons of Progressing=False that hold nothing back."""

_GOOD_WHEN_FALSE = frozenset(
    {
        "ActionRequired",
        "Progressing",
        "SplitBrainSuspected",
        "FailbackPending",
        "CooldownActive",
        "Suspended",
        "BudgetSpent",
        "Conflicts",
        "PruneBlocked",
    }
)


def outlook(policy: Object, run: Object | None, *, now: float) -> list[str]:
    """Say what happens next.

    Args:
        policy: the FailoverPolicy.
        run: the Failover that is committed or was last, if it still exists.
        now: seconds since the epoch.
    """
    if not value_at(policy, ".status.phase") or value_at(policy, ".status.phase") == "Unknown":
        return ["The operator has not looked at this policy yet: is it running?"]
    said = [*_operation(policy, run), *_spoken(policy), *_left(policy), *_held(policy), *_cooldown(policy, now)]
    return [*said, *_on_failure(policy)]


def noteworthy(conditions: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Give the conditions that a reader should know: those that are not in their good state."""
    return [item for item in conditions if item.get("status") != _good(str(item.get("type")))]


def _good(kind: str) -> str:
    return "False" if kind in _GOOD_WHEN_FALSE else "True"


def _operation(policy: Object, run: Object | None) -> list[str]:
    name = value_at(policy, ".status.operation.name")
    if not name:
        return []
    step = text_at(run, ".status.currentStep")
    to = text_at(policy, ".status.operation.to")
    return [f"{name} is moving it to {to}" + (f": step {step}." if step != "-" else ".")]


def _spoken(policy: Object) -> list[str]:
    """Give what conditions say themselves about what comes; the same words only once."""
    conditions = items_at(policy, ".status.conditions")
    said: list[str] = []
    for kind in _SPEAKING:
        item = find(conditions, kind)
        # ActionRequired=False with a message tells what a person may do, such as the command for a failback.
        if item is None or (item.get("status") != "True" and kind != "ActionRequired"):
            continue
        message = text_at(item, "message")
        if message != "-" and not any(message in earlier for earlier in said):
            said.append(f"Failback: {message}." if kind == "FailbackPending" else message)
    progressing = find(conditions, "Progressing")
    if progressing and progressing.get("status") == "False" and progressing.get("reason") not in _IDLE:
        reason, message = text_at(progressing, "reason"), text_at(progressing, "message")
        if not any(message in earlier for earlier in said):
            said.append(f"Held back ({reason}): {message}")
    return said


def _left(policy: Object) -> list[str]:
    """Give the regions that were left without proof that they stopped."""
    rows = items_at(policy, ".status.rejoin")
    return [f"{text_at(row, 'region')} is to come back as a standby: {text_at(row, 'message')}" for row in rows]


def _suspended(policy: Object) -> str:
    """Say what keeps every automatic run of the policy from starting; "" when nothing does."""
    found = find(items_at(policy, ".status.conditions"), "Suspended") or {}
    if found.get("status") == "True" and found.get("reason") != "RegionSuspended":
        return text_at(found, "message").partition(":")[0]
    return "spec.suspend is true" if value_at(policy, ".spec.suspend") else ""


def _held(policy: Object) -> list[str]:
    why = _suspended(policy)
    if why:
        return [f"No automatic run starts: {why}."]
    if value_at(policy, ".spec.mode") == "Manual":
        return ["No automatic run starts: spec.mode is Manual. A trigger that fires only asks for a person."]
    return []


def _cooldown(policy: Object, now: float) -> list[str]:
    until = value_at(policy, ".status.cooldownUntil")
    if not until or parse_rfc3339(until) <= now:
        return []
    return [
        f"Until {until} it cools down: of the triggers only an unreachable region starts a run, failback waits, and "
        "nothing returns by itself to a region that was left meanwhile."
    ]


def _on_failure(policy: Object) -> list[str]:
    if value_at(policy, ".status.operation.name") or _suspended(policy):
        return []
    if value_at(policy, ".spec.mode") == "Manual":
        return []
    active = value_at(policy, ".status.activeRegion")
    eligible = sorted(
        (item for item in items_at(policy, ".status.candidates") if item.get("eligible")),
        key=lambda item: item.get("rank") or 1_000,
    )
    if value_at(policy, ".spec.topology") == "ActiveActive":
        return ["When a region fails, the others take over its share."]
    if not active:
        return []
    if eligible:
        return [f"When {active} fails, {text_at(eligible[0], 'region')} takes over."]
    return [f"When {active} fails, nothing can take over: no candidate is eligible."]
