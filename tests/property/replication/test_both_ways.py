"""Two clusters that both change the same objects, under crashes and stale views: bidirectional replication.

Whatever a user wrote is in the end on both sides, or was superseded by somebody who had seen it, or is kept as a loser.
Deletions by users are carried over, unless somebody changed the object meanwhile; nothing else is ever deleted.
"""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from regent.domain.replication import conflict, marks, pairs
from regent.domain.replication.conflict import OutcomeKind
from regent.domain.replication.model import Adoption, ConflictPolicy, Direction, Link, ObjectKey, Prune, TargetSpec
from regent.domain.replication.prune import SourceView, plan_prune
from tests.fakes.objects_api import Object, ObjectsApi, RefusedError
from tests.fakes.replication import config_map, desired_of, kind_of, replication_spec

NAMES = st.sampled_from(["a", "b", "c", "d"])
REGIONS = st.sampled_from(["eu", "us"])
GRACE = 60.0
OTHER = {"eu": "us", "us": "eu"}
LINKS = {
    region: Link(source_region=OTHER[region], target=TargetSpec(region=region, namespace="shop"), epoch=0)
    for region in OTHER
}
"""By the region that copies are made in, or pruned."""


def value_of(obj: Object) -> str:
    return str(obj["data"]["value"])


class DeadError(Exception):
    """The replicator was killed."""


class BothWays(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.apis = {region: ObjectsApi(region) for region in OTHER}
        self.views: dict[str, dict[str, Object]] = {}
        self.now, self.value = 1_000_000.0, 0
        self.budget: int | None = None
        self.losers: set[str] = set()
        # For every value, the values that whoever wrote it (or deleted the object) had before their eyes.
        self.superseded: set[str] = set()
        self.removed: dict[str, set[str]] = {}

    @initialize(
        policy=st.sampled_from(list(ConflictPolicy)),
        adoption=st.sampled_from(list(Adoption)),
    )
    def begin(self, policy: ConflictPolicy, adoption: Adoption) -> None:
        self.spec = replication_spec(
            direction=Direction.BIDIRECTIONAL,
            conflict_policy=policy,
            adoption=adoption,
            prune=Prune(max_percent=100, grace=GRACE),
        )
        self.look()

    @rule(region=REGIONS, name=NAMES)
    def edit(self, region: str, name: str) -> None:
        api, key = self.apis[region], f"ConfigMap/{name}"
        self.value += 1
        self.now += 1
        if key in api.objects:
            self.superseded.add(value_of(api.objects[key]))
            api.patch(key, {"data": {"value": str(self.value)}}, manager="kubectl")
            fields = [
                {
                    "manager": "kubectl",
                    "operation": "Update",
                    "time": f"2026-01-01T00:{self.value // 60:02}:{self.value % 60:02}Z",
                }
            ]
            api.objects[key]["metadata"]["managedFields"] = fields
        else:
            api.create(config_map(name, value=str(self.value)), manager="kubectl", now=self.now)

    @rule(region=REGIONS, name=NAMES)
    def remove(self, region: str, name: str) -> None:
        api, key = self.apis[region], f"ConfigMap/{name}"
        if key in api.objects:
            self.superseded.add(value_of(api.objects[key]))
            self.removed.setdefault(key, set()).add(value_of(api.objects[key]))
            api.delete(key)

    @rule(seconds=st.sampled_from([1.0, GRACE + 1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def look(self) -> None:
        self.views = {region: api.snapshot() for region, api in self.apis.items()}

    @rule(writes=st.integers(0, 4))
    def visit_and_die(self, writes: int) -> None:
        self.budget = writes
        with contextlib.suppress(DeadError):
            self.sync()
        self.budget = None

    @rule()
    def visit(self) -> None:
        self.sync()

    def sync(self) -> int:
        """Go over all pairs as the engine does; return how many writes it took."""
        before = sum(api.writes for api in self.apis.values())
        source, target = self.views["eu"], self.views["us"]
        gone: dict[str, set[str]] = {"eu": set(), "us": set()}
        for key in sorted(source.keys() | target.keys()):
            pair = {"eu": source.get(key), "us": target.get(key)}
            left, right = conflict.sides(pair["eu"], pair["us"], spec=self.spec, link=LINKS["us"])
            outcome = conflict.decide_pair(left, right, spec=self.spec)
            match outcome.kind:
                case OutcomeKind.TO_TARGET:
                    self.carry(key, pair, "eu", outcome)
                case OutcomeKind.TO_SOURCE:
                    self.carry(key, pair, "us", outcome)
                case OutcomeKind.MARK:
                    for region in OTHER:
                        self.mark(key, pair[region], region, outcome)
                case OutcomeKind.DELETE_SOURCE:
                    gone["eu"].add(key)
                case OutcomeKind.DELETE_TARGET:
                    gone["us"].add(key)
        for region, keys in gone.items():
            self.prune(region, keys)
        return sum(api.writes for api in self.apis.values()) - before

    def carry(self, key: str, pair: dict[str, Object | None], origin: str, outcome: conflict.Outcome) -> None:
        winner, loser, goal = pair[origin], pair[OTHER[origin]], self.apis[OTHER[origin]]
        assert winner is not None
        self.spend()
        if origin == "eu":
            want = desired_of(winner, self.spec, LINKS["us"], target=loser)
            body = pairs.target_body(
                want, self.spec, LINKS["us"], outcome, winner=winner, loser=loser, observed_at=self.now
            )
        else:
            body = pairs.source_body(winner, loser, self.spec, LINKS["us"], outcome, observed_at=self.now)
        try:
            if loser is None:
                goal.create(body, manager=marks.FIELD_MANAGER, now=self.now)
            else:
                checks = versions(loser)
                if outcome.keep_loser and key in goal.objects and versions(goal.objects[key]) == checks:
                    self.losers.add(value_of(loser))
                goal.patch(key, pairs.change(loser, body), manager=marks.FIELD_MANAGER, **checks)
        except RefusedError:
            return
        # Only now may the origin say that both have it.
        self.mark(key, winner, origin, outcome)

    def mark(self, key: str, obj: Object | None, region: str, outcome: conflict.Outcome) -> None:
        assert obj is not None
        self.spend()
        patch = pairs.mark_patch(outcome, self.spec, other_region=OTHER[region])
        with contextlib.suppress(RefusedError):
            self.apis[region].patch(key, patch, manager=marks.FIELD_MANAGER, **versions(obj))

    def prune(self, region: str, gone: set[str]) -> None:
        view, api = self.views[region], self.apis[region]
        copies = {ObjectKey(kind_of(obj), "shop", obj["metadata"]["name"]): obj for obj in view.values()}
        wanted = {key for key in copies if f"ConfigMap/{key.name}" not in gone}
        todo = plan_prune(
            spec=self.spec, link=LINKS[region], copies=copies, wanted=wanted, now=self.now,
            source=SourceView(complete=True, healthy=True),
        )  # fmt: skip
        for key in todo.mark:
            self.spend()
            checks = versions(copies[key])
            with contextlib.suppress(RefusedError):
                api.patch(f"ConfigMap/{key.name}", marks.tombstone_patch(self.now), manager="regent", **checks)
        for victim in todo.delete:
            self.spend()
            name = f"ConfigMap/{victim.key.name}"
            real = api.objects.get(name)
            if real is None or versions(real) != {"uid": victim.uid, "version": victim.resource_version}:
                continue
            self.superseded.add(value_of(real))
            assert value_of(real) in self.removed.get(name, set()), f"{name} was deleted by nobody"
            api.delete(name, uid=victim.uid, version=victim.resource_version)

    def spend(self) -> None:
        if self.budget is not None:
            if self.budget == 0:
                raise DeadError
            self.budget -= 1

    def teardown(self) -> None:
        written = 0
        for _ in range(8):
            self.look()
            self.now += GRACE + 1
            written = self.sync()
        assert written == 0, "it never comes to rest"
        eu, us = self.apis["eu"].objects, self.apis["us"].objects
        for key in eu.keys() | us.keys():
            pair = conflict.sides(eu.get(key), us.get(key), spec=self.spec, link=LINKS["us"])
            outcome = conflict.decide_pair(*pair, spec=self.spec)
            last = key in eu != key in us and len(eu.keys() | us.keys()) == 1
            if outcome.kind is OutcomeKind.NOTHING:
                assert value_of(eu[key]) == value_of(us[key])
            elif outcome.kind is not OutcomeKind.CONFLICT:
                # All that one side had was deleted: the pruner holds that back for a person.
                assert outcome.kind in (OutcomeKind.DELETE_SOURCE, OutcomeKind.DELETE_TARGET), (outcome, last)
        alive = {value_of(obj) for side in (eu, us) for obj in side.values()}
        lost = {str(value) for value in range(1, self.value + 1)} - alive - self.superseded - self.losers
        assert not lost, f"written, never superseded, and nowhere: {lost}"


def versions(obj: Object) -> dict[str, Any]:
    return {"uid": obj["metadata"]["uid"], "version": obj["metadata"]["resourceVersion"]}


BothWays.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestBothWays = BothWays.TestCase
