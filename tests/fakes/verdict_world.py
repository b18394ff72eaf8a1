"""Worlds of the verdict corpus: from a few words of YAML to a `Snapshot`, and from a decision to words again.

An entry names only what differs from the usual world: three healthy regions (eu, us, ap with priorities 100, 90, 80),
ActivePassive, eu active at epoch 5, cooldown 300 s, Saturday 2026-09-19 12:00 UTC, nothing held. Times are in seconds.
"""

from __future__ import annotations

from typing import Any

from regent.domain.failover.model import (
    FailbackMode,
    FiredTrigger,
    GroupState,
    Hold,
    LatchKind,
    Mode,
    Operation,
    Plan,
    PolicyRegion,
    PolicySpec,
    PolicyState,
    Promotion,
    RegionView,
    RunRecord,
    RunType,
    Safety,
    Snapshot,
    Steady,
    Topology,
    TriggerKind,
    Triggers,
    Urgency,
)
from regent.domain.failover.options import (
    BlueGreen,
    Drills,
    MaxShift,
    Preemption,
    PromotionStep,
    RunOptions,
    StepKind,
    TrafficOverride,
    Window,
)
from regent.domain.health.model import AdminState, Figures, Health, RegionHealth
from regent.domain.times import parse_rfc3339

NOW, WALL = 10_000.0, parse_rfc3339("2026-09-19T12:00:00Z")
PRIORITIES = {"eu": 100, "us": 90, "ap": 80}
URGENCY = {"ErrorRate": Urgency.MEDIUM, "Latency": Urgency.MEDIUM, "Capacity": Urgency.LOW}
TIERS = {"Primary": 0, "Secondary": 1, "Tertiary": 2}
Words = dict[str, Any]


def health_of(name: str, given: Words, wall: float) -> RegionHealth:
    down = given.get("down", False)
    verdict = Health.UNREACHABLE if down else Health(given.get("health", "Healthy"))
    unknown = verdict is Health.UNKNOWN
    up_for = given.get("up_for", 3600.0)
    return RegionHealth(
        region=name,
        health=verdict,
        message="refused" if down else "answers",
        since_time=wall - given.get("healthy_for", 3600.0),
        down=down,
        down_since=NOW - 1 if down else None,
        first_failure=NOW - 1.4 if down else None,
        down_votes=given.get("votes", 1 if down else 0),
        vantages=1,
        proved_at=None if down or unknown else NOW - given.get("proof_age", 0.3),
        probe_interval=1.0,
        up_since=None if down or unknown else NOW - up_for,
        figures=Figures(latency_p50=given.get("latency", 0.01), capacity_available_percent=given.get("free")),
    )


def view_of(name: str, given: Words, wall: float) -> RegionView:
    fired = tuple(
        FiredTrigger(kind=TriggerKind(kind), urgency=URGENCY[kind], region=name, message=f"{kind} holds")
        for kind in given.get("fired", ())
    )
    return RegionView(
        name=name,
        exists=given.get("exists", True),
        admin_state=AdminState(given.get("admin", "Enabled")),
        tier=TIERS[given.get("tier", "Secondary")],
        priority=given.get("priority", PRIORITIES.get(name, 50)),
        health=health_of(name, given, wall),
        fired=fired,
        settled=given.get("settled", True),
        suspended=given.get("suspend", False),
        capacity_total=given.get("total"),
        placement_denied=given.get("denied", ""),
        placement_preferred=given.get("preferred", True),
    )


def _safety(policy: Words) -> Safety:
    percent, per = policy.get("max_shift", (100, 60))
    return Safety(
        cooldown=policy.get("cooldown", 300.0),
        quorum=policy.get("quorum", 1),
        min_active_regions=policy.get("min_active", 1),
        budget_failovers=policy.get("budget", 3),
        max_shift=MaxShift(percent=percent, per=float(per)),
        windows=tuple(
            Window(
                start=item["start"],
                duration=float(item.get("duration", 3600)),
                time_zone=item.get("zone", ""),
                allow=tuple(item.get("allow", ("Failback", "Drill"))),
            )
            for item in policy.get("windows", ())
        ),
    )


def _groups(policy: Words) -> BlueGreen | None:
    given = policy.get("groups")
    if given is None and policy.get("topology") != "BlueGreen":
        return None
    given = given or {}
    return BlueGreen(
        blue=tuple(given.get("blue", ("eu",))),
        green=tuple(given.get("green", ("us", "ap"))),
        desired=given.get("desired", "Blue"),
        switch_after=float(given.get("switch_after", 60)),
        observe=float(given.get("observe", 600)),
    )


def _policy(policy: Words, names: list[str], wall: float) -> PolicySpec:
    weights, promotions = policy.get("weights", {}), policy.get("promotion", {})
    shared = policy.get("topology") == "ActiveActive"
    override = policy.get("override")
    drills = policy.get("drills")
    return PolicySpec(
        namespace="shop",
        name="shop",
        uid="u",
        topology=Topology(policy.get("topology", "ActivePassive")),
        regions=tuple(
            PolicyRegion(
                name=name, weight_percent=weights.get(name), promotion=Promotion(promotions.get(name, "Neutral"))
            )
            for name in names
        ),
        mode=Mode(policy.get("mode", "Automatic")),
        suspend=policy.get("suspend", False),
        triggers=Triggers(unreachable=policy.get("unreachable", True)),
        safety=_safety(policy),
        failback_mode=FailbackMode(policy.get("failback", "Automatic" if shared else "Manual")),
        failback_stabilization=policy.get("stabilization", 120.0),
        blue_green=_groups(policy),
        preemption=Preemption(policy.get("preemption", "Never")),
        traffic_override=TrafficOverride(distribution=override["to"], expiration_time=wall + override.get("left", 3600))
        if override
        else None,
        options=RunOptions(
            promotion=tuple(
                PromotionStep(name=name, kind=StepKind(kind)) for name, kind in policy.get("steps", {}).items()
            ),
            max_replication_lag=policy.get("max_lag", 30.0),
            drills=Drills(schedule=drills["schedule"], time_zone=drills.get("zone", "")) if drills else None,
        ),
        unsupported=tuple(policy.get("unsupported", ())),
    )


def _run(index: int, run: Words, wall: float) -> RunRecord:
    before, after = run.get("before", {}), run.get("after", {})
    left = [name for name, share in before.items() if share and not after.get(name)]
    return RunRecord(
        name=f"shop-{index}",
        type=RunType(run.get("type", "Failover")),
        trigger=TriggerKind(run.get("trigger", "Unreachable")),
        committed=run.get("committed", True),
        automatic=run.get("automatic", True),
        left=frozenset(run.get("left", left)),
        completion_time=None if run.get("running") else wall - run["ago"],
        phase=run.get("phase", "Succeeded"),
        source=run.get("from", ""),
        to=run.get("to", ""),
        before=before,
        after=after,
    )


def _state(policy: Words, state: Words, names: list[str], wall: float) -> PolicyState:
    shared = policy.get("topology") == "ActiveActive"
    usual = {"eu": 34, "us": 33, "ap": 33} if shared else {"eu": 100, "us": 0, "ap": 0}
    active = "" if shared else state.get("active", "eu")
    only = {name: 100 * (name == active) for name in names}
    groups, challenger = state.get("groups", {}), state.get("challenger", {})
    return PolicyState(
        active_region=active,
        distribution=state.get("distribution", usual if active in ("", "eu") else only),
        epoch=state.get("epoch", 5),
        operation=Operation(uid="x", name="shop-9", to="us") if state.get("operation") else None,
        failback_region=state.get("home", ""),
        acknowledged_epoch=state.get("acknowledged", 0),
        groups=GroupState(
            group=groups.get("group", ""),
            switch_time=wall - groups["switched"] if "switched" in groups else None,
            latched=groups.get("latched", ""),
            latch=LatchKind(groups.get("latch", "FailedInObserve")),
        ),
        challenger=challenger.get("region", ""),
        challenger_time=wall - challenger["ago"] if challenger else None,
    )


def snapshot_of(case: Words) -> Snapshot:
    """The world that the entry describes."""
    policy, world, regions = case.get("policy", {}), case.get("world", {}), case.get("regions", {})
    wall = parse_rfc3339(world["at"]) if "at" in world else WALL
    names = policy.get("regions", ["eu", "us", "ap"])
    state = _state(policy, case.get("state", {}), names, wall)
    everyone = dict.fromkeys([*names, *state.distribution])
    return Snapshot(
        policy=_policy(policy, names, wall),
        state=state,
        regions={name: view_of(name, regions.get(name, {}), wall) for name in everyone},
        now=NOW,
        wall_time=wall,
        runs=tuple(_run(index, run, wall) for index, run in enumerate(case.get("runs", ()), start=1)),
        in_grace=world.get("grace", False),
        suspend_all=world.get("suspend_all", False),
        suspect_observer=world.get("suspect", ""),
        clock_off=world.get("clock", ""),
        panic=world.get("panic", ""),
        lags=world.get("lags", {}),
        lag_doubts=world.get("lag_doubts", {}),
        diverged=world.get("diverged", {}),
        replication=world.get("replication", {}),
        roles={region: frozenset(steps) for region, steps in world.get("roles", {}).items()},
        roles_seen=world.get("roles_seen", True),
    )


def words_of(decision: Plan | Hold | Steady) -> Words:
    """What was decided, in the words of the corpus; `says` is all that people are told."""
    if isinstance(decision, Plan):
        return {
            "plan": decision.type.value,
            "trigger": decision.trigger.value,
            "from": decision.source,
            "to": decision.to,
            "after": dict(decision.after),
            "says": f"{decision.reason} {decision.shortfall}",
        }
    if isinstance(decision, Hold):
        return {"hold": decision.reason, "person": decision.action_required, "says": decision.message}
    said = f"{decision.failback_pending} {decision.switch_pending}"
    return {
        "steady": decision.failback_pending,
        "pending": decision.switch_pending,
        "challenger": decision.challenger,
        "says": said,
    }
