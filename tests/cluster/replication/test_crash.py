"""The operator is killed -9 at the writes of a copying scenario, before and after the API server has carried them out.

Copies, adoption, what is overwritten and kept, drift, tombstones, pruning, the end of the policy: whatever was cut,
the next operator goes on from what stands on the objects. `make test` plays a sample that is drawn by a seed, one kill
in each stage; `make test-crash-replication` plays all of them.
"""

from __future__ import annotations

import os
import random

import pytest

from testbed.operator.proxy import Moment
from tests.cluster.replication.bench import Operator
from tests.cluster.replication.crashing import Doom, Point, Scenario, claim, play

WHOLE = os.environ.get("REGENT_CRASH", "") == "all"
SEED = os.environ.get("REGENT_SEED", "1")
MOST = 7
"""Writes in the target of the longest stage."""
HUB_WRITES = 3
"""Writes to the policy in the hub that are cut in each stage, where it comes to so many."""

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400), pytest.mark.xdist_group("replication")]

WRITES = {"first": 7, "change": 6, "gone": 2, "back": 2, "prune": 1, "end": 4}


def sample() -> dict[str, Point]:
    """A point of each stage."""
    chance = random.Random(SEED)
    return {
        stage: Point("target", chance.randint(1, count), chance.choice(list(Moment))) for stage, count in WRITES.items()
    }


def rounds() -> list[tuple[str, dict[str, Point]]]:
    """Every point once: each round has one of every stage that still has any."""
    found = [("sample", sample())] if not WHOLE else []
    for moment in Moment if WHOLE else ():
        for number in range(1, MOST + 1):
            points = {stage: Point("target", number, moment) for stage, count in WRITES.items() if number <= count}
            found.append((f"target-{number}-{moment.value}", points))
        found += [
            (f"hub-{number}-{moment.value}", {stage: Point("hub", number, moment) for stage in WRITES})
            for number in range(1, HUB_WRITES + 1)
        ]
    return found


@pytest.mark.parametrize("points", [pytest.param(points, id=name) for name, points in rounds()])
def test_the_operator_is_killed_at_a_write(doomed: tuple[Scenario, Operator, Doom], points: dict[str, Point]) -> None:
    """Fails when a copy is lost, doubled, woken or made anew, something foreign is touched, or a record comes late."""
    scenario, operator, doom = doomed
    missed = play(scenario, operator, doom, points)
    claim(scenario)
    # How often a status is written depends on the clock.
    assert not [text for text in missed if "side='target'" in text], missed
