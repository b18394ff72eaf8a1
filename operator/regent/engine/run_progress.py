"""Takes a committed run through its steps: look, write the intent, apply, look again, write the evidence.

Nothing waits in here: a step that needs time says when to look again, and its deadline is counted from the journal, so
that nobody has to remember it. The time without a leader is not counted: a new one is given as much as the old one had.
When a step cannot be done, `domain.failover.setback` chooses the way and `run_undo` goes it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from regent.domain.errors import ClusterError, PromotionProblemError, TargetProblemError
from regent.domain.failover.course import FINAL_SYNC, ISOLATE, PROMOTE, SHIFT, VERIFY, allowed, unfinished
from regent.domain.failover.roles import Role
from regent.domain.failover.runspec import Desired
from regent.domain.failover.setback import Point, Setback, Turn, Way, turn
from regent.domain.failover.source_loss import Handover, judge_loss
from regent.domain.times import rfc3339_micro
from regent.engine.policy_writer import PolicyWriter
from regent.engine.ports import Leadership
from regent.engine.steps.outcome import Done, Failed, GivenUp, Held, Needed, Outcome, RunStep, Waiting, Work

log = logging.getLogger("regent.runs")

ASK_AGAIN = 0.25
"""Seconds after which a step is tried again that an API refused or did not answer."""

SOURCE_LOST = "SourceLost"
"""Reason of a planned run whose source has failed before it was done."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """All steps are done. `phase` is the run's terminal phase."""

    phase: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Later:
    """The run goes on at a later visit; None: when something happens. `action`: what a person can do, if anything."""

    retry_after: float | None
    action: str = ""


@dataclass(frozen=True, slots=True)
class TurnedBack:
    """A step cannot be done: go this way."""

    turn: Turn
    step: str
    message: str


Progress = Arrived | Later | TurnedBack


class RunProgress:
    """Drives the steps of a committed run."""

    def __init__(self, *, steps: Mapping[str, RunStep], policies: PolicyWriter, leadership: Leadership) -> None:
        self._steps = steps
        self._policies = policies
        self._leadership = leadership

    async def advance(self, work: Work) -> Progress:
        """Go as far as possible now.

        Raises:
            FencedOffError: a newer run or leader was met; nothing more may be written.
            ClusterError: the hub's API server is away.
            LeadershipLostError: another replica may have taken over.
        """
        stopped = self._asked(work) or await self._source_lost(work)
        if stopped is not None:
            return stopped
        for name in unfinished(work.course.order, work.draft.done()):
            if name == VERIFY:
                await self._hand_over(work)
            outcome = await self._one(work, name)
            if isinstance(outcome, Done | Waiting):
                self._resumed(work)
            if isinstance(outcome, Done):
                self._note(work, name, outcome)
                continue
            return self._stopped(work, name, outcome)
        shifted = str(work.draft.entry(SHIFT).get("message", "")).rpartition("; ")[2]
        return Arrived("Succeeded", "Succeeded", shifted or "nothing had to be moved")

    def _asked(self, work: Work) -> Progress | None:
        """What a person wants now."""
        desired = work.spec.desired
        if desired is Desired.PAUSE:
            self._paused(work, "PausedByUser", "spec.control.desired is Pause; set it to Run to go on")
            return Later(None)
        if desired is Desired.ROLLBACK:
            chosen = turn(self._setback(work, requested=True))
            if chosen.way is not Way.WAIT:
                return TurnedBack(chosen, str(work.draft.journal.status.get("currentStep", "")), chosen.message)
            # It cannot be undone any more. Going on is safer than standing still half-way.
            work.draft.edit().condition("Ready", "True", chosen.reason, f"no rollback: {chosen.message}")
        return None

    def _resumed(self, work: Work) -> None:
        """What the run was paused for has passed. Not before that is known: a status that turns to and fro with every
        visit would be written with every visit, and each write brings the next visit."""
        if work.draft.journal.status.get("phase") == "Paused":
            work.draft.edit().put(phase="Running").condition("Ready", "True", "Running", "the run goes on by itself")

    async def _source_lost(self, work: Work) -> Progress | None:
        """Go on as a failover, or wait for a person, when what a planned run leaves has failed meanwhile."""
        done = work.draft.done()
        if not work.course.planned or _left(work):
            return None
        handover = Handover(
            before=work.before,
            after=work.after,
            to=work.to,
            synced=FINAL_SYNC in done,
            force=work.spec.force,
            accept_data_loss=work.spec.accept_data_loss,
        )
        loss = judge_loss(work.context.snapshot, handover)
        if loss is None or await _hands_over(work):
            return None
        if loss.remedy:
            text = f"{loss.message}. {loss.remedy}"
            self._paused(work, SOURCE_LOST, text)
            return Later(ASK_AGAIN * 4, action=text)
        log.warning("%s: %s; it goes on as a failover", work.spec.name, loss.message, extra={"run": work.spec.name})
        for name in unfinished(work.course.order, done):
            if name.startswith(f"{SHIFT}/"):
                begun = bool(work.draft.entry(name))
                work.draft.step(name, "Succeeded" if begun else "Skipped", f"cut short: {loss.message}")
        work.hurry()
        work.draft.edit().condition("Ready", "True", SOURCE_LOST, f"{loss.message}; the run goes on as a failover")
        await work.draft.flush()
        return None

    async def _one(self, work: Work, name: str) -> Outcome:
        step = self._steps[name.partition("/")[0]]
        outcome = await self._look(step, work, name)
        if isinstance(outcome, Needed):
            # The intent stands in the journal before the effect: whoever finds it looks before applying again.
            if work.draft.entry(name).get("state") != "Running":
                work.draft.step(name, "Running")
                self._passing(work, name)
            await work.draft.flush()
            self._leadership.check()
            try:
                await step.act(work, name)
            except (PromotionProblemError, TargetProblemError) as error:
                outcome = Waiting(message=f"{error.reason}: {error}", retry_after=ASK_AGAIN, reports=work.reports)
            except ClusterError as error:
                outcome = Waiting(message=str(error), retry_after=ASK_AGAIN)
            else:
                work.draft.applied(name)
                outcome = await self._look(step, work, name)
        if isinstance(outcome, Needed):
            outcome = Waiting(message=outcome.message, retry_after=ASK_AGAIN)
        if isinstance(outcome, Waiting):
            if work.draft.entry(name).get("state") != "Running":
                work.draft.step(name, "Running")
            elif work.draft.attended_for(name) > allowed(name, work.options, work.course) + _held(work, name):
                return step.late(work, name, outcome.message)
        return outcome

    async def _look(self, step: RunStep, work: Work, name: str) -> Outcome:
        try:
            return await step.look(work, name)
        except PromotionProblemError as error:
            return Waiting(message=f"{error.reason}: {error}", retry_after=ASK_AGAIN)
        except ClusterError as error:
            # A region's API that does not answer is a reason to look again, not to give the run up.
            return Waiting(message=str(error), retry_after=ASK_AGAIN)

    def _note(self, work: Work, name: str, done: Done) -> None:
        work.draft.step(name, "Skipped" if done.skipped else "Succeeded", done.message)
        if done.condition is not None:
            condition = done.condition
            work.draft.edit().condition(condition.type, condition.status, condition.reason, condition.message)
        log.debug("%s: %s %s", work.spec.name, name, done.message, extra={"run": work.spec.name})

    def _passing(self, work: Work, name: str) -> None:
        """Note the traffic point of no return before it is passed."""
        final = name == SHIFT or (name.startswith(SHIFT) and work.options.holds_data)
        if final:
            point = {"kind": "Traffic", "time": rfc3339_micro(work.draft.wall)}
            work.draft.edit().put(pointOfNoReturn=point)

    async def _hand_over(self, work: Work) -> None:
        """After the promotion was seen, and not before, the policy says that the new region is active."""
        if any(name.startswith(f"{PROMOTE}/") for name in work.course.order):
            await work.draft.flush()
            work.context = await self._policies.promoted(work)

    def _stopped(self, work: Work, name: str, outcome: Outcome) -> Progress:
        if isinstance(outcome, Waiting):
            work.reports = outcome.reports or work.reports
            return Later(outcome.retry_after)
        if isinstance(outcome, Held):
            work.draft.step(name, "Running", outcome.message)
            self._paused(work, outcome.reason, outcome.message)
            return Later(outcome.retry_after, action=outcome.message)
        if isinstance(outcome, GivenUp):
            work.draft.step(name, "Failed", outcome.message)
            return Arrived("Failed", outcome.reason, outcome.message)
        if not isinstance(outcome, Failed):
            raise TypeError(f"{name} ended with {outcome!r}")
        chosen = turn(self._setback(work, requested=False))
        message = f"{name}: {outcome.message}"
        if chosen.way is Way.WAIT:
            work.draft.step(name, "Running", outcome.message)
            text = f"{message}. {chosen.message}"
            self._paused(work, chosen.reason, text)
            return Later(ASK_AGAIN * 4, action=text)
        work.draft.step(name, "Failed", outcome.message)
        return TurnedBack(chosen, name, message)

    def _paused(self, work: Work, reason: str, message: str) -> None:
        work.draft.edit().put(phase="Paused").condition("Ready", "Unknown", reason, message)

    def _setback(self, work: Work, *, requested: bool) -> Setback:
        view = work.context.snapshot.regions.get(work.source)
        works = view is not None and view.exists and not view.health.down
        return Setback(
            point=point(work),
            source_works=works if work.source else True,
            attempt=work.draft.attempt,
            max_attempts=work.options.max_attempts,
            next_region=work.next_region,
            on_failure=work.options.on_failure,
            accept_data_loss=work.spec.accept_data_loss,
            requested=requested,
        )


def _left(work: Work) -> bool:
    """Whether the run needs nothing more of what it leaves. That it is down is then the run's own doing."""
    done = work.draft.done()
    if not work.drivers:
        return SHIFT in done
    return ISOLATE in done and (SHIFT in done or FINAL_SYNC in done)


async def _hands_over(work: Work) -> bool:
    """Whether all data of what is left still answers. Then its region is not lost, whatever the probes say: a database
    that is demoted starts anew, and what needs it fails meanwhile by the run's own doing. The same goes for workloads
    that are being stopped, as long as that may take."""
    begun = bool(work.draft.entry(ISOLATE)) and ISOLATE not in work.draft.done()
    stopping = begun and work.draft.running_for(ISOLATE) <= allowed(ISOLATE, work.options, work.course)
    answers = []
    for driver in [driver for driver in work.drivers if driver.step.holds_data or stopping]:
        for region in work.losing:
            try:
                state = await driver.observe(region)
            except (ClusterError, PromotionProblemError):
                return False
            answers.append(state.role is not Role.UNKNOWN)
    return bool(answers) and all(answers)


def point(work: Work) -> Point:
    """How far the run has come, by its journal."""
    done = work.draft.done()
    noted = any(work.draft.entry(name).get("message") for name in work.course.order if name.partition("/")[0] == SHIFT)
    if SHIFT in done or (noted and work.options.holds_data):
        return Point.TRAFFIC
    data = {f"{PROMOTE}/{step.name}" for step in work.options.promotion if step.holds_data}
    return Point.DATA if data & set(done) and work.gaining else Point.FREE


def _held(work: Work, name: str) -> float:
    """A stage of a gradual shift lasts as long as it is held, on top of what writing may take."""
    kind, _, percent = name.partition("/")
    if kind != SHIFT or not percent:
        return 0.0
    return next((stage.hold for stage in work.transition.stages if stage.percent == int(percent)), 0.0)
