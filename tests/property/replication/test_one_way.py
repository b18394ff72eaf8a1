"""Two clusters under random edits, deletions, crashes, partitions and failovers: what one-way replication keeps to.

Users edit the active side, strangers own objects in the other one, views are stale, the replicator dies between any two
writes. Nothing that is not ours is changed, no last copy is lost, what diverged is kept, and in quiet times the copies
become what the source says.
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from regent.domain.failover import fence
from regent.domain.replication import marks, plan, prune, shape
from regent.domain.replication.model import Adoption, Link, ObjectKey, Prune, TargetSpec
from tests.fakes.objects_api import Object, ObjectsApi, RefusedError, key_of
from tests.fakes.replication import config_map, deployment, desired_of, kind_of, replication_spec

NAMES = st.sampled_from(["a", "b", "c", "d", "e", "f"])
KINDS = st.sampled_from(["ConfigMap", "Deployment"])
GRACE = 60.0


def named(kind: str, name: str, value: int) -> Object:
    return (
        config_map(name, value=str(value))
        if kind == "ConfigMap"
        else deployment(name, replicas=value % 4, image=f"i:{value}")
    )


def value_of(obj: Object) -> str:
    """What users wrote, without how it sleeps."""
    if obj["kind"] == "ConfigMap":
        return str(obj.get("data", {}).get("value"))
    return str(obj["spec"]["template"]["spec"]["containers"][0]["image"])


class DeadError(Exception):
    """The replicator was killed."""


class OneWay(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.apis = {region: ObjectsApi(region) for region in ("eu", "us")}
        self.active, self.epoch = "eu", 1
        self.now, self.value = 1_000_000.0, 0
        self.budget: int | None = None
        self.views: dict[str, dict[str, Object]] = {}
        self.healthy = self.complete = True
        # What must never be lost: values that users wrote on the active side and that only this side has, by cluster.
        self.unsent: dict[tuple[str, str], str] = {}
        self.losers: set[str] = set()
        self.deleted_by_user: set[str] = set()
        self.ever_deleted: set[str] = set()
        self.blocked = False

    @initialize(adoption=st.sampled_from(list(Adoption)), percent=st.sampled_from([20, 50, 100]))
    def begin(self, adoption: Adoption, percent: int) -> None:
        self.adoption = adoption
        self.prune = Prune(max_percent=percent, grace=GRACE)
        self.look()

    @property
    def standby(self) -> str:
        return "us" if self.active == "eu" else "eu"

    @property
    def spec(self) -> Any:
        target = TargetSpec(region=self.standby, namespace="shop")
        return replication_spec(targets=(target,), adoption=self.adoption, prune=self.prune)

    @property
    def link(self) -> Link:
        return Link(source_region=self.active, target=self.spec.targets[0], epoch=self.epoch)

    # What users do.

    @rule(kind=KINDS, name=NAMES)
    def edit(self, kind: str, name: str) -> None:
        self.write(self.active, kind, name)
        key = f"{kind}/{name}"
        self.unsent[self.active, key] = value_of(self.apis[self.active].objects[key])
        self.deleted_by_user.discard(key)

    @rule(kind=KINDS, name=NAMES)
    def remove(self, kind: str, name: str) -> None:
        key = f"{kind}/{name}"
        if key in self.apis[self.active].objects:
            self.apis[self.active].delete(key)
            self.unsent.pop((self.active, key), None)
            self.deleted_by_user.add(key)
            self.ever_deleted.add(key)

    @rule(kind=KINDS, name=NAMES)
    def stranger_in_the_standby(self, kind: str, name: str) -> None:
        """Makes an object where none is, or edits what is there, a copy or not."""
        self.write(self.standby, kind, name)

    def write(self, region: str, kind: str, name: str) -> None:
        api, key = self.apis[region], f"{kind}/{name}"
        self.value += 1
        obj = named(kind, name, self.value)
        if key in api.objects:
            change = {"spec": obj["spec"]} if kind == "Deployment" else {"data": obj["data"]}
            api.patch(key, change, manager="kubectl")
        else:
            api.create(obj, manager="kubectl", now=self.now)

    # What the world does.

    @rule(seconds=st.sampled_from([1.0, GRACE + 1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(healthy=st.booleans())
    def partition(self, healthy: bool) -> None:
        self.healthy = healthy

    @rule()
    def look(self) -> None:
        """The replicator's caches take up what is there now; until then they are stale."""
        self.views = {region: api.snapshot() for region, api in self.apis.items()}
        self.complete = True

    @rule()
    def see_half(self) -> None:
        """The list of the source broke off."""
        self.look()
        seen = self.views[self.active]
        self.views[self.active] = {key: seen[key] for key in sorted(seen)[::2]}
        self.complete = False

    @rule(writes=st.integers(0, 4))
    def visit_and_die(self, writes: int) -> None:
        self.budget = writes
        with contextlib.suppress(DeadError):
            self.visit()
        self.budget = None

    @rule()
    def visit(self) -> None:
        self.sync(self.views)

    @precondition(lambda self: self.epoch < 6)
    @rule(planned=st.booleans())
    def fail_over(self, planned: bool) -> None:
        """The active region changes. Planned: the last changes are copied first and the old side is put to sleep."""
        if planned:
            self.look()
            self.visit()
        self.epoch += 1
        old, new = self.apis[self.active], self.apis[self.standby]
        token = {"metadata": {"annotations": {fence.ANNOTATION: f"{self.epoch}.1.1"}}}
        for key, obj in old.objects.items():
            if planned and obj["kind"] == "Deployment":
                old.patch(key, {**token, "spec": {"replicas": 0}}, manager="regent")
        for key, obj in new.objects.items():
            if (waking := shape.awake(obj)) is not None:
                waking["metadata"]["annotations"].update(token["metadata"]["annotations"])
                new.patch(key, waking, manager="regent")
        self.active = self.standby
        self.deleted_by_user.clear()
        # A new process, or the same one after the turn: its view of the source is taken anew.
        self.look()

    # The replicator, as the engine runs it.

    def sync(self, views: dict[str, dict[str, Object]]) -> bool:
        spec, link, api = self.spec, self.link, self.apis[self.standby]
        source, target = views[self.active], views[self.standby]
        before = api.writes
        wanted: set[ObjectKey] = set()
        gone: dict[ObjectKey, Object] = {}
        for key in sorted(source.keys() | target.keys()):
            present = target.get(key)
            want = None
            if key in source:
                want = desired_of(source[key], spec, link, target=present)
                wanted.add(want.key)
            action = plan.decide_object(want, present, spec=spec, link=link)
            if action.kind is plan.ActionKind.PRUNE and present is not None:
                gone[ObjectKey(kind_of(present), "shop", present["metadata"]["name"])] = present
            elif want is not None and action.writes:
                self.carry_out(action, want, present, api)
        ours = {
            ObjectKey(kind_of(obj), "shop", obj["metadata"]["name"]): obj
            for obj in target.values()
            if marks.ours(obj, spec.uid)
        }
        seen = prune.SourceView(complete=self.complete, healthy=self.healthy)
        todo = prune.plan_prune(spec=spec, link=link, copies=ours, wanted=wanted, source=seen, now=self.now)
        self.blocked = bool(todo.blocked_reason)
        for marked in todo.mark:
            self.spend()
            self.tolerant(
                api.patch,
                name_of(marked),
                marks.tombstone_patch(self.now),
                manager="regent",
                **precondition_of(gone[marked]),
            )
        for victim in todo.delete:
            self.spend()
            self.delete(api, name_of(victim.key), victim)
        return api.writes != before

    def delete(self, api: ObjectsApi, key: str, victim: prune.Victim) -> None:
        obj = api.objects.get(key)
        if obj is not None and obj["metadata"]["uid"] == victim.uid:
            assert marks.ours(obj, self.spec.uid), "an object that is not ours is never deleted"
        writes = api.writes
        self.tolerant(api.delete, key, uid=victim.uid, version=victim.resource_version)
        if api.writes != writes:
            alive = key in self.apis[self.active].objects
            assert alive or key in self.deleted_by_user, f"the only copy of {key} was deleted"
            assert key in self.ever_deleted, f"{key} was deleted although nobody ever deleted its source"

    def carry_out(self, action: plan.Action, want: shape.Desired, present: Object | None, api: ObjectsApi) -> None:
        self.spend()
        spec, link = self.spec, self.link
        if present is None:
            body = plan.applied_body(want, spec, link, observed_at=self.now)
            self.tolerant(api.create, body, manager=marks.FIELD_MANAGER, now=self.now)
            self.sent(want)
            return
        key, checks = key_of(present), precondition_of(present)
        if action.kind is plan.ActionKind.REVIVE:
            self.tolerant(api.patch, key, marks.revive_patch(), manager="regent", **checks)
            return
        real = api.objects.get(key)
        if real is None or real["metadata"]["uid"] != checks["uid"]:
            return
        if not marks.ours(real, spec.uid):
            self.check_adoption(action, want, real)
        if action.keep_loser:
            self.losers.add(value_of(real))
        body = plan.applied_body(want, spec, link, observed_at=self.now, target=present)
        # Taking over an object asks for the very version that was judged: it may have become another since.
        version = checks["version"] if action.kind is plan.ActionKind.ADOPT else ""
        if version and version != real["metadata"]["resourceVersion"]:
            return
        if action.removal is not None:
            api.patch(key, action.removal, manager="regent")
            self.spend()
            version = ""
        lost = self.unsent.get((api.region, key))
        if lost is not None and lost != value_of(want.body):
            assert action.keep_loser or lost in self.losers, f"{lost} of {key} was overwritten and not kept"
            self.unsent.pop((api.region, key))
        api.apply(
            body, manager=marks.FIELD_MANAGER, force=action.force, uid=checks["uid"], version=version, now=self.now
        )
        self.sent(want)

    def check_adoption(self, action: plan.Action, want: shape.Desired, real: Object) -> None:
        lineage = want.source_marks is not None and want.source_marks.source_uid == real["metadata"]["uid"]
        equal = value_of(real) == value_of(want.body)
        assert action.kind is plan.ActionKind.ADOPT, f"{action} on an object that is not ours"
        assert lineage or equal or self.adoption is Adoption.FORCE, f"{action} changes a foreign object"

    def sent(self, want: shape.Desired) -> None:
        key = f"{want.body['kind']}/{want.key.name}"
        there = self.apis[self.standby].objects.get(key)
        if there is not None and value_of(there) == self.unsent.get((self.active, key)):
            self.unsent.pop((self.active, key))

    def spend(self) -> None:
        if self.budget is not None:
            if self.budget == 0:
                raise DeadError
            self.budget -= 1

    @staticmethod
    def tolerant(call: Any, *args: Any, **options: Any) -> None:
        with contextlib.suppress(RefusedError, KeyError):
            call(*args, **options)

    # What must hold.

    @invariant()
    def our_marks_are_only_on_copies_and_sources(self) -> None:
        for api in self.apis.values():
            for obj in api.objects.values():
                if (written := marks.read_marks(obj)) is not None:
                    assert written.epoch <= self.epoch

    def teardown(self) -> None:
        """Quiet times: everything is healthy, nothing changes, the grace periods pass."""
        self.healthy = True
        for _ in range(8):
            self.look()
            source = copy.deepcopy(self.apis[self.active].objects)
            self.now += GRACE + 1
            wrote = self.sync(self.views)
            assert self.apis[self.active].objects == source, "the source is never written"
        assert not wrote, "it never comes to rest"
        self.check_copies()

    def check_copies(self) -> None:
        spec, link = self.spec, self.link
        source, target = self.apis[self.active].objects, self.apis[self.standby].objects
        for key, obj in source.items():
            want = desired_of(obj, spec, link, target=target.get(key))
            action = plan.decide_object(want, target.get(key), spec=spec, link=link)
            if action.kind is plan.ActionKind.SKIP:
                assert value_of(target[key]) == value_of(obj)
                assert obj["kind"] != "Deployment" or target[key]["spec"]["replicas"] == 0
            else:
                assert action.kind in (plan.ActionKind.CONFLICT, plan.ActionKind.REFUSE_FOREIGN), action
                assert not marks.ours(target[key], spec.uid)
                assert want.source_marks is None or want.source_marks.source_uid != target[key]["metadata"]["uid"]
        for key, obj in target.items():
            written = marks.read_marks(obj)
            if key in source or written is None:
                continue
            unproved = (written.epoch, written.source_region) != (self.epoch, self.active)
            assert self.blocked or unproved, f"the copy {key} has no source and stays"


def name_of(key: ObjectKey) -> str:
    return f"{key.kind.kind}/{key.name}"


def precondition_of(obj: Object) -> dict[str, str]:
    return {"uid": obj["metadata"]["uid"], "version": obj["metadata"]["resourceVersion"]}


OneWay.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestOneWay = OneWay.TestCase
