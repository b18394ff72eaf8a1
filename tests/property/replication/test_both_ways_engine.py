"""The replicator itself between two regions in memory that both change, with an operator that dies again and again.

The pure decision is modelled in `test_both_ways`; here are the real reflections, links, writers and pruners. Whatever a
user wrote is in the end on both sides, or was superseded by somebody who had seen it, or is kept as a loser; nothing
is deleted that nobody deleted.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from regent.domain.errors import UnavailableError
from regent.domain.replication import marks
from regent.engine.ports import Object
from regent.engine.resources import CONFIG_MAPS
from tests.fakes.copying import EU, SHOP, US, CopyWorld

pytestmark = pytest.mark.looptime

NAMES = ("a", "b", "c", "d", "e")
RULES = ("SourceWins", "TargetWins", "NewestWins")


class History:
    """What users did, and what must be somewhere because of it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.value = 0
        self.superseded: set[str] = set()
        self.removed: dict[str, set[str]] = {}

    def act(self, world: CopyWorld) -> None:
        """Let somebody do something in a region."""
        region, name = self.random.choice((EU, US)), self.random.choice(NAMES)
        present = (world.data(region, name) or {}).get("a")
        if present is not None:
            self.superseded.add(present)
        if present is not None and self.random.random() < 0.25:
            self.removed.setdefault(name, set()).add(present)
            world.remove(region, name)
            return
        self.value += 1
        world.edit(region, name, a=str(self.value))


class Death:
    """Cuts the operator off from everything after so many changes, once it is set to."""

    def __init__(self, world: CopyWorld) -> None:
        self.clusters = list(world.clusters.values())
        self.left = 0
        for cluster in self.clusters:
            cluster.subscribe(self._count)

    def after(self, writes: int) -> None:
        self.left = writes

    def over(self) -> None:
        """The next operator starts."""
        self.left = 0
        for cluster in self.clusters:
            cluster.down = None

    def _count(self, event: str, resource: Any, obj: Object) -> None:
        self.left -= 1
        if self.left == 0:
            for cluster in self.clusters:
                cluster.down = UnavailableError("the process is gone")


def watch_deletions(world: CopyWorld, history: History, wrong: list[str]) -> None:
    """Note a deletion of something that nobody has deleted on either side."""

    def listen(event: str, resource: Any, obj: Object) -> None:
        name = obj["metadata"]["name"]
        if event == "DELETED" and name in NAMES and obj["data"]["a"] not in history.removed.get(name, set()):
            wrong.append(f"{name}={obj['data']['a']}")

    for cluster in world.clusters.values():
        cluster.subscribe(listen)


def values(world: CopyWorld, region: str) -> dict[str, str]:
    return {name: world.data(region, name)["a"] for name in NAMES if world.data(region, name) is not None}


def losers(world: CopyWorld) -> set[str]:
    shelves = [cluster._objects.get(CONFIG_MAPS, {}) for cluster in world.clusters.values()]
    records = [
        obj for shelf in shelves for obj in shelf.values() if marks.KEPT_LABEL in obj["metadata"].get("labels", {})
    ]
    return {json.loads(obj["data"]["object.json"])["data"]["a"] for obj in records}


@pytest.mark.parametrize("seed", range(6))
async def test_two_regions_end_equal_and_nothing_is_lost(seed: int) -> None:
    history = History(seed)
    chance = history.random
    world, wrong = CopyWorld(), list[str]()
    watch_deletions(world, history, wrong)
    death = Death(world)
    # An anchor keeps either side from looking as if it had been emptied, which would rightly hold deletions back.
    world.put(EU, "anchor", a="0")
    world.policy(
        direction="Bidirectional",
        verifyInterval="10s",
        adoption="Force",
        conflictPolicy=RULES[seed % len(RULES)],
        prune={"gracePeriod": "1s", "maxPercent": 100},
    )
    for _ in range(6):
        async with world.running():
            await asyncio.sleep(chance.choice((0.0, 5.0, 20.0)))
            if chance.random() < 0.6:
                death.after(chance.randrange(1, 12))
            for _ in range(chance.randrange(1, 5)):
                history.act(world)
                await asyncio.sleep(chance.choice((0.0, 0.01, 0.3, 3.0)))
            await asyncio.sleep(chance.choice((0.0, 2.0)))
        death.over()
        if chance.random() < 0.5:
            history.act(world)  # while there is no operator
        world = CopyWorld(world)
    async with world.running():
        await asyncio.sleep(60)
        assert world.status["state"] == "InSync", world.status
        assert values(world, EU) == values(world, US)
        assert world.data(US, "anchor") == {"a": "0"}
    alive = set(values(world, EU).values())
    lost = {str(number) for number in range(1, history.value + 1)} - alive - history.superseded - losers(world)
    assert not lost, f"written, never superseded, and nowhere: {lost}"
    assert not wrong, f"deleted by nobody: {wrong}"
    assert world.names(EU), SHOP
