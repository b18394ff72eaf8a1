"""A scenario of copying in stages, and an operator that is killed at one write of each.

Proxies before the target and before the hub see every write before the API server does, and its answer before the
operator does: those are the two moments at which a crash leaves different traces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from testbed.crash import history
from testbed.operator.faults import Write
from testbed.operator.proxy import DropError, Moment
from tests.cluster.replication.bench import API, EU, HUB, Bench, Json, Operator
from tests.cluster.replication.test_failover import CRON
from tests.cluster.replication.test_kinds import deployment

MISSING = "regent.dev/missing-since"
WEB, TIDY = ("deployments", "web", "apps/v1"), ("cronjobs", "tidy", "batch/v1")
RESOURCES = [{"category": "Config", "kinds": [{"kind": "ConfigMap"}]}, {"category": "Workload"}]


@dataclass(frozen=True, slots=True)
class Point:
    """The `number`-th write (from 1) of a stage on one side, before or after the API server has carried it out."""

    side: str
    number: int
    moment: Moment


class Doom:
    """Kills the operator at the point that is ordered. Called in the threads of the proxies."""

    def __init__(self) -> None:
        self.kill: Callable[[], None] = lambda: None
        self._order: Point | None = None
        self._numbers: dict[tuple[str, int], int] = {}
        self._counts: dict[str, int] = {}
        self.hit = False
        self.namespace = ""

    def order(self, point: Point | None) -> None:
        """Begin to count anew, and kill at this point."""
        self._numbers, self._counts = {}, {}
        self.hit, self._order = False, point

    def count(self, side: str) -> int:
        """Writes on a side since the order."""
        return self._counts.get(side, 0)

    def counts(self, write: Write) -> bool:
        """Whether a write is one of the scenario's; for the proxies."""
        return bool(self.namespace) and write.namespace == self.namespace

    def watch(self, side: str) -> Callable[[Write, Moment], None]:
        """What a proxy calls for each write."""

        def look(write: Write, moment: Moment) -> None:
            if moment is Moment.BEFORE:
                self._counts[side] = self._numbers[side, write.number] = self.count(side) + 1
            point = Point(side, self._numbers.get((side, write.number), 0), moment)
            if point == self._order:
                self._order, self.hit = None, True
                self.kill()
                if moment is Moment.BEFORE:
                    raise DropError("its sender is dead")

        return look


@dataclass
class Scenario:
    """What is copied from the hub to `region`, whose objects are in the cluster of `eu`."""

    bench: Bench
    region: str
    seen: list[Json] = field(default_factory=list)
    """All versions that objects in the target have had."""
    since: int = 0

    def stages(self) -> Mapping[str, tuple[Callable[[], None], Callable[[], bool], int]]:
        """By name: what people do, when it is settled, and how many writes in the target that takes at least."""
        return {
            "first": (self._make, self._made, 7),
            "change": (self._change, self._changed, 6),
            "gone": (self._delete, self._marked, 2),
            "back": (self._return, self._revived, 2),
            "prune": (self._prune, self._pruned, 1),
            "end": (self._end, self._ended, 4),
        }

    def prepare(self) -> None:
        """What is in the target before: an object that is in the way, and one that nobody may touch."""
        bench = self.bench
        bench.config_map(EU, "forced", {"k": "theirs", "extra": "e"})
        self.bystander = bench.config_map(EU, "bystander", {"mine": "yes"})
        self.since = history.now(bench.planes[EU].api, bench.path("configmaps"))

    def remember(self) -> None:
        """Read what has become of the objects since the last time: the API server forgets."""
        api = self.bench.planes[EU].api
        until = history.now(api, self.bench.path("configmaps"))
        for plural, version in (("configmaps", "v1"), ("deployments", "apps/v1"), ("cronjobs", "batch/v1")):
            self.seen += history.versions(api, self.bench.path(plural, api=version), since=self.since)
        self.since = until

    def policy(self, **spec: Any) -> None:
        """Make or change the policy."""
        self.bench.policy(
            targets=[{"region": self.region}],
            resources=RESOURCES,
            adoption="Force",
            deletionPolicy="Delete",
            **{"prune": {"gracePeriod": "1h", "maxPercent": 100}, **spec},
        )

    def records(self) -> list[Json]:
        """What was kept of objects that were overwritten."""
        path = self.bench.path("configmaps") + "?labelSelector=regent.dev/kept-for"
        return list(self.bench.planes[EU].api.get(path)["items"])

    def _make(self) -> None:
        bench = self.bench
        bench.config_map(HUB, "a", {"k": "1", "gone": "x"})
        for name in ("b", "forced"):
            bench.config_map(HUB, name, {"k": "1"})
        bench.apply(HUB, deployment("web", 3), CRON)
        self.policy()

    def _made(self) -> bool:
        data, bench = self.bench.data, self.bench
        tidy = bench.get(EU, *TIDY[:2], api=TIDY[2])
        return (
            data(EU, "a") == {"k": "1", "gone": "x"}
            and data(EU, "b") == {"k": "1"} == data(EU, "forced")
            and self._noted() == "3"
            and tidy is not None
            and self._marks("forced") is not None
        )

    def _change(self) -> None:
        bench = self.bench
        bench.planes[EU].api.patch(bench.path("configmaps", "b"), {"data": {"k": "drift", "more": "1"}})
        bench.planes[HUB].api.patch(bench.path("configmaps", "a"), {"data": {"k": "2", "gone": None}})
        bench.planes[HUB].api.patch(bench.path(*WEB[:2], api=WEB[2]), {"spec": {"replicas": 4}})

    def _changed(self) -> bool:
        data = self.bench.data
        return data(EU, "a") == {"k": "2"} and data(EU, "b") == {"k": "1"} and self._noted() == "4"

    def _delete(self) -> None:
        for name in ("a", "b"):
            self.bench.delete(HUB, "configmaps", name)

    def _marked(self) -> bool:
        return all(MISSING in (self._marks(name) or {}) for name in ("a", "b"))

    def _return(self) -> None:
        self.bench.config_map(HUB, "b", {"k": "3"})

    def _revived(self) -> bool:
        marks = self._marks("b")
        return self.bench.data(EU, "b") == {"k": "3"} and marks is not None and MISSING not in marks

    def _prune(self) -> None:
        self.policy(prune={"gracePeriod": "0s", "maxPercent": 100})

    def _pruned(self) -> bool:
        return self.bench.data(EU, "a") is None

    def _end(self) -> None:
        self.bench.delete(HUB, "replicationpolicies", "shop", api=API)

    def _ended(self) -> bool:
        return self.bench.get(HUB, "replicationpolicies", "shop", api=API) is None

    def _noted(self) -> str:
        web = self.bench.get(EU, *WEB[:2], api=WEB[2]) or {"metadata": {}}
        return str((web["metadata"].get("annotations") or {}).get("regent.dev/replicas"))

    def _marks(self, name: str) -> Json | None:
        """The annotations of a copy; None when it is none."""
        found = self.bench.get(EU, "configmaps", name) or {"metadata": {}}
        labels, notes = (found["metadata"].get(part) or {} for part in ("labels", "annotations"))
        return dict(notes) if "regent.dev/policy" in labels else None


def play(scenario: Scenario, operator: Operator, doom: Doom, points: Mapping[str, Point]) -> list[str]:
    """Play all stages, with the operator killed at these points; return the stages whose point was not reached."""
    bench, missed = scenario.bench, list[str]()
    scenario.prepare()
    doom.namespace = bench.namespace
    operator.start()
    for name, (act, settled, least) in scenario.stages().items():
        doom.order(points.get(name))
        act()

        def done(settled: Callable[[], bool] = settled) -> bool:
            operator.start()
            return settled()

        bench.until(done, f"the end of stage {name} after {points.get(name)}", within=90)
        if name in points and not doom.hit:
            missed.append(f"{name}: {points[name]}")
        assert doom.count("target") >= least, f"stage {name} took {doom.count('target')} writes"
        scenario.remember()
    doom.order(None)
    return missed


def claim(scenario: Scenario) -> None:
    """What holds however often the operator died."""
    bench = scenario.bench
    left = {item["metadata"]["name"] for item in bench.planes[EU].api.get(bench.path("configmaps"))["items"]}
    assert left - {item["metadata"]["name"] for item in scenario.records()} == {"bystander", "kube-root-ca.crt"}
    now = bench.get(EU, "configmaps", "bystander")
    assert now is not None
    assert now["metadata"]["resourceVersion"] == scenario.bystander["metadata"]["resourceVersion"]
    assert bench.data(HUB, "b") == {"k": "3"}, "the source itself"

    for plural, field_name, value in ((WEB, "replicas", 0), (TIDY, "suspend", True)):
        assert bench.get(EU, *plural[:2], api=plural[2]) is None
        states = [obj["spec"].get(field_name) for obj in scenario.seen if obj["metadata"]["name"] == plural[1]]
        assert states and set(states) == {value}, f"{plural[1]} was awake: {states}"

    for name in ("a", "b", "forced", "web", "tidy"):
        uids = {obj["metadata"]["uid"] for obj in scenario.seen if obj["metadata"]["name"] == name}
        assert len(uids) == 1, f"{name} was deleted and made anew"

    whole = [item for item in scenario.records() if '"extra":"e","k":"theirs"' in item["data"]["object.json"]]
    assert len(whole) == 1, f"{len(whole)} records of what was overwritten, of {len(scenario.records())}"
    touched = [
        int(obj["metadata"]["resourceVersion"])
        for obj in scenario.seen
        if obj["metadata"]["name"] == "forced" and obj["data"] != {"k": "theirs", "extra": "e"}
    ]
    assert int(whole[0]["metadata"]["resourceVersion"]) < min(touched), "overwritten before a record was kept"
