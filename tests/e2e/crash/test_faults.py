"""Runs through a proxy that refuses writes, loses answers, and tells watches late, twice, or never.

Every write of a run meets each trouble once, alone; then everything at once at random, with the leader killed on top.
The end, and the way there, have to be those of the undisturbed run.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from testbed.operator import Faults, OneTrouble, Storm, Trouble, Write
from testbed.scene import Scene
from tests.e2e.conftest import Stage
from tests.e2e.crash.flavours import GRADUALLY, PROMOTED, PROMOTED_UNPLANNED, UNPLANNED, Flavour
from tests.e2e.crash.plan import SEED, WANTED, WHOLE, Report, settings
from tests.e2e.crash.theatre import Played, Theatre

RESYNC = {"watch.resyncInterval": "5s"}
"""What no watch tells is found by the next LIST; a test need not wait five minutes for it."""
ALONE = (UNPLANNED, GRADUALLY, PROMOTED)
STORMY = (UNPLANNED, GRADUALLY, PROMOTED_UNPLANNED)
STORMS = 20


@pytest.mark.timeout(7200 if WHOLE else 400)
@pytest.mark.parametrize("flavour", ALONE if WHOLE else (UNPLANNED,), ids=lambda flavour: flavour.name)
def test_every_write_may_meet_trouble(flavour: Flavour, stage: Stage, tmp_path: Path) -> None:
    with Theatre(stage, flavour, tmp_path, settings={**settings(), **RESYNC}, through_proxies=True) as theatre:
        whole = theatre.undisturbed()
        writes = [name for name in whole.boundaries if name.endswith(", before")]
        report = Report(f"troubles-{flavour.name}", undisturbed=whole.seconds, boundaries=writes)
        cases = [(number, trouble) for number in range(1, len(writes) + 1) for trouble in Trouble]
        count = len(cases) if WANTED == "all" else int(WANTED or 3)
        for number, trouble in random.Random(f"{SEED} {flavour.name}").sample(cases, min(count, len(cases))):
            report.add(f"write {number}: {trouble.value}", partial(_one, theatre, number, trouble, whole))
        report.close()


def _one(theatre: Theatre, number: int, trouble: Trouble, whole: Played) -> Played:
    with theatre.scene() as scene:
        counter = _Counter(scene, number, trouble)
        return theatre.troubled(scene, [counter] * len(theatre.proxies), whole.ledger)


class _Counter(OneTrouble):
    """Counts the writes of one scene over all API servers: what upkeep and Regions write does not count."""

    def __init__(self, scene: Scene, number: int, trouble: Trouble) -> None:
        def counts(write: Write) -> bool:
            ours = write.namespace == scene.namespace or write.resource == "configmaps"
            return ours and write.verb != "DELETE"

        super().__init__(trouble, number=number, counts=counts)


@pytest.mark.timeout(7200 if WHOLE else 400)
@pytest.mark.parametrize("flavour", STORMY if WHOLE else (), ids=lambda flavour: flavour.name)
def test_storms(flavour: Flavour, stage: Stage, tmp_path: Path) -> None:
    """Half of them with a leader that is killed besides."""
    with Theatre(stage, flavour, tmp_path, settings={**settings(), **RESYNC}, through_proxies=True) as theatre:
        whole = theatre.undisturbed()
        report = Report(f"storms-{flavour.name}", undisturbed=whole.seconds, boundaries=[])
        dice = random.Random(f"{SEED} {flavour.name}")
        for _ in range(STORMS if WANTED == "all" else int(WANTED or 1)):
            seed, boundary = dice.randrange(2**32), dice.choice(["", dice.choice(whole.boundaries)])
            report.add(
                f"storm {seed}, killed at {boundary or 'no point'}", partial(_storm, theatre, seed, boundary, whole)
            )
        report.close()


def _storm(theatre: Theatre, seed: int, boundary: str, whole: Played) -> Played:
    faults: Sequence[Faults] = [Storm(seed + place) for place in range(len(theatre.proxies))]
    with theatre.scene() as scene:
        return theatre.troubled(scene, faults, whole.ledger, boundary=boundary)
