"""Access to member clusters, Scale, CronJob, Patch and Job steps on real API servers and their controller manager."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from regent.domain.errors import FencedOffError, ForbiddenError, PromotionProblemError, UnavailableError
from regent.domain.failover.fence import Fence, parse_fence
from regent.domain.failover.options import StepKind
from regent.domain.failover.roles import Role
from regent.engine import region_access
from regent.engine.resources import NAMESPACES, SECRETS
from testbed.controlplane import Component
from tests.contract.promotion.regions import EU, HUB, US, Bench, Json, Member, eventually, put_region, write_secret

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("members"), pytest.mark.timeout(120)]
RUN, NEXT = "shop/shop-1/uid-1", "shop/shop-2/uid-2"


def fence(sequence: int) -> Fence:
    return Fence(7, 1, sequence)


def workload(kind: str, *, replicas: int, **pod: Any) -> Json:
    labels = {"app": "web"}
    spec: Json = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "web"}], **pod}},
    }
    if kind == "StatefulSet":
        spec.update(serviceName="web", podManagementPolicy="Parallel")
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"}, "spec": spec}


async def allow(bench: Bench, region: str, *rules: Json, impersonate: bool = True) -> None:
    """Make the policy's ServiceAccount with these rights, and let Regent's account of a member act as it."""
    group, namespace = "rbac.authorization.k8s.io", bench.namespace
    manifests: list[Json] = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": bench.account}}]
    act = {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": [bench.account]}
    roles = {"shop": (list(rules), {"kind": "ServiceAccount", "name": bench.account, "namespace": namespace})}
    if impersonate and region != HUB:
        regent = {"kind": "ServiceAccount", "name": "regent", "namespace": "regent-system"}
        roles["impersonate"] = ([{**act, "verbs": ["impersonate"]}], regent)
    for name, (granted, subject) in roles.items():
        meta = {"name": name}
        manifests.append({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": granted})
        reference = {"apiGroup": group, "kind": "Role", "name": name}
        binding = {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": meta, "roleRef": reference}
        manifests.append({**binding, "subjects": [subject]})
    await bench.apply(region, *manifests)


async def test_each_region_is_its_own_cluster_and_the_account_can_do_no_more(bench: Bench) -> None:
    uids = {}
    for region in (EU, US):
        cluster = await bench.access.cluster(region)
        uids[region] = (await cluster.get(NAMESPACES, "", "kube-system"))["metadata"]["uid"]
        with pytest.raises(ForbiddenError):
            await cluster.list(SECRETS, bench.namespace)
        with pytest.raises(ForbiddenError):
            await cluster.get(NAMESPACES, "", "default")
    assert uids[EU] != uids[US]
    assert await bench.access.cluster(EU) is await bench.access.cluster(EU), "one connection, kept"
    assert await bench.access.cluster(HUB) is bench.hub


async def test_a_kubeconfig_of_another_cluster_is_refused(bench: Bench, members: dict[str, Member]) -> None:
    """Fails when the uid is not compared: the Deployment of the other region would be scaled."""
    await bench.apply(US, workload("Deployment", replicas=1))
    await asyncio.to_thread(write_secret, bench.clusters[HUB], bench.namespace, EU, members[US].kubeconfig)
    driver = bench.driver(StepKind.SCALE, kind="Deployment", name="web", replicas=2)
    with pytest.raises(PromotionProblemError, match=members[US].uid) as caught:
        await driver.demote(EU, successor=US, fence=fence(1), run=RUN)
    assert caught.value.reason == "UidMismatch"
    assert (await bench.get(US, "apps/v1/deployments/web"))["spec"]["replicas"] == 1
    await asyncio.to_thread(write_secret, bench.clusters[HUB], bench.namespace, EU, members[EU].kubeconfig)
    assert (await driver.observe(EU)).role is Role.ABSENT


async def test_a_member_that_hangs_costs_bounded_time_and_comes_back(
    bench: Bench, members: dict[str, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(region_access, "LIMIT", 1.0)
    bench.access._members._timeout = 1.0  # type: ignore[attr-defined]
    await bench.apply(EU, workload("Deployment", replicas=0))
    driver = bench.driver(StepKind.SCALE, kind="Deployment", name="web", replicas=2)
    await bench.role(driver, EU, Role.STANDBY)
    plane = members[EU].plane
    plane.freeze(Component.API_SERVER)
    try:
        for proved in (True, False):  # first over the proved connection, then while it would have to be proved anew
            if not proved:
                put_region(bench.store, EU, members[EU], uid=members[EU].uid, version=9)
                bench.access._proved.clear()
                bench.access._silent_until.clear()
            began = time.monotonic()
            states = await asyncio.gather(*(driver.observe(EU) for _ in range(5)))
            states += [await driver.observe(EU) for _ in range(5)]
            assert time.monotonic() - began < 2.5, "the time-out once, not once for each look"
            assert {state.role for state in states} == {Role.UNKNOWN}
            with pytest.raises(UnavailableError):
                await driver.promote(EU, source=US, fence=fence(1), run=RUN)
    finally:
        plane.thaw(Component.API_SERVER)
    await bench.role(driver, EU, Role.STANDBY)


@pytest.mark.parametrize(("region", "kind"), [(EU, "Deployment"), (US, "StatefulSet"), (HUB, "Deployment")])
async def test_a_workload_is_scaled_down_and_up_and_put_back(bench: Bench, region: str, kind: str) -> None:
    await bench.apply(region, workload(kind, replicas=2))
    driver = bench.driver(StepKind.SCALE, kind=kind, name="web", replicas=3)
    await bench.set_pods(region, count=2)
    path = f"apps/v1/{kind.lower()}s/web"
    state = await driver.observe(region)
    assert state.role is Role.CHANGING
    assert state.snapshot == {"replicas": 2}
    await driver.promote(region, source="other", fence=fence(1), run=RUN)
    await bench.set_pods(region, count=3)
    assert (await bench.role(driver, region, Role.ACTIVE)).fence == fence(1)
    await driver.demote(region, successor="other", fence=fence(2), run=RUN)
    obj = await bench.get(region, path)
    assert (obj["spec"]["replicas"], obj["metadata"]["annotations"]["regent.dev/fence"]) == (0, "7.1.2")
    await bench.role(driver, region, Role.STANDBY)
    assert not await bench.pods(region)
    await driver.restore(region, state.snapshot, fence=fence(3), run=RUN)
    assert (await bench.get(region, path))["spec"]["replicas"] == 2


async def test_a_pod_that_terminates_keeps_a_deployment_from_being_a_standby(bench: Bench) -> None:
    """The Deployment's own status counts 0 replicas while the pod is still there: on a node it may be writing."""
    await bench.apply(EU, workload("Deployment", replicas=1, nodeName="away"))
    driver = bench.driver(StepKind.SCALE, kind="Deployment", name="web", replicas=1)
    await bench.set_pods(EU, count=1)
    await bench.role(driver, EU, Role.ACTIVE)
    await driver.demote(EU, successor=US, fence=fence(1), run=RUN)

    async def none_counted() -> bool:
        status = (await bench.get(EU, "apps/v1/deployments/web"))["status"]
        return not status.get("replicas") and status["observedGeneration"] == 2

    await eventually(none_counted, what="a Deployment that counts no replicas")
    state = await driver.observe(EU)
    assert state.role is Role.CHANGING
    [pod] = await bench.pods(EU)
    assert pod["metadata"]["name"] in state.message
    path = bench.path(f"v1/pods/{pod['metadata']['name']}")
    await asyncio.to_thread(bench.api(EU).delete, path, gracePeriodSeconds="0")
    await bench.role(driver, EU, Role.STANDBY)


async def test_of_many_writers_the_greatest_fence_stays(bench: Bench) -> None:
    """Twenty at once, each with a fence and replicas of its own: they never end up apart, and never go back."""
    await bench.apply(EU, workload("Deployment", replicas=0))

    async def write(number: int) -> int:
        driver = bench.driver(StepKind.SCALE, kind="Deployment", name="web", replicas=number)
        while True:
            try:
                await driver.promote(EU, source=US, fence=fence(number), run=RUN)
            except FencedOffError:
                return 0
            except UnavailableError:
                continue  # the others were faster eight times in a row
            return number

    written = await asyncio.gather(*(write(number) for number in range(1, 21)))
    obj = await bench.get(EU, "apps/v1/deployments/web")
    assert obj["spec"]["replicas"] == 20
    assert parse_fence(obj["metadata"]["annotations"]["regent.dev/fence"]) == fence(20)
    assert written[-1] == 20
    with pytest.raises(FencedOffError):
        await bench.driver(StepKind.SCALE, kind="Deployment", name="web", replicas=1).demote(
            EU, successor=US, fence=fence(19), run=RUN
        )


@pytest.mark.parametrize("region", [EU, HUB])
async def test_a_cron_job_is_a_standby_when_its_last_job_has_ended(bench: Bench, region: str) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}
    template = {"spec": {"template": {"spec": pod}}}
    spec = {"schedule": "0 3 1 1 *", "jobTemplate": template}
    await bench.apply(region, {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "n"}, "spec": spec})
    driver = bench.driver(StepKind.CRON_JOB, name="n")
    state = await bench.role(driver, region, Role.ACTIVE)
    owner = (await bench.get(region, "batch/v1/cronjobs/n"))["metadata"]["uid"]
    reference = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "n", "uid": owner, "controller": True}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "n-1", "ownerReferences": [reference]}}
    await bench.apply(region, {**job, **template})
    await driver.demote(region, successor="other", fence=fence(1), run=RUN)
    assert "n-1" in (await bench.role(driver, region, Role.CHANGING)).message
    await bench.set_pods(region, count=1, phase="Succeeded")
    assert (await bench.role(driver, region, Role.STANDBY)).fence == fence(1)
    await driver.restore(region, state.snapshot, fence=fence(2), run=RUN)
    await bench.role(driver, region, Role.ACTIVE)


@pytest.mark.parametrize("region", [EU, HUB])
async def test_a_patch_is_done_with_the_rights_of_the_policys_account(bench: Bench, region: str) -> None:
    await bench.apply(region, workload("Deployment", replicas=0))
    promote = {"spec": {"replicas": 1, "paused": None}, "metadata": {"labels": {"role": "primary"}}}
    demote = {"spec": {"replicas": 0, "paused": True}, "metadata": {"labels": {"role": None}}}
    settings = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "promote": promote, "demote": demote}
    driver = bench.driver(StepKind.PATCH, **settings, waitFor="condition=Available")
    await allow(bench, region)
    with pytest.raises(PromotionProblemError, match=f"{bench.namespace}:failover") as caught:
        await driver.observe(region)
    assert caught.value.reason == "Forbidden"
    await allow(bench, region, {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]})
    snapshot = (await bench.role(driver, region, Role.CHANGING)).snapshot
    await driver.demote(region, successor="other", fence=fence(1), run=RUN)
    await bench.role(driver, region, Role.STANDBY)
    await driver.promote(region, source="other", fence=fence(2), run=RUN)
    assert "waiting for condition Available" in (await bench.role(driver, region, Role.CHANGING)).message
    await bench.set_pods(region, count=1)
    assert (await bench.role(driver, region, Role.ACTIVE)).fence == fence(2)
    await driver.restore(region, snapshot, fence=fence(3), run=RUN)
    obj = await bench.get(region, "apps/v1/deployments/web")
    assert (obj["spec"]["replicas"], "paused" in obj["spec"], obj["metadata"].get("labels")) == (0, False, None)
    with pytest.raises(FencedOffError):
        await driver.promote(region, source="other", fence=fence(2), run=RUN)


async def test_an_account_that_regent_may_not_act_as_is_named(bench: Bench) -> None:
    await allow(bench, EU, impersonate=False)
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "promote": {}, "demote": {}}
    with pytest.raises(PromotionProblemError, match="verb impersonate on it"):
        await bench.driver(StepKind.PATCH, **settings).observe(EU)


async def test_a_job_runs_once_for_a_run_and_says_why_it_failed(bench: Bench) -> None:
    rule = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "create", "patch"]}
    await allow(bench, EU, rule)
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}
    driver = bench.driver(StepKind.JOB, template={"spec": {"backoffLimit": 0, "template": {"spec": pod}}})
    assert (await driver.observe(EU)).role is Role.STANDBY
    await asyncio.gather(*(driver.promote(EU, source=US, fence=fence(1), run=RUN) for _ in range(3)))
    found: Json = await asyncio.to_thread(bench.api(EU).get, bench.path("batch/v1/jobs/"))
    assert len(found["items"]) == 1
    await bench.set_pods(EU, count=1, phase="Succeeded")
    await bench.role(driver, EU, Role.ACTIVE)
    await driver.demote(EU, successor=US, fence=fence(2), run=RUN)
    await bench.role(driver, EU, Role.STANDBY)
    await driver.promote(EU, source=US, fence=fence(3), run=NEXT)
    await bench.role(driver, EU, Role.CHANGING)
    await bench.set_pods(EU, count=2, phase="Failed")

    async def failed() -> bool:
        return "BackoffLimitExceeded" in (await driver.observe(EU)).message

    await eventually(failed, what="the Job's failure")
    with pytest.raises(PromotionProblemError, match="BackoffLimitExceeded"):
        await driver.promote(EU, source=US, fence=fence(3), run=NEXT)
    await driver.demote(EU, successor=US, fence=fence(4), run=NEXT)
    await bench.role(driver, EU, Role.STANDBY)


async def test_demoting_a_job_that_runs_stops_it(bench: Bench) -> None:
    rule = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "create", "patch"]}
    await allow(bench, EU, rule)
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}
    driver = bench.driver(StepKind.JOB, template={"spec": {"template": {"spec": pod}}})
    await driver.promote(EU, source=US, fence=fence(1), run=RUN)
    await bench.set_pods(EU, count=1)
    await bench.role(driver, EU, Role.CHANGING)
    await driver.demote(EU, successor=US, fence=fence(2), run=RUN)
    await bench.role(driver, EU, Role.STANDBY)
    assert not await bench.pods(EU)
