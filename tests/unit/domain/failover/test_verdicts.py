"""The corpus of worlds and verdicts: each entry of verdicts.yaml is one world and what must be decided in it.

An entry names only what differs from the usual world: three healthy regions (eu, us, ap with priorities 100, 90, 80),
ActivePassive, eu active at epoch 5, cooldown 300 s, nothing held.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from regent.domain.failover.decide import decide
from regent.domain.failover.model import (
    FailbackMode,
    FiredTrigger,
    Hold,
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
from regent.domain.health.model import AdminState, Figures, Health, RegionHealth

NOW, WALL = 10_000.0, 1_790_000_000.0
PRIORITIES = {"eu": 100, "us": 90, "ap": 80}
URGENCY = {"ErrorRate": Urgency.MEDIUM, "Latency": Urgency.MEDIUM, "Capacity": Urgency.LOW}
CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("verdicts.yaml").read_text(encoding="utf-8"))


def health_of(name: str, given: dict[str, Any]) -> RegionHealth:
    down = given.get("down", False)
    verdict = Health.UNREACHABLE if down else Health(given.get("health", "Healthy"))
    unknown = verdict is Health.UNKNOWN
    up_for = given.get("up_for", 3600.0)
    return RegionHealth(
        region=name,
        health=verdict,
        message="refused" if down else "answers",
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


def view_of(name: str, given: dict[str, Any]) -> RegionView:
    fired = tuple(
        FiredTrigger(kind=TriggerKind(kind), urgency=URGENCY[kind], region=name, message=f"{kind} holds")
        for kind in given.get("fired", ())
    )
    return RegionView(
        name=name,
        exists=given.get("exists", True),
        admin_state=AdminState(given.get("admin", "Enabled")),
        tier={"Primary": 0, "Secondary": 1, "Tertiary": 2}[given.get("tier", "Secondary")],
        priority=given.get("priority", PRIORITIES.get(name, 50)),
        health=health_of(name, given),
        fired=fired,
        settled=given.get("settled", True),
    )


def snapshot_of(case: dict[str, Any]) -> Snapshot:
    policy, state = case.get("policy", {}), case.get("state", {})
    regions = case.get("regions", {})
    names = policy.get("regions", ["eu", "us", "ap"])
    weights, promotions = policy.get("weights", {}), policy.get("promotion", {})
    shared = policy.get("topology") == "ActiveActive"
    usual = {"eu": 34, "us": 33, "ap": 33} if shared else {"eu": 100, "us": 0, "ap": 0}
    active = "" if shared else state.get("active", "eu")
    distribution = state.get("distribution", usual if active in ("", "eu") else {n: 100 * (n == active) for n in names})
    safety = Safety(
        cooldown=policy.get("cooldown", 300.0),
        quorum=policy.get("quorum", 1),
        min_active_regions=policy.get("min_active", 1),
        budget_failovers=policy.get("budget", 3),
    )
    spec = PolicySpec(
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
        safety=safety,
        failback_mode=FailbackMode(policy.get("failback", "Automatic" if shared else "Manual")),
        failback_stabilization=policy.get("stabilization", 120.0),
        unsupported=tuple(policy.get("unsupported", ())),
    )
    runs = tuple(
        RunRecord(
            name=f"shop-{index}",
            type=RunType(run.get("type", "Failover")),
            trigger=TriggerKind(run.get("trigger", "Unreachable")),
            committed=run.get("committed", True),
            automatic=run.get("automatic", True),
            left=frozenset(run.get("left", ())),
            completion_time=None if run.get("running") else WALL - run["ago"],
        )
        for index, run in enumerate(case.get("runs", ()), start=1)
    )
    recorded = PolicyState(
        active_region=active,
        distribution=distribution,
        epoch=state.get("epoch", 5),
        operation=Operation(uid="x", name="shop-9", to="us") if state.get("operation") else None,
        failback_region=state.get("home", ""),
        acknowledged_epoch=state.get("acknowledged", 0),
    )
    world = case.get("world", {})
    everyone = dict.fromkeys([*names, *distribution])
    return Snapshot(
        policy=spec,
        state=recorded,
        regions={name: view_of(name, regions.get(name, {})) for name in everyone},
        now=NOW,
        wall_time=WALL,
        runs=runs,
        in_grace=world.get("grace", False),
        suspend_all=world.get("suspend_all", False),
        suspect_observer=world.get("suspect", ""),
        panic=world.get("panic", ""),
    )


def summary(decision: Plan | Hold | Steady) -> dict[str, Any]:
    if isinstance(decision, Plan):
        return {
            "plan": decision.type.value,
            "trigger": decision.trigger.value,
            "to": decision.to,
            "after": dict(decision.after),
        }
    if isinstance(decision, Hold):
        return {"hold": decision.reason, "person": decision.action_required}
    return {"steady": decision.failback_pending}


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_verdict(case: dict[str, Any]) -> None:
    found = summary(decide(snapshot_of(case)))
    for key, wanted in case["then"].items():
        if key == "steady" and wanted:
            assert wanted in found["steady"], found
        elif key == "reasons":
            rows = {row.region: list(row.reasons) for row in decide(snapshot_of(case)).candidates}
            assert {name: rows[name] for name in wanted} == wanted
        else:
            assert found.get(key) == wanted, found


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_verdict_depends_on_the_snapshot_alone_and_never_empties_the_traffic(case: dict[str, Any]) -> None:
    snapshot = snapshot_of(case)
    decision = decide(snapshot)
    assert decide(snapshot_of(case)) == decision
    if isinstance(decision, Plan):
        assert sum(decision.after.values()) == 100
        carrying = [name for name, share in decision.after.items() if share]
        assert all(snapshot.regions[name].admin_state is AdminState.ENABLED for name in carrying)
        assert not any(snapshot.regions[name].health.down for name in carrying)
    later = dataclasses.replace(snapshot, now=NOW + 1e6, wall_time=WALL - 86_400)
    assert isinstance(decide(later), Plan | Hold | Steady), "a clock that jumps is no reason to fail"
