"""VolumeReplications: the controller's word counts at the generation that was written, and for nothing else."""

from __future__ import annotations

import pytest

from regent.adapters.promotion import volume_replication
from regent.domain.failover.fence import Fence
from regent.domain.failover.options import StepKind
from regent.domain.failover.roles import Role
from regent.domain.times import rfc3339
from regent.engine.promotion import PromotionDriver
from regent.engine.resources import VOLUME_REPLICATIONS
from tests.fakes.clock import FakeClock
from tests.fakes.members import FakeMembers, driver_of

EU, US, NS, RUN, NOW, NEW = "eu", "us", "shop", "shop/shop-1/uid", Fence(7, 2, 4), Fence(7, 2, 5)


def made(members: FakeMembers, clock: FakeClock | None = None) -> PromotionDriver:
    return driver_of(members, StepKind.VOLUME_REPLICATION, {"name": "data"}, clock=clock)


def put(
    members: FakeMembers,
    wanted: str,
    state: str,
    *,
    region: str = EU,
    behind: int = 0,
    message: str = "",
    last_sync: str = "",
    **conditions: str,
) -> None:
    """Put a volume whose conditions are of a generation that is `behind` the object's."""
    obj = {
        "metadata": {"namespace": NS, "name": "data"},
        "spec": {"replicationState": wanted, "volumeReplicationClass": "rbd", "dataSource": {"name": "data"}},
    }
    stored = members.clusters[region].put(VOLUME_REPLICATIONS, obj)
    generation = stored["metadata"]["generation"] - behind
    stored["status"] = {"state": state, "message": message, **({"lastSyncTime": last_sync} if last_sync else {})}
    stored["status"]["conditions"] = [
        {"type": kind, "status": status, "observedGeneration": generation, "message": f"{kind} is {status}"}
        for kind, status in conditions.items()
    ]
    members.clusters[region].put(VOLUME_REPLICATIONS, stored)


@pytest.mark.parametrize(
    ("wanted", "state", "behind", "completed", "role"),
    [
        ("primary", "Primary", 0, "True", Role.ACTIVE),
        ("secondary", "Secondary", 0, "True", Role.STANDBY),
        ("primary", "Secondary", 0, "True", Role.CHANGING),
        ("secondary", "Primary", 0, "True", Role.CHANGING),
        ("primary", "Primary", 1, "True", Role.CHANGING),
        ("secondary", "Secondary", 1, "True", Role.CHANGING),
        ("secondary", "Secondary", 0, "False", Role.CHANGING),
        ("resync", "Secondary", 0, "True", Role.CHANGING),
        ("primary", "Unknown", 0, "Unknown", Role.CHANGING),
    ],
)
async def test_roles(wanted: str, state: str, behind: int, completed: str, role: Role) -> None:
    members = FakeMembers()
    put(members, wanted, state, behind=behind, Completed=completed)
    found = await made(members).observe(EU)
    assert (found.role, found.snapshot) == (role, {"replicationState": wanted})


async def test_why_a_promotion_fails_is_said() -> None:
    members = FakeMembers()
    put(members, "primary", "Secondary", Completed="False", Degraded="True")
    assert "Completed is False: Degraded is True" in (await made(members).observe(EU)).message
    members.clusters[US].put(
        VOLUME_REPLICATIONS, {"metadata": {"namespace": NS, "name": "data"}, "spec": {"replicationState": "primary"}}
    )
    assert "has not said anything yet" in (await made(members).observe(US)).message
    assert (await made(members).observe("other")).role is Role.ABSENT


async def test_the_lag_is_the_age_of_the_newest_whole_copy() -> None:
    members, clock = FakeMembers(), FakeClock()
    put(members, "primary", "Primary", Completed="True", last_sync=rfc3339(clock.wall() - 90))
    lag = (await made(members, clock).observe(EU)).lag
    assert lag == pytest.approx(90, abs=1)
    put(members, "primary", "Primary", Completed="True")
    assert (await made(members, clock).observe(EU)).lag is None, "unknown is not zero"


async def test_in_sync_when_the_demoted_side_is_healthy_again() -> None:
    members = FakeMembers()
    sync = made(members).sync
    assert not (await sync(EU, US)).done
    put(members, "primary", "Primary", Completed="True", Degraded="False", Resyncing="False")
    assert not (await sync(EU, US)).done
    put(members, "secondary", "Secondary", Completed="True", Degraded="True", Resyncing="False")
    assert "Degraded is True" in (await sync(EU, US)).message
    put(members, "secondary", "Secondary", Completed="True", Degraded="False", Resyncing="True")
    assert not (await sync(EU, US)).done
    put(members, "secondary", "Secondary", Completed="True")
    assert not (await sync(EU, US)).done, "not known is not healthy"
    put(members, "secondary", "Secondary", Completed="True", Degraded="False", Resyncing="False")
    assert (await sync(EU, US)).done
    members.down.add(EU)
    assert not (await sync(EU, US)).done


async def test_promote_demote_restore_and_no_more_rights_than_declared() -> None:
    members = FakeMembers()
    put(members, "primary", "Primary", Completed="True")
    before = (await made(members).observe(EU)).snapshot
    await made(members).demote(EU, successor=US, fence=NOW, run=RUN)
    state = await made(members).observe(EU)
    assert (state.role, state.fence) == (Role.CHANGING, NOW), "asked for is not done: the status is of what was before"
    await made(members).restore(EU, before, fence=NEW, run=RUN)
    assert (await made(members).observe(EU)).snapshot == before
    await made(members).promote(EU, source=US, fence=NEW, run=RUN)
    declared = volume_replication.ACCESS.items()
    assert members.used() == {(kind.plural, verb) for kind, verbs in declared for verb in verbs}
