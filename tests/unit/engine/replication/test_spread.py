"""Where objects go with Partial and Sharded, while targets come and go."""

from __future__ import annotations

from regent.domain.replication import kinds
from regent.domain.replication.model import ReplicationSpec, Strategy
from regent.engine.replication.spread import Spread
from tests.fakes.replication import config_map, replication_spec

OBJECTS = [config_map(f"object-{number}") for number in range(60)]


def sharded(replicas: int = 1) -> ReplicationSpec:
    return replication_spec(strategy=Strategy.SHARDED, sharding_replicas=replicas)


def held(spread: Spread, *regions: str) -> dict[str, set[str]]:
    return {
        region: {obj["metadata"]["name"] for obj in OBJECTS if spread.chosen(region)(kinds.CONFIG_MAP, obj)}
        for region in regions
    }


def test_nothing_is_spread_before_all_targets_are_known() -> None:
    spread = Spread(sharded())
    assert not spread.visit({"eu": True, "us": None}, now=0.0)
    assert not spread.settled
    assert spread.visit({"eu": True, "us": True}, now=1.0)
    assert spread.settled


def test_objects_of_a_lost_target_move_and_come_back_when_it_is_stable() -> None:
    spread, all_well = Spread(sharded(), stability=120.0), {"eu": True, "us": True, "ap": True}
    spread.visit(all_well, now=0.0)
    before = held(spread, *all_well)
    assert sum(map(len, before.values())) == len(OBJECTS)
    assert spread.visit({**all_well, "us": False}, now=10.0)
    without = held(spread, *all_well)
    assert without["us"] == set()
    assert all(without[region] >= before[region] for region in ("eu", "ap")), "nothing else moves"
    assert sum(map(len, without.values())) == len(OBJECTS)
    assert not spread.visit(all_well, now=20.0)
    assert not spread.visit(all_well, now=139.0)
    assert held(spread, *all_well) == without
    assert spread.visit(all_well, now=140.0)
    assert held(spread, *all_well) == before


def test_a_target_that_flaps_stays_out() -> None:
    spread = Spread(sharded(), stability=120.0)
    spread.visit({"eu": True, "us": True}, now=0.0)
    for turn in range(10):
        spread.visit({"eu": True, "us": turn % 2 == 1}, now=100.0 * (turn + 1))
    assert held(spread, "us")["us"] == set()


def test_when_all_are_lost_places_stay_what_they_were() -> None:
    spread = Spread(sharded())
    spread.visit({"eu": True, "us": True}, now=0.0)
    before = held(spread, "eu", "us")
    assert not spread.visit({"eu": False, "us": False}, now=1.0)
    assert held(spread, "eu", "us") == before
    spread.visit({"eu": True, "us": False}, now=2.0)
    assert held(spread, "eu", "us")["eu"] == {obj["metadata"]["name"] for obj in OBJECTS}


def test_an_object_is_held_by_as_many_as_there_are() -> None:
    spread = Spread(sharded(replicas=5))
    spread.visit({"eu": True, "us": True}, now=0.0)
    assert all(len(names) == len(OBJECTS) for names in held(spread, "eu", "us").values())


def test_partial_and_full_do_not_wait_for_anybody() -> None:
    hot = config_map("hot")
    hot["metadata"]["annotations"] = {"regent.dev/accesses-per-day": "11"}
    partial = Spread(replication_spec(strategy=Strategy.PARTIAL))
    assert partial.settled
    assert not partial.visit({"us": None}, now=0.0)
    assert [partial.chosen("us")(kinds.CONFIG_MAP, obj) for obj in (hot, config_map("cold"))] == [True, False]
    full = Spread(replication_spec())
    assert full.chosen("us") is None, "all of them"
