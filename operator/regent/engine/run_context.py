"""What one visit of a policy works with, and what it hears back from a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from regent.domain.failover.course import SHIFT
from regent.domain.failover.decide import decide
from regent.domain.failover.model import Plan, PolicySpec, PolicyState, Snapshot
from regent.engine.alignment import TargetReport
from regent.engine.ports import Object
from regent.engine.promotion import PromotionDriver
from regent.engine.records import is_over, status_of
from regent.engine.traffic import TrafficTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One policy, gathered for one visit."""

    policy: Object
    spec: PolicySpec
    state: PolicyState
    snapshot: Snapshot
    targets: Sequence[TrafficTarget]
    runs: Sequence[Object]
    drivers: Sequence[PromotionDriver] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """How far a run got. `over`: it is in a terminal phase. `held`: it waits, and others may go first. `action`: what
    a person can do so that it goes on."""

    over: bool = False
    held: bool = False
    retry_after: float | None = None
    reports: Sequence[TargetReport] = field(default_factory=tuple)
    action: str = ""


def moves_traffic(context: Context) -> bool:
    """Whether the policy's traffic waits for this visit: a move is to begin, or weights are still to be written.

    What comes after the weights (reading them back, the end of the run, what is shown) can be later by seconds.
    """
    operation = context.state.operation
    if operation is None:
        return any(not is_over(run) for run in context.runs) or isinstance(decide(context.snapshot), Plan)
    run = next((run for run in context.runs if run["metadata"]["uid"] == operation.uid), None)
    steps = [step for step in status_of(run or {}).get("steps") or () if step.get("name") == SHIFT]
    # Of several attempts the last one counts. The step has a message from when its weights are written.
    return not (steps and max(steps, key=lambda step: int(step.get("attempt") or 0)).get("message"))
