"""VirtualMachines: halted counts once the instance is gone; the way of running comes back."""

from __future__ import annotations

from typing import Any

import pytest

from regent.adapters.promotion import virtual_machine
from regent.domain.failover.fence import Fence
from regent.domain.failover.options import StepKind
from regent.domain.failover.roles import Role
from regent.engine.promotion import PromotionDriver
from regent.engine.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from tests.fakes.members import FakeMembers, driver_of

EU, NS, RUN, NOW, NEW = "eu", "shop", "shop/shop-1/uid", Fence(7, 2, 4), Fence(7, 2, 5)


def made(members: FakeMembers) -> PromotionDriver:
    return driver_of(members, StepKind.VIRTUAL_MACHINE, {"name": "erp"})


def put(members: FakeMembers, spec: dict[str, Any], shown: str = "Running", **status: Any) -> None:
    metadata = {"namespace": NS, "name": "erp"}
    members.clusters[EU].put(
        VIRTUAL_MACHINES, {"metadata": metadata, "spec": spec, "status": {"printableStatus": shown, **status}}
    )


def instance(members: FakeMembers) -> None:
    members.clusters[EU].put(VIRTUAL_MACHINE_INSTANCES, {"metadata": {"namespace": NS, "name": "erp"}, "spec": {}})


async def spec_of(members: FakeMembers) -> dict[str, Any]:
    found: dict[str, Any] = (await members.clusters[EU].get(VIRTUAL_MACHINES, NS, "erp"))["spec"]
    return found


@pytest.mark.parametrize(
    ("spec", "shown", "status", "role"),
    [
        ({"runStrategy": "Always"}, "Running", {"ready": True}, Role.ACTIVE),
        ({"runStrategy": "RerunOnFailure"}, "Running", {"ready": True}, Role.ACTIVE),
        ({"running": True}, "Running", {"ready": True}, Role.ACTIVE),
        ({"runStrategy": "Always"}, "Running", {"ready": False}, Role.CHANGING),
        ({"runStrategy": "Always"}, "Starting", {}, Role.CHANGING),
        ({"runStrategy": "Always"}, "Paused", {"ready": True}, Role.CHANGING),
        ({"runStrategy": "Halted"}, "Running", {"ready": True, "created": True}, Role.CHANGING),
        ({"runStrategy": "Halted"}, "Stopping", {"created": True}, Role.CHANGING),
        ({"runStrategy": "Halted"}, "Stopped", {}, Role.STANDBY),
        ({"runStrategy": "Halted"}, "Stopped", {"runStrategy": "Always"}, Role.CHANGING),
        ({"running": False}, "Stopped", {"runStrategy": "Halted"}, Role.STANDBY),
    ],
)
async def test_roles(spec: dict[str, Any], shown: str, status: dict[str, Any], role: Role) -> None:
    members = FakeMembers()
    put(members, spec, shown, **status)
    assert (await made(members).observe(EU)).role is role


async def test_an_instance_that_is_left_is_no_standby() -> None:
    members = FakeMembers()
    put(members, {"runStrategy": "Halted"}, "Stopped")
    instance(members)
    state = await made(members).observe(EU)
    assert state.role is Role.CHANGING
    assert "still there" in state.message


async def test_missing_is_absent_and_failures_to_start_are_shown() -> None:
    members = FakeMembers()
    assert (await made(members).observe(EU)).role is Role.ABSENT
    put(members, {"runStrategy": "Always"}, "CrashLoopBackOff", startFailure={"consecutiveFailCount": 3})
    assert "3 failed starts" in (await made(members).observe(EU)).message


@pytest.mark.parametrize(
    ("before", "halted", "after"),
    [
        ({"runStrategy": "Always"}, {"runStrategy": "Halted"}, {"runStrategy": "Always"}),
        ({"runStrategy": "RerunOnFailure"}, {"runStrategy": "Halted"}, {"runStrategy": "RerunOnFailure"}),
        ({"runStrategy": "Manual"}, {"runStrategy": "Halted"}, {"runStrategy": "Always"}),
        ({"running": True}, {"running": False}, {"running": True}),
    ],
)
async def test_it_comes_back_as_it_ran(before: dict[str, Any], halted: dict[str, Any], after: dict[str, Any]) -> None:
    members = FakeMembers()
    put(members, {**before, "template": {"keep": 1}})
    for _ in range(2):
        await made(members).demote(EU, successor="us", fence=NOW, run=RUN)
        assert await spec_of(members) == {**halted, "template": {"keep": 1}}
    await made(members).promote(EU, source="us", fence=NEW, run=RUN)
    assert await spec_of(members) == {**after, "template": {"keep": 1}}


@pytest.mark.parametrize("before", [{"runStrategy": "Manual"}, {"running": True}, {"runStrategy": "Halted"}])
async def test_restoring_brings_back_even_what_a_promotion_would_not(before: dict[str, Any]) -> None:
    members = FakeMembers()
    put(members, before)
    snapshot = (await made(members).observe(EU)).snapshot
    await made(members).demote(EU, successor="us", fence=NOW, run=RUN)
    await made(members).promote(EU, source="us", fence=NOW, run=RUN)
    await made(members).restore(EU, snapshot, fence=NEW, run=RUN)
    assert await spec_of(members) == before
    assert (await made(members).observe(EU)).snapshot == snapshot


async def test_no_more_rights_than_declared() -> None:
    members = FakeMembers()
    put(members, {"runStrategy": "Always"})
    await made(members).demote(EU, successor="us", fence=NOW, run=RUN)
    assert (await made(members).observe(EU)).fence == NOW
    declared = virtual_machine.ACCESS.items()
    assert members.used() == {(kind.plural, verb) for kind, verbs in declared for verb in verbs}
