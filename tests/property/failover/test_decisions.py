"""What every decision keeps to, whatever the world is like: random worlds in the words of the verdict corpus."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from regent.domain.failover import capacity, limits
from regent.domain.failover.decide import decide
from regent.domain.failover.model import Plan, RunType, Snapshot, Topology, TriggerKind
from regent.domain.failover.ranking import tie_break
from regent.domain.failover.split_brain import suspected
from regent.domain.health.model import AdminState
from regent.domain.traffic import shares
from tests.fakes.verdict_world import snapshot_of

NAMES = ("eu", "us", "ap")
SINGLE = (Topology.ACTIVE_PASSIVE, Topology.LEADER_ELECTION)

REGION = st.fixed_dictionaries(
    {},
    optional={
        "down": st.booleans(),
        "health": st.sampled_from(["Healthy", "Degraded", "Recovering", "Unhealthy", "Unknown"]),
        "admin": st.sampled_from(["Enabled", "Enabled", "Drained", "Disabled"]),
        "exists": st.sampled_from([True, True, True, False]),
        "suspend": st.sampled_from([False, False, False, True]),
        "denied": st.sampled_from(["", "", "PlacementPolicy p: no"]),
        "free": st.integers(0, 100),
        "total": st.sampled_from([50, 100, 400]),
        "proof_age": st.sampled_from([0.2, 0.9, 5.0]),
        "up_for": st.sampled_from([1.0, 90.0, 3600.0]),
        "fired": st.lists(st.sampled_from(["ErrorRate", "Latency", "Capacity"]), max_size=2, unique=True),
    },
)


@st.composite
def distributions(draw: st.DrawFn) -> dict[str, int]:
    ratios = draw(st.lists(st.integers(0, 10), min_size=3, max_size=3).filter(any))
    return dict(zip(NAMES, shares.split(100, [float(ratio) for ratio in ratios]), strict=True))


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    before, after = draw(distributions()), draw(distributions())
    kind = draw(st.sampled_from(["Failover", "Switchover", "Failback", "Rebalance"]))
    trigger = "Manual" if kind == "Rebalance" else draw(st.sampled_from(["Unreachable", "ErrorRate", "AdminState"]))
    return {
        "type": kind, "trigger": trigger, "ago": draw(st.integers(1, 900)), "before": before, "after": after,
        "from": draw(st.sampled_from(NAMES)), "to": draw(st.sampled_from(NAMES)),
        "phase": draw(st.sampled_from(["Succeeded", "RolledBack", "Failed"])),
    }  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    topology = draw(st.sampled_from([item.value for item in Topology]))
    policy: dict[str, Any] = {
        "topology": topology,
        "failback": draw(st.sampled_from(["Automatic", "Manual", "Never"])),
        "min_active": draw(st.sampled_from([0, 1, 1, 2])),
        "max_shift": [draw(st.sampled_from([100, 100, 50, 7])), 60],
    }
    if topology == "LeaderElection":
        policy["preemption"] = draw(st.sampled_from(["Never", "AfterStabilization"]))
    if topology == "BlueGreen":
        policy["groups"] = {"desired": draw(st.sampled_from(["Blue", "Green"]))}
    if draw(st.integers(0, 3)) == 0:
        policy["override"] = {"to": draw(distributions()), "left": draw(st.sampled_from([600, -5]))}
    active = draw(st.sampled_from(NAMES))
    spread = draw(distributions())
    if topology == "BlueGreen":
        spread = {"eu": 100, "us": 0, "ap": 0} if active == "eu" else {"eu": 0, "us": 50, "ap": 50}
    elif topology != "ActiveActive" and (not spread[active] or draw(st.booleans())):
        spread = {name: 100 * (name == active) for name in NAMES}
    state: dict[str, Any] = {"active": active, "distribution": spread, "epoch": draw(st.integers(1, 20))}
    state["home"] = draw(st.sampled_from(["", "eu", "us"]))
    state["groups"] = {
        "group": draw(st.sampled_from(["Blue", "Green"])), "switched": draw(st.sampled_from([10, 9999])),
        "latched": draw(st.sampled_from(["", "Blue", "Green"])),
    }  # fmt: skip
    regions = {name: draw(REGION) for name in NAMES}
    return {"policy": policy, "state": state, "regions": regions, "runs": draw(st.lists(runs(), max_size=3))}


def _growing(plan: Plan) -> list[str]:
    return [name for name, share in plan.after.items() if share > plan.before.get(name, 0)]


@settings(max_examples=250)
@given(worlds())
def test_no_plan_breaks_a_rule(world: dict[str, Any]) -> None:
    snapshot = snapshot_of(world)
    plan = decide(snapshot)
    if not isinstance(plan, Plan):
        return
    assert sum(plan.after.values()) == 100
    assert min(plan.after.values()) >= 0
    assert shares.moved(plan.before, plan.after) > 0 or set(plan.before) - set(plan.after)
    for name in _growing(plan):
        view = snapshot.regions[name]
        assert view.exists
        assert view.admin_state is AdminState.ENABLED
        assert not view.health.down
        assert not view.placement_denied or plan.before.get(name, 0) > 0
    assert len(shares.carrying(plan.after)) >= 1
    assert plan.to
    _keeps_to_max_shift(snapshot, plan)
    _keeps_to_capacity(snapshot, plan)
    _has_one_active(snapshot, plan)


def _keeps_to_max_shift(snapshot: Snapshot, plan: Plan) -> None:
    percent = snapshot.policy.safety.max_shift.percent
    calm = {name for name in plan.before if snapshot.regions[name].exists and not snapshot.regions[name].health.down}
    given_up = sum(max(0, plan.before[name] - plan.after.get(name, 0)) for name in calm)
    if percent < 100:
        assert given_up == 0 or given_up + limits.used(snapshot) <= percent


def _keeps_to_capacity(snapshot: Snapshot, plan: Plan) -> None:
    by_hand = snapshot.policy.traffic_override is not None or plan.type is RunType.REBALANCE
    whole = snapshot.policy.topology in SINGLE  # divided it is not: the last resort in an outage is said in `shortfall`
    for name in _growing(plan):
        room = capacity.rooms(snapshot)[name]
        gain = plan.after[name] - plan.before.get(name, 0)
        assert room is None or gain <= room or by_hand or (whole and plan.shortfall)


def _has_one_active(snapshot: Snapshot, plan: Plan) -> None:
    if snapshot.policy.topology not in SINGLE or plan.type is RunType.REBALANCE:
        return
    alone = plan.before.get(snapshot.state.active_region) == 100
    if snapshot.policy.safety.max_shift.percent == 100 or (alone and plan.trigger is TriggerKind.UNREACHABLE):
        assert [name for name, share in plan.after.items() if share] == [plan.to]


@settings(max_examples=100)
@given(worlds(), st.randoms(use_true_random=False))
def test_the_leader_does_not_depend_on_the_order_of_the_list(world: dict[str, Any], draw: random.Random) -> None:
    world["policy"] |= {"topology": "LeaderElection", "regions": list(NAMES)}
    world["policy"].pop("groups", None)
    world["policy"].pop("override", None)
    world["state"]["distribution"] = {name: 100 * (name == world["state"]["active"]) for name in NAMES}
    first = decide(snapshot_of(world))
    shuffled = list(NAMES)
    draw.shuffle(shuffled)
    world["policy"]["regions"] = shuffled
    world["state"]["distribution"] = {name: 100 * (name == world["state"]["active"]) for name in shuffled}
    second = decide(snapshot_of(world))
    assert type(first) is type(second)
    if isinstance(first, Plan) and isinstance(second, Plan) and first.trigger is second.trigger:
        assert (first.to, dict(first.after)) == (second.to, dict(second.after))


@given(st.integers(1, 10_000))
def test_lots_differ_between_regions(epoch: int) -> None:
    assert len({tie_break("uid", epoch, name) for name in NAMES}) == len(NAMES)


def test_over_many_epochs_every_region_wins_about_as_often() -> None:
    wins = [min(NAMES, key=lambda name: tie_break("uid", epoch, name)) for epoch in range(3000)]
    assert all(800 < wins.count(name) < 1200 for name in NAMES)


@given(worlds(), st.lists(st.sampled_from(NAMES), min_size=2, max_size=3, unique=True))
def test_nothing_is_automatic_while_two_regions_look_active(world: dict[str, Any], both: list[str]) -> None:
    world["policy"]["steps"] = {"db": "Patroni"}
    world["world"] = {"roles": {name: ["db"] for name in both}}
    snapshot = snapshot_of(world)
    assert suspected(snapshot)
    assert not isinstance(decide(snapshot), Plan)
