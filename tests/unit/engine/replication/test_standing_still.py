"""When nothing is copied, or not in this direction: failovers, epochs, Regions, and what a run asks of the copies."""

from __future__ import annotations

from typing import Any

import pytest

from regent.api.v1alpha1.convert_failoverpolicy import policy_spec
from regent.api.v1alpha1.convert_replicationpolicy import replication_spec
from regent.domain.errors import ConflictError
from regent.domain.failover.fence import Fence
from regent.domain.replication import kinds
from regent.domain.replication.model import Link as Way
from regent.domain.replication.plan import Action, ActionKind
from regent.engine.queue import Key, KeyedQueue
from regent.engine.replication.copier import Copier
from regent.engine.replication.freeze import EpochCheck, frozen
from regent.engine.replication.looking import ItemKey, Look, Tracked
from regent.engine.replication.reflection import Reflection
from regent.engine.replication.runs import ReplicationInRuns
from regent.engine.replication.scope import scope_of
from regent.engine.replication.transfers import Transfers
from regent.engine.resources import (
    DEPLOYMENTS,
    FAILOVER_POLICIES,
    FAILOVERS,
    REGIONS,
    REPLICATION_POLICIES,
    Resource,
)
from regent.engine.store import Store
from tests.fakes.clock import FakeClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.copying import EU, SHOP, US, FakeCopyCluster, FakeRegionAccess
from tests.fakes.ports import FakeLeadership, FakeMetrics
from tests.fakes.replication import deployment, desired_of, kind_of


class Scene:
    """A FailoverPolicy `app` over eu and us, and a ReplicationPolicy `copies`."""

    def __init__(self, *, follow: bool = True, **status: Any) -> None:
        self.hub, self.store = FakeCluster(), Store()
        self.hub.feed(self.store)
        for name in (EU, US):
            self.hub.put(REGIONS, {"metadata": {"name": name}, "spec": {}})
        self.hub.put(
            REPLICATION_POLICIES,
            {
                "metadata": {"namespace": SHOP, "name": "copies"},
                "spec": {
                    "source": {"followPolicy": "app"} if follow else {"region": EU},
                    "targets": [{"region": US}, *([{"region": EU}] if follow else [])],
                    "resources": [
                        {"category": "Workload"},
                        {"category": "Storage", "storage": {"driver": "VolSync"}},
                    ],
                },
            },
        )
        self.put_policy(**{"activeRegion": EU, "epoch": 7, **status})

    def put_policy(self, **status: Any) -> None:
        self.hub.put(
            FAILOVER_POLICIES,
            {
                "metadata": {"namespace": SHOP, "name": "app"},
                "spec": {
                    "regions": [{"name": EU}, {"name": US}],
                    "replicationPolicyRefs": [{"name": "copies", "gate": "Required"}],
                },
                "status": status,
            },
        )

    def put_run(self, **steps: str) -> None:
        rows = [{"attempt": 1, "name": name, "state": state} for name, state in steps.items()]
        self.hub.put(FAILOVERS, {"metadata": {"namespace": SHOP, "name": "app-1"}, "status": {"steps": rows}})

    @property
    def spec(self) -> Any:
        found = self.store.get(REPLICATION_POLICIES, SHOP, "copies")
        assert found is not None
        return replication_spec(found)

    def scope(self) -> Any:
        return scope_of(self.spec, self.store, shared=lambda one, other: False)


OPERATION = {"uid": "u", "name": "app-1", "from": EU, "to": US}


def test_the_source_is_the_active_region_until_replication_is_turned() -> None:
    scene = Scene()
    assert (scene.scope().source_region, [way.target.region for way in scene.scope().ways]) == (EU, [US])
    scene.put_policy(activeRegion=US, replicationSource=EU, epoch=8)
    assert scene.scope().source_region == EU
    scene.put_policy(activeRegion=US, replicationSource=US, epoch=8)
    assert (scene.scope().source_region, [way.target.region for way in scene.scope().ways]) == (US, [EU])


def test_a_run_that_has_only_begun_turns_nothing() -> None:
    """A policy without promotion steps has the new region active from the commit on."""
    scene = Scene(activeRegion=US, epoch=8, operation=OPERATION)
    (way,) = scene.scope().ways
    assert (scene.scope().source_region, way.epoch, way.target_active) == (EU, 7, False)


def test_a_fixed_direction_ends_where_its_target_becomes_active() -> None:
    scene = Scene(follow=False, activeRegion=US, epoch=8)
    (way,) = scene.scope().ways
    assert way.target_active
    scene.put_policy(activeRegion=EU, epoch=9)
    assert not scene.scope().ways[0].target_active


@pytest.mark.parametrize(
    ("steps", "still"),
    [
        ({}, False),
        ({"Isolate": "Running"}, False),
        ({"Isolate": "Succeeded", "FinalSync": "Running"}, False),
        ({"Isolate": "Succeeded", "FinalSync": "Succeeded"}, True),
        ({"FinalSync": "Skipped", "Promote/db": "Running"}, True),
        ({"FinalSync": "Succeeded", "Promote/db": "Succeeded", "Shift": "Running"}, True),
        ({"Promote/db": "Running"}, True),
    ],
)
async def test_copies_stand_still_from_the_final_sync_to_the_end_of_the_run(steps: dict[str, str], still: bool) -> None:
    scene = Scene(epoch=8, operation=OPERATION)
    scene.put_run(**steps)
    assert bool(frozen(scene.spec, scene.store)) is still
    check = EpochCheck(store=scene.store, epochs=SeenEpochs(0))  # type: ignore[arg-type]
    assert bool(await check.may_write(scene.spec, scene.scope().ways[0])) is still
    scene.put_policy(activeRegion=US, epoch=8)
    assert not frozen(scene.spec, scene.store)


class SeenEpochs:
    """What a region has seen."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    async def stored(self, region: str, policy: Any) -> Fence | None:
        return Fence(self.epoch, 1, 1) if self.epoch else None


@pytest.mark.parametrize(("seen", "stale"), [(0, False), (7, False), (8, True)])
async def test_a_target_that_has_seen_a_newer_epoch_is_not_written(seen: int, stale: bool) -> None:
    scene = Scene(epoch=7)
    check = EpochCheck(store=scene.store, epochs=SeenEpochs(seen))  # type: ignore[arg-type]
    assert ("StaleEpoch" in await check.may_write(scene.spec, scene.scope().ways[0])) is stale


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda scene: scene.hub.put(FAILOVER_POLICIES, policy_named("other")), ""),
        (lambda scene: scene.store.replace_all(FAILOVER_POLICIES, []), "FailoverPolicyNotFound"),
        (lambda scene: scene.put_policy(), "SourceUnknown"),
        (lambda scene: scene.store.replace_all(REGIONS, []), "RegionNotFound"),
    ],
)
def test_what_is_wrong_is_said(change: Any, reason: str) -> None:
    scene = Scene()
    change(scene)
    problem = scene.scope().problem
    assert (problem.reason if problem else "") == reason


def policy_named(name: str) -> dict[str, Any]:
    return {"metadata": {"namespace": SHOP, "name": name}, "spec": {}, "status": {}}


def test_one_cluster_needs_two_namespaces() -> None:
    scene = Scene(follow=False)
    found = scope_of(scene.spec, scene.store, shared=lambda one, other: True)
    assert found.problem is not None
    assert found.problem.reason == "SameCluster"


async def test_a_copy_that_was_woken_since_it_was_looked_at_is_not_put_to_sleep_again() -> None:
    """Fails when a write that was under way when a failover woke the copy still reaches it."""
    scene, target = Scene(), FakeCopyCluster()
    access: Any = FakeRegionAccess({US: target})
    way: Way = scene.scope().ways[0]
    source = deployment("web", replicas=3)
    wanted = desired_of(source, scene.spec, way)
    reflections = [Reflection(region, DEPLOYMENTS, SHOP) for region in (EU, US)]
    tracked = Tracked(
        kind=kind_of(source), source=reflections[0], target=reflections[1], selectors=(), include_status=False, wave=5
    )
    transfers = Transfers(namespace=SHOP, policy=SHOP, shown=(), metrics=FakeMetrics())
    copier = Copier(scene.spec, way, access=access, leadership=FakeLeadership(), clock=FakeClock(), transfers=transfers)
    made = Action(kind=ActionKind.APPLY, reason="Missing")
    key = ItemKey(DEPLOYMENTS, "web")
    copy = await copier.write(tracked, Look(key, source, None, wanted, made), made)
    assert copy["spec"]["replicas"] == 0
    target.put(DEPLOYMENTS, {**copy, "spec": {**copy["spec"], "replicas": 3}})
    again = Action(kind=ActionKind.APPLY, reason="Drifted", force=True)
    with pytest.raises(ConflictError):
        await copier.write(tracked, Look(key, source, copy, wanted, again), again)
    assert (await target.get(DEPLOYMENTS, SHOP, "web"))["spec"]["replicas"] == 3


async def test_a_run_names_and_wakes_what_sleeps_and_nothing_else() -> None:
    scene, target = Scene(), FakeCopyCluster()
    access: Any = FakeRegionAccess({US: target})
    labels = {"regent.dev/managed-by": "regent", "regent.dev/policy": scene.spec.uid}
    for name, own in (("copy", labels), ("foreign", {})):
        target.put(
            DEPLOYMENTS,
            {
                "metadata": {
                    "namespace": SHOP, "name": name, "labels": own, "annotations": {"regent.dev/replicas": "4"},
                },
                "spec": {"replicas": 0},
            },
        )  # fmt: skip
    runs = ReplicationInRuns(
        store=scene.store,
        queue=KeyedQueue(jitter=lambda: 0.0),
        session=lambda key: None,
        members=access,
        leadership=FakeLeadership(),
        read_policy=replication_spec,
    )
    stored = scene.store.get(FAILOVER_POLICIES, SHOP, "app")
    assert stored is not None
    policy, _ = policy_spec(stored)
    kind = kinds.REPLICATION_SOURCE
    senders = Resource(kind.group, kind.version, kind.plural, kind.kind)
    sender = {"namespace": SHOP, "name": "data", "labels": labels, "annotations": {"regent.dev/paused": "false"}}
    target.put(senders, {"metadata": sender, "spec": {"paused": True}})
    assert await runs.asleep(policy, US) == ["ReplicationSource data", "Deployment copy"]
    await runs.wake(policy, US, fence=Fence(8, 1, 900))
    copy = await target.get(DEPLOYMENTS, SHOP, "copy")
    assert copy["spec"]["replicas"] == 4
    assert (await target.get(senders, SHOP, "data"))["spec"]["paused"] is False
    assert copy["metadata"]["annotations"]["regent.dev/fence"] == "8.1.900"
    assert await runs.asleep(policy, US) == []
    assert (await target.get(DEPLOYMENTS, SHOP, "foreign"))["spec"]["replicas"] == 0
    states = await runs.synced(policy, EU, US, run="r", planned=True)
    assert not states["copies"].done, "nobody copies: nothing is proved"
    assert Key(REPLICATION_POLICIES, SHOP, "copies").name == "copies"
