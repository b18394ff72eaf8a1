"""A drill: everything that a run would need, looked at and judged, with nothing changed.

It goes as far as a dry run, and then asks every promotion step in both regions whether the move would work now. What a
drill cannot show is that an effect happens: for that, make a Switchover.
"""

from __future__ import annotations

from regent.domain.errors import AlreadyExistsError, ClusterError, RegentError
from regent.domain.failover.candidates import proved
from regent.domain.failover.course import Course, gaining, losing
from regent.domain.failover.drills import decide_drill
from regent.domain.failover.model import Plan, TriggerKind
from regent.domain.failover.prepare import Refusal
from regent.domain.failover.roles import Role, RoleState
from regent.domain.times import rfc3339
from regent.domain.traffic import shares
from regent.engine.ports import Cluster, Leadership, Object
from regent.engine.promotion import PromotionDriver
from regent.engine.records import DRILL_TIME_ANNOTATION, TRIGGER_ANNOTATION
from regent.engine.resources import FAILOVERS
from regent.engine.run_context import Context
from regent.engine.run_objects import new_run_metadata
from regent.engine.store import Store


class DrillSchedule:
    """Makes the Drill runs that `spec.drills` asks for."""

    def __init__(self, *, cluster: Cluster, store: Store, leadership: Leadership) -> None:
        self._cluster = cluster
        self._store = store
        self._leadership = leadership

    async def advance(self, context: Context) -> float | None:
        """Make a drill that is due; return the seconds until the next one, None without a schedule."""
        due = decide_drill(context.snapshot, _last(context))
        if due.due_time is not None:
            self._leadership.check()
            try:
                made = await self._cluster.create(FAILOVERS, _object(context, due.due_time))
            except AlreadyExistsError:
                pass  # made before a crash, or by the leader before us: its name is that of the time it is for
            else:
                self._store.observe(FAILOVERS, made)
                return 0.0
        if due.next_time is None:
            return None
        return max(1.0, due.next_time - context.snapshot.wall_time)


def _last(context: Context) -> float | None:
    times = (run.scheduled_time for run in context.snapshot.runs)
    return max((time for time in times if time is not None), default=None)


def _source(context: Context) -> str:
    """The region that is rehearsed to fail: the active one, or the one that has the most where all are active."""
    shares_now = context.state.distribution
    return context.state.active_region or max(shares_now, key=lambda name: shares_now[name])


def _object(context: Context, due: float) -> Object:
    """The run, named after the time that it is for: however often it is made, there is one."""
    spec = context.spec
    body = new_run_metadata(spec, name=f"{spec.name}-d{int(due // 60):x}")
    body["metadata"]["annotations"] = {
        TRIGGER_ANNOTATION: TriggerKind.SCHEDULE.value,
        DRILL_TIME_ANNOTATION: rfc3339(due),
    }
    reason = f"drill of {rfc3339(due)} by spec.drills.schedule"
    policy = {"name": spec.name}
    return {
        **body,
        "spec": {"policyRef": policy, "type": "Drill", "from": _source(context), "reason": reason},
    }


async def drill(context: Context, plan: Plan, course: Course) -> Refusal:
    """Return how the drill ends: Succeeded, or Failed with everything that stands in the way."""
    found = [*_regions(context, plan), *await _steps(context, plan), *await _targets(context, plan)]
    move = f"{shares.describe(plan.before)} to {shares.describe(plan.after)}, by {', '.join(course.order)}"
    if found:
        return Refusal(phase="Failed", reason="DrillFailed", message=f"{'; '.join(found)}. Rehearsed: {move}"[:1024])
    return Refusal(phase="Succeeded", reason="DrillPassed", message=f"would move {move}"[:1024])


def _regions(context: Context, plan: Plan) -> list[str]:
    views = [context.snapshot.regions[name] for name in gaining(plan.before, plan.after)]
    return [f"{view.name} is not proved healthy" for view in views if not proved(view, now=context.snapshot.now)]


async def _steps(context: Context, plan: Plan) -> list[str]:
    found = []
    for driver in context.drivers:
        for region in losing(plan.before, plan.after):
            state = await _observe(driver, region)
            if state.role not in (Role.ACTIVE, Role.ABSENT):
                found.append(f"{driver.step.name} is {state.role.value} in {region}, not Active: {state.message}")
        for region in gaining(plan.before, plan.after):
            found.extend(_standby(context, driver, region, await _observe(driver, region)))
    return found


def _standby(context: Context, driver: PromotionDriver, region: str, state: RoleState) -> list[str]:
    name, gate = driver.step.name, context.spec.options.max_replication_lag
    if state.role is not Role.STANDBY:
        return [f"{name} is {state.role.value} in {region}, not Standby: {state.message}"]
    if driver.step.holds_data and (state.lag is None or state.lag > gate):
        lag = "unknown" if state.lag is None else f"{state.lag:.0f} s"
        return [f"{name} in {region}: its lag is {lag}, safety.maxReplicationLag is {gate:.0f} s"]
    return []


async def _observe(driver: PromotionDriver, region: str) -> RoleState:
    try:
        return await driver.observe(region)
    except (ClusterError, RegentError) as error:
        return RoleState(role=Role.UNKNOWN, message=str(error))


async def _targets(context: Context, plan: Plan) -> list[str]:
    states = [await target.observe(plan.after, fresh=True) for target in context.targets]
    return [f"{state.ref}: {state.message}" for state in states if state.problem]
