"""The operator is killed -9 at the writes of changes in both directions, before and after they were carried out.

What stands between two writes must not read as a change or a deletion of somebody. `make test-crash-replication` cuts
every write of the target and the first ones of the source, in each stage; `make test` has one death in the middle, in
`test_both_ways`, and every write with regions in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping

import pytest

from testbed.crash import history
from testbed.operator.proxy import Moment
from tests.cluster.replication.bench import EU, HUB, Json, Operator
from tests.cluster.replication.crashing import Doom, Point, Scenario, play

WHOLE = os.environ.get("REGENT_CRASH", "") == "all"
COMMON = "regent.dev/last-common-hash"
WRITES = {"first": 3, "change": 2, "both": 2, "gone": 2}
"""Writes in the target by stage."""
SOURCE_WRITES = 4
SIDES = (HUB, EU)

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("replication"),
    pytest.mark.skipif(not WHOLE, reason="make test-crash-replication"),
]


class BothWays(Scenario):
    """ConfigMaps `a` and `c` are at home in the hub, `b` in the region."""

    def stages(self) -> Mapping[str, tuple[Callable[[], None], Callable[[], bool], int]]:
        return {
            "first": (self._begin, lambda: self._have(a="1", b="1", c="1"), WRITES["first"]),
            "change": (self._edit, lambda: self._have(a="eu", b="hub", c="1"), WRITES["change"]),
            "both": (self._edit_both, lambda: self._have(a="won", b="hub", c="1"), WRITES["both"]),
            "gone": (self._remove, lambda: self._have(c="1"), WRITES["gone"]),
        }

    def prepare(self) -> None:
        bench = self.bench
        for region, name in ((HUB, "a"), (EU, "b"), (HUB, "c")):
            bench.config_map(region, name, {"k": "1"})
        self.places = {region: history.now(bench.planes[region].api, bench.path("configmaps")) for region in SIDES}
        self.both: dict[str, list[Json]] = {region: [] for region in SIDES}

    def remember(self) -> None:
        path = self.bench.path("configmaps")
        for region in SIDES:
            api = self.bench.planes[region].api
            until = history.now(api, path)
            self.both[region] += history.versions(api, path, since=self.places[region])
            self.places[region] = until

    def _begin(self) -> None:
        self.bench.policy(targets=[{"region": self.region}], direction="Bidirectional")

    def _edit(self) -> None:
        for region, name, text in ((EU, "a", "eu"), (HUB, "b", "hub")):
            self.bench.planes[region].api.patch(self.bench.path("configmaps", name), {"data": {"k": text}})

    def _edit_both(self) -> None:
        self.bench.policy(targets=[{"region": self.region}], direction="Bidirectional", suspend=True)
        self.bench.in_state("Paused")
        for region, text in ((EU, "lost"), (HUB, "won")):
            self.bench.planes[region].api.patch(self.bench.path("configmaps", "a"), {"data": {"k": text}})
        self.bench.policy(targets=[{"region": self.region}], direction="Bidirectional", suspend=False)

    def _remove(self) -> None:
        self.bench.delete(EU, "configmaps", "a")
        self.bench.delete(HUB, "configmaps", "b")

    def _have(self, **values: str) -> bool:
        """Whether both sides have exactly this, and say that they have it in common."""
        wanted = {name: {"k": value} for name, value in values.items()}
        found = [self._objects(region) for region in SIDES]
        if any({name: obj["data"] for name, obj in side.items()} != wanted for side in found):
            return False
        commons = [
            {name: (obj["metadata"].get("annotations") or {}).get(COMMON) for name, obj in side.items()}
            for side in found
        ]
        return commons[0] == commons[1] and all(commons[0].values())

    def _objects(self, region: str) -> dict[str, Json]:
        items = self.bench.planes[region].api.get(self.bench.path("configmaps"))["items"]
        return {item["metadata"]["name"]: item for item in items if item["metadata"]["name"] in ("a", "b", "c")}

    def kept(self, region: str) -> list[Json]:
        path = self.bench.path("configmaps") + "?labelSelector=regent.dev/kept-for"
        items = self.bench.planes[region].api.get(path)["items"]
        return [json.loads(item["data"]["object.json"])["data"] for item in items]


def rounds() -> list[tuple[str, dict[str, Point]]]:
    """Every point once: each round has one of every stage that still has any."""
    found = []
    for moment in Moment:
        for number in range(1, max(WRITES.values()) + 1):
            points = {stage: Point("target", number, moment) for stage, count in WRITES.items() if number <= count}
            found.append((f"target-{number}-{moment.value}", points))
        found += [
            (f"source-{number}-{moment.value}", {stage: Point("hub", number, moment) for stage in WRITES})
            for number in range(1, SOURCE_WRITES + 1)
        ]
    return found


@pytest.mark.parametrize("points", [pytest.param(points, id=name) for name, points in rounds()])
def test_the_operator_is_killed_at_a_write(doomed: tuple[Scenario, Operator, Doom], points: dict[str, Point]) -> None:
    """Fails when a side is not what the other one is, something was deleted and made anew, or a loser is not kept."""
    given, operator, doom = doomed
    scenario = BothWays(given.bench, given.region)
    missed = play(scenario, operator, doom, points)
    # How often a status is written depends on the clock.
    assert not [text for text in missed if "side='target'" in text], missed
    assert (scenario.kept(EU), scenario.kept(HUB)) == ([{"k": "lost"}], [])
    for region, versions in scenario.both.items():
        for name in ("a", "b", "c"):
            uids = {obj["metadata"]["uid"] for obj in versions if obj["metadata"]["name"] == name}
            assert len(uids) == 1, f"{name} was deleted and made anew in {region}"
