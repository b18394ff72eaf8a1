"""CloudNativePG: the documented switchover with its token, the failover without, and what instances really are."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from regent.adapters.promotion import cnpg
from regent.domain.errors import PromotionProblemError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.failover.options import StepKind
from regent.domain.failover.roles import Role
from regent.engine.promotion import PromotionDriver
from regent.engine.resources import CNPG_CLUSTERS
from tests.fakes.members import FakeMembers, driver_of

EU, US, NS, RUN, NOW, NEW = "eu", "us", "shop", "shop/shop-1/uid", Fence(7, 2, 4), Fence(7, 2, 5)
TOKEN = base64.b64encode(
    json.dumps({"latestCheckpointREDOLocation": "1/9000028", "latestCheckpointTimelineID": "3"}).encode()
).decode()
EXTERNAL = [{"name": "db-eu"}, {"name": "db-us"}]


def made(members: FakeMembers) -> PromotionDriver:
    return driver_of(members, StepKind.CLOUD_NATIVE_PG, {"name": "db"})


def put(
    members: FakeMembers,
    region: str,
    primary: str,
    *,
    writing: bool | None,
    token: str = "",
    used: str = "",
    demoted: str = "",
    phase: str = "Cluster in healthy state",
    replica: dict[str, Any] | None = None,
    external: list[dict[str, Any]] = EXTERNAL,
) -> None:
    """Put the Cluster `db`, member db-<region> of the topology, whose one instance says whether it is a primary."""
    peer = "db-us" if region == EU else "db-eu"
    spec = {"primary": primary, "source": peer, "self": f"db-{region}", **({"promotionToken": token} if token else {})}
    status: dict[str, Any] = {"phase": phase, "currentPrimary": "db-1"}
    if writing is not None:
        status["instancesReportedState"] = {"db-1": {"isPrimary": writing}, "db-2": {"isPrimary": False}}
    tokens = {"lastPromotionToken": used, "demotionToken": demoted}
    status.update({name: value for name, value in tokens.items() if value})
    members.clusters[region].put(
        CNPG_CLUSTERS,
        {
            "metadata": {"namespace": NS, "name": "db"},
            "spec": {"instances": 2, "replica": spec if replica is None else replica, "externalClusters": external},
            "status": status,
        },
    )


async def replica_of(members: FakeMembers, region: str) -> dict[str, Any]:
    found: dict[str, Any] = (await members.clusters[region].get(CNPG_CLUSTERS, NS, "db"))["spec"]["replica"]
    return found


async def test_a_primary_and_its_replica() -> None:
    members = FakeMembers()
    put(members, EU, "db-eu", writing=True)
    put(members, US, "db-eu", writing=False)
    assert (await made(members).observe(EU)).role is Role.ACTIVE
    state = await made(members).observe(US)
    assert (state.role, state.snapshot) == (Role.STANDBY, {"primary": "db-eu", "source": "db-eu"})
    assert (await made(members).observe("elsewhere")).role is Role.ABSENT


@pytest.mark.parametrize(
    ("primary", "writing", "extra", "said"),
    [
        ("db-us", True, {}, "still primary: db-1"),
        ("db-us", None, {}, "no instance reports"),
        ("db-eu", False, {}, "no instance is one yet"),
        ("db-eu", None, {}, "no instance is one yet"),
        ("db-eu", True, {"token": TOKEN, "used": "an older one"}, "replaying up to its promotion token"),
        ("db-eu", False, {"token": TOKEN, "phase": "Promoting to primary cluster"}, "Promoting to primary cluster"),
    ],
)
async def test_what_is_asked_for_is_not_what_is(primary: str, writing: bool | None, extra: Any, said: str) -> None:
    members = FakeMembers()
    put(members, EU, primary, writing=writing, **extra)
    state = await made(members).observe(EU)
    assert state.role is Role.CHANGING
    assert said in state.message


async def test_a_switchover_hands_the_token_on() -> None:
    members = FakeMembers()
    put(members, EU, "db-eu", writing=True, token="used long ago", used="used long ago")
    put(members, US, "db-eu", writing=False)
    await made(members).demote(EU, successor=US, fence=NOW, run=RUN)
    assert await replica_of(members, EU) == {"primary": "db-us", "source": "db-us", "self": "db-eu"}
    assert not (await made(members).sync(EU, US)).done, "no token yet"
    put(members, EU, "db-us", writing=False, demoted=TOKEN)
    state = await made(members).observe(EU)
    assert (state.role, state.position, state.history) == (Role.STANDBY, (1 << 32) + 0x9000028, "3")
    assert (await made(members).sync(EU, US)).done
    await made(members).promote(US, source=EU, fence=NEW, run=RUN)
    wanted = {"primary": "db-us", "source": "db-eu", "self": "db-us", "promotionToken": TOKEN}
    assert await replica_of(members, US) == wanted
    members.down.add(EU)
    await made(members).promote(US, source=EU, fence=NEW, run=RUN)
    assert await replica_of(members, US) == wanted, "a second call must not turn the switchover into a failover"
    assert members.used() == {(kind.plural, verb) for kind, verbs in cnpg.ACCESS.items() for verb in verbs}


async def test_a_failover_goes_without_a_token() -> None:
    members = FakeMembers()
    put(members, US, "db-eu", writing=False)
    members.down.add(EU)
    await made(members).promote(US, source=EU, fence=NEW, run=RUN)
    assert await replica_of(members, US) == {"primary": "db-us", "source": "db-eu", "self": "db-us"}
    assert not (await made(members).sync(EU, US)).done


async def test_a_token_of_long_ago_is_not_used() -> None:
    """The old side is asked to be the primary: what stands in its status is of an earlier demotion."""
    members = FakeMembers()
    put(members, EU, "db-eu", writing=True, demoted=TOKEN)
    put(members, US, "db-eu", writing=False)
    await made(members).promote(US, source=EU, fence=NEW, run=RUN)
    assert "promotionToken" not in await replica_of(members, US)
    assert (await made(members).observe(EU)).position is None


async def test_demoting_without_the_successor_needs_a_topology_of_two() -> None:
    members = FakeMembers()
    members.down.add(US)
    put(members, EU, "db-eu", writing=True)
    await made(members).demote(EU, successor=US, fence=NOW, run=RUN)
    assert (await replica_of(members, EU))["primary"] == "db-us"
    put(members, EU, "db-eu", writing=True, external=[*EXTERNAL, {"name": "db-ap"}])
    with pytest.raises(UnavailableError, match="successor cannot be asked"):
        await made(members).demote(EU, successor=US, fence=NOW, run=RUN)


async def test_undoing_a_demotion_gives_the_primary_its_own_token_back() -> None:
    members = FakeMembers()
    put(members, EU, "db-eu", writing=True)
    before = (await made(members).observe(EU)).snapshot
    put(members, US, "db-eu", writing=False)
    await made(members).demote(EU, successor=US, fence=NOW, run=RUN)
    put(members, EU, "db-us", writing=False, demoted=TOKEN)
    await made(members).restore(EU, before, fence=NEW, run=RUN)
    replica = await replica_of(members, EU)
    assert replica == {"primary": "db-eu", "source": "db-us", "self": "db-eu", "promotionToken": TOKEN}
    assert (await made(members).observe(EU)).snapshot == before
    await made(members).promote(US, source=EU, fence=NEW, run=RUN)
    await made(members).restore(US, {"primary": "db-eu", "source": "db-eu"}, fence=NEW, run=RUN)
    assert await replica_of(members, US) == {"primary": "db-eu", "source": "db-eu", "self": "db-us"}


async def test_clusters_that_cannot_be_switched_say_what_to_do() -> None:
    members = FakeMembers()
    for replica, reason in (
        ({}, "NotDistributed"),
        ({"source": "x", "enabled": True}, "NotDistributed"),
        ({"primary": "db-us", "source": "db-us", "self": "db-eu", "enabled": False}, "StandaloneReplica"),
    ):
        put(members, EU, "", writing=True, replica=replica)
        with pytest.raises(PromotionProblemError) as caught:
            await made(members).observe(EU)
        assert caught.value.reason == reason
    same = {"primary": "db", "source": "db"}
    put(members, EU, "", writing=True, replica=same)
    put(members, US, "", writing=False, replica=same)
    with pytest.raises(PromotionProblemError, match=r"spec\.replica\.self"):
        await made(members).demote(EU, successor=US, fence=NOW, run=RUN)
