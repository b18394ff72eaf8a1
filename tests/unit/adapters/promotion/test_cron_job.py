"""CronJobs: suspended is a standby only once no Job of it runs."""

from __future__ import annotations

from typing import Any

import pytest

from regent.adapters.promotion import cron_job
from regent.domain.errors import PromotionProblemError
from regent.domain.failover.fence import Fence
from regent.domain.failover.options import StepKind
from regent.domain.failover.roles import Role
from regent.engine.promotion import PromotionDriver
from regent.engine.resources import CRON_JOBS, JOBS
from tests.fakes.members import FakeMembers, driver_of

EU, NS, RUN, NOW, NEW = "eu", "shop", "shop/shop-1/uid", Fence(7, 2, 4), Fence(7, 2, 5)


def made(members: FakeMembers) -> PromotionDriver:
    return driver_of(members, StepKind.CRON_JOB, {"name": "nightly"})


def put(members: FakeMembers, *, suspend: bool | None) -> dict[str, Any]:
    spec: dict[str, Any] = {"schedule": "0 3 * * *"}
    if suspend is not None:
        spec["suspend"] = suspend
    return members.clusters[EU].put(CRON_JOBS, {"metadata": {"namespace": NS, "name": "nightly"}, "spec": spec})


def job(members: FakeMembers, owner: str, *conditions: str) -> None:
    metadata = {"namespace": NS, "name": "nightly-1", "ownerReferences": [{"kind": "CronJob", "uid": owner}]}
    status = {"conditions": [{"type": kind, "status": "True"} for kind in conditions]}
    members.clusters[EU].put(JOBS, {"metadata": metadata, "spec": {}, "status": status})


async def test_roles() -> None:
    members = FakeMembers()
    assert (await made(members).observe(EU)).role is Role.ABSENT
    for suspend in (None, False):
        put(members, suspend=suspend)
        state = await made(members).observe(EU)
        assert (state.role, state.snapshot) == (Role.ACTIVE, {"suspend": False})
    put(members, suspend=True)
    state = await made(members).observe(EU)
    assert (state.role, state.snapshot) == (Role.STANDBY, {"suspend": True})


async def test_a_job_that_runs_is_no_standby_and_is_named() -> None:
    members = FakeMembers()
    owner = put(members, suspend=True)["metadata"]["uid"]
    job(members, owner)
    state = await made(members).observe(EU)
    assert state.role is Role.CHANGING
    assert "nightly-1" in state.message
    for end in ("Complete", "Failed"):
        job(members, owner, end)
        assert (await made(members).observe(EU)).role is Role.STANDBY
    job(members, "of another")
    assert (await made(members).observe(EU)).role is Role.STANDBY


async def test_promote_demote_restore_and_no_more_rights_than_declared() -> None:
    members = FakeMembers()
    put(members, suspend=None)
    before = (await made(members).observe(EU)).snapshot
    await made(members).demote(EU, successor="us", fence=NOW, run=RUN)
    state = await made(members).observe(EU)
    assert (state.role, state.fence) == (Role.STANDBY, NOW)
    await made(members).promote(EU, source="us", fence=NEW, run=RUN)
    assert (await made(members).observe(EU)).role is Role.ACTIVE
    await made(members).demote(EU, successor="us", fence=NEW, run=RUN)
    await made(members).restore(EU, before, fence=NEW, run=RUN)
    assert (await made(members).observe(EU)).snapshot == before
    assert members.used() == {(kind.plural, verb) for kind, verbs in cron_job.ACCESS.items() for verb in verbs}


async def test_two_regions_in_one_cluster_are_refused_at_the_first_look() -> None:
    members = FakeMembers()
    put(members, suspend=False)
    driver = driver_of(members, StepKind.CRON_JOB, {"name": "nightly"}, regions=(EU, "us", "ap"))
    assert (await driver.observe(EU)).role is Role.ACTIVE
    members.together = {EU, "ap"}
    with pytest.raises(PromotionProblemError, match="eu and ap are in the same cluster") as caught:
        await driver.observe(EU)
    assert caught.value.reason == "SameCluster"
