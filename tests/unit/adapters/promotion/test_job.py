"""Jobs: one for each run, step and region, found again after a crash; marked, not undone, when demoted."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.errors import FencedOffError, PromotionProblemError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.failover.options import StepKind
from regent.domain.failover.roles import Role
from regent.engine.promotion import PromotionDriver
from regent.engine.resources import JOBS
from tests.fakes.members import FakeMembers, driver_of

EU, NS, RUN, NEXT = "eu", "shop", "shop/shop-1/uid-1", "shop/shop-2/uid-2"
NOW, NEW = Fence(7, 2, 4), Fence(8, 2, 5)
TEMPLATE = {
    "metadata": {"labels": {"team": "shop", "regent.dev/step": "stolen"}},
    "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never"}}},
}


def made(members: FakeMembers) -> PromotionDriver:
    return driver_of(members, StepKind.JOB, {"template": TEMPLATE})


async def jobs(members: FakeMembers) -> list[dict[str, Any]]:
    return list(await members.clusters[EU].list(JOBS, NS))


async def finish(members: FakeMembers, kind: str, *, message: str = "", **status: Any) -> None:
    """Let the newest Job end."""
    job = (await jobs(members))[-1]
    condition = {"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": message}
    members.clusters[EU].put(JOBS, {**job, "status": {"conditions": [condition], **status}})


async def test_it_runs_once_for_a_run_and_is_active_when_it_has_succeeded() -> None:
    members = FakeMembers()
    assert (await made(members).observe(EU)).role is Role.STANDBY
    for _ in range(2):
        await made(members).promote(EU, source="us", fence=NOW, run=RUN)
    [job] = await jobs(members)
    assert job["metadata"]["name"].startswith("regent-step-")
    assert len(job["metadata"]["name"]) <= 63
    assert job["metadata"]["labels"] == {
        "team": "shop",
        "regent.dev/managed-by": "regent",
        "regent.dev/policy-uid": "policy-uid",
        "regent.dev/step": "step",
        "regent.dev/region": EU,
    }
    assert job["metadata"]["annotations"]["regent.dev/fence"] == str(NOW)
    assert job["spec"] == TEMPLATE["spec"]
    assert (await made(members).observe(EU)).role is Role.CHANGING
    await finish(members, "Complete")
    assert (await made(members).observe(EU)).role is Role.ACTIVE
    assert set(members.accounts) == {(EU, "shop:failover")}


async def test_an_answer_that_was_lost_makes_no_second_job() -> None:
    members = FakeMembers()
    members.clusters[EU].fail("create", UnavailableError("cut"), after=True)
    with pytest.raises(UnavailableError):
        await made(members).promote(EU, source="us", fence=NOW, run=RUN)
    await made(members).promote(EU, source="us", fence=NOW, run=RUN)
    assert len(await jobs(members)) == 1


async def test_a_failed_job_says_why() -> None:
    members = FakeMembers()
    await made(members).promote(EU, source="us", fence=NOW, run=RUN)
    await finish(members, "Failed", message="Job has reached the specified backoff limit")
    state = await made(members).observe(EU)
    assert state.role is Role.CHANGING
    assert "BackoffLimitExceeded: Job has reached" in state.message
    with pytest.raises(PromotionProblemError, match="reached the specified backoff limit") as caught:
        await made(members).promote(EU, source="us", fence=NOW, run=RUN)
    assert caught.value.reason == "JobFailed"


async def test_each_run_and_region_has_a_job_of_its_own() -> None:
    members = FakeMembers()
    await made(members).promote(EU, source="us", fence=NOW, run=RUN)
    await finish(members, "Complete")
    await made(members).demote(EU, successor="us", fence=NOW, run=RUN)
    await made(members).promote(EU, source="us", fence=NEW, run=NEXT)
    names = [job["metadata"]["name"] for job in await jobs(members)]
    await made(members).promote("us", source=EU, fence=NEW, run=NEXT)
    names += [job["metadata"]["name"] for job in await members.clusters["us"].list(JOBS, NS)]
    assert len(set(names)) == 3


async def test_demoting_marks_and_stops_and_the_next_run_is_judged_by_its_own_job() -> None:
    members = FakeMembers()
    await made(members).promote(EU, source="us", fence=NOW, run=RUN)
    await made(members).demote(EU, successor="us", fence=NOW, run=RUN)
    [job] = await jobs(members)
    assert job["spec"]["suspend"] is True
    members.clusters[EU].put(JOBS, {**job, "status": {"active": 2}})
    assert (await made(members).observe(EU)).role is Role.CHANGING, "its pods are still there"
    members.clusters[EU].put(JOBS, {**job, "status": {}})
    state = await made(members).observe(EU)
    assert state.role is Role.STANDBY
    assert "what it did stays done" in state.message
    with pytest.raises(PromotionProblemError, match="start a new run"):
        await made(members).promote(EU, source="us", fence=NOW, run=RUN)
    await made(members).promote(EU, source="us", fence=NEW, run=NEXT)
    assert (await made(members).observe(EU)).role is Role.CHANGING


async def test_restoring_marks_as_it_was() -> None:
    members = FakeMembers()
    await made(members).restore(EU, {}, fence=NOW, run=RUN)
    await made(members).promote(EU, source="us", fence=NOW, run=RUN)
    await finish(members, "Complete")
    active = (await made(members).observe(EU)).snapshot
    await made(members).demote(EU, successor="us", fence=NEW, run=NEXT)
    await made(members).restore(EU, active, fence=NEW, run=NEXT)
    assert (await made(members).observe(EU)).role is Role.ACTIVE
    await made(members).restore(EU, {}, fence=NEW, run=NEXT)
    assert (await made(members).observe(EU)).role is Role.STANDBY, "it did not exist then"


async def test_a_newer_run_has_been_here() -> None:
    members = FakeMembers()
    await made(members).promote(EU, source="us", fence=NEW, run=NEXT)
    with pytest.raises(FencedOffError):
        await made(members).promote(EU, source="us", fence=NOW, run=RUN)
    with pytest.raises(FencedOffError):
        await made(members).demote(EU, successor="us", fence=NOW, run=RUN)
    assert len(await jobs(members)) == 1


async def test_regions_may_share_a_cluster() -> None:
    members = FakeMembers()
    members.together = {EU, "us"}
    members.clusters["us"] = members.clusters[EU]
    driver = driver_of(members, StepKind.JOB, {"template": TEMPLATE}, regions=(EU, "us"))
    await driver.promote(EU, source="us", fence=NOW, run=RUN)
    assert (await driver.observe("us")).role is Role.STANDBY
    assert (await driver.observe(EU)).role is Role.CHANGING
