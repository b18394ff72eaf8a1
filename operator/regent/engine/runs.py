"""Executes runs: from a Failover object to moved traffic, resumable at any point.

One call of `advance` takes a run as far as it can go now and says when to look again; nothing waits inside. The order
of writes is what makes a crash harmless:

1. the plan stands in the run's status before anything is changed;
2. one compare-and-set on the policy's status commits: epoch, operation and active region change together or not at
   all, and from then on the run goes forward only;
3. the run's journal says `Shift: Running` before a weight is written, and every write carries the fence;
4. the run is put into its terminal phase before the policy is released, so that a released policy never has a run that
   somebody would resume.

Whoever finds the run later starts at the first step that is not journaled as done and observes before it applies.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from regent.domain.errors import AlreadyExistsError, ConflictError, FencedOffError, RegentError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import Plan, PolicySpec, PolicyState, Snapshot
from regent.domain.failover.prepare import Refusal, Wait, prepare
from regent.domain.failover.runspec import RunSpec
from regent.domain.times import rfc3339
from regent.domain.traffic import shares
from regent.engine import run_steps as steps
from regent.engine.alignment import Alignment, TargetReport
from regent.engine.journal import STEPS, finished
from regent.engine.policy_writes import commit_status, raise_run_number, release_status
from regent.engine.ports import Clock, Cluster, Leadership, Metrics, Object, Recorder
from regent.engine.records import is_automatic, is_over, policy_state, read_shares, status_of
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS
from regent.engine.run_objects import new_run
from regent.engine.status import Change, StatusWriter
from regent.engine.store import Store
from regent.engine.traffic import TrafficTarget, owner_text

log = logging.getLogger("regent.runs")

READ_BACK = 5.0
"""Seconds for which a run waits for the data plane's word after the weights are written. Then it ends all the same:
the weights are there, and `TrafficVerified` says what is missing."""

SHIFT_DEADLINE = 30.0
"""Seconds for which a run tries to write weights while no target takes them, before it ends as Failed. The policy's
upkeep goes on trying: a deadline decides what is reported, never what is safe."""

NUMBERS = 50
"""Names that are tried for an automatic run when objects of that name exist already."""


class CommitLostError(RegentError):
    """The policy has moved on since the run was planned: another run committed first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One policy, gathered for one visit."""

    policy: Object
    spec: PolicySpec
    state: PolicyState
    snapshot: Snapshot
    targets: Sequence[TrafficTarget]
    runs: Sequence[Object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """How far a run got. `over`: it is in a terminal phase. `held`: it waits, and others may go first."""

    over: bool = False
    held: bool = False
    retry_after: float | None = None
    reports: Sequence[TargetReport] = field(default_factory=tuple)


class RunExecutor:
    """Takes runs forward. Holds nothing that a successor could not find in the API."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        status: StatusWriter,
        alignment: Alignment,
        leadership: Leadership,
        clock: Clock,
        recorder: Recorder,
        metrics: Metrics,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._status = status
        self._alignment = alignment
        self._leadership = leadership
        self._clock = clock
        self._recorder = recorder
        self._metrics = metrics

    async def start(self, context: Context, plan: Plan) -> Object:
        """Make the Failover object of an automatic run and journal its plan."""
        number = context.state.run_number + 1
        for _ in range(NUMBERS):
            # The number is raised before the object is made: a number whose object was pruned is never used again.
            await self._write_policy(context.spec, partial(raise_run_number, number=number))
            self._leadership.check()  # the write before may have taken long enough to lose the lease
            try:
                run = await self._cluster.create(FAILOVERS, new_run(context.spec, plan, number=number))
            except AlreadyExistsError:
                number += 1
                continue
            self._store.observe(FAILOVERS, run)
            self._recorder.event(
                context.policy,
                kind="Warning",
                reason="FailoverStarted",
                action="StartFailover",
                note=_headline(run, plan),
            )
            return run
        raise ConflictError(f"{NUMBERS} Failover objects after {context.spec.name}-{context.state.run_number} exist")

    async def advance(self, context: Context, run: Object, spec: RunSpec) -> Advance:
        """Take the run as far as it can go now.

        Raises:
            ClusterError: the API server is away; visit again, nothing is lost.
            LeadershipLostError: another replica may have taken over.
        """
        if is_over(run):
            return Advance(over=True)
        operation = context.state.operation
        committed = operation is not None and operation.uid == run["metadata"]["uid"]
        if not committed and status_of(run).get("epoch"):
            return await self._finish(run, "Superseded", "PolicyMovedOn", "the policy no longer holds this run")
        if committed:
            return await self._shift(context, run)
        prepared = prepare(context.snapshot, spec, automatic=is_automatic(run))
        if isinstance(prepared, Refusal):
            return await self._finish(run, prepared.phase, prepared.reason, prepared.message)
        if isinstance(prepared, Wait):
            await self._write_run(run, lambda obj: steps.waiting(obj, prepared, now=self._clock.wall()))
            return Advance(held=True, retry_after=prepared.retry_after)
        run = await self._journal_plan(context, run, prepared)
        if spec.dry_run:
            message = f"dry run: would move {shares.describe(prepared.before)} to {shares.describe(prepared.after)}"
            return await self._finish(run, "Succeeded", "DryRun", message)
        try:
            context = await self._commit(context, run, prepared)
        except CommitLostError as error:
            return await self._finish(run, "Superseded", "CommitLost", str(error))
        return await self._shift(context, run)

    async def _journal_plan(self, context: Context, run: Object, plan: Plan) -> Object:
        observed = [await target.observe(plan.before) for target in context.targets]
        weights = {state.ref: state.snapshot for state in observed if state.exists}
        wall, now = self._clock.wall(), self._clock.monotonic()
        detected = wall - (now - plan.detected) if plan.detected is not None else None
        return await self._write_run(
            run, lambda obj: steps.planned(obj, plan, weights, now=self._clock.wall(), detected=detected)
        )

    async def _commit(self, context: Context, run: Object, plan: Plan) -> Context:
        """The one compare-and-set: epoch, operation and active region change together, or the run has lost."""
        expected = context.state

        def change(obj: Object) -> dict[str, Any]:
            state = policy_state(obj)
            if state.epoch != expected.epoch or state.operation is not None:
                holder = state.operation.name if state.operation else f"epoch {state.epoch}"
                raise CommitLostError(f"{holder} committed first")
            return commit_status(obj, context.spec, run, plan, now=rfc3339(self._clock.wall()))

        policy = await self._write_policy(context.spec, change)
        if policy is None:
            raise CommitLostError("the policy was deleted")
        log.info(
            "Committed %s: %s → %s",
            run["metadata"]["name"],
            shares.describe(plan.before),
            shares.describe(plan.after),
            extra={"object": context.spec.key, "run": run["metadata"]["name"]},
        )
        return Context(
            policy=policy,
            spec=context.spec,
            state=policy_state(policy),
            snapshot=context.snapshot,
            targets=context.targets,
            runs=context.runs,
        )

    async def _shift(self, context: Context, run: Object) -> Advance:
        """Write the weights and read them back. Entered again and again until the data plane has answered."""
        after = read_shares((status_of(run).get("plan") or {}).get("after"))
        if not finished(run, "Commit"):
            run = await self._write_run(
                run, lambda obj: steps.committed(obj, context.state.epoch, now=self._clock.wall())
            )
        fence = Fence(context.state.epoch, self._leadership.transitions, STEPS.index("Shift") + 1)
        owner = owner_text(context.spec)
        try:
            written = await self._alignment.shift(context.targets, after, fence=fence, owner=owner)
        except FencedOffError as error:
            await self._write_policy(
                context.spec, lambda obj: release_status(obj, context.spec, run, {}, now=rfc3339(self._clock.wall()))
            )
            return await self._finish(run, "Superseded", "FencedOff", str(error))
        done = [report for report in written if report.verification == "Pending"]
        if written and not done:
            return await self._nothing_written(context, run, written)
        if not steps.weights_noted(run):
            run = await self._write_run(run, lambda obj: steps.weights_written(obj, written, now=self._clock.wall()))
        reports = await self._alignment.keep(
            context.targets, after, epoch=context.state.epoch, owner=owner, may_write=True, insist=True
        )
        late = self._clock.wall() - steps.shift_started(run, default=self._clock.wall()) > READ_BACK
        if not late and any(report.verification == "Pending" for report in reports):
            return Advance(retry_after=min((r.retry_after or 0.5 for r in reports), default=0.5), reports=reports)
        return await self._complete(context, run, after, reports)

    async def _nothing_written(self, context: Context, run: Object, reports: Sequence[TargetReport]) -> Advance:
        why = "; ".join(f"{report.ref}: {report.message}" for report in reports)
        if self._clock.wall() - steps.shift_started(run, default=self._clock.wall()) < SHIFT_DEADLINE:
            return Advance(retry_after=0.25, reports=reports)
        run = await self._end(run, "Failed", "NothingWritten", f"no target took the weights: {why}", shifted="False")
        return await self._release(context, run, reports)

    async def _complete(
        self, context: Context, run: Object, after: Mapping[str, int], reports: Sequence[TargetReport]
    ) -> Advance:
        good = all(report.settled for report in reports)
        proof = "; ".join(f"{r.ref}: {r.verification}" for r in reports) or "the policy has no targets"
        message = f"traffic is at {shares.describe(after)} ({proof})"
        run = await self._end(run, "Succeeded", "Succeeded", message, shifted="True" if good else "Unknown")
        return await self._release(context, run, reports)

    async def _end(self, run: Object, phase: str, reason: str, message: str, *, shifted: str) -> Object:
        return await self._write_run(
            run,
            lambda obj: steps.ended(
                obj, phase=phase, reason=reason, message=message, shifted=shifted, now=self._clock.wall()
            ),
        )

    async def _release(self, context: Context, run: Object, reports: Sequence[TargetReport]) -> Advance:
        """Let go of the policy. Comes after the run's terminal phase; a crash in between is mended by `release`."""
        await self.release(context, run)
        status = status_of(run)
        namespace, policy = context.spec.namespace, context.spec.name
        trigger, result = str(status.get("trigger", "")), str(status.get("phase", ""))
        self._metrics.count(
            "regent_failovers_total", namespace=namespace, policy=policy, trigger=trigger, result=result
        )
        if status.get("durationMilliseconds") is not None:
            seconds = status["durationMilliseconds"] / 1000
            self._metrics.observe("regent_failover_duration_seconds", seconds, trigger=trigger)
        note = f"{run['metadata']['name']}: {_condition_message(run)}"
        good = status.get("phase") == "Succeeded"
        self._recorder.event(
            context.policy,
            kind="Normal" if good else "Warning",
            reason="FailoverCompleted" if good else "FailoverFailed",
            action="CompleteFailover",
            note=note,
        )
        return Advance(over=True, reports=reports)

    async def release(self, context: Context, run: Object) -> None:
        """Record an ended run in its policy and free the policy. Harmless when it was done before."""
        after = read_shares((status_of(run).get("plan") or {}).get("after"))
        await self._write_policy(
            context.spec, lambda obj: release_status(obj, context.spec, run, after, now=rfc3339(self._clock.wall()))
        )

    async def refuse(self, run: Object, message: str) -> Advance:
        """End a run that cannot be understood."""
        return await self._finish(run, "Failed", "InvalidSpec", message)

    async def _finish(self, run: Object, phase: str, reason: str, message: str) -> Advance:
        """End a run that has not committed (or was overtaken): nothing of the policy changes."""
        refusal = Refusal(phase=phase, reason=reason, message=message)
        ended = await self._write_run(run, lambda obj: steps.refused(obj, refusal, now=self._clock.wall()))
        self._recorder.event(ended, kind="Normal", reason=reason, action="EndFailover", note=f"{phase}: {message}")
        return Advance(over=True)

    async def _write_run(self, run: Object, change: Change) -> Object:
        metadata = run["metadata"]
        written = await self._status.transact(
            FAILOVERS, metadata["namespace"], metadata["name"], change, uid=metadata["uid"]
        )
        if written is None:
            raise ConflictError(f"Failover {metadata['namespace']}/{metadata['name']} is gone")
        return written

    async def _write_policy(self, spec: PolicySpec, change: Change) -> Object | None:
        return await self._status.transact(FAILOVER_POLICIES, spec.namespace, spec.name, change, uid=spec.uid)


def _headline(run: Object, plan: Plan) -> str:
    move = f"{shares.describe(plan.before)} → {shares.describe(plan.after)}"
    return f"{run['metadata']['name']}: {plan.reason}. Moving traffic: {move}"


def _condition_message(run: Object) -> str:
    conditions = status_of(run).get("conditions") or ()
    return next((str(item.get("message", "")) for item in conditions if item["type"] == "Complete"), "")
