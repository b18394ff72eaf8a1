"""ActiveActive: shares by the spec, redistributed when a region is lost, given back when it has been stable."""

from __future__ import annotations

import time

from testbed.operator import OperatorReplicas
from testbed.scene import Scene, eventually, never
from tests.e2e.conftest import MakeScene


def _shared(make_scene: MakeScene, shares: dict[str, int]) -> Scene:
    scene = make_scene(*shares)
    scene.apply_regions()
    weights = dict(zip(scene.names, shares.values(), strict=True))
    scene.publish(weights)
    scene.apply_policy(
        topology="ActiveActive",
        regions=[{"name": name, "weightPercent": weight} for name, weight in weights.items()],
        failback={"stabilization": "2s"},
        safety={"cooldown": "1s"},
    )
    scene.wait_adopted()
    return scene


def _expect(scene: Scene, shares: dict[str, float], *, timeout: float) -> None:
    wanted = dict(zip(scene.names, shares.values(), strict=True))
    eventually(lambda: scene.shares() == wanted, what=f"the shares {wanted}", timeout=timeout)


def test_two_regions_share_lose_one_and_share_again(make_scene: MakeScene, operators: OperatorReplicas) -> None:
    scene = _shared(make_scene, {"west": 60, "central": 40})
    west, central = scene.names
    _expect(scene, {"west": 60, "central": 40}, timeout=5)
    assert scene.status()["activeRegions"] == [west, central]
    assert scene.status()["activeRegion"] == ""
    with scene.client() as clients:
        clients.wait_served_by(central, timeout=10)
        since = scene.region(west).kill()
        _expect(scene, {"west": 0, "central": 100}, timeout=10)
        lost = scene.wait_run(number=1)
        assert lost["spec"]["type"] == "Failover"
        assert lost["status"]["trigger"] == "Unreachable"
        assert lost["status"]["epoch"] == 2
        assert clients.timeline().since(since).outage(since) < 5.0
        healed = scene.region(west).heal()
        _expect(scene, {"west": 60, "central": 40}, timeout=20)
        assert time.monotonic() - healed > 2.0, "traffic came back before the region was stable"
        back = scene.wait_run(number=2)
        assert back["spec"]["type"] == "Failback"
        clients.wait_served_by(west, timeout=10, since=time.monotonic())
    assert scene.status()["epoch"] == 3
    never(lambda: len(scene.runs()) > 2, what="a third run", during=2.0)


def test_the_share_of_a_lost_region_goes_to_the_others_in_proportion(
    make_scene: MakeScene, operators: OperatorReplicas
) -> None:
    scene = _shared(make_scene, {"west": 50, "central": 30, "east": 20})
    scene.region(scene.names[0]).kill()
    eventually(lambda: scene.shares()[scene.names[0]] == 0, what="west to be left", timeout=10)
    _, central, east = scene.shares().values()
    assert (round(central), round(east)) == (60, 40)
    scene.wait_run()
    distribution = {row["region"]: row["weightPercent"] for row in scene.status()["distribution"]}
    assert sum(distribution.values()) == 100
    assert distribution[scene.names[1]] == 60
    assert distribution[scene.names[2]] == 40


def test_all_regions_down_keeps_the_shares(make_scene: MakeScene, operators: OperatorReplicas) -> None:
    scene = _shared(make_scene, {"west": 60, "central": 40})
    for region in scene.regions:
        region.drop()
    for name in scene.names:
        eventually(lambda name=name: scene.health(name) == "Unreachable", what=f"{name} to be down", timeout=10)
    eventually(lambda: scene.condition("Progressing").get("reason") == "AllRegionsDown", what="the hold", timeout=10)
    never(lambda: sum(scene.weights().values()) == 0, what="all weights zero", during=2.0)
    assert sum(weight > 0 for weight in scene.weights().values()) >= 1
