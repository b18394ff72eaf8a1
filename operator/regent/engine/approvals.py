"""Whether a run may commit its plan: a person's approval, bound to the plan's hash."""

from __future__ import annotations

from regent.domain.duration import format_duration
from regent.domain.failover.approval import needed
from regent.domain.failover.course import Course
from regent.domain.failover.model import Plan, PolicySpec
from regent.domain.failover.options import Approval
from regent.domain.failover.prepare import Refusal
from regent.domain.failover.runspec import RunSpec
from regent.engine import run_status as texts
from regent.engine.draft import Draft


def approve(draft: Draft, policy: PolicySpec, spec: RunSpec, plan: Plan, course: Course) -> Refusal | float | None:
    """Note in `draft` how the plan in it stands with its approval.

    Returns:
        None: go. Seconds: it waits for that long at most. Refusal: nobody has approved it in time.
    """
    options = policy.options
    # Leaving a dead primary loses what it had acknowledged and not sent; everything else hands over without loss.
    loses = options.holds_data and not course.planned
    if not needed(policy, plan, data_loss=loses):
        why = "" if options.approval is Approval.NEVER else ", and no data can be lost"
        texts.approved(draft, reason="NotRequired", message=f"safety.approval is {options.approval.value}{why}")
        return None
    digest = str(draft.journal.status["plan"]["hash"])
    if spec.approved_plan == digest:
        texts.approved(draft, reason="ApprovedByUser", message=f"spec.control.approvedPlan is {digest}")
        return None
    left = options.approval_timeout - draft.running_for("Approve")
    if left <= 0:
        message = f"nobody approved the plan within {format_duration(options.approval_timeout)}; make a new Failover"
        return Refusal(phase="Cancelled", reason="ApprovalTimeout", message=message)
    stale = f"; {spec.approved_plan} is another plan" if spec.approved_plan else ""
    texts.awaiting_approval(draft, f"set spec.control.approvedPlan to {digest}{stale}")
    return left
