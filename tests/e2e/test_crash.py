"""The leader is killed -9 before and after each write of a run: the standby finishes it, once, and to the same end.

A proxy in front of the API server knows every write of the leader and kills it at the n-th. A run takes about a dozen
writes; `make test` plays a sample of the moments, drawn by a seed that it prints, `make test-crash` plays all.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from testbed.operator import ApiProxy, DropError, Moment, OperatorProcess, OperatorReplicas, Write
from testbed.scene import Scene
from tests.e2e.claims import claim_policy, claim_run
from tests.e2e.conftest import MakeScene, Stage

LONGEST = 12
"""More writes than a run has; a moment beyond the last one is a crash after the end."""
SAMPLE = 5
WITHIN = 10.0
"""Seconds in which the standby has to have finished the run, with the default lease of 5 s."""
ALL = [(number, moment) for number in range(1, LONGEST + 1) for moment in Moment]


def _moments() -> list[tuple[int, Moment]]:
    if os.environ.get("REGENT_CRASH") == "all":
        return ALL
    seed = os.environ.get("REGENT_SEED", "1")
    chosen = random.Random(seed).sample(ALL, SAMPLE)
    return sorted(chosen, key=lambda item: (item[0], item[1].value))


@dataclass
class Assassin:
    """Kills a replica at its n-th write to the scene's namespace, once it is armed."""

    number: int
    moment: Moment
    namespace: str = ""
    victim: OperatorProcess | None = None
    seen: list[str] = field(default_factory=list)
    killed: float | None = None

    def look(self, member: OperatorProcess, write: Write, moment: Moment) -> None:
        if member is not self.victim or write.namespace != self.namespace:
            return
        if self.killed is not None:
            raise DropError("its sender is dead")
        if moment is Moment.BEFORE:
            self.seen.append(str(write))
        if len(self.seen) == self.number and moment is self.moment:
            self.killed = member.kill()
            raise DropError("its sender is dead")


@dataclass(frozen=True)
class Trap:
    """Two replicas behind proxies, and the assassin."""

    replicas: OperatorReplicas
    assassin: Assassin

    def arm(self, scene: Scene) -> OperatorProcess:
        leader = self.replicas.leader()
        self.assassin.namespace = scene.namespace
        self.assassin.victim = leader
        return leader


@pytest.fixture
def trap(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Trap]:
    number, moment = request.param
    assassin = Assassin(number, moment)
    with ExitStack() as stack:
        proxies = [stack.enter_context(ApiProxy(stage.installation.kubeconfig)) for _ in range(2)]
        replicas = OperatorReplicas(stage.installation, kubeconfig_for=lambda which: proxies[which].kubeconfig)
        for proxy, member in zip(proxies, replicas.members, strict=True):
            proxy.look = lambda write, at, member=member: assassin.look(member, write, at)
        yield Trap(stack.enter_context(replicas), assassin)


@pytest.mark.parametrize("trap", _moments(), indirect=True, ids=lambda item: f"{item[1].value}-write-{item[0]}")
def test_the_standby_finishes_what_a_dead_leader_began(trap: Trap, make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.apply_regions()
    scene.apply_policy()
    scene.wait_adopted()
    west, central, _ = scene.names
    generation = scene.route()["metadata"]["generation"]
    leader = trap.arm(scene)
    scene.region(west).kill()
    scene.wait_active(central, timeout=20)
    run = scene.wait_run(timeout=20)
    ended = time.monotonic()
    if trap.assassin.killed is None:
        assert len(trap.assassin.seen) < trap.assassin.number, "the leader survived its last hour"
        leader.kill()
        ended = time.monotonic()
    else:
        assert ended - trap.assassin.killed < WITHIN, f"took {ended - trap.assassin.killed:.1f} s"
        assert not leader.running
    claim_run(run, source=west, to=central, trigger="Unreachable", epoch=2)
    claim_policy(scene, active=central, epoch=2)
    assert len(scene.runs()) == 1, [item["metadata"]["name"] for item in scene.runs()]
    assert scene.route()["metadata"]["generation"] == generation + 1, "the weights were changed exactly once"
    assert scene.status()["totals"] == {"succeeded": 1}
