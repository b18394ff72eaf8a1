"""Adoption right after Regions and policy were made: regions whose first probe is under way are not bad regions."""

from __future__ import annotations

from regent.domain.failover.adoption import Adopted, Evidence, Unsettled, adopt
from regent.domain.failover.model import PolicyRegion, PolicySpec, PolicyState, RegionView, Snapshot, Topology
from regent.domain.health.model import Health, RegionHealth

NOW, WALL = 1_000.0, 1_790_000_000.0


def seen(name: str, *, priority: int = 100) -> RegionView:
    health = RegionHealth(region=name, health=Health.HEALTHY, proved_at=NOW - 0.1, up_since=NOW - 0.1)
    return RegionView(name=name, priority=priority, health=health)


def unseen(name: str, *, priority: int = 100) -> RegionView:
    return RegionView(name=name, priority=priority, health=RegionHealth(region=name), settled=False)


def world(*views: RegionView, topology: Topology, age: float = 1.0) -> Snapshot:
    policy = PolicySpec(
        namespace="shop",
        name="shop",
        uid="u",
        created_time=WALL - age,
        topology=topology,
        regions=tuple(
            PolicyRegion(name=view.name, weight_percent=60 if number == 0 else 40) for number, view in enumerate(views)
        )
        if topology is Topology.ACTIVE_ACTIVE
        else tuple(PolicyRegion(name=view.name) for view in views),
    )
    return Snapshot(
        policy=policy, state=PolicyState(), regions={view.name: view for view in views}, now=NOW, wall_time=WALL
    )


NOTHING = Evidence(target_shares={})


def test_shares_are_not_taken_from_a_region_that_was_not_probed_yet() -> None:
    found = adopt(world(seen("eu"), unseen("us"), topology=Topology.ACTIVE_ACTIVE), NOTHING)
    assert isinstance(found, Adopted)
    assert dict(found.distribution) == {"eu": 60, "us": 40}


def test_without_one_proved_region_nothing_is_shared() -> None:
    found = adopt(world(unseen("eu"), unseen("us"), topology=Topology.ACTIVE_ACTIVE), NOTHING)
    assert isinstance(found, Unsettled)
    assert found.reason == "NoHealthyRegion"


def test_the_fastest_answer_does_not_win() -> None:
    snapshot = world(unseen("eu", priority=100), seen("us", priority=50), topology=Topology.ACTIVE_PASSIVE)
    found = adopt(snapshot, NOTHING)
    assert isinstance(found, Unsettled)
    assert found.reason == "ProbesPending"
    assert "eu" in found.message


def test_a_region_that_never_answers_is_not_waited_for_for_ever() -> None:
    snapshot = world(unseen("eu"), seen("us"), topology=Topology.ACTIVE_PASSIVE, age=11.0)
    found = adopt(snapshot, NOTHING)
    assert isinstance(found, Adopted)
    assert found.active_region == "us"


def test_weights_on_the_route_settle_it_without_waiting() -> None:
    snapshot = world(unseen("eu"), seen("us"), topology=Topology.ACTIVE_PASSIVE)
    found = adopt(snapshot, Evidence(target_shares={"HTTPRoute/shop": {"eu": 100, "us": 0}}))
    assert isinstance(found, Adopted)
    assert found.active_region == "eu"
