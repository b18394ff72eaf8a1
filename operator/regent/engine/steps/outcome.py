"""What looking at a step can find, and the work that a step is part of.

A step never keeps anything to itself: whether it is done is found by looking, what was asked for stands in the journal,
and how the run goes stands in its plan. So a successor that knows nothing goes on exactly where this process stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from regent.domain.conditions import Condition
from regent.domain.failover.course import Course, gaining, losing
from regent.domain.failover.fence import Fence
from regent.domain.failover.options import PromotionStep, RunOptions, Transition, TransitionType
from regent.domain.failover.runspec import RunSpec
from regent.engine.alignment import TargetReport
from regent.engine.draft import Draft
from regent.engine.promotion import PromotionDriver
from regent.engine.run_context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The effect is there (`message` is the evidence), or there was none to make (`skipped`)."""

    message: str
    skipped: bool = False
    condition: Condition | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """The effect is not there: apply it."""

    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """It was asked for and is on its way, or cannot be seen at the moment."""

    message: str
    retry_after: float = 0.25
    reports: Sequence[TargetReport] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Only a person, or a proof that may come by itself, lets the run go on: it is shown as Paused."""

    reason: str
    message: str
    retry_after: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It cannot be done with this region."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """The run ends as Failed, and what it has done stays: going back would not help."""

    reason: str
    message: str


Outcome = Done | Needed | Waiting | Held | Failed | GivenUp


@dataclass(slots=True, kw_only=True)
class Work:
    """One committed run, gathered for one visit."""

    context: Context
    spec: RunSpec
    course: Course
    source: str
    to: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    draft: Draft
    drivers: Sequence[PromotionDriver]
    transitions: int
    """`leaseTransitions` of the lease that this replica holds."""
    next_region: str = ""
    """The best region that the run has not tried."""
    reports: Sequence[TargetReport] = ()

    @property
    def options(self) -> RunOptions:
        """How the policy wants its runs done."""
        return self.context.spec.options

    @property
    def transition(self) -> Transition:
        """How traffic moves: the run's own word, else the policy's."""
        return self.spec.transition or self.options.transition

    @property
    def epoch(self) -> int:
        """The policy's epoch, which is the run's."""
        return self.context.state.epoch

    @property
    def gaining(self) -> list[str]:
        """Regions whose roles are promoted."""
        return gaining(self.before, self.after)

    @property
    def losing(self) -> list[str]:
        """Regions whose roles are demoted."""
        return losing(self.before, self.after)

    @property
    def run_text(self) -> str:
        """`namespace/name/uid` of the run: for deterministic names and idempotency keys."""
        return f"{self.spec.namespace}/{self.spec.name}/{self.spec.uid}"

    def fence(self, step: str, *, extra: int = 0) -> Fence:
        """The fence that the effects of `step` carry."""
        return Fence(self.epoch, self.transitions, self.course.sequence(step) + extra)

    @property
    def source_down(self) -> bool:
        """Whether the region that is left is down or gone by now."""
        view = self.context.snapshot.regions.get(self.source)
        return bool(self.source) and (view is None or not view.exists or view.health.down)

    def hurry(self) -> None:
        """Write into the plan that the source is lost: from here on the run is not planned, and moves at once.

        The order stays, and with it the fences' sequence: what was written so far must not fence off what comes.
        """
        self.course = replace(self.course, planned=False, transition=TransitionType.IMMEDIATE)
        plan = self.draft.journal.status["plan"]
        changed = {**plan, "planned": False, "transition": TransitionType.IMMEDIATE.value}
        self.draft.edit().put(plan=changed)

    def driver(self, name: str) -> PromotionDriver | None:
        """The driver of the promotion step `name`; None when the policy lists it no more."""
        return next((driver for driver in self.drivers if driver.step.name == name), None)

    def must_be_proved(self, step: PromotionStep) -> bool:
        """Whether the old side of `step` has to be proved passive: where anything diverges, that is the data."""
        return step.holds_data or not self.options.holds_data


class RunStep(Protocol):
    """One kind of step. `name` is the journal's, such as Promote/db."""

    async def look(self, work: Work, name: str) -> Outcome:
        """Find out how far the step is; no effect."""
        ...

    async def act(self, work: Work, name: str) -> None:
        """Ask for the effect. Idempotent, fenced, returns at once; called only after the journal says Running."""
        ...

    def late(self, work: Work, name: str, message: str) -> Outcome:
        """The deadline has passed while the step was waiting with `message`."""
        ...
