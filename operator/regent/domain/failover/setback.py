"""What a run does when a step cannot be done: undo and try the next region, undo and restore, or wait for a person.

Two points bound what may be undone. *Data*: the first writer has started on the new side; dropping what it wrote needs
a person's word. *Traffic*: clients have been sent there for good; from then on a run only goes forward, and the way
back is a new Failback. Rules, first match wins:

1. past the traffic point, wait for a person;
2. past the data point without `acceptDataLoss`, wait for a person;
3. a person asked for a rollback: restore;
4. the old side works: restore it (or wait, where `rollback: Pause` says so);
5. the old side is gone: undo this candidate and try the next one, as long as `cascade.maxAttempts` and candidates last;
6. otherwise restore what can be restored, and end as failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from regent.domain.failover.options import OnFailure


class Point(Enum):
    """How far a run has come, judged by its journal."""

    FREE = "Free"
    DATA = "Data"
    TRAFFIC = "Traffic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setback:
    """All that the choice depends on."""

    point: Point
    source_works: bool
    attempt: int
    max_attempts: int
    next_region: str
    """The best other candidate; "" when there is none or the run names its target."""
    on_failure: OnFailure
    accept_data_loss: bool = False
    requested: bool = False
    """A person asked for the rollback; nothing has failed."""


class Way(Enum):
    """Where a run goes from a setback."""

    NEXT = "Cascade"
    RESTORE = "RollBack"
    WAIT = "Pause"


@dataclass(frozen=True, slots=True)
class Turn:
    """The way, and the reason that conditions show (CamelCase) with what a person can do."""

    way: Way
    reason: str
    message: str


def turn(setback: Setback) -> Turn:
    """Choose; see the module's text for the rules."""
    if setback.point is Point.TRAFFIC:
        return Turn(Way.WAIT, "PastTraffic", "traffic has moved: repair the new region, or start a Failback")
    if setback.point is Point.DATA and not setback.accept_data_loss:
        message = (
            "the new region has begun to write: repair it and the run goes on, or set spec.control.acceptDataLoss to "
            "drop what it wrote and undo"
        )
        return Turn(Way.WAIT, "PastData", message)
    if setback.requested:
        return Turn(Way.RESTORE, "RequestedByUser", "spec.control.desired is Rollback")
    if setback.source_works:
        if setback.on_failure is OnFailure.PAUSE:
            message = "spec.rollback of the policy is Pause: set spec.control.desired to Rollback, or repair and wait"
            return Turn(Way.WAIT, "RollbackPause", message)
        return Turn(Way.RESTORE, "StepFailed", "the state before is restored")
    if setback.attempt < setback.max_attempts and setback.next_region:
        return Turn(Way.NEXT, "NextCandidate", f"{setback.next_region} is tried next")
    why = "cascade.maxAttempts is reached" if setback.next_region else "no other region can take over"
    return Turn(Way.RESTORE, "NoCandidateLeft", why)
