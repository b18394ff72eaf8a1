"""What would be decided if a region failed now: the operator's own decision, on a snapshot made of what objects show.

The operator builds its snapshots from probes (`snapshots`); here they are built from the statuses that it wrote, so
that anybody who may read them can ask. What a status shows in steps (latency, percentages) is as coarse here, and what
only the operator's process knows (that it has just started, that it doubts itself) is taken to be fine. Nothing is
written, and nothing is asked of the regions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from regent.domain.conditions import find
from regent.domain.failover.course import Course, chart, losing
from regent.domain.failover.decide import decide
from regent.domain.failover.faults import Fault, Measurable, silence, with_fault
from regent.domain.failover.isolation import Finding, Presence, foresee, proof_steps
from regent.domain.failover.model import (
    Candidate,
    FiredTrigger,
    Hold,
    Plan,
    PolicySpec,
    PolicyState,
    RegionView,
    RunType,
    Snapshot,
    TriggerKind,
    Urgency,
)
from regent.domain.failover.options import Approval, Fencing, RunOptions, StepKind
from regent.domain.health.model import AdminState, Figures, Health, RegionHealth
from regent.domain.placement import PlacementRule, judge
from regent.domain.traffic import shares
from regent.engine.history import runs_of
from regent.engine.policy_surroundings import placement_rules, replication_lags
from regent.engine.ports import Object
from regent.engine.records import is_over, policy_state, run_record, status_of, time_of
from regent.engine.resources import REGIONS
from regent.engine.snapshots import region_facts
from regent.engine.store import Store

PROBE_INTERVAL = 1.0


class Outcome(Enum):
    """What would happen to one policy."""

    MOVES = "Moves"
    """A run would start, and all that is known lets it succeed."""
    WAITS = "Waits"
    """A run would start and then wait for a person."""
    PARTLY = "Partly"
    """A run would start and leave some traffic where it is: nobody has room for it."""
    HELD = "Held"
    """A rule stands in the way."""
    STAYS = "Stays"
    """Nothing would be decided, though the region carries traffic."""
    UNAFFECTED = "Unaffected"
    """The region carries none of its traffic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """The answer for one policy. `reason` is CamelCase, `message` a sentence."""

    outcome: Outcome
    reason: str
    message: str
    plan: Plan | None = None
    course: Course | None = None
    candidates: tuple[Candidate, ...] = ()
    isolation: tuple[tuple[str, Finding], ...] = ()
    """By region that could not be asked any more: what would prove that it writes no more. Empty: none is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """The agents of regions, as the hub's objects show them."""

    known: Mapping[str, Presence] = field(default_factory=dict)
    unreadable: str = ""
    """Why they could not be read; "" when they were."""
    skew: float = 2.0
    """Seconds that the operator adds for clocks that differ: its setting failover.maxClockSkew, not to be read here."""
    members: frozenset[str] = frozenset()
    """Regions with a cluster of their own, which is lost with them; objects of the others are in the hub."""


NO_AGENTS = Agents()


def snapshot_of(policy: Object, spec: PolicySpec, store: Store, *, wall: float) -> Snapshot:
    """Build the snapshot of a policy from objects.

    Args:
        policy: the FailoverPolicy.
        spec: what it says.
        store: every Region; of the policy's namespace the Failovers, PlacementPolicies and ReplicationPolicies; itself.
        wall: seconds since the epoch; the snapshot's monotonic time is the same.
    """
    state = policy_state(policy)
    names = list(dict.fromkeys([*(entry.name for entry in spec.regions), *state.distribution]))
    rules = placement_rules(store, spec)
    # The setting failover.suspendAll is not to be read here, but a policy says that it rests without resting by itself.
    rests = status_of(policy).get("phase") == "Suspended" and not spec.suspend
    return Snapshot(
        policy=spec,
        state=state,
        regions={name: region_view(store.get(REGIONS, "", name), name, spec, rules, wall) for name in names},
        now=wall,
        wall_time=wall,
        runs=tuple(run_record(run) for run in runs_of(store, spec)),
        suspend_all=rests,
        lags=_lags(policy, spec, state),
        roles=_roles(policy, spec, state),
        replication=replication_lags(store, spec, state, wall=wall),
    )


def _lags(policy: Object, spec: PolicySpec, state: PolicyState) -> dict[str, float | None]:
    """Give the regions whose data the operator found too far behind when it last looked: the databases themselves are
    not asked here."""
    rows = status_of(policy).get("candidates") or ()
    behind = {str(row.get("region")) for row in rows if "ReplicationLag" in (row.get("reasons") or ())}
    required = any(ref.required for ref in spec.options.replication)
    # Where ReplicationPolicies are required they are asked themselves; their lag is no sign of the databases'.
    return {} if required or not spec.options.holds_data else dict.fromkeys(behind - {state.active_region})


def _roles(policy: Object, spec: PolicySpec, state: PolicyState) -> dict[str, frozenset[str]]:
    """Give the data steps that the operator saw active in more than one region, as far as the status tells."""
    rows = status_of(policy).get("candidates") or ()
    double = [str(row.get("region")) for row in rows if "SplitBrainSuspected" in (row.get("reasons") or ())]
    data = frozenset(step.name for step in spec.options.promotion if step.holds_data)
    return dict.fromkeys([state.active_region, *double], data) if double and data else {}


def simulate(
    snapshot: Snapshot,
    faulty: Collection[str],
    fault: Fault,
    *,
    measurable: Mapping[str, Measurable],
    enabled: Mapping[str, RegionHealth],
    agents: Agents = NO_AGENTS,
) -> Simulated:
    """Say what would happen to the policy if `fault` came over all of `faulty` now; see `with_fault`.

    `agents`: who would prove that a region which is down writes no more.
    """
    state = snapshot.state
    carrying = [name for name in shares.carrying(state.distribution) if name in faulty]
    broken = with_fault(snapshot, faulty, fault, measurable=measurable, enabled=enabled)
    decision = decide(broken)
    rows = decision.candidates
    if not state.adopted:
        message = "it has not found out yet what is active"
        return Simulated(outcome=Outcome.STAYS, reason="PolicyNotReady", message=message)
    if not carrying:
        return Simulated(
            outcome=Outcome.UNAFFECTED,
            reason="NoTraffic",
            message=f"{', '.join(sorted(faulty))} carries none of its traffic",
            candidates=rows,
        )
    if state.operation is not None:
        message = f"{state.operation.name} is under way and is finished first"
        return Simulated(outcome=Outcome.STAYS, reason="RunUnderWay", message=message, candidates=rows)
    if isinstance(decision, Hold):
        return Simulated(outcome=Outcome.HELD, reason=decision.reason, message=decision.message, candidates=rows)
    if isinstance(decision, Plan) and _leaves(decision, carrying):
        lost = faulty if fault is Fault.DOWN else ()
        return _planned(broken, decision, lost=lost, agents=agents)
    why = "; ".join(
        f"{name}: {reason}" for name in carrying if (reason := silence(fault, snapshot.policy, measurable[name]))
    )
    message = why or "no trigger fires"
    return Simulated(outcome=Outcome.STAYS, reason="NoTrigger", message=message, candidates=rows)


def _leaves(plan: Plan, carrying: Collection[str]) -> bool:
    """Tell whether the plan answers the fault; another change that is due anyway does not."""
    shrinks = any(plan.after.get(name, 0) < plan.before.get(name, 0) for name in carrying)
    return shrinks and plan.type is not RunType.REBALANCE


def _planned(snapshot: Snapshot, plan: Plan, *, lost: Collection[str], agents: Agents) -> Simulated:
    course = chart(snapshot.policy, plan, wanted=None, source_down=bool(lost))
    isolation = _isolation(snapshot.policy, plan, course, lost, agents)
    outcome, reason, message = Outcome.MOVES, plan.trigger.value, plan.reason
    waits = [*_approval(snapshot.policy.options, course), *_proof(isolation, agents)]
    if waits:
        outcome, reason = Outcome.WAITS, waits[0][0]
        message = "; ".join([plan.reason, *(text for _, text in waits)])
    elif plan.shortfall:
        outcome, reason, message = Outcome.PARTLY, "CapacityShort", f"{plan.reason}; {plan.shortfall}"
    return Simulated(
        outcome=outcome,
        reason=reason,
        message=message,
        plan=plan,
        course=course,
        candidates=plan.candidates,
        isolation=isolation,
    )


def _approval(options: RunOptions, course: Course) -> list[tuple[str, str]]:
    loses = options.holds_data and not course.planned
    if options.approval is Approval.ALWAYS or (options.approval is Approval.WHEN_DATA_LOSS and loses):
        rule = f"safety.approval is {options.approval.value}, so a person has to approve the plan"
        return [("AwaitingApproval", rule)]
    return []


def _isolation(
    policy: PolicySpec, plan: Plan, course: Course, lost: Collection[str], agents: Agents
) -> tuple[tuple[str, Finding], ...]:
    """What would be known of the old sides that cannot be asked any more; () where nothing has to be proved."""
    if course.planned or policy.options.fencing is not Fencing.REQUIRED:
        return ()
    gone = [name for name in losing(plan.before, plan.after) if name in lost and _silent(policy, name, agents)]
    return tuple((name, foresee(agents.known.get(name), policy, region=name, skew=agents.skew)) for name in gone)


def _silent(policy: PolicySpec, region: str, agents: Agents) -> bool:
    """Whether something of the policy is lost with the region and can neither be asked nor stopped from outside."""
    kinds = {step.kind for step in proof_steps(policy)} - {StepKind.HTTP}  # an endpoint may be anywhere
    return bool(kinds) and (StepKind.PATRONI in kinds or region in agents.members)


def _proof(isolation: Sequence[tuple[str, Finding]], agents: Agents) -> list[tuple[str, str]]:
    """Why the run would stand still at Isolate; [] when the proof would come by itself."""
    if not isolation or all(found.proved for _, found in isolation):
        return []
    if agents.unreadable:
        return [("FencingUnknown", f"fencing is Required, and whether an agent would prove it: {agents.unreadable}")]
    open_ends = "; ".join(found.message for _, found in isolation if not found.proved)
    rule = "fencing is Required, so it would pause until a person has fenced by hand and sets control.acceptDataLoss"
    return [("FencingNotProved", f"{rule}: {open_ends}")]


def unfinished(store: Store, spec: PolicySpec) -> list[str]:
    """Name the policy's runs that are not over: they may move it before any fault does."""
    return [str(run["metadata"]["name"]) for run in runs_of(store, spec) if not is_over(run)]


def health_of(name: str, region: Object, *, now: float, wall: float) -> RegionHealth:
    """Read a Region's health from its status. `now` is the monotonic time at the wall time `wall`."""
    status = status_of(region)
    health = next((member for member in Health if member.value == status.get("health")), Health.UNKNOWN)
    reachable = find(status.get("conditions") or (), "Reachable") or {}
    is_down = health is Health.UNREACHABLE or reachable.get("status") == "False"
    votes = [item.get("health") == Health.UNREACHABLE.value for item in status.get("vantages") or ()]
    since = time_of(reachable.get("lastTransitionTime")) or wall
    serves = not is_down and health is not Health.UNKNOWN
    latency, vantages = status.get("latencyMilliseconds"), len(votes)
    return RegionHealth(
        region=name,
        health=health,
        reason=str(reachable.get("reason") or "Unknown"),
        message=str(status.get("message") or ""),
        since_time=time_of(status.get("lastTransitionTime")) or wall,
        down=is_down,
        down_since=now - (wall - since) if is_down else None,
        first_failure=now - (wall - since) if is_down else None,
        down_votes=sum(votes),
        vantages=vantages,
        # The operator would not show it as serving without proof, and it would look again before it acts.
        proved_at=now if serves else None,
        probe_interval=PROBE_INTERVAL,
        up_since=now - (wall - since) if serves else None,
        figures=Figures(
            latency_p50=None if latency is None else float(latency) / 1_000,
            error_rate_percent=status.get("errorRatePercent"),
            capacity_available_percent=status.get("capacityAvailablePercent"),
        ),
    )


def region_view(
    region: Object | None, name: str, spec: PolicySpec, rules: Sequence[PlacementRule], wall: float
) -> RegionView:
    """Read a Region as the decision sees it; None or one that is being deleted does not exist."""
    if region is None or region["metadata"].get("deletionTimestamp"):
        return RegionView(name=name, exists=False, health=RegionHealth(region=name))
    facts = region_facts(region)
    health = health_of(name, region, now=wall, wall=wall)
    placed = judge(rules, name, facts.compliance)
    return RegionView(
        name=name,
        admin_state=facts.admin_state,
        tier=facts.tier,
        priority=facts.priority,
        health=health,
        fired=_fired(name, health, spec),
        settled=facts.admin_state is AdminState.DISABLED or health.health is not Health.UNKNOWN,
        suspended=facts.suspended,
        capacity_total=facts.capacity_total,
        placement_denied=placed.denied,
        placement_preferred=placed.preferred,
    )


def _fired(region: str, health: RegionHealth, spec: PolicySpec) -> tuple[FiredTrigger, ...]:
    """Give the rate triggers that the shown figures are past: for how long they have been is not shown."""
    figures, triggers = health.figures, spec.triggers
    capacity = figures.capacity_available_percent
    asked = (
        (TriggerKind.ERROR_RATE, Urgency.MEDIUM, triggers.error_rate, figures.error_rate_percent, 1),
        (TriggerKind.LATENCY, Urgency.MEDIUM, triggers.latency, figures.latency_p50, 1),
        (TriggerKind.CAPACITY, Urgency.LOW, triggers.capacity, capacity, -1),
    )
    return tuple(
        FiredTrigger(kind=kind, urgency=urgency, region=region, message=f"Region {region}: {kind.value} past its limit")
        for kind, urgency, rate, value, sign in asked
        if rate is not None and value is not None and sign * value > sign * rate.threshold
    )


def enabled_healths(store: Store, *, wall: float) -> dict[str, RegionHealth]:
    """Give the health of every Region that is Enabled."""
    regions = {str(region["metadata"]["name"]): region for region in store.list(REGIONS)}
    return {
        name: health_of(name, region, now=wall, wall=wall)
        for name, region in regions.items()
        if region_facts(region).admin_state is AdminState.ENABLED
    }
