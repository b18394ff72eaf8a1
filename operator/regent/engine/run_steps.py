"""What a run's status says at each of its turning points. Pure: from the object and what was found out to the status.

Neighbours: `runs` decides which of these is written when, `journal` edits steps and conditions. `now` is seconds since
the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regent.domain.failover.model import Plan
from regent.domain.failover.prepare import Refusal, Wait
from regent.domain.times import rfc3339_micro
from regent.domain.traffic import shares
from regent.engine.alignment import TargetReport
from regent.engine.journal import Journal
from regent.engine.ports import Object
from regent.engine.records import is_automatic, status_of, time_of
from regent.engine.run_objects import end, plan_status, snapshot_status

Status = dict[str, Any]


def _journal(run: Object, now: float) -> Journal:
    journal = Journal(run, now=rfc3339_micro(now))
    journal.status.setdefault("requestedBy", "regent" if is_automatic(run) else "unknown")
    return journal


def waiting(run: Object, wait: Wait, *, now: float) -> Status:
    """It cannot be accepted yet: which rule stands in the way, and what lifts it."""
    journal = _journal(run, now).put(phase=wait.phase, currentStep="Accept")
    journal.condition("Ready", "Unknown", wait.reason, wait.message)
    return journal.condition("Accepted", "Unknown", wait.reason, wait.message).status


def planned(run: Object, plan: Plan, weights: Mapping[str, str], *, now: float, detected: float | None) -> Status:
    """The plan, the evidence and the snapshot: all that has to stand before anything is changed.

    Args:
        run: the Failover object.
        plan: what will be done.
        weights: canonical weights of every target, by its name.
        now: time of the edit.
        detected: when the first sign of the failure was seen, if there was one.
    """
    journal = _journal(run, now)
    journal.status.setdefault("startTime", rfc3339_micro(now))
    if detected is not None:
        journal.status.setdefault("detectionTime", rfc3339_micro(detected))
    snapshot = snapshot_status(weights)
    journal.step("Accept", "Succeeded", f"{plan.source or 'the distribution'} is active")
    journal.step("Observe", "Succeeded", plan.reason)
    journal.step("Recheck", "Succeeded", f"{plan.trigger.value} holds at this moment")
    journal.step("Decide", "Succeeded", f"{shares.describe(plan.before)} → {shares.describe(plan.after)}")
    journal.step("Snapshot", "Succeeded", snapshot["hash"])
    journal.step("Approve", "Skipped", "safety.approval is Never").step("Commit", "Running")
    journal.put(phase="Running", trigger=plan.trigger.value, plan=plan_status(plan), snapshot=snapshot)
    journal.condition("Ready", "True", "Running", "the run goes on by itself")
    journal.condition("Approved", "True", "NotRequired", "safety.approval is Never")
    for kind in ("Fenced", "Promoted", "Reprotected"):
        journal.condition(kind, "Unknown", "Stateless", "the policy has no promotion steps")
    for kind in ("TrafficShifted", "Succeeded", "Complete"):
        journal.condition(kind, "False", "Running", "")
    return journal.condition("Accepted", "True", "Accepted", plan.reason).status


def committed(run: Object, epoch: int, *, now: float) -> Status:
    """The policy is ours at `epoch`; the next write changes traffic."""
    journal = _journal(run, now)
    journal.put(epoch=epoch, pointOfNoReturn={"kind": "Traffic", "time": rfc3339_micro(now)})
    journal.step("Commit", "Succeeded", f"epoch {epoch}")
    journal.step("Isolate", "Skipped", "stateless: nothing writes in the old region")
    journal.step("FinalSync", "Skipped", "stateless: nothing to replay")
    journal.step("Promote", "Skipped", "the policy has no promotion steps")
    journal.step("Verify", "Succeeded", "proved healthy by the probes that the decision rests on")
    return journal.step("Shift", "Running").status


def weights_written(run: Object, reports: Sequence[TargetReport], *, now: float) -> Status:
    """The weights stand in the targets; whether the data plane follows is not known yet."""
    done = [report.ref for report in reports if report.verification == "Pending"]
    failed = "; ".join(f"{report.ref}: {report.message}" for report in reports if report.verification != "Pending")
    text = f"weights written to {', '.join(done) or 'no target'} at {rfc3339_micro(now)}"
    journal = _journal(run, now).step("Shift", "Running", f"{text}{'; ' + failed if failed else ''}")
    return journal.condition("TrafficShifted", "Unknown", "WeightsWritten", text).status


def ended(run: Object, *, phase: str, reason: str, message: str, shifted: str, now: float) -> Status:
    """A committed run is over. `shifted` is the status of the condition TrafficShifted."""
    journal = _journal(run, now)
    state = "Failed" if phase == "Failed" else "Succeeded"
    written = next((item.get("message") for item in journal.status["steps"] if item["name"] == "Shift"), None)
    journal.step("Shift", state, f"{written}; {message}" if written else message)
    journal.step("Stabilize", "Skipped", "stateless").step("Reverse", "Skipped", "nothing replicates")
    journal.step("Finalize", state)
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


def weights_noted(run: Object) -> bool:
    """Whether the journal says already that weights were written."""
    return any(item["name"] == "Shift" and item.get("message") for item in status_of(run).get("steps") or ())


def shift_started(run: Object, *, default: float) -> float:
    """When the step Shift began, in seconds since the epoch."""
    steps = status_of(run).get("steps") or ()
    return time_of(next((item.get("startTime") for item in steps if item["name"] == "Shift"), None)) or default
