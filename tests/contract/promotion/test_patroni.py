"""The Patroni driver on two real PostgreSQL clusters, one the standby cluster of the other, with clients that write.

The tests leave the two in any state; each begins with `settled`, which makes them a primary and a streaming standby
again, whichever is which. What would make a test fail is said in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping

import pytest

from regent.adapters.clock import SystemClock
from regent.adapters.promotion.patroni import PatroniDriver, patroni_steps
from regent.adapters.promotion.patroni_api import Clients
from regent.domain.errors import FencedOffError, PromotionProblemError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import PromotionStep, StepKind
from regent.domain.failover.roles import Role, RoleState
from testbed.database import Database, DatabaseError, Databases, WriterLoop
from testbed.network import NetworkNamespaces

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("patroni"),  # one pair of clusters, not one for each worker
]
A, B, STRANGER = "eu", "us", "elsewhere"
RUN = "shop/shop-1/uid"


class Passwords:
    """The Secrets of the policy's namespace."""

    def __init__(self, password: str) -> None:
        self._entries = {"username": b"regent", "password": password.encode()}

    async def data(self, namespace: str, name: str) -> Mapping[str, bytes]:
        assert (namespace, name) == ("shop", "patroni")
        return self._entries


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    with NetworkNamespaces() as network, Databases([A, B], network=network, strangers=[STRANGER]) as databases:
        yield databases


def driver_of(databases: Databases, *, password: str = "", **more: str) -> PatroniDriver:
    urls = {database.name: database.patroni_url for database in databases if database.name != STRANGER} | more
    settings = {
        "clusters": [{"region": region, "url": url} for region, url in urls.items()],
        "credentialsSecretRef": {"name": "patroni"},
    }
    step = PromotionStep(name="db", kind=StepKind.PATRONI, settings=settings)
    secrets = Passwords(password or databases.secrets.rest_password)
    steps = patroni_steps(clients=Clients(allow_loopback=False), secrets=secrets, clock=SystemClock())
    driver = steps[StepKind.PATRONI](PolicySpec(namespace="shop", name="shop", uid="u"), step)
    assert isinstance(driver, PatroniDriver)
    return driver


@pytest.fixture
def settled(databases: Databases) -> tuple[Database, Database]:
    """A primary and its streaming standby."""
    pair = [databases[A], databases[B]]
    for database in pair:
        database.namespace.heal()
        if database.status()[0] == 0:
            database.restart_patroni()
    deadline = time.monotonic() + 60
    while True:
        roles = [database.status("/primary")[0] for database in pair]
        if sorted(roles) == [200, 503]:
            primary, standby = pair if roles[0] == 200 else pair[::-1]
            standby.configure({"standby_cluster": {"host": primary.address, "port": primary.port}})
            standby.wait_role("standby-leader")
            standby.wait_streaming()
            return primary, standby
        if roles == [503, 503] and all("standby_cluster" in database.status("/config")[1] for database in pair):
            pair[0].configure({"standby_cluster": None})  # a test that failed half-way: each waits for the other
        assert time.monotonic() < deadline, [database.status() for database in pair]
        time.sleep(0.1)


async def until(
    look: Callable[[], Awaitable[RoleState]], role: Role, *, timeout: float = 30.0, following: bool = False
) -> RoleState:
    """The state as soon as it has the role (and, `following`, a known lag)."""
    deadline = time.monotonic() + timeout
    while True:
        state = await look()
        if state.role is role and (state.lag is not None or not following):
            return state
        assert time.monotonic() < deadline, state
        await asyncio.sleep(0.05)


async def hand_over(driver: PatroniDriver, source: str, to: str, *, fence: Fence) -> None:
    """The order of a planned run."""
    await driver.demote(source, successor=to, fence=fence, run=RUN)
    await until(lambda: driver.observe(source), Role.STANDBY)
    deadline = time.monotonic() + 30
    while not (state := await driver.sync(source, to)).done:
        assert time.monotonic() < deadline, state
        await asyncio.sleep(0.05)
    await driver.promote(to, source=source, fence=fence, run=RUN)
    await until(lambda: driver.observe(to), Role.ACTIVE)


async def told(driver: PatroniDriver, region: str, active: str) -> str:
    """The divergence, as soon as Patroni can tell."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return await driver.divergence(region, active)
        except UnavailableError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


async def held_back(driver: PatroniDriver, primary: Database, *, fence: Fence) -> None:
    """Hold a primary back, and see that it takes no writes and follows nobody."""
    await driver.hold(primary.name, fence=fence, run=RUN)
    await until(lambda: driver.observe(primary.name), Role.STANDBY)
    state = await driver.observe(primary.name)
    assert (state.held, state.wanted, state.fence, state.lag) == (True, Role.STANDBY, fence, None)
    # A demoted PostgreSQL is proved passive while it is down; then it is started in recovery, and Patroni may call it a
    # standby leader before that.
    primary.wait_role("standby-leader")
    deadline = time.monotonic() + 60
    while (answer := _recovering(primary)) is None:
        assert time.monotonic() < deadline, "it was not started again"
        await asyncio.sleep(0.1)
    assert answer == "t|0"


def _recovering(database: Database) -> str | None:
    """Whether it is in recovery, and how many it follows; None while nobody answers."""
    try:
        return database.query("SELECT pg_is_in_recovery(), count(*) FROM pg_stat_wal_receiver")
    except DatabaseError:
        return None


def next_fence(primary: Database) -> Fence:
    """A fence above everything that earlier tests left."""
    left = int(primary.status("/config")[1].get("regent", {}).get("fence", "0").split(".")[0])
    return Fence(left + 1000, 1, 1)


async def test_roles_positions_and_lag_are_observed(databases: Databases, settled: tuple[Database, Database]) -> None:
    primary, standby = settled
    driver = driver_of(databases)
    active, passive = await driver.observe(primary.name), await driver.observe(standby.name)
    assert (active.role, passive.role) == (Role.ACTIVE, Role.STANDBY), (active, passive)
    assert int(active.history) >= 1
    assert active.position is not None and passive.position is not None
    assert passive.lag is not None and passive.lag < 5.0
    assert active.snapshot == {"standbyCluster": None}
    assert passive.snapshot["standbyCluster"]["host"] == primary.address
    assert (await driver.observe("ap")).role is Role.ABSENT
    # The driver's word against the database's own: a standby refuses writes.
    assert standby.query("SELECT pg_is_in_recovery()") == "t"
    assert primary.query("SELECT pg_is_in_recovery()") == "f"


async def test_a_planned_switch_loses_no_acknowledged_write(
    databases: Databases, settled: tuple[Database, Database]
) -> None:
    # Promoting before `sync` is done, or reporting STANDBY while the old primary still takes writes, loses some.
    primary, standby = settled
    driver = driver_of(databases)
    with (
        WriterLoop(primary.app_url) as old_side,
        WriterLoop(standby.app_url, first=1_000_000) as new_side,
    ):
        old_side.wait_acknowledged_by(primary.name, timeout=10)
        asked = time.monotonic()
        await hand_over(driver, primary.name, standby.name, fence=next_fence(primary))
        new_side.wait_acknowledged_by(standby.name, timeout=10, since=asked)
    present = standby.numbers()
    for loop in (old_side, new_side):
        assert loop.writes().acknowledged
        assert loop.writes().lost(present) == []
        assert loop.writes().resurrected(present) == []
    back = await until(lambda: driver.observe(primary.name), Role.STANDBY, following=True)
    assert back.snapshot["standbyCluster"]["host"] == standby.address
    assert primary.status("/config")[1]["regent"]["fence"] == standby.status("/config")[1]["regent"]["fence"]


async def test_a_standby_that_lacks_writes_is_not_in_sync_until_it_has_them(
    databases: Databases, settled: tuple[Database, Database]
) -> None:
    # The old primary is shut down while its standby hears nothing of it: to promote as soon as it has stopped, or as
    # soon as it is in recovery, would lose every write of the meantime.
    primary, standby = settled
    driver = driver_of(databases)
    standby.namespace.drop(source=primary.address)
    with WriterLoop(primary.app_url, first=4_000_000) as writes:
        writes.wait_acknowledged_by(primary.name, timeout=10)
        fence = next_fence(primary)
        await driver.demote(primary.name, successor=standby.name, fence=fence, run=RUN)
        await until(lambda: driver.observe(primary.name), Role.STANDBY)
    assert writes.writes().lost(standby.numbers()), "the standby has everything: the test shows nothing"
    deadline = time.monotonic() + 30
    while not (state := await driver.sync(primary.name, standby.name)).behind:
        assert not state.done and time.monotonic() < deadline, state
        await asyncio.sleep(0.05)
    assert not state.done
    standby.namespace.heal()
    while not (state := await driver.sync(primary.name, standby.name)).done:
        assert time.monotonic() < deadline, state
        await asyncio.sleep(0.05)
    assert writes.writes().lost(standby.numbers()) == []
    await driver.promote(standby.name, source=primary.name, fence=fence, run=RUN)
    await until(lambda: driver.observe(standby.name), Role.ACTIVE)


async def test_the_old_side_dies_the_new_one_is_promoted_and_the_old_one_rejoins(
    databases: Databases, settled: tuple[Database, Database]
) -> None:
    primary, standby = settled
    driver = driver_of(databases)
    with (
        WriterLoop(primary.app_url) as old_side,
        WriterLoop(standby.app_url, first=2_000_000) as new_side,
    ):
        old_side.wait_acknowledged_by(primary.name, timeout=10)
        for _ in range(10):  # as the operator looks all the while
            await driver.observe(primary.name)
            await asyncio.sleep(0.05)
        killed = primary.kill()
        assert (await driver.observe(primary.name)).role is Role.UNKNOWN
        state = await driver.observe(standby.name)
        assert state.lag is not None, "a lag of the last look: a dead primary must not block its own failover"
        said = await driver.sync(primary.name, standby.name)
        assert not said.done and "at most the writes of the last" in said.message
        loss = await driver.estimate_loss(primary.name, standby.name)
        estimated = time.monotonic()
        await driver.promote(standby.name, source=primary.name, fence=next_fence(standby), run=RUN)
        await until(lambda: driver.observe(standby.name), Role.ACTIVE)
        new_side.wait_acknowledged_by(standby.name, timeout=10, since=killed)
    lost = old_side.writes().lost(standby.numbers())
    assert loss.seconds is not None
    assert all(write.done >= estimated - loss.seconds for write in lost), (loss, lost)
    assert new_side.writes().lost(standby.numbers()) == []
    primary.rejoin(standby)
    await until(lambda: driver.observe(primary.name), Role.STANDBY, following=True)
    primary.wait_streaming()


async def test_a_primary_that_promoted_itself_after_its_crash_is_not_told_to_follow(
    databases: Databases, settled: tuple[Database, Database]
) -> None:
    # Both have a timeline of the same number. Patroni would rewind nothing, and the database keep what it wrote and
    # never stream: a standby by its role, and none by its data.
    primary, standby = settled
    driver = driver_of(databases)
    primary.query("INSERT INTO writes VALUES (5000000, 'before')")
    deadline = time.monotonic() + 30
    while 5_000_000 not in standby.numbers():
        assert time.monotonic() < deadline
    primary.kill()
    await driver.promote(standby.name, source=primary.name, fence=next_fence(standby), run=RUN)
    await until(lambda: driver.observe(standby.name), Role.ACTIVE)
    standby.query("INSERT INTO writes VALUES (5000001, 'new')")
    primary.start_patroni()
    await until(lambda: driver.observe(primary.name), Role.ACTIVE, timeout=60)
    deadline = time.monotonic() + 30
    while True:
        try:
            await driver.divergence(primary.name, standby.name)
        except PromotionProblemError as problem:
            assert problem.reason == "PromotedItself"
            assert "remove its data directory" in str(problem)
            break
        except UnavailableError:
            assert time.monotonic() < deadline, "the histories are told a moment after each promotion"
            await asyncio.sleep(0.1)
    with pytest.raises(PromotionProblemError, match="promoted itself"):
        await driver.demote(primary.name, successor=standby.name, fence=next_fence(standby), run=RUN)
    assert "standby_cluster" not in primary.status("/config")[1]
    # Held back it takes no writes, and is still not told to follow.
    primary.query("INSERT INTO writes VALUES (5000002, 'beside')")
    await held_back(driver, primary, fence=next_fence(standby))
    assert 5_000_002 in primary.numbers()
    with pytest.raises(PromotionProblemError, match="promoted itself"):
        await driver.demote(primary.name, successor=standby.name, fence=next_fence(standby), run=RUN)
    with pytest.raises(PromotionProblemError, match="promoted itself"):
        await told(driver, primary.name, standby.name)
    primary.rebuild(standby)
    await until(lambda: driver.observe(primary.name), Role.STANDBY, following=True, timeout=60)
    deadline = time.monotonic() + 30
    while primary.numbers() != standby.numbers():
        assert time.monotonic() < deadline, "it was not made anew"
        await asyncio.sleep(0.1)
    assert await driver.divergence(primary.name, standby.name) == ""
    primary.configure({"regent": standby.status("/config")[1]["regent"]})  # as the next run would leave it


async def test_a_cut_primary_goes_on_writing_until_it_is_demoted(
    databases: Databases, settled: tuple[Database, Database]
) -> None:
    primary, standby = settled
    driver = driver_of(databases)
    await driver.observe(primary.name)
    primary.namespace.cut()
    began = time.monotonic()
    assert (await driver.observe(primary.name)).role is Role.UNKNOWN
    assert time.monotonic() - began < 10.0
    with pytest.raises(UnavailableError):
        await driver.demote(primary.name, successor=standby.name, fence=next_fence(standby), run=RUN)
    await driver.promote(standby.name, source=primary.name, fence=next_fence(standby), run=RUN)
    await until(lambda: driver.observe(standby.name), Role.ACTIVE)
    primary.query("INSERT INTO writes VALUES (3000000, 'isolated')")
    primary.namespace.heal()
    deadline = time.monotonic() + 20
    while (isolated := await driver.observe(primary.name)).role is Role.UNKNOWN:
        assert time.monotonic() < deadline
    promoted = await driver.observe(standby.name)
    assert (isolated.role, promoted.role) == (Role.ACTIVE, Role.ACTIVE), "two that take writes are seen as two"
    assert int(promoted.history) > int(isolated.history)
    wrote = f"of WAL on timeline {isolated.history} that"
    assert wrote in await told(driver, primary.name, standby.name)
    await held_back(driver, primary, fence=next_fence(standby))
    assert 3_000_000 in primary.numbers(), "nothing is lost before a person has seen it"
    assert wrote in await told(driver, primary.name, standby.name)
    await driver.demote(primary.name, successor=standby.name, fence=next_fence(standby), run=RUN)
    await until(lambda: driver.observe(primary.name), Role.STANDBY, following=True, timeout=60)
    primary.wait_streaming()
    assert await driver.divergence(primary.name, standby.name) == ""
    assert 3_000_000 not in primary.numbers()


async def test_restore_brings_back_what_the_snapshot_says(
    databases: Databases, settled: tuple[Database, Database]
) -> None:
    primary, standby = settled
    driver = driver_of(databases)
    before = await driver.observe(primary.name)
    fence = next_fence(primary)
    await driver.demote(primary.name, successor=standby.name, fence=fence, run=RUN)
    await until(lambda: driver.observe(primary.name), Role.STANDBY)
    await driver.restore(primary.name, before.snapshot, fence=fence, run=RUN)
    after = await until(lambda: driver.observe(primary.name), Role.ACTIVE)
    assert after.snapshot == before.snapshot
    assert (await driver.observe(standby.name)).role is Role.STANDBY


async def test_wrong_credentials_change_nothing_and_are_not_told(
    databases: Databases, settled: tuple[Database, Database]
) -> None:
    primary, standby = settled
    driver = driver_of(databases, password="not-the-password")
    before = primary.status("/config")[1]
    with pytest.raises(PromotionProblemError) as refused:
        await driver.demote(primary.name, successor=standby.name, fence=next_fence(primary), run=RUN)
    assert refused.value.reason == "CredentialsRefused"
    assert "not-the-password" not in str(refused.value)
    assert primary.status("/config")[1] == before


async def test_databases_that_are_no_copies_of_each_other_are_not_tied_together(
    databases: Databases, settled: tuple[Database, Database]
) -> None:
    # Without the check Patroni would follow the stranger, and PostgreSQL refuse it, or worse be made anew from it.
    primary, standby = settled
    driver = driver_of(databases, **{STRANGER: databases[STRANGER].patroni_url})
    before = primary.status("/config")[1]
    with pytest.raises(PromotionProblemError) as refused:
        await driver.demote(primary.name, successor=STRANGER, fence=next_fence(primary), run=RUN)
    assert refused.value.reason == "IdentifierMismatch"
    with pytest.raises(PromotionProblemError) as unsynced:
        await driver.sync(STRANGER, standby.name)
    assert unsynced.value.reason == "IdentifierMismatch"
    with pytest.raises(PromotionProblemError) as unpromoted:
        await driver.promote(standby.name, source=STRANGER, fence=next_fence(standby), run=RUN)
    assert unpromoted.value.reason == "IdentifierMismatch"
    assert primary.status("/config")[1] == before


async def test_a_paused_patroni_is_refused_with_a_remedy(
    databases: Databases, settled: tuple[Database, Database]
) -> None:
    primary, standby = settled
    driver = driver_of(databases)
    primary.configure({"pause": True})
    try:
        with pytest.raises(PromotionProblemError, match="patronictl resume") as refused:
            await driver.demote(primary.name, successor=standby.name, fence=next_fence(primary), run=RUN)
        assert refused.value.reason == "PatroniPaused"
        assert "paused" in (await driver.observe(primary.name)).message
    finally:
        primary.configure({"pause": None})


async def test_a_greater_fence_stops_an_older_leader(databases: Databases, settled: tuple[Database, Database]) -> None:
    primary, standby = settled
    driver = driver_of(databases)
    fence = next_fence(primary)
    primary.configure({"regent": {"fence": str(fence)}})
    older = Fence(fence.epoch, fence.transitions - 1, 99)
    with pytest.raises(FencedOffError):
        await driver.demote(primary.name, successor=standby.name, fence=older, run=RUN)
    state = await driver.observe(primary.name)
    assert (state.role, state.fence) == (Role.ACTIVE, fence)


async def test_a_patroni_that_hangs_is_unknown_and_not_a_standby(
    databases: Databases, settled: tuple[Database, Database]
) -> None:
    primary, _ = settled
    driver = driver_of(databases)
    primary.freeze_patroni()
    try:
        assert (await driver.observe(primary.name)).role is Role.UNKNOWN
    finally:
        primary.thaw_patroni()
    await until(lambda: driver.observe(primary.name), Role.ACTIVE)
