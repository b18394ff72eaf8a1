"""What if a region failed: the decision is the operator's own, on what the objects show."""

from __future__ import annotations

from typing import Any

import pytest

from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.domain.failover.faults import Fault, Measurable
from regent.domain.failover.fence import Fence
from regent.domain.failover.isolation import Presence, guard
from regent.domain.failover.model import RunType, TriggerKind
from regent.domain.failover.options import TransitionType
from regent.domain.times import parse_rfc3339
from regent.engine.resources import (
    FAILOVER_POLICIES,
    FAILOVERS,
    PLACEMENT_POLICIES,
    REGIONS,
    REPLICATION_POLICIES,
    Resource,
)
from regent.engine.simulation import (
    NO_AGENTS,
    Agents,
    Outcome,
    Simulated,
    enabled_healths,
    health_of,
    simulate,
    snapshot_of,
    unfinished,
)
from regent.engine.store import Store

WALL = parse_rfc3339("2026-11-21T12:00:00Z")
NAMES = ("west", "central", "east")


def region(name: str, health: str = "Healthy", **changed: Any) -> dict[str, Any]:
    up = health not in ("Unreachable", "Unknown")
    return {
        "metadata": {"name": name},
        "spec": {"priority": 100 - NAMES.index(name) if name in NAMES else 1, **changed.pop("spec", {})},
        "status": {
            "health": health,
            "vantages": [{"name": "operator", "health": health}],
            "conditions": [
                {
                    "type": "Reachable",
                    "status": "True" if up else "False",
                    "reason": "Up",
                    "lastTransitionTime": "2026-11-21T10:00:00Z",
                }
            ],
            **changed,
        },
    }


def policy(*, topology: str = "ActivePassive", status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    shared = topology == "ActiveActive"
    shares = {"west": 50, "central": 50, "east": 0} if shared else {"west": 100, "central": 0, "east": 0}
    return {
        "metadata": {"name": "shop", "namespace": "shop", "uid": "u"},
        "spec": {"topology": topology, "regions": [{"name": name} for name in NAMES], **spec},
        "status": {
            "epoch": 3,
            "activeRegion": "" if shared else "west",
            "distribution": [{"region": name, "weightPercent": share} for name, share in shares.items()],
            **(status or {}),
        },
    }


def stored(resource: Resource, *objects: dict[str, Any], store: Store | None = None) -> Store:
    """Put objects into a store, as an API server would have numbered them."""
    store = store or Store()
    for obj in objects:
        name = obj["metadata"]["name"]
        store.observe(resource, {**obj, "metadata": {"uid": name, "resourceVersion": "1", **obj["metadata"]}})
    return store


def ask(
    made: dict[str, Any],
    fault: Fault = Fault.DOWN,
    *,
    faulty: tuple[str, ...] = ("west",),
    regions: list[dict[str, Any]] | None = None,
    runs: list[dict[str, Any]] | None = None,
    measurable: Measurable | None = None,
    others: dict[Resource, list[dict[str, Any]]] | None = None,
    agents: Agents = NO_AGENTS,
) -> Simulated:
    store = stored(REGIONS, *(regions or map(region, NAMES)))
    stored(FAILOVER_POLICIES, made, store=store)
    stored(FAILOVERS, *(runs or []), store=store)
    for resource, items in (others or {}).items():
        stored(resource, *items, store=store)
    spec, _ = policy_spec(made)
    return simulate(
        snapshot_of(made, spec, store, wall=WALL),
        frozenset(faulty),
        fault,
        measurable={name: measurable or Measurable() for name in faulty},
        enabled=enabled_healths(store, wall=WALL),
        agents=agents,
    )


def test_a_region_that_dies_is_left_for_the_best() -> None:
    result = ask(policy())
    assert (result.outcome, result.reason) == (Outcome.MOVES, "Unreachable")
    assert result.plan is not None
    assert (result.plan.type, result.plan.to, result.plan.after["central"]) == (RunType.FAILOVER, "central", 100)
    assert result.course is not None
    assert result.course.order[-1] == "Finalize"
    assert not result.course.planned


def test_the_best_is_judged_by_the_live_objects() -> None:
    regions = [region("west"), region("central", "Degraded"), region("east")]
    result = ask(policy(), regions=regions)
    assert result.plan is not None
    assert result.plan.to == "east"
    assert next(row for row in result.candidates if row.region == "central").reasons == ("HealthDegraded",)


def test_when_everything_else_is_down_it_is_held() -> None:
    regions = [region("west"), region("central", "Unreachable"), region("east", spec={"adminState": "Drained"})]
    result = ask(policy(), regions=regions)
    assert (result.outcome, result.reason) == (Outcome.HELD, "NoCandidate")
    assert "east: AdminStateDrained; central: Unreachable" in result.message


@pytest.mark.parametrize(
    ("spec", "status", "reason"),
    [
        ({"mode": "Manual"}, {}, "ManualMode"),
        ({"suspend": True}, {"phase": "Suspended"}, "Suspended"),
        ({}, {"phase": "Suspended"}, "SuspendedGlobally"),
        ({"safety": {"quorum": 2}}, {}, "QuorumMissing"),
    ],
)
def test_the_rules_that_hold_it_back(spec: dict[str, Any], status: dict[str, Any], reason: str) -> None:
    result = ask(policy(status=status, **spec))
    assert (result.outcome, result.reason) == (Outcome.HELD, reason)


def test_every_vantage_that_looks_now_is_taken_to_agree() -> None:
    vantages = [{"name": name, "health": "Healthy"} for name in ("operator", "ap")]
    regions = [region("west", vantages=vantages), region("central"), region("east")]
    assert ask(policy(safety={"quorum": 2}), regions=regions).outcome is Outcome.MOVES


def test_a_region_that_carries_nothing_changes_nothing() -> None:
    result = ask(policy(), faulty=("east",))
    assert (result.outcome, result.reason) == (Outcome.UNAFFECTED, "NoTraffic")
    assert next(row for row in result.candidates if row.region == "east").reasons == ("Unreachable",)


def test_a_run_under_way_goes_first() -> None:
    result = ask(policy(status={"operation": {"uid": "x", "name": "shop-4", "to": "east"}}))
    assert (result.outcome, result.reason) == (Outcome.STAYS, "RunUnderWay")


def test_a_policy_that_knows_nothing_yet() -> None:
    assert ask(policy(status={"distribution": [], "epoch": 0})).reason == "PolicyNotReady"


def test_many_regions_at_once_are_a_panic() -> None:
    made = policy()
    others = [region(name) for name in ("a", "b")]
    result = ask(made, faulty=("west", "a", "b"), regions=[*map(region, NAMES), *others])
    assert (result.outcome, result.reason) == (Outcome.HELD, "Panic")
    result = ask(made, faulty=("west", "a"), regions=[*map(region, NAMES), *others])
    assert result.outcome is Outcome.MOVES


def test_what_was_down_before_makes_no_panic() -> None:
    before = [region("a", "Unreachable"), region("b", "Unreachable")]
    assert ask(policy(), regions=[*map(region, NAMES), *before]).outcome is Outcome.MOVES


def test_a_drained_region_hands_over() -> None:
    result = ask(policy(), Fault.DRAINED)
    assert result.plan is not None
    assert (result.plan.type, result.plan.trigger) == (RunType.SWITCHOVER, TriggerKind.ADMIN_STATE)
    assert result.course is not None
    assert result.course.planned


ERRORS = {"triggers": {"errorRate": {"percent": 10}}}
SLOW = {"triggers": {"latency": {"threshold": "1s", "mode": "Enabled"}}}


@pytest.mark.parametrize(
    ("fault", "spec", "measurable", "said"),
    [
        (Fault.DEGRADED, ERRORS, Measurable(load_errors=True), ""),
        (Fault.DEGRADED, ERRORS, Measurable(), "the region reports none"),
        (Fault.DEGRADED, {"triggers": {"errorRate": {"source": "Probes"}}}, Measurable(), ""),
        (Fault.DEGRADED, {"triggers": {"errorRate": {"mode": "Disabled"}}}, Measurable(load_errors=True), "Disabled"),
        (Fault.SLOW, SLOW, Measurable(longest_timeout=2.0), ""),
        (Fault.SLOW, SLOW, Measurable(longest_timeout=1.0), "no probe of the region waits longer than 1s"),
        (Fault.SLOW, {}, Measurable(longest_timeout=2.0), "spec.triggers.latency is Disabled"),
        (Fault.DOWN, {"triggers": {"unreachable": {"mode": "Disabled"}}}, Measurable(), "unreachable is Disabled"),
    ],
)
def test_only_what_can_be_measured_fires(fault: Fault, spec: dict[str, Any], measurable: Measurable, said: str) -> None:
    result = ask(policy(**spec), fault, measurable=measurable)
    assert result.outcome is (Outcome.STAYS if said else Outcome.MOVES), result
    assert said in result.message


def test_a_slow_region_waits_for_the_cooldown_and_a_dead_one_does_not() -> None:
    run = {
        "metadata": {"name": "shop-3", "namespace": "shop", "labels": {"regent.dev/managed-by": "regent"}},
        "spec": {"policyRef": {"name": "shop"}},
        "status": {"phase": "Succeeded", "epoch": 3, "completionTime": "2026-11-21T11:59:00Z"},
    }
    other = {**run, "spec": {"policyRef": {"name": "cart"}}}
    patient = Measurable(longest_timeout=2.0)
    assert ask(policy(**SLOW), Fault.SLOW, runs=[run], measurable=patient).reason == "Cooldown"
    assert ask(policy(**SLOW), Fault.SLOW, runs=[other], measurable=patient).outcome is Outcome.MOVES
    assert ask(policy(**SLOW), Fault.DOWN, runs=[run]).outcome is Outcome.MOVES


CLUSTERS = [{"region": name, "url": f"https://{name}:8008"} for name in NAMES]
DATABASE = {"name": "db", "type": "Patroni", "patroni": {"clusters": CLUSTERS}}
VOLUME = {"name": "disk", "type": "VolumeReplication", "volumeReplication": {"name": "disk"}}
HTTP_DATA = {"name": "own", "type": "HTTP", "http": {"url": "https://own.example.com", "data": "Held"}}


def guarded(made: dict[str, Any], **changed: Any) -> Agents:
    """An agent in west that knows the policy as it is."""
    spec, _ = policy_spec(made)
    times = {"renewal": ("1",), "duration": 10.0, "demotion_limit": 5.0}
    agent: dict[str, Any] = {"holder": "a", "guards": {spec.key: guard(spec)}, **times, **changed}
    return Agents(known={"west": Presence(**agent)})


def test_a_dead_primary_without_an_agent_waits_for_a_person() -> None:
    result = ask(policy(promotion={"steps": [DATABASE]}))
    assert (result.outcome, result.reason) == (Outcome.WAITS, "FencingNotProved")
    assert "no agent is known in region west" in result.message
    assert "acceptDataLoss" in result.message


def test_an_agent_that_would_fence_lets_it_move_and_says_when() -> None:
    made = policy(promotion={"steps": [DATABASE]})
    result = ask(made, agents=guarded(made))
    assert (result.outcome, result.reason) == (Outcome.MOVES, "Unreachable")
    ((name, found),) = result.isolation
    assert (name, found.proved, found.retry_after) == ("west", True, 10 * 1.65 + 5 + 2)
    assert found.message == "the agent in west would have fenced it 23s500ms after it was last heard"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"holder": ""}, "was stopped or has never run"),
        ({"guards": {}}, "did not know the policy as it is now"),
        ({"impaired": "its API server is away"}, "could not have fenced it: its API server is away"),
        # What it once isolated for an earlier run is no answer to the next one.
        ({"guards": {}, "isolated": {"shop/shop": Fence(3, 1, 800)}}, "did not know the policy as it is now"),
    ],
)
def test_an_agent_whose_silence_would_prove_nothing(changed: dict[str, Any], said: str) -> None:
    made = policy(promotion={"steps": [DATABASE]})
    result = ask(made, agents=guarded(made, **changed))
    assert (result.outcome, result.reason) == (Outcome.WAITS, "FencingNotProved")
    assert said in result.message


def test_what_may_not_be_read_is_no_answer() -> None:
    result = ask(policy(promotion={"steps": [DATABASE]}), agents=Agents(unreadable="you may not read Leases"))
    assert (result.outcome, result.reason) == (Outcome.WAITS, "FencingUnknown")
    assert "you may not read Leases" in result.message


@pytest.mark.parametrize(
    ("steps", "changed", "members", "proof"),
    [
        ([DATABASE], {"safety": {"fencing": "BestEffort"}}, set(), False),
        ([VOLUME], {}, set(), False),  # its objects are in the hub, where they are demoted
        ([VOLUME], {}, {"west"}, True),
        ([HTTP_DATA], {}, {"west"}, False),
        ([], {"safety": {"fencing": "Required"}}, {"west"}, False),
    ],
)
def test_proof_is_needed_where_something_is_lost_with_the_region(
    steps: list[dict[str, Any]], changed: dict[str, Any], members: set[str], *, proof: bool
) -> None:
    made = policy(promotion={"steps": steps}, **changed) if steps else policy(**changed)
    result = ask(made, agents=Agents(members=frozenset(members)))
    assert (result.reason == "FencingNotProved") is proof, result.message


def test_a_planned_hand_over_needs_no_proof() -> None:
    assert ask(policy(promotion={"steps": [DATABASE]}), Fault.DRAINED).outcome is Outcome.MOVES


def test_two_primaries_that_the_operator_saw_hold_it() -> None:
    rows = [{"region": "central", "eligible": False, "reasons": ["SplitBrainSuspected"]}]
    result = ask(policy(status={"candidates": rows}, promotion={"steps": [DATABASE]}))
    assert (result.outcome, result.reason) == (Outcome.HELD, "SplitBrainSuspected")


@pytest.mark.parametrize(
    ("approval", "fault", "outcome"),
    [
        ("Always", Fault.DOWN, Outcome.WAITS),
        ("WhenDataLoss", Fault.DOWN, Outcome.WAITS),
        ("WhenDataLoss", Fault.DRAINED, Outcome.MOVES),
        ("Never", Fault.DOWN, Outcome.MOVES),
    ],
)
def test_an_approval_is_waited_for(approval: str, fault: Fault, outcome: Outcome) -> None:
    made = policy(safety={"approval": approval, "fencing": "None"}, promotion={"steps": [DATABASE]})
    result = ask(made, fault)
    assert result.outcome is outcome
    assert outcome is Outcome.MOVES or result.reason == "AwaitingApproval"
    assert result.course is not None
    assert "Promote/db" in result.course.order


def test_transition_is_that_of_the_policy_unless_the_region_is_dead() -> None:
    made = policy(transition={"type": "Graceful"})
    drained, dead = ask(made, Fault.DRAINED), ask(made, Fault.DOWN)
    assert drained.course is not None
    assert dead.course is not None
    assert (drained.course.transition, dead.course.transition) == (TransitionType.GRACEFUL, TransitionType.IMMEDIATE)


def test_active_active_shares_what_is_lost() -> None:
    result = ask(policy(topology="ActiveActive"))
    assert result.plan is not None
    assert result.plan.after["west"] == 0
    assert sum(result.plan.after.values()) == 100


def test_another_change_that_is_due_is_no_answer_to_the_fault() -> None:
    """West stays slow with all its share, whatever else the policy would do about its shares."""
    made = policy(topology="ActiveActive", regions=[{"name": "west"}, {"name": "central"}])
    made["status"]["distribution"] = [
        {"region": "west", "weightPercent": 90},
        {"region": "central", "weightPercent": 10},
    ]
    assert ask(made, Fault.SLOW).outcome is Outcome.STAYS


def test_health_is_read_leniently() -> None:
    bare = health_of("west", {"metadata": {"name": "west"}}, now=WALL, wall=WALL)
    assert (bare.health.value, bare.down, bare.proved_at) == ("Unknown", False, None)
    odd = health_of("west", region("west", "Wonderful"), now=WALL, wall=WALL)
    assert (odd.health.value, odd.proved_at) == ("Unknown", None)
    down = health_of("west", region("west", "Unreachable"), now=WALL, wall=WALL)
    assert (down.down, down.down_since, down.down_votes) == (True, WALL - 7200, 1)


def test_unfinished_runs_are_named() -> None:
    metadata = {"name": "shop-4", "namespace": "shop"}
    run = {"metadata": metadata, "spec": {"policyRef": {"name": "shop"}}, "status": {"phase": "Blocked"}}
    over = {**run, "metadata": {**metadata, "name": "shop-3"}, "status": {"phase": "Failed"}}
    spec, _ = policy_spec(policy())
    assert unfinished(stored(FAILOVERS, run, over), spec) == ["shop-4"]


def test_placement_and_lag_are_asked_as_the_operator_asks_them() -> None:
    rule = {"metadata": {"name": "eu", "namespace": "shop"}, "spec": {"allowedRegions": ["west", "east"]}}
    result = ask(policy(), others={PLACEMENT_POLICIES: [rule]})
    assert result.plan is not None
    assert result.plan.to == "east"
    behind = {
        "metadata": {"name": "data", "namespace": "shop"},
        "status": {"sourceRegion": "west", "targets": [{"region": "east", "lagMilliseconds": 90_000}]},
    }
    made = policy(replicationPolicyRefs=[{"name": "data", "gate": "Required"}])
    held = ask(made, others={PLACEMENT_POLICIES: [rule], REPLICATION_POLICIES: [behind]})
    assert held.outcome is Outcome.HELD
    assert "ReplicationLag" in next(row for row in held.candidates if row.region == "east").reasons


def test_a_database_that_was_seen_too_far_behind_still_is() -> None:
    rows = [{"region": "central", "eligible": False, "reasons": ["ReplicationLag"]}]
    result = ask(policy(status={"candidates": rows}, promotion={"steps": [DATABASE]}))
    assert result.plan is not None
    assert result.plan.to == "east"


def test_what_does_not_fit_is_told() -> None:
    made = policy(topology="ActiveActive")
    full = [region("west"), region("central", capacityAvailablePercent=1), region("east", capacityAvailablePercent=1)]
    sized = [{**item, "spec": {**item["spec"], "capacity": {"total": 100}}} for item in full]
    result = ask(made, regions=sized)
    assert result.outcome in (Outcome.PARTLY, Outcome.HELD), result
    assert "CapacityShort" in result.reason
