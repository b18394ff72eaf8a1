"""One visit of a FailoverPolicy: adopt, take runs forward, decide, keep the targets, show.

All work on a policy and its runs goes through the policy's own key, so two things never happen to one policy at the
same time. A visit never waits: what needs time says when to look again.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from regent.domain.conditions import Condition, find, merge
from regent.domain.errors import NotFoundError, PromotionProblemError
from regent.domain.failover.candidates import proved
from regent.domain.failover.decide import cooldown_of, decide, shown_candidates
from regent.domain.failover.model import (
    Decision,
    Hold,
    Plan,
    PolicySpec,
    Snapshot,
    Steady,
    Topology,
    TriggerKind,
)
from regent.domain.failover.runspec import RunSpec
from regent.domain.times import rfc3339
from regent.domain.traffic import shares
from regent.domain.traffic.targets import TargetSpec
from regent.engine.adopting import Adopting
from regent.engine.alignment import Alignment, TargetReport
from regent.engine.drill import DrillSchedule
from regent.engine.finalizers import held
from regent.engine.gathering import Gathering, ReadPolicy
from regent.engine.history import prune, runs_of
from regent.engine.led_drivers import LedDrivers
from regent.engine.notifications import Announcer, NoAnnouncer
from regent.engine.pace import LOOK_AGAIN, Pace
from regent.engine.policy_metrics import PolicyMetrics
from regent.engine.policy_status import Findings, compose
from regent.engine.policy_warnings import budget_end
from regent.engine.ports import Clock, Cluster, Leadership, Metrics, Object, Recorder
from regent.engine.promotion import DriverFactory, NoDrivers
from regent.engine.queue import Key
from regent.engine.receiver_checks import ReceiverChecks
from regent.engine.records import is_over, status_of, under_way
from regent.engine.region_epochs import RegionEpochs
from regent.engine.rejoin import Rejoin
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS
from regent.engine.role_watch import RoleWatch
from regent.engine.run_context import Advance, Context, moves_traffic
from regent.engine.runs import RunExecutor
from regent.engine.snapshots import Snapshots
from regent.engine.status import StatusWriter
from regent.engine.store import Store
from regent.engine.traffic import TargetFactory, owner_text

log = logging.getLogger("regent.policies")

ReadRun = Callable[[Mapping[str, Any]], RunSpec]

RIVAL_RETRY = 10.0
"""Seconds after which a policy that gave way looks whether the other one has let go of the target."""


class PolicyReconciler:
    """Reconciles FailoverPolicies; Failovers are handled in the visit of their policy."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        status: StatusWriter,
        snapshots: Snapshots,
        executor: RunExecutor,
        alignment: Alignment,
        targets: TargetFactory,
        read_policy: ReadPolicy,
        read_run: ReadRun,
        leadership: Leadership,
        clock: Clock,
        recorder: Recorder,
        metrics: Metrics,
        pace: Pace,
        drivers: DriverFactory | None = None,
        epochs: RegionEpochs | None = None,
        watch: RoleWatch | None = None,
        announcer: Announcer | None = None,
        receivers: ReceiverChecks | None = None,
    ) -> None:
        self._pace = pace
        self._receivers = receivers
        self._announcer = announcer or NoAnnouncer()
        self._gathering = Gathering(
            store=store,
            snapshots=snapshots,
            targets=targets,
            drivers=LedDrivers(drivers or NoDrivers(), leadership),
            watch=watch,
            read_policy=read_policy,
        )
        self._drills = DrillSchedule(cluster=cluster, store=store, leadership=leadership)
        self._rejoin = (
            Rejoin(watch=watch, status=status, leadership=leadership, recorder=recorder) if watch is not None else None
        )
        self._cluster = cluster
        self._store = store
        self._status = status
        self._executor = executor
        self._alignment = alignment
        self._read_run = read_run
        self._clock = clock
        self._recorder = recorder
        self._gauges = PolicyMetrics(metrics)
        self._adopting = Adopting(status=status, clock=clock, recorder=recorder, epochs=epochs)

    async def reconcile(self, key: Key) -> float | None:
        """Visit the policy named by `key`; see `Reconciler.reconcile`."""
        policy = self._store.get(FAILOVER_POLICIES, key.namespace, key.name)
        if policy is None or (policy["metadata"].get("deletionTimestamp") and not held(policy)):
            # Nothing is undone: the last good weights stay, and the runs go with their owner.
            self._gauges.forget(key.namespace, key.name)
            if self._receivers is not None:
                self._receivers.forget(key.namespace, key.name)
            return None
        try:
            spec, target_specs = self._gathering.parse(policy)
        except ValueError as error:
            await self._show_invalid(key, policy, error)
            return None
        try:
            context = self._gathering.gather(policy, spec, target_specs)
        except PromotionProblemError as error:
            await self._show_invalid(key, policy, error, reason=error.reason)
            return None
        taken = self._gathering.taken(spec, target_specs)
        if taken:
            problem = Condition("Ready", "False", "TargetConflict", taken)
            return _soonest(RIVAL_RETRY, await self._show(context, Steady(), (), problem))
        if not context.state.adopted:
            adopted = await self._adopting.adopt(context)
            if isinstance(adopted, Condition):
                decision = Steady(candidates=shown_candidates(context.snapshot))
                return _soonest(1.0, await self._show(context, decision, (), adopted))
            context = self._gathering.again(context, target_specs)
        again = await self._visit(context, target_specs)
        self._announce(spec)
        return again

    async def _visit(self, context: Context, target_specs: Sequence[TargetSpec]) -> float | None:
        """Runs first: what is committed comes before anything new."""
        key = Key(FAILOVER_POLICIES, context.spec.namespace, context.spec.name)
        if self._pace.crowded and not moves_traffic(context):
            later = self._pace.stand_back(key)
            if later is not None:
                return later
        waits: list[float | None] = []
        actions: list[str] = []
        advance = await self._held_operation(context)
        if advance is not None and not advance.over:
            context = self._gathering.again(context, target_specs)
            shown = await self._show(context, Steady(), advance.reports, None, action=advance.action)
            return _soonest(advance.retry_after, shown)
        if advance is not None:
            context = self._gathering.again(context, target_specs)
        await self._executor.let_go(context)
        if context.policy["metadata"].get("deletionTimestamp"):
            return None  # it was kept for the run that has just ended
        for run in [run for run in context.runs if not is_over(run)]:
            advance = await self._advance(context, run)
            context = self._gathering.again(context, target_specs)
            waits.append(advance.retry_after)
            actions.append(advance.action)
            if context.state.operation is not None:
                # The commit has said already what is going on. Showing more can wait for the next visit: when many
                # policies fail over at once, every write that is not a weight keeps a weight waiting.
                return _soonest(*waits)
        decision = decide(context.snapshot)
        if isinstance(decision, Plan) and not any(under_way(run) for run in context.runs):
            if not self._pace.enter(key):
                return _soonest(LOOK_AGAIN, *waits)
            try:
                run = await self._executor.start(context, decision)
                context = self._gathering.again(context, target_specs)
                advance = await self._advance(context, run)
            finally:
                self._pace.leave(key)
            actions.append(advance.action)
            context = self._gathering.again(context, target_specs)
            if context.state.operation is not None:
                return advance.retry_after
            decision = decide(context.snapshot)
        if self._rejoin is not None:
            rejoining = await self._rejoin.advance(context)
            waits.append(rejoining.retry_after)
            actions.append(rejoining.action)
        waits.append(await self._drills.advance(context))
        reports = await self._keep(context, decision)
        await self._executor.keep_number(context)
        waits.append(await prune(self._cluster, self._store, context))
        action = next(filter(None, actions), "")
        return _soonest(*waits, await self._show(context, _shown(decision), reports, None, action=action))

    async def _held_operation(self, context: Context) -> Advance | None:
        """Take the committed run forward; None when no run holds the policy."""
        operation = context.state.operation
        if operation is None:
            return None
        run = next((run for run in context.runs if run["metadata"]["uid"] == operation.uid), None)
        if run is None:
            run = await self._missing_run(context, operation.name, operation.uid)
        if is_over(run):
            # The process ended between the run's last write and the policy's: only the release is missing.
            await self._executor.release(context, run)
            return Advance(over=True)
        return await self._advance(context, run)

    async def _advance(self, context: Context, run: Object) -> Advance:
        """Take one run forward. A Failover that cannot be read ends as Failed: it must not stop its policy."""
        try:
            spec = self._read_run(run)
        except ValueError as error:
            return await self._executor.refuse(run, f"the spec cannot be read: {' '.join(str(error).split())[:512]}")
        return await self._executor.advance(context, run, spec)

    async def _missing_run(self, context: Context, name: str, uid: str) -> Object:
        """Read the operation's run past the cache; a run that somebody deleted is released as failed."""
        try:
            run = await self._cluster.get(FAILOVERS, context.spec.namespace, name)
            if run["metadata"]["uid"] == uid:
                self._store.observe(FAILOVERS, run)
                return run
        except NotFoundError:
            pass
        message = f"Failover {name} was deleted while it ran"
        self._recorder.event(
            context.policy, kind="Warning", reason="FailoverDeleted", action="ReleasePolicy", note=message
        )
        metadata = {"namespace": context.spec.namespace, "name": name, "uid": uid}
        return {"metadata": metadata, "spec": {}, "status": {"phase": "Failed"}}

    async def _keep(self, context: Context, decision: Decision) -> list[TargetReport]:
        snapshot = context.snapshot
        distribution = _listed(context)
        carrying = shares.carrying(distribution)
        return await self._alignment.keep(
            context.targets,
            distribution,
            epoch=context.state.epoch,
            owner=owner_text(context.spec),
            may_write=any(proved(snapshot.regions[name], now=snapshot.now) for name in carrying),
            insist=isinstance(decision, Hold) and decision.trigger is TriggerKind.UNREACHABLE,
        )

    async def _show(
        self,
        context: Context,
        decision: Decision,
        reports: Sequence[TargetReport],
        problem: Condition | None,
        *,
        action: str = "",
    ) -> float | None:
        """Write the status, speak of a new hold, and return when the picture may change by itself."""
        spec = context.spec
        self._speak(context, decision)
        if isinstance(decision, Steady) and not decision.candidates and context.state.adopted:
            decision = dataclasses.replace(decision, candidates=shown_candidates(context.snapshot))
        findings = Findings(
            snapshot=context.snapshot,
            decision=decision,
            reports=reports,
            problem=problem,
            action=action,
            receivers=self._receivers.problem(spec, [target.spec for target in context.targets])
            if self._receivers is not None
            else None,
        )
        now = rfc3339(self._clock.wall())
        await self._status.transact(
            FAILOVER_POLICIES,
            spec.namespace,
            spec.name,
            lambda obj: compose(obj, spec, findings, now=now),
            uid=spec.uid,
        )
        self._gauges.measure(context, decision)
        retry = None if isinstance(decision, Plan) else decision.retry_after
        return _soonest(retry, *_ends(context.snapshot), *(report.retry_after for report in reports))

    def _announce(self, spec: PolicySpec) -> None:
        """Comes last, and from what is written: an announcement that nobody could repeat would not be there twice."""
        policy = self._store.get(FAILOVER_POLICIES, spec.namespace, spec.name)
        if policy is not None and spec.options.notifications:
            self._announcer.announce(policy, spec, runs_of(self._store, spec))

    def _speak(self, context: Context, decision: Decision) -> None:
        """Tell of a hold once: when its reason is not the one that the status shows already."""
        shown = find(status_of(context.policy).get("conditions") or (), "Progressing") or {}
        if not isinstance(decision, Hold) or shown.get("reason") == decision.reason:
            return
        self._recorder.event(
            context.policy, kind="Warning", reason=decision.reason, action="HoldFailover", note=decision.message
        )
        log.warning(
            "Failover held: %s", decision.message, extra={"object": context.spec.key, "reason": decision.reason}
        )

    async def _show_invalid(self, key: Key, policy: Object, error: Exception, *, reason: str = "InvalidSpec") -> None:
        """The CRD lets nothing through that cannot be read; an older or edited CRD may."""
        text = " ".join(str(error).split())[:512]

        def change(obj: Object) -> dict[str, Any]:
            status = dict(status_of(obj))
            ready = Condition("Ready", "False", reason, f"the spec cannot be read: {text}")
            generation = int(obj["metadata"].get("generation", 1))
            now = rfc3339(self._clock.wall())
            status["conditions"] = merge(status.get("conditions") or [], [ready], now=now, generation=generation)
            status["observedGeneration"] = generation
            return status

        await self._status.transact(FAILOVER_POLICIES, key.namespace, key.name, change, uid=policy["metadata"]["uid"])


def _listed(context: Context) -> dict[str, int]:
    """The decided distribution over the regions that the spec lists now."""
    names = [entry.name for entry in context.spec.regions]
    decided = {name: context.state.distribution.get(name, 0) for name in names}
    active = context.state.active_region
    if context.spec.topology is not Topology.ACTIVE_ACTIVE and not decided.get(active):
        # The active region changed and its shares were never recorded (a run was overtaken): follow the region.
        return shares.only(names, active)
    return decided


def _shown(decision: Decision) -> Decision:
    """A plan that could not be started at once is shown as what it waits for."""
    if isinstance(decision, Plan):
        return Steady(candidates=decision.candidates, retry_after=0.1)
    return decision


def _ends(snapshot: Snapshot) -> list[float]:
    """Seconds until the cooldown and a spent budget are over: their conditions turn then, though no run may wait."""
    ends = (cooldown_of(snapshot).until_time, budget_end(snapshot) or 0.0)
    return [end - snapshot.wall_time + 0.01 for end in ends if end > snapshot.wall_time]


def _soonest(*waits: float | None) -> float | None:
    return min((wait for wait in waits if wait is not None), default=None)
