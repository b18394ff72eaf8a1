"""Executes runs: from a Failover object to moved roles and traffic, resumable at any point.

One call of `advance` takes a run as far as it can go now and says when to look again; nothing waits inside. The order
of writes is what makes a crash harmless:

1. the plan, the course and the state before stand in the run's status before anything is changed;
2. one compare-and-set on the policy's status commits: epoch and operation change together or not at all;
3. the journal says `Running` before each effect, and every write carries the fence;
4. the run is put into its terminal phase before the policy is released, so that a released policy never has a run that
   somebody would resume.

Whoever finds the run later starts at the first step that is not journaled as done and looks before it applies.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from regent.domain.errors import AlreadyExistsError, ConflictError, FencedOffError, NotFoundError
from regent.domain.failover.course import Course, chart
from regent.domain.failover.model import Plan, RunType, TriggerKind
from regent.domain.failover.prepare import Refusal, Wait, prepare
from regent.domain.failover.runspec import RunSpec
from regent.domain.traffic import shares
from regent.engine import run_status as texts
from regent.engine.alignment import Alignment
from regent.engine.approvals import approve
from regent.engine.draft import Draft
from regent.engine.drill import drill
from regent.engine.finalizers import Finalizers
from regent.engine.history import runs_of
from regent.engine.hooks import HookCalls
from regent.engine.policy_writer import CommitLostError, PolicyWriter
from regent.engine.ports import Clock, Cluster, Leadership, Metrics, Object, Recorder
from regent.engine.promotion import Isolation, ReplicationInRuns
from regent.engine.records import automatic_number, is_automatic, is_over, read_shares, status_of
from regent.engine.region_epochs import RegionEpochs
from regent.engine.requesters import Requesters
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS
from regent.engine.run_context import Advance, Context
from regent.engine.run_hooks import HookGate
from regent.engine.run_objects import new_run, plan_status, read_course, take_snapshot
from regent.engine.run_progress import Arrived, Later, RunProgress, TurnedBack
from regent.engine.run_undo import NextCandidate, RunUndo, undoing
from regent.engine.run_work import gather, next_plan
from regent.engine.status import Change, StatusWriter
from regent.engine.steps.outcome import Work
from regent.engine.steps.roles import FinalSync, Isolate, NoAgents, Promote, Reverse
from regent.engine.steps.traffic import Finalize, Shift, Stabilize, Verify
from regent.engine.store import Store

log = logging.getLogger("regent.runs")

NUMBERS = 50
"""Names that are tried for an automatic run when objects of that name exist already."""


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
        isolation: Isolation | None = None,
        requesters: Requesters | None = None,
        epochs: RegionEpochs | None = None,
        hooks: HookCalls | None = None,
        replication: ReplicationInRuns | None = None,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._status = status
        self._leadership = leadership
        self._clock = clock
        self._recorder = recorder
        self._metrics = metrics
        self._requesters = requesters or Requesters(cluster=cluster, policy="")
        self._finalizers = Finalizers(cluster=cluster, store=store, leadership=leadership)
        self._policies = PolicyWriter(status=status, clock=clock)
        self._hooks = HookGate(hooks, recorder=recorder)
        self._progress = RunProgress(
            steps={
                "Isolate": Isolate(isolation or NoAgents(), epochs),
                "FinalSync": FinalSync(replication),
                "Promote": Promote(epochs, replication),
                "Verify": Verify(),
                "Shift": Shift(alignment),
                "Stabilize": Stabilize(),
                "Reverse": Reverse(),
                "Finalize": Finalize(epochs),
            },
            policies=self._policies,
            leadership=leadership,
        )
        self._undo = RunUndo(alignment=alignment, policies=self._policies, leadership=leadership, epochs=epochs)

    async def start(self, context: Context, plan: Plan) -> Object:
        """Make the Failover object of an automatic run."""
        number = 1 + max(context.state.run_number, *map(automatic_number, context.runs), 0)
        for _ in range(NUMBERS):
            self._leadership.check()
            body = new_run(context.spec, plan, number=number)
            try:
                run = await self._cluster.create(FAILOVERS, body)
            except AlreadyExistsError:
                made = await self._made_before(body)
                if made is not None:
                    return made
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

    async def _made_before(self, body: Object) -> Object | None:
        """The very run that was to be made, when an earlier try made it and only the answer, or the leader, was lost.

        A second one would be refused in the end, but it would stand in the history of an outage as a run of its own.
        """
        metadata = body["metadata"]
        try:
            found = await self._status.read(FAILOVERS, metadata["namespace"], metadata["name"])
        except NotFoundError:
            return None
        owners = found["metadata"].get("ownerReferences") or ()
        ours = is_automatic(found) and any(owner["uid"] == metadata["ownerReferences"][0]["uid"] for owner in owners)
        return found if ours and not is_over(found) else None

    async def keep_number(self, context: Context) -> None:
        """Record the highest number in use, before the object that bears it may be pruned: it is never used again.

        The commit does so for the runs that get there. A write of its own before each run would keep the weights
        waiting, and they wait for every write of every policy that fails over in the same moment.
        """
        highest = max(map(automatic_number, context.runs), default=0)
        if highest > context.state.run_number:
            await self._policies.number(context.spec, highest)

    async def advance(self, context: Context, run: Object, spec: RunSpec) -> Advance:
        """Take the run as far as it can go now.

        Raises:
            ClusterError: the API server is away; visit again, nothing is lost.
            LeadershipLostError: another replica may have taken over.
        """
        if is_over(run):
            return Advance(over=True)
        operation = context.state.operation
        if operation is not None and operation.uid == run["metadata"]["uid"]:
            return await self._committed(context, run, spec)
        if status_of(run).get("epoch"):
            # The watch of policies may be behind that of runs: what cannot be taken back is judged past the cache.
            context = await self._policies.fresh(context)
            if context.state.operation is not None and context.state.operation.uid == run["metadata"]["uid"]:
                return await self._committed(context, run, spec)
            return await self._finish(run, "Superseded", "PolicyMovedOn", "the policy no longer holds this run")
        prepared = prepare(context.snapshot, spec, automatic=is_automatic(run) and spec.type is not RunType.DRILL)
        if isinstance(prepared, Refusal):
            return await self._finish(run, prepared.phase, prepared.reason, prepared.message)
        if isinstance(prepared, Wait) and spec.type is RunType.DRILL and prepared.phase == "Blocked":
            # A drill does not wait for better times: that it would have to is what it found out.
            return await self._finish(run, "Failed", prepared.reason, prepared.message)
        if isinstance(prepared, Wait):
            await self._write_run(run, lambda obj: texts.waiting(obj, prepared, now=self._clock.wall()))
            return Advance(held=True, retry_after=prepared.retry_after)
        return await self._planned(context, run, spec, prepared)

    async def _planned(self, context: Context, run: Object, spec: RunSpec, plan: Plan) -> Advance:
        """Write the plan, get it approved, commit it, and go."""
        draft = Draft(run, status=self._status, clock=self._clock)
        view = context.snapshot.regions.get(plan.source)
        down = view is not None and (not view.exists or view.health.down)
        course = chart(context.spec, plan, wanted=spec.transition, source_down=down)
        digest = str(plan_status(plan, course)["hash"])
        asked = self._hooks.waits(draft, context.spec, digest)
        if asked is not None:
            return Advance(held=True, retry_after=asked.retry_after, action=asked.veto)
        if not _still_waits(draft, spec, plan, course):
            await self._write_plan(context, draft, plan, course)
        if spec.type is RunType.DRILL:
            if is_automatic(run):
                draft.edit().put(trigger=TriggerKind.SCHEDULE.value)
            await draft.flush()
            found = await drill(context, plan, course)
            return await self._finish(draft.run, found.phase, found.reason, found.message)
        if spec.dry_run:
            await draft.flush()
            move = f"{shares.describe(plan.before)} to {shares.describe(plan.after)}"
            message = f"dry run: would move {move}, by {', '.join(course.order)}"
            return await self._finish(draft.run, "Succeeded", "DryRun", message)
        waits = approve(draft, context.spec, spec, plan, course)
        if waits is None and spec.approved_plan and (who := await self._requesters.approver(draft.run)):
            draft.step("Approve", "Succeeded", f"approved by {who}: {spec.approved_plan}")
        asked = self._hooks.ask(draft, context.spec, plan, digest) if waits is None else None
        await draft.flush()
        if isinstance(waits, Refusal):
            return await self._finish(draft.run, waits.phase, waits.reason, waits.message)
        if waits is not None:
            return Advance(held=True, retry_after=waits, action=_approve_command(draft.run))
        if asked is not None:
            return Advance(held=True, retry_after=asked.retry_after, action=asked.veto)
        try:
            context = await self._policies.commit(context, draft.run, plan, course)
        except CommitLostError as error:
            return await self._finish(draft.run, "Superseded", "CommitLost", str(error))
        log.info(
            "Committed %s: %s → %s",
            run["metadata"]["name"],
            shares.describe(plan.before),
            shares.describe(plan.after),
            extra={"object": context.spec.key, "run": run["metadata"]["name"]},
        )
        return await self._committed(context, draft.run, spec)

    async def _write_plan(self, context: Context, draft: Draft, plan: Plan, course: Course) -> None:
        regions = [name for name in plan.before if plan.before[name] or plan.after.get(name)]
        snapshot = await take_snapshot(context.targets, plan.before, context.drivers, regions)
        now = self._clock.monotonic()
        detected = self._clock.wall() - (now - plan.detected) if plan.detected is not None else None
        draft.edit().put(requestedBy=await self._requester(draft.run))
        texts.planned(draft, plan, course, snapshot, detected=detected)

    async def _committed(self, context: Context, run: Object, spec: RunSpec) -> Advance:
        """Go on with a run that holds the policy."""
        if any(name.startswith("Promote/") for name in read_course(status_of(run)).order):
            run = await self._finalizers.hold_run(run)
            context = replace(context, policy=await self._finalizers.hold_policy(context.policy))
        draft = Draft(run, status=self._status, clock=self._clock)
        draft.led_by(self._leadership.transitions)
        work = gather(context, spec, draft, transitions=self._leadership.transitions)
        try:
            if undoing(status_of(run)):
                return await self._undone(work, await self._undo.advance(work))
            if "Commit" not in draft.done():
                texts.committed(draft, context.state.epoch, work.course)
            progress = await self._progress.advance(work)
            if isinstance(progress, TurnedBack):
                return await self._undone(work, await self._undo.begin(work, progress))
        except FencedOffError as error:
            await self._policies.release(context.spec, draft.run, {})
            return await self._finish(draft.run, "Superseded", "FencedOff", str(error))
        if isinstance(progress, Later):
            await draft.flush()
            return Advance(retry_after=progress.retry_after, reports=work.reports, action=progress.action)
        return await self._arrived(work, progress)

    async def _undone(self, work: Work, undone: Arrived | Later | NextCandidate) -> Advance:
        if isinstance(undone, Later):
            return Advance(retry_after=undone.retry_after, action=undone.action)
        if isinstance(undone, Arrived):
            return await self._arrived(work, undone)
        plan = next_plan(work)
        if plan is None:
            # The candidate that was there when the attempt failed is gone: restore instead of trying nothing.
            attempts = [*work.draft.journal.status["attempts"]]
            attempts[-1] = {**attempts[-1], "result": "RollBack"}
            work.draft.edit().put(attempts=attempts)
            work.draft.step("RollBack", "Running", "no other candidate is left")
            await work.draft.flush()
            return Advance(retry_after=0.0)
        down = work.source_down or not work.course.planned
        course = chart(work.context.spec, plan, wanted=work.spec.transition, source_down=down)
        promotes = any(name.startswith("Promote/") for name in course.order)
        work.context = await self._policies.next_attempt(work, plan.to, promotes=promotes)
        texts.next_attempt(work.draft, plan, course, work.epoch)
        await work.draft.flush()
        return await self._committed(work.context, work.draft.run, work.spec)

    async def _arrived(self, work: Work, arrived: Arrived) -> Advance:
        """End the run, then let go of the policy. A crash in between is mended by `release`."""
        journal = work.draft.edit()
        shifted = "False" if arrived.phase == "Failed" and arrived.reason == "NothingWritten" else ""
        journal.status.update(
            texts.ended(
                {**work.draft.run, "status": journal.status},
                phase=arrived.phase,
                reason=arrived.reason,
                message=arrived.message,
                shifted=shifted,
                now=self._clock.wall(),
            )
        )
        await work.draft.flush()
        run = work.draft.run
        await self.release(work.context, run)
        self._tell(work.context, run)
        return Advance(over=True, reports=work.reports)

    def _tell(self, context: Context, run: Object) -> None:
        status = status_of(run)
        namespace, policy = context.spec.namespace, context.spec.name
        trigger, result = str(status.get("trigger", "")), str(status.get("phase", ""))
        self._metrics.count(
            "regent_failovers_total", namespace=namespace, policy=policy, trigger=trigger, result=result
        )
        if status.get("durationMilliseconds") is not None:
            seconds = status["durationMilliseconds"] / 1000
            self._metrics.observe("regent_failover_duration_seconds", seconds, trigger=trigger)
        good = result == "Succeeded"
        self._recorder.event(
            context.policy,
            kind="Normal" if good else "Warning",
            reason="FailoverCompleted" if good else f"Failover{result}",
            action="CompleteFailover",
            note=f"{run['metadata']['name']}: {_condition_message(run)}",
        )

    async def release(self, context: Context, run: Object) -> None:
        """Record an ended run in its policy and free the policy. Harmless when it was done before."""
        await self._policies.release(context.spec, run, _standing(run))
        await self.let_go(context)

    async def let_go(self, context: Context) -> None:
        """Take the finalizer off everything that no run holds any more."""
        spec = context.spec
        for run in runs_of(self._store, spec, deleted=True):
            if is_over(run):
                await self._finalizers.let_run_go(run)
        policy = self._store.get(FAILOVER_POLICIES, spec.namespace, spec.name)
        if policy is not None and not status_of(policy).get("operation"):
            await self._finalizers.let_policy_go(policy)

    async def refuse(self, run: Object, message: str) -> Advance:
        """End a run that cannot be understood."""
        return await self._finish(run, "Failed", "InvalidSpec", message)

    async def _finish(self, run: Object, phase: str, reason: str, message: str) -> Advance:
        """End a run that has not committed (or was overtaken): nothing of the policy changes."""
        refusal = Refusal(phase=phase, reason=reason, message=message)
        ended = await self._write_run(run, lambda obj: texts.refused(obj, refusal, now=self._clock.wall()))
        self._recorder.event(ended, kind="Normal", reason=reason, action="EndFailover", note=f"{phase}: {message}")
        return Advance(over=True)

    async def _requester(self, run: Object) -> str:
        """Who asked for the run; found out once."""
        return str(status_of(run).get("requestedBy") or "") or await self._requesters.of(run)

    async def _write_run(self, run: Object, change: Change) -> Object:
        """Replace exactly the status that `change` is made on: a run that has gone on, or has ended, stays as it is."""
        draft = Draft(run, status=self._status, clock=self._clock)
        asked = await self._requester(run)
        draft.journal.status = change({**run, "status": {"requestedBy": asked, **status_of(run)}})
        await draft.flush()
        return draft.run


def _still_waits(draft: Draft, spec: RunSpec, plan: Plan, course: Course) -> bool:
    """Whether the very same plan waits for its approval already: writing it again would only turn its times."""
    status = draft.journal.status
    digest = (status.get("plan") or {}).get("hash")
    waiting = status.get("phase") == "AwaitingApproval" and spec.approved_plan != digest
    return waiting and digest == plan_status(plan, course)["hash"]


def _standing(run: Object) -> Mapping[str, int]:
    """The shares that stand after the run: what it made, or what was before it when it was undone."""
    plan = status_of(run).get("plan") or {}
    steps = status_of(run).get("steps") or ()
    undone = any(item["name"] == "RollBack" and item["attempt"] == max(s["attempt"] for s in steps) for item in steps)
    never_began = not status_of(run).get("epoch")
    return read_shares(plan.get("before" if undone or never_began else "after"))


def _headline(run: Object, plan: Plan) -> str:
    move = f"{shares.describe(plan.before)} → {shares.describe(plan.after)}"
    return f"{run['metadata']['name']}: {plan.reason}. Moving traffic: {move}"


def _approve_command(run: Object) -> str:
    metadata, digest = run["metadata"], status_of(run)["plan"]["hash"]
    return f"regent failover approve {metadata['name']} -n {metadata['namespace']} --hash {digest}"


def _condition_message(run: Object) -> str:
    conditions = status_of(run).get("conditions") or ()
    return next((str(item.get("message", "")) for item in conditions if item["type"] == "Complete"), "")
