"""How long PostgreSQL takes no writes in a planned switchover, and what is lost.

First the driver alone: two regions, a client for each side that writes 50 integers a second, nothing of the operator
and no gateway between. Three orders take turns, so that they meet the same load:

- final: what a run does: demote, wait until the driver's `sync` says that the final position is replayed, promote;
- plain: the same, but wait for the old primary as Patroni counts it: 200 from /standby-leader, and all replayed;
- killed: the old primary's processes are killed, the other side is promoted at once, the old one rejoins.

Then all of it: Switchovers by the operator, from a Failover object to the gateway's new weights, and one client that
writes through the gateway.

    python -m tests.perf.database_bench --runs 20 --whole 20
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from regent.adapters.clock import SystemClock
from regent.adapters.promotion.patroni import PatroniDriver, patroni_steps
from regent.adapters.promotion.patroni_api import Clients
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import PromotionStep, StepKind
from regent.domain.failover.roles import Role
from regent.engine.records import time_of
from testbed.controlplane import ControlPlane
from testbed.database import Database, Databases, WriterLoop
from testbed.database.scene import DatabaseScene
from testbed.gateway import TraefikGateway
from testbed.network import NetworkNamespaces
from testbed.operator import OperatorReplicas, install
from testbed.scene import eventually, failover
from tests.perf.figures import Distribution, save, say, table

NAMES = ("eu-west-1", "eu-central-1")
RUN = "bench/bench/uid"
SETTINGS = {"failover": {"startupGrace": "1s"}, "egress": {"allowLoopback": True}}
LOOK = 0.1
"""Seconds between two looks, as in a run."""


class Passwords:
    """The Secret of the step."""

    def __init__(self, databases: Databases) -> None:
        secrets = databases.secrets
        self._data = {"username": secrets.rest_user.encode(), "password": secrets.rest_password.encode()}

    async def data(self, namespace: str, name: str) -> Mapping[str, bytes]:
        return self._data


@dataclass
class Figures:
    """What one order took."""

    pauses: list[float] = field(default_factory=list)
    """Seconds from the last write that the old side acknowledged to the first of the new one."""
    demoted: list[float] = field(default_factory=list)
    synced: list[float] = field(default_factory=list)
    promoted: list[float] = field(default_factory=list)
    shifted: list[float] = field(default_factory=list)
    acknowledged: int = 0
    lost: int = 0


def driver_of(databases: Databases) -> PatroniDriver:
    settings = {
        "clusters": [{"region": database.name, "url": database.patroni_url} for database in databases],
        "credentialsSecretRef": {"name": "patroni"},
    }
    step = PromotionStep(name="db", kind=StepKind.PATRONI, settings=settings)
    steps = patroni_steps(clients=Clients(allow_loopback=False), secrets=Passwords(databases), clock=SystemClock())
    made = steps[StepKind.PATRONI](PolicySpec(namespace="bench", name="bench", uid="u"), step)
    assert isinstance(made, PatroniDriver)
    return made


async def until(reached: Callable[[], Awaitable[bool]], *, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not await reached():
        assert time.monotonic() < deadline, "not reached in time"
        await asyncio.sleep(LOOK)


class Bench:
    """Hands the role to and fro."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self._driver = driver_of(databases)
        self._number = 0
        self._first = {name: 1 + place * 10**9 for place, name in enumerate(NAMES)}

    async def once(self, order: str, source: Database, to: Database, figures: Figures) -> None:
        """One switch, its figures, and the count of what both sides' clients lost."""
        self._number += 1
        with self._writer(source) as old_side, self._writer(to) as new_side:
            await asyncio.to_thread(old_side.wait_acknowledged_by, source.name, timeout=20)
            await asyncio.sleep(0.5)  # writes before it
            began = time.monotonic()
            if order == "killed":
                await asyncio.to_thread(source.kill)
                began = time.monotonic()
            else:
                await self._demote(order, source, to, figures)
            asked = time.monotonic()
            await self._driver.promote(to.name, source=source.name, fence=Fence(self._number), run=RUN)
            await until(lambda: self._is(to, Role.ACTIVE))
            figures.promoted.append(time.monotonic() - asked)
            await asyncio.to_thread(new_side.wait_acknowledged_by, to.name, timeout=20, since=began)
        present = to.numbers()
        last = max(write.done for write in old_side.writes().acknowledged)
        first = min(write.done for write in new_side.writes().acknowledged)
        figures.pauses.append(first - last)
        for loop in (old_side, new_side):
            figures.acknowledged += len(loop.writes().acknowledged)
            figures.lost += len(loop.writes().lost(present))
        if order == "killed":
            source.rejoin(to)
        await until(lambda: self._is(source, Role.STANDBY))
        await asyncio.to_thread(source.wait_streaming)

    async def _demote(self, order: str, source: Database, to: Database, figures: Figures) -> None:
        began = time.monotonic()
        await self._driver.demote(source.name, successor=to.name, fence=Fence(self._number), run=RUN)
        if order == "plain":
            await until(lambda: asyncio.to_thread(lambda: source.status("/standby-leader")[0] == 200))
        else:
            await until(lambda: self._is(source, Role.STANDBY))
        demoted = time.monotonic()

        async def in_step() -> bool:
            return (await self._driver.sync(source.name, to.name)).done

        await until(in_step)
        figures.demoted.append(demoted - began)
        figures.synced.append(time.monotonic() - demoted)

    async def _is(self, database: Database, role: Role) -> bool:
        return (await self._driver.observe(database.name)).role is role

    def _writer(self, database: Database) -> WriterLoop:
        first = self._first[database.name]
        self._first[database.name] += 10**5
        return WriterLoop(database.app_url, first=first)


async def run(databases: Databases, runs: int) -> dict[str, Figures]:
    bench = Bench(databases)
    source, to = (databases[name] for name in NAMES)
    by_order = {order: Figures() for order in ("final", "plain", "killed")}
    for number in range(runs):
        for order, figures in by_order.items():
            await bench.once(order, source, to, figures)
            say(f"{number + 1}/{runs} {order}: {figures.pauses[-1]:.2f} s without writes, {figures.lost} lost so far")
            source, to = to, source
    return by_order


def whole(runs: int) -> Figures:
    """Switchovers by the operator, to and fro, with a client behind the gateway."""
    figures = Figures()
    with ExitStack() as stack:
        plane = stack.enter_context(ControlPlane.start(name="database-bench"))
        installation = install(plane, settings=SETTINGS)
        gateway = stack.enter_context(TraefikGateway(plane))
        scene = stack.enter_context(DatabaseScene(plane, gateway, list(NAMES)))
        scene.grant()
        stack.enter_context(OperatorReplicas(installation))
        scene.apply_regions()
        scene.apply_policy(safety={"cooldown": "0s"}, failback={"mode": "Never"})
        scene.wait_adopted(timeout=60)
        for number in range(runs):
            _switch_over(scene, number, figures)
            say(f"{number + 1}/{runs} whole: {figures.pauses[-1]:.2f} s without writes, {figures.lost} lost so far")
    return figures


def _switch_over(scene: DatabaseScene, number: int, figures: Figures) -> None:
    source = scene.primary()
    to = next(database for database in scene.databases if database is not source)
    eventually(
        lambda: any(row.get("eligible") for row in scene.status().get("candidates") or []),
        what="a region that could take over",
        timeout=60,
    )
    with scene.writer(first=1 + number * 10**5) as writer:
        first = writer.wait_acknowledged_by(source.name, timeout=20)
        writer.wait_acknowledged_by(source.name, timeout=20, since=first.sent + 0.5)
        order = {"type": "Switchover", "from_": source.name, "to": to.name}
        scene.cluster.apply(failover(scene.app, namespace=scene.namespace, name=f"bench-{number}", **order))
        served = writer.wait_acknowledged_by(to.name, timeout=60, since=first.sent)
        writer.wait_acknowledged_by(to.name, timeout=20, since=served.sent + 0.5)
    writes = writer.writes()
    figures.pauses.append(writes.pause())
    figures.acknowledged += len(writes.acknowledged)
    figures.lost += len(writes.lost(to.numbers()))
    run = scene.wait_run(number=number + 1, timeout=60)
    times = {step["name"]: time_of(step.get("completionTime")) or 0.0 for step in run["status"]["steps"]}
    figures.demoted.append(times["Isolate"] - times["Commit"])
    figures.synced.append(times["FinalSync"] - times["Isolate"])
    figures.promoted.append(times["Promote/db"] - times["FinalSync"])
    figures.shifted.append(times["Shift"] - times["Promote/db"])


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.database_bench")
    parser.add_argument("--runs", type=int, default=20, help="of each order, by the driver alone")
    parser.add_argument("--whole", type=int, default=20, help="Switchovers by the operator")
    arguments = parser.parse_args()
    with NetworkNamespaces() as network, Databases(NAMES, network=network) as databases:
        by_order = asyncio.run(run(databases, arguments.runs))
    if arguments.whole:
        by_order["whole"] = whole(arguments.whole)
    header = ["", "runs", "p50", "p95", "p99", "max"]
    rows = []
    for order, figures in by_order.items():
        parts = {"": figures.pauses, ": demoted": figures.demoted, ": synced": figures.synced}
        parts |= {": promoted": figures.promoted, ": shifted": figures.shifted}
        parts = {part: values for part, values in parts.items() if values}
        rows += [[order + name, *Distribution.of(values).row(scale=1, digits=2)] for name, values in parts.items()]
    table("Seconds without writes, and the parts of the driver", header, rows)
    counts = [[order, str(figures.acknowledged), str(figures.lost)] for order, figures in by_order.items()]
    table("Acknowledged writes, and how many of them were lost", ["", "acknowledged", "lost"], counts)
    save(
        "database",
        {
            order: {
                "pause": Distribution.of(figures.pauses).summary(),
                "demoted": Distribution.of(figures.demoted).summary(),
                "synced": Distribution.of(figures.synced).summary(),
                "promoted": Distribution.of(figures.promoted).summary(),
                "acknowledged": figures.acknowledged,
                "lost": figures.lost,
            }
            for order, figures in by_order.items()
        },
    )


if __name__ == "__main__":
    main()
