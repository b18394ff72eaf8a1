"""Whether a person has to approve a plan before it commits (`safety.approval`)."""

from __future__ import annotations

from regent.domain.failover.model import Plan, PolicySpec, RunType
from regent.domain.failover.options import Approval


def needed(policy: PolicySpec, plan: Plan, *, data_loss: bool) -> bool:
    """Return whether `plan` waits for a person.

    Args:
        policy: whose safety rules count.
        plan: what would be done. A Drill touches nothing and is never approved.
        data_loss: acknowledged writes may be lost by it: the lag is over the gate, or fencing is not proved.
    """
    if plan.type is RunType.DRILL:
        return False
    match policy.options.approval:
        case Approval.NEVER:
            return False
        case Approval.ALWAYS:
            return True
        case Approval.WHEN_DATA_LOSS:
            return data_loss
