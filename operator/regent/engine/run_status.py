"""What a run's status says at each of its turning points. Edits of a draft, or pure functions to a status.

Neighbours: `runs` decides which of these is written when, `draft` writes, `journal` edits steps and conditions. `now`
is seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.domain.failover.course import Course
from regent.domain.failover.model import Plan
from regent.domain.failover.prepare import Refusal, Wait
from regent.domain.times import rfc3339_micro
from regent.domain.traffic import shares
from regent.engine.draft import Draft
from regent.engine.journal import Journal
from regent.engine.ports import Object
from regent.engine.records import is_automatic
from regent.engine.run_objects import end, plan_status

Status = dict[str, Any]
STATELESS = ("Fenced", "Promoted", "Reprotected")


def _journal(run: Object, now: float) -> Journal:
    return _signed(Journal(run, now=rfc3339_micro(now)), run)


def _signed(journal: Journal, run: Object) -> Journal:
    journal.status.setdefault("requestedBy", "regent" if is_automatic(run) else "unknown")
    return journal


def waiting(run: Object, wait: Wait, *, now: float) -> Status:
    """It cannot be accepted yet: which rule stands in the way, and what lifts it."""
    journal = _journal(run, now).put(phase=wait.phase, currentStep="Accept")
    journal.condition("Ready", "Unknown", wait.reason, wait.message)
    return journal.condition("Accepted", "Unknown", wait.reason, wait.message).status


def planned(draft: Draft, plan: Plan, course: Course, snapshot: Mapping[str, str], *, detected: float | None) -> None:
    """The plan, the evidence and the snapshot: all that has to stand before anything is changed.

    Args:
        draft: the run under edit.
        plan: what will be done.
        course: how.
        snapshot: `status.snapshot`.
        detected: when the first sign of the failure was seen (seconds since the epoch), if there was one.
    """
    journal = _signed(draft.edit(), draft.run)
    journal.status.setdefault("startTime", journal.now)
    if detected is not None:
        journal.status.setdefault("detectionTime", rfc3339_micro(detected))
    draft.step("Accept", "Succeeded", f"{plan.source or 'the distribution'} is active")
    draft.step("Observe", "Succeeded", plan.reason)
    draft.step("Recheck", "Succeeded", f"{plan.trigger.value} holds at this moment")
    draft.step("Decide", "Succeeded", f"{shares.describe(plan.before)} → {shares.describe(plan.after)}")
    draft.step("Snapshot", "Succeeded", snapshot["hash"])
    journal.put(trigger=plan.trigger.value, plan=plan_status(plan, course), snapshot=dict(snapshot))
    journal.condition("Accepted", "True", "Accepted", plan.reason)


def approved(draft: Draft, *, reason: str, message: str) -> None:
    """Nothing stands between the plan and its execution."""
    draft.step("Approve", "Skipped" if reason == "NotRequired" else "Succeeded", message)
    draft.step("Commit", "Running")
    journal = draft.edit().put(phase="Running")
    journal.condition("Ready", "True", "Running", "the run goes on by itself")
    journal.condition("Approved", "True", reason, message)
    for kind in STATELESS:
        journal.condition(kind, "Unknown", "NotYet", "")
    for kind in ("TrafficShifted", "Succeeded", "Complete"):
        journal.condition(kind, "False", "Running", "")


def awaiting_approval(draft: Draft, message: str) -> None:
    """A person has to approve the very plan that stands in the status."""
    entry = draft.entry("Approve")
    if (entry.get("state"), entry.get("message")) != ("Running", message):
        # Every visit comes here: another try each time would write, and each write would bring the next visit.
        draft.step("Approve", "Running", message)
    journal = draft.edit().put(phase="AwaitingApproval")
    journal.condition("Approved", "False", "AwaitingApproval", message)
    journal.condition("Ready", "Unknown", "AwaitingApproval", message)


def committed(draft: Draft, epoch: int, course: Course) -> None:
    """The policy is ours at `epoch`."""
    draft.edit().put(epoch=epoch)
    draft.step("Commit", "Succeeded", f"epoch {epoch}")
    if not any(name.startswith("Promote/") for name in course.order):
        for kind in STATELESS:
            draft.edit().condition(kind, "Unknown", "Stateless", "the policy has no promotion steps")


def next_attempt(draft: Draft, plan: Plan, course: Course, epoch: int) -> None:
    """Another candidate is tried, in an attempt of its own."""
    attempt = draft.attempt + 1
    journal = draft.edit()
    journal.step(
        "Decide", "Succeeded", f"{shares.describe(plan.before)} → {shares.describe(plan.after)}", attempt=attempt
    )
    journal.step("Commit", "Succeeded", f"epoch {epoch}", attempt=attempt)
    journal.put(phase="Running", epoch=epoch, plan=plan_status(plan, course))
    journal.condition("Ready", "True", "NextCandidate", f"{plan.to} is tried")
    for kind in ("Promoted", "Reprotected"):
        journal.condition(kind, "Unknown", "NextCandidate", "")


def ended(run: Object, *, phase: str, reason: str, message: str, shifted: str, now: float) -> Status:
    """A committed run is over. `shifted` is the status of the condition TrafficShifted; "": as it is."""
    journal = _journal(run, now)
    if shifted:
        journal.condition("TrafficShifted", shifted, reason, message)
    end(journal, phase=phase, reason=reason, message=message, now=now, now_text=rfc3339_micro(now))
    return journal.status


def refused(run: Object, refusal: Refusal, *, now: float) -> Status:
    """The run ends without having changed anything."""
    journal = _journal(run, now)
    journal.status.setdefault("startTime", rfc3339_micro(now))
    good = refusal.phase == "Succeeded"
    journal.step("Accept", "Succeeded" if good else "Failed", refusal.message)
    journal.condition("Accepted", "True" if good else "False", refusal.reason, refusal.message)
    phase, reason, message = refusal.phase, refusal.reason, refusal.message
    end(journal, phase=phase, reason=reason, message=message, now=now, now_text=rfc3339_micro(now))
    return journal.status
