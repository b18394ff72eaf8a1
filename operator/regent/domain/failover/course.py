"""The course of a run: which steps it takes, in which order, and how long each may take.

The first seven steps (`PRELUDE`) are the same for every run: gather evidence, decide, commit. What follows depends on
three facts that are frozen with the plan, so that a run is finished the way it was begun even if the policy is edited:
is it planned, does it promote something that two active sides would make diverge, and how does traffic move.

- Where data is promoted, the old side is isolated *before* anything is promoted: demote, replay, promote, shift.
- Where nothing can diverge, clients come first: promote, shift, and only then let requests drain and stop the old side.

The order within a course is that of the fences too: every effect of a run carries a sequence number that only rises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from regent.domain.failover.model import Plan, PolicySpec, RunType, TriggerKind
from regent.domain.failover.options import Fencing, RunOptions, Transition, TransitionType

PRELUDE = ("Accept", "Observe", "Recheck", "Decide", "Snapshot", "Approve", "Commit")
ISOLATE, FINAL_SYNC, PROMOTE, VERIFY, SHIFT = "Isolate", "FinalSync", "Promote", "Verify", "Shift"
STABILIZE, REVERSE, FINALIZE, ROLL_BACK = "Stabilize", "Reverse", "Finalize", "RollBack"

BEST_EFFORT = 2.0
"""Seconds that an unplanned run spends on demoting an old side when no proof is demanded: clients are waiting."""
CATCH_UP = 10.0
"""Seconds that an unplanned run spends on an old side that was demoted after all, so that nothing of it is lost."""
PATIENCE = 30.0
"""Seconds for a step without a time-out of its own."""

FENCE_STRIDE = 100
"""Room between the fences of two steps, for repeated writes within one."""

PLANNED = frozenset({RunType.SWITCHOVER, RunType.FAILBACK, RunType.REBALANCE})
FORCED = frozenset({TriggerKind.UNREACHABLE, TriggerKind.REGION_REMOVED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a run goes, frozen at Decide."""

    planned: bool
    """The source works and hands over; otherwise it is left as it is."""
    transition: TransitionType
    order: tuple[str, ...]
    """The steps after Commit; promotion steps are `Promote/<name>`, stages of a gradual shift `Shift/<percent>`."""

    @property
    def isolates_first(self) -> bool:
        """Whether the old side has to be stopped before the new one may start."""
        return bool(self.order) and self.order[0] == ISOLATE

    def sequence(self, step: str) -> int:
        """The fence's sequence number of `step`: higher for every later step of the same epoch."""
        place = self.order.index(step) + 1 if step in self.order else 0
        return (len(PRELUDE) + place) * FENCE_STRIDE


def chart(policy: PolicySpec, plan: Plan, *, wanted: Transition | None, source_down: bool) -> Course:
    """Return the course of a run that executes `plan`.

    Args:
        policy: with the promotion steps and the fencing that it asks for.
        plan: what was decided.
        wanted: the run's own transition; None: the policy's.
        source_down: the source does not answer, whatever the run is called.
    """
    options = policy.options
    planned = not source_down and plan.trigger not in FORCED
    transition = (wanted or options.transition) if planned else Transition()
    alone = options.holds_data or (options.promotion and options.fencing is Fencing.REQUIRED)
    if transition.type is TransitionType.GRADUAL and alone:
        # Two sides that serve at the same time would need two primaries, or the side that is stopped first would get
        # most of the traffic: such a policy moves at once, after a drain.
        transition = Transition(type=TransitionType.GRACEFUL, drain=transition.drain)
    return Course(planned=planned, transition=transition.type, order=_order(options, transition))


def _order(options: RunOptions, transition: Transition) -> tuple[str, ...]:
    promote = tuple(f"{PROMOTE}/{step.name}" for step in options.promotion) or (PROMOTE,)
    shift = (*(f"{SHIFT}/{stage.percent}" for stage in transition.stages), SHIFT)
    closing = (STABILIZE, REVERSE, FINALIZE)
    graceful = transition.type is TransitionType.GRACEFUL
    first = options.holds_data or options.fencing is Fencing.REQUIRED or not (options.promotion or graceful)
    if first:
        return (ISOLATE, FINAL_SYNC, *promote, VERIFY, *shift, *closing)
    return (FINAL_SYNC, *promote, VERIFY, *shift, ISOLATE, *closing)


def gaining(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Regions that get traffic and had none: where roles are promoted."""
    return [name for name, share in after.items() if share > 0 and not before.get(name)]


def losing(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Regions that had traffic and keep none: where roles are demoted."""
    return [name for name, share in before.items() if share > 0 and not after.get(name)]


def stage_of(step: str) -> int:
    """The percentage of a `Shift/<percent>` step; 100 for `Shift` itself."""
    return int(step.partition("/")[2] or 100)


def allowed(step: str, options: RunOptions, course: Course) -> float:
    """Seconds that `step` may take before the run goes another way. Deadlines decide retries, never safety."""
    kind, _, name = step.partition("/")
    if kind == PROMOTE and name:
        return next((item.timeout for item in options.promotion if item.name == name), PATIENCE)
    if kind == ISOLATE and not course.planned and options.fencing is not Fencing.REQUIRED:
        return BEST_EFFORT
    if kind == FINAL_SYNC and not course.planned:
        return CATCH_UP
    if kind in (ISOLATE, FINAL_SYNC):
        return max([PATIENCE, *(item.timeout for item in options.promotion)])
    return PATIENCE


def unfinished(order: Sequence[str], done: Sequence[str]) -> list[str]:
    """The steps of `order` that are still to be done, in order."""
    return [name for name in order if name not in done]
