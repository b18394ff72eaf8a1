"""Patches on any object: the account they act as, the role that the object's fields say, the way back."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.errors import FencedOffError, PromotionProblemError
from regent.domain.failover.fence import Fence
from regent.domain.failover.options import StepKind
from regent.domain.failover.roles import Role
from regent.engine.promotion import PromotionDriver
from regent.engine.resources import SECRETS, Resource
from tests.fakes.members import FakeMembers, driver_of

EU, NS, RUN, NOW, NEW = "eu", "shop", "shop/shop-1/uid", Fence(7, 2, 4), Fence(7, 2, 5)
CACHES = Resource("cache.example.com", "v1", "caches", "Cache")
PROMOTE = {"spec": {"mode": "primary", "standbyOf": None}, "metadata": {"labels": {"role": "primary"}}}
DEMOTE = {"spec": {"mode": "standby", "standbyOf": {"host": "us"}}, "metadata": {"labels": {"role": None}}}


def made(members: FakeMembers, **changes: Any) -> PromotionDriver:
    settings = {
        "apiVersion": "cache.example.com/v1",
        "kind": "Cache",
        "name": "c",
        "promote": PROMOTE,
        "demote": DEMOTE,
    }
    return driver_of(members, StepKind.PATCH, {**settings, **changes})


def put(members: FakeMembers, spec: dict[str, Any], **status: Any) -> None:
    cluster = members.clusters[EU]
    cluster.served.add(CACHES)
    labels = {"app": "shop", **({"role": "primary"} if spec.get("mode") == "primary" else {})}
    metadata = {"namespace": NS, "name": "c", "labels": labels}
    cluster.put(CACHES, {"metadata": metadata, "spec": spec, "status": status})


async def stored(members: FakeMembers) -> dict[str, Any]:
    found: dict[str, Any] = await members.clusters[EU].get(CACHES, NS, "c")
    return found


async def test_the_policys_account_does_everything() -> None:
    members = FakeMembers()
    put(members, {"mode": "standby"})
    await made(members).observe(EU)
    await made(members).promote(EU, source="us", fence=NOW, run=RUN)
    await made(members).demote(EU, successor="us", fence=NOW, run=RUN)
    assert set(members.accounts) == {(EU, "shop:failover")}


def test_without_an_account_there_is_no_driver() -> None:
    with pytest.raises(PromotionProblemError, match="serviceAccountName"):
        driver_of(FakeMembers(), StepKind.PATCH, {}, account="")


@pytest.mark.parametrize(
    ("spec", "role"),
    [
        ({"mode": "primary", "size": 3}, Role.ACTIVE),
        ({"mode": "standby", "standbyOf": {"host": "us", "port": 1}}, Role.STANDBY),
        ({"mode": "primary", "standbyOf": {"host": "us"}}, Role.CHANGING),
        ({"mode": "standby"}, Role.CHANGING),
        ({}, Role.CHANGING),
    ],
)
async def test_the_role_is_what_the_fields_say(spec: dict[str, Any], role: Role) -> None:
    members = FakeMembers()
    put(members, spec)
    assert (await made(members).observe(EU)).role is role


async def test_active_waits_for_what_the_policy_waits_for() -> None:
    members = FakeMembers()
    waiting = made(members, waitFor="jsonpath={.status.phase}=Serving")
    put(members, {"mode": "primary"}, phase="Loading")
    state = await waiting.observe(EU)
    assert state.role is Role.CHANGING
    assert "waiting for {.status.phase}=Serving" in state.message
    put(members, {"mode": "primary"}, phase="Serving")
    assert (await waiting.observe(EU)).role is Role.ACTIVE


async def test_missing_objects_and_kinds() -> None:
    members = FakeMembers()
    assert (await made(members).observe(EU)).role is Role.ABSENT
    with pytest.raises(PromotionProblemError, match="Cache c does not exist"):
        await made(members).promote(EU, source="us", fence=NOW, run=RUN)
    members.down.add(EU)
    assert (await made(members).observe(EU)).role is Role.UNKNOWN


@pytest.mark.parametrize(
    "spec",
    [{"mode": "primary", "size": 3}, {"standbyOf": {"host": "ap", "port": 9}}, {"mode": "odd", "standbyOf": "x"}],
)
async def test_restoring_brings_back_every_field_that_was_touched(spec: dict[str, Any]) -> None:
    members = FakeMembers()
    put(members, spec)
    before = await stored(members)
    snapshot = (await made(members).observe(EU)).snapshot
    await made(members).demote(EU, successor="us", fence=NOW, run=RUN)
    assert (await stored(members))["metadata"]["annotations"] == {"regent.dev/fence": str(NOW)}
    await made(members).promote(EU, source="us", fence=NOW, run=RUN)
    await made(members).restore(EU, snapshot, fence=NEW, run=RUN)
    after = await stored(members)
    assert (after["spec"], after["metadata"]["labels"]) == (before["spec"], before["metadata"]["labels"])
    assert (await made(members).observe(EU)).snapshot == snapshot


async def test_a_patch_cannot_take_the_fence_away_nor_the_compare_and_set() -> None:
    members = FakeMembers()
    put(members, {"mode": "standby"})
    sneaky = {"metadata": {"annotations": None, "resourceVersion": None}, "spec": {"mode": "primary"}}
    await made(members, promote=sneaky).promote(EU, source="us", fence=NEW, run=RUN)
    assert (await stored(members))["metadata"]["annotations"] == {"regent.dev/fence": str(NEW)}
    with pytest.raises(FencedOffError):
        await made(members, promote=sneaky).promote(EU, source="us", fence=NOW, run=RUN)


async def test_secrets_are_not_patched_whoever_may() -> None:
    members = FakeMembers()
    data = {"data": {"a": "cw=="}}
    members.clusters[EU].put(SECRETS, {"metadata": {"namespace": NS, "name": "c"}, **data})
    secret = made(members, apiVersion="v1", kind="Secret", promote=data, demote=data)
    with pytest.raises(PromotionProblemError, match="Secrets are not patched"):
        await secret.observe(EU)
    with pytest.raises(PromotionProblemError, match="Secrets are not patched"):
        await secret.promote(EU, source="us", fence=NOW, run=RUN)
    assert not members.clusters[EU].writes
