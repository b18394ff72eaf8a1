"""Deployments and StatefulSets: what counts as active and standby, what is written, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from regent.adapters.promotion import scale
from regent.adapters.promotion.factory import PromotionDrivers, object_drivers
from regent.domain.errors import (
    ConflictError,
    FencedOffError,
    ForbiddenError,
    InvalidError,
    PromotionProblemError,
    UnavailableError,
)
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import PromotionStep, RunOptions, StepKind
from regent.domain.failover.roles import Role
from regent.engine.promotion import PromotionDriver
from regent.engine.resources import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, PODS, STATEFUL_SETS, Resource
from tests.fakes.clock import FakeClock
from tests.fakes.members import FakeMembers

EU, NS, RUN = "eu-west-1", "shop", "shop/shop-1/uid"
OLD, NOW, NEW = Fence(6, 9, 9), Fence(7, 2, 4), Fence(7, 2, 5)


def driver(members: FakeMembers, *, kind: str = "Deployment", replicas: int = 3) -> PromotionDriver:
    step = PromotionStep(name="web", kind=StepKind.SCALE, settings={"kind": kind, "name": "web", "replicas": replicas})
    policy = PolicySpec(namespace=NS, name="shop", uid="u", options=RunOptions(promotion=(step,)))
    [made] = PromotionDrivers(object_drivers(members, clock=FakeClock())).drivers(policy)
    return made


def workload(
    members: FakeMembers,
    *,
    replicas: int | None,
    ready: int = 0,
    total: int | None = None,
    resource: Resource = DEPLOYMENTS,
    annotations: dict[str, str] | None = None,
    observed: int | None = None,
    **status: Any,
) -> dict[str, Any]:
    spec: dict[str, Any] = {"selector": {"matchLabels": {"app": "web"}}}
    if replicas is not None:
        spec["replicas"] = replicas
    shown = {"replicas": ready if total is None else total, "readyReplicas": ready, **status}
    obj = {"metadata": {"namespace": NS, "name": "web", "annotations": annotations or {}}, "spec": spec}
    made = members.clusters[EU].put(resource, {**obj, "status": shown})
    made["status"]["observedGeneration"] = made["metadata"]["generation"] if observed is None else observed
    return members.clusters[EU].put(resource, made)


def pod(members: FakeMembers, owner: dict[str, Any], name: str, *, phase: str = "Running") -> None:
    reference = {"kind": "ReplicaSet", "name": "web-5d4", "uid": "rs", "controller": True}
    if owner["kind"] == "StatefulSet":
        reference = {"kind": "StatefulSet", "name": "web", "uid": owner["metadata"]["uid"], "controller": True}
    labels = {"app": "web", "pod-template-hash": "5d4"}
    metadata = {"namespace": NS, "name": name, "labels": labels, "ownerReferences": [reference]}
    members.clusters[EU].put(PODS, {"metadata": metadata, "spec": {}, "status": {"phase": phase}})


def autoscaler(members: FakeMembers, *, name: str = "web", **spec: Any) -> None:
    owners = spec.pop("owners", [])
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    members.clusters[EU].put(
        HORIZONTAL_POD_AUTOSCALERS,
        {
            "metadata": {"namespace": NS, "name": f"{name}-hpa", "ownerReferences": owners},
            "spec": {"scaleTargetRef": target, "maxReplicas": 10, **spec},
        },
    )


async def stored(members: FakeMembers, resource: Resource = DEPLOYMENTS) -> dict[str, Any]:
    return await members.clusters[EU].get(resource, NS, "web")


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_ready_replicas_make_it_active(kind: str) -> None:
    members = FakeMembers()
    workload(members, replicas=3, ready=3, resource=scale.KINDS[kind])
    state = await driver(members, kind=kind).observe(EU)
    assert state.role is Role.ACTIVE
    assert state.snapshot == {"replicas": 3}


@pytest.mark.parametrize(
    ("replicas", "ready", "observed"),
    [(3, 2, None), (2, 2, None), (None, 1, None), (3, 3, 0)],
    ids=["not all ready", "fewer wanted", "the default of one", "status is of an older spec"],
)
async def test_anything_less_is_changing(replicas: int | None, ready: int, observed: int | None) -> None:
    members = FakeMembers()
    workload(members, replicas=replicas, ready=ready, observed=observed)
    assert (await driver(members).observe(EU)).role is Role.CHANGING


async def test_why_replicas_cannot_be_made_is_shown() -> None:
    members = FakeMembers()
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: cpu"}
    workload(members, replicas=3, ready=1, conditions=[failure])
    state = await driver(members).observe(EU)
    assert state.role is Role.CHANGING
    assert "1 of 3 replicas are ready: exceeded quota: cpu" in state.message


async def test_scaled_to_zero_is_standby_and_a_stale_status_is_no_proof() -> None:
    members = FakeMembers()
    workload(members, replicas=0)
    assert (await driver(members).observe(EU)).role is Role.STANDBY
    workload(members, replicas=0, observed=0)
    assert (await driver(members).observe(EU)).role is Role.CHANGING
    workload(members, replicas=0, total=2)
    assert (await driver(members).observe(EU)).role is Role.CHANGING


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_a_pod_that_still_terminates_is_no_standby(kind: str) -> None:
    """A Deployment's status does not count it, and it may write until it is gone."""
    members = FakeMembers()
    made = workload(members, replicas=0, resource=scale.KINDS[kind])
    pod(members, made, "web-a")
    state = await driver(members, kind=kind).observe(EU)
    assert state.role is Role.CHANGING
    assert "web-a" in state.message
    pod(members, made, "web-a", phase="Succeeded")
    assert (await driver(members, kind=kind).observe(EU)).role is Role.STANDBY


async def test_pods_of_another_workload_with_the_same_labels_do_not_count() -> None:
    members = FakeMembers()
    workload(members, replicas=0)
    labels = {"app": "web", "pod-template-hash": "77"}
    reference = {"kind": "ReplicaSet", "name": "worker-77", "uid": "other"}
    metadata = {"namespace": NS, "name": "worker-77-a", "labels": labels, "ownerReferences": [reference]}
    members.clusters[EU].put(PODS, {"metadata": metadata, "spec": {}, "status": {"phase": "Running"}})
    assert (await driver(members).observe(EU)).role is Role.STANDBY


def test_selectors_become_the_text_of_a_query() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "NotIn", "values": ["x"]},
        {"key": "web", "operator": "Exists"},
        {"key": "db", "operator": "DoesNotExist"},
    ]
    selector = {"matchLabels": {"app": "web"}, "matchExpressions": expressions}
    assert scale._selector(selector) == "app=web,tier in (a,b),old notin (x),web,!db"


async def test_missing_is_absent_and_a_region_that_hangs_unknown() -> None:
    members = FakeMembers()
    assert (await driver(members).observe(EU)).role is Role.ABSENT
    members.down.add(EU)
    state = await driver(members).observe(EU)
    assert state.role is Role.UNKNOWN
    assert "does not answer" in state.message


async def test_promote_demote_and_restore_write_replicas_and_fence_together() -> None:
    members = FakeMembers()
    workload(members, replicas=5, ready=5)
    made = driver(members)
    before = (await made.observe(EU)).snapshot
    await made.demote(EU, successor="us", fence=NOW, run=RUN)
    obj = await stored(members)
    assert (obj["spec"]["replicas"], obj["metadata"]["annotations"]) == (0, {"regent.dev/fence": "7.2.4"})
    assert obj["spec"]["selector"] == {"matchLabels": {"app": "web"}}
    await made.promote(EU, source="us", fence=NEW, run=RUN)
    obj = await stored(members)
    assert (obj["spec"]["replicas"], obj["metadata"]["annotations"]) == (3, {"regent.dev/fence": "7.2.5"})
    await made.restore(EU, before, fence=NEW, run=RUN)
    assert (await stored(members))["spec"]["replicas"] == 5
    assert (await made.observe(EU)).fence == NEW


async def test_the_same_call_again_writes_nothing() -> None:
    members = FakeMembers()
    workload(members, replicas=5)
    for _ in range(2):
        await driver(members).demote(EU, successor="us", fence=NOW, run=RUN)
    assert [call[0] for call in members.clusters[EU].writes] == ["patch"]


async def test_a_greater_fence_on_the_object_stops_us() -> None:
    members = FakeMembers()
    workload(members, replicas=5, annotations={"regent.dev/fence": str(NEW)})
    for call in (
        driver(members).demote(EU, successor="us", fence=NOW, run=RUN),
        driver(members).promote(EU, source="us", fence=NOW, run=RUN),
        driver(members).restore(EU, {"replicas": 1}, fence=NOW, run=RUN),
    ):
        with pytest.raises(FencedOffError, match=r"7\.2\.5"):
            await call
    assert not members.clusters[EU].writes


async def test_a_fence_that_comes_between_read_and_write_stops_us() -> None:
    """The new leader writes after our look: the compare-and-set fails, and the second look sees its fence."""
    members = FakeMembers()
    workload(members, replicas=5)
    cluster = members.clusters[EU]
    raced = False

    async def overtaken(resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        nonlocal raced
        found = await type(cluster).get(cluster, resource, namespace, name)
        if not raced:
            raced = True
            await type(cluster).patch(
                cluster, resource, namespace, name, {"metadata": {"annotations": {"regent.dev/fence": str(NEW)}}}
            )
        return found

    cluster.get = overtaken  # type: ignore[method-assign]
    with pytest.raises(FencedOffError):
        await driver(members).demote(EU, successor="us", fence=NOW, run=RUN)
    assert (await type(cluster).get(cluster, DEPLOYMENTS, NS, "web"))["spec"]["replicas"] == 5


async def test_an_older_fence_and_others_writes_in_between_do_not() -> None:
    members = FakeMembers()
    workload(members, replicas=5, annotations={"regent.dev/fence": str(OLD), "note": "mine"})
    members.clusters[EU].fail("patch", ConflictError("modified", status=409), times=2)
    await driver(members).demote(EU, successor="us", fence=NOW, run=RUN)
    obj = await stored(members)
    assert obj["spec"]["replicas"] == 0
    assert obj["metadata"]["annotations"] == {"regent.dev/fence": str(NOW), "note": "mine"}


async def test_conflicts_without_end_are_tried_again_later() -> None:
    members = FakeMembers()
    workload(members, replicas=5)
    members.clusters[EU].fail("patch", ConflictError("modified", status=409), times=99)
    with pytest.raises(UnavailableError, match="changed by others"):
        await driver(members).demote(EU, successor="us", fence=NOW, run=RUN)


@pytest.mark.parametrize("error", [InvalidError("older fence", status=422), ForbiddenError("older", status=403)])
async def test_an_admission_policy_that_refuses_our_fence_is_believed(error: Exception) -> None:
    members = FakeMembers()
    workload(members, replicas=5)
    cluster = members.clusters[EU]
    cluster.fail("patch", error)  # type: ignore[arg-type]
    original = cluster.patch

    async def overtaken(*arguments: Any) -> dict[str, Any]:
        workload(members, replicas=5, annotations={"regent.dev/fence": str(NEW)})
        return await original(*arguments)

    cluster.patch = overtaken  # type: ignore[method-assign]
    with pytest.raises(FencedOffError):
        await driver(members).demote(EU, successor="us", fence=NOW, run=RUN)


async def test_problems_say_what_to_do() -> None:
    members = FakeMembers()
    with pytest.raises(PromotionProblemError, match=r"Deployment web does not exist .* create it") as caught:
        await driver(members).promote(EU, source="us", fence=NOW, run=RUN)
    assert caught.value.reason == "ObjectNotFound"
    workload(members, replicas=5)
    for error, reason in (
        (ForbiddenError("no", status=403), "Forbidden"),
        (ForbiddenError("who?", status=401), "Unauthorized"),
        (InvalidError("no", status=422), "Refused"),
    ):
        members.clusters[EU].fail("patch", error)
        with pytest.raises(PromotionProblemError) as caught:
            await driver(members).demote(EU, successor="us", fence=NOW, run=RUN)
        assert caught.value.reason == reason


async def test_an_autoscaler_decides_about_replicas_above_zero() -> None:
    members = FakeMembers()
    autoscaler(members, name="other")
    workload(members, replicas=2, ready=2)
    made = driver(members)
    assert (await made.observe(EU)).role is Role.CHANGING, "that autoscaler is another's"
    autoscaler(members)
    assert (await made.observe(EU)).role is Role.ACTIVE
    await made.promote(EU, source="us", fence=NOW, run=RUN)
    assert (await stored(members))["spec"]["replicas"] == 2
    await made.demote(EU, successor="us", fence=NOW, run=RUN)
    await made.promote(EU, source="us", fence=NEW, run=RUN)
    assert (await stored(members))["spec"]["replicas"] == 3


async def test_an_autoscaler_that_would_undo_it_is_a_problem() -> None:
    members = FakeMembers()
    workload(members, replicas=0)
    autoscaler(members, maxReplicas=2)
    with pytest.raises(PromotionProblemError, match="raise maxReplicas"):
        await driver(members).promote(EU, source="us", fence=NOW, run=RUN)
    autoscaler(members, minReplicas=0)
    with pytest.raises(PromotionProblemError, match="minReplicas to 1"):
        await driver(members).demote(EU, successor="us", fence=NOW, run=RUN)
    autoscaler(members, owners=[{"kind": "ScaledObject", "name": "web", "uid": "k"}])
    with pytest.raises(PromotionProblemError, match="paused-replicas"):
        await driver(members).demote(EU, successor="us", fence=NOW, run=RUN)
    assert not members.clusters[EU].writes


async def test_it_uses_all_the_rights_that_it_declares_and_no_others() -> None:
    members = FakeMembers()
    for kind in scale.KINDS:
        workload(members, replicas=3, resource=scale.KINDS[kind])
        made = driver(members, kind=kind)
        await made.demote(EU, successor="us", fence=NOW, run=RUN)
        made_now = await stored(members, scale.KINDS[kind])
        workload(members, replicas=0, resource=scale.KINDS[kind])
        await made.observe(EU)
        assert made_now["spec"]["replicas"] == 0
    declared = {(resource.plural, verb) for resource, verbs in scale.ACCESS.items() for verb in verbs}
    assert members.used() == declared
    assert STATEFUL_SETS in scale.ACCESS


async def test_a_workload_has_no_data_to_wait_for() -> None:
    assert (await driver(FakeMembers()).sync("eu", "us")).done


def test_a_step_that_nobody_knows_is_said() -> None:
    step = PromotionStep(name="db", kind=StepKind.PATRONI)
    policy = PolicySpec(namespace=NS, name="shop", uid="u", options=RunOptions(promotion=(step,)))
    with pytest.raises(PromotionProblemError, match="no driver for Patroni"):
        PromotionDrivers({}).drivers(policy)
