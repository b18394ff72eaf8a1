"""Runs through a proxy that refuses writes, loses answers, and tells watches late, twice, or never.

Every write of a run meets each trouble once, alone; then everything at once at random, with the leader killed on top.
The end, and the way there, have to be those of the undisturbed run.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import pytest

from testbed.operator import Faults, OneTrouble, Storm, Trouble, Write
from testbed.scene import Scene
from tests.e2e.conftest import Stage
from tests.e2e.crash.flavours import GRADUALLY, PROMOTED, PROMOTED_UNPLANNED, UNPLANNED, Flavour
from tests.e2e.crash.plan import SEED, WANTED, WHOLE, Report, needs_members, settings
from tests.e2e.crash.theatre import BEFORE, Played, Theatre

RESYNC = {"watch.resyncInterval": "5s"}
"""What no watch tells is found by the next LIST; a test need not wait five minutes for it."""
TROUBLED = (UNPLANNED, GRADUALLY, PROMOTED) if WHOLE else (UNPLANNED,)
STORMY = (UNPLANNED, GRADUALLY, PROMOTED_UNPLANNED) if WHOLE else (UNPLANNED,)
STORMS = 20

pytestmark = pytest.mark.timeout(7200 if WHOLE else 400)


@pytest.fixture(scope="module")
def theatre(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Theatre]:
    options, members = {**settings(), **RESYNC}, WHOLE and needs_members(request.session.items)
    with Theatre(stage, tmp_path_factory.mktemp("theatre"), settings=options, members=members) as made:
        yield made


def _count(whole: int, few: int) -> int:
    return whole if WANTED == "all" else min(whole, int(WANTED or few))


@pytest.mark.parametrize("flavour", TROUBLED, ids=lambda flavour: flavour.name)
def test_every_write_may_meet_trouble(flavour: Flavour, theatre: Theatre) -> None:
    """Fails when a run that does not know what became of a write does it twice, gives up, or waits for ever."""
    whole = theatre.whole(flavour)
    writes = [name for name in whole.boundaries if name.endswith(BEFORE)]
    report = Report(f"troubles-{flavour.name}", undisturbed=whole.seconds, boundaries=writes)
    cases = [(number, trouble) for number in range(1, len(writes) + 1) for trouble in Trouble]
    for number, trouble in random.Random(f"{SEED} {flavour.name}").sample(cases, _count(len(cases), 2)):
        report.add(f"write {number}: {trouble.value}", partial(_troubled, theatre, flavour, number, trouble))
    report.close()


def _troubled(theatre: Theatre, flavour: Flavour, number: int, trouble: Trouble) -> Played:
    theatre.whole(flavour)
    with theatre.scene(flavour) as scene:
        once = _once(scene, number, trouble)
        played = theatre.troubled(flavour, scene, [once] * len(theatre.proxies))
    assert once.met is not None, f"there was no write {number}"
    return replace(played, hit=True)


def _once(scene: Scene, number: int, trouble: Trouble) -> OneTrouble:
    """Counts the writes of one scene over all its API servers."""

    def counts(write: Write) -> bool:
        return write.namespace == scene.namespace or write.resource == "configmaps"

    return OneTrouble(trouble, number=number, counts=counts)


@pytest.mark.parametrize("flavour", STORMY, ids=lambda flavour: flavour.name)
def test_storms(flavour: Flavour, theatre: Theatre) -> None:
    """All at once at random; half of them with a leader that is killed besides."""
    whole = theatre.whole(flavour)
    report = Report(f"storms-{flavour.name}", undisturbed=whole.seconds, boundaries=whole.boundaries)
    dice = random.Random(f"{SEED} {flavour.name}")
    for _ in range(_count(STORMS, 1)):
        seed, boundary = dice.randrange(2**32), dice.choice(["", dice.choice(whole.boundaries)])
        name = f"storm {seed}, " + (f"killed at {boundary}" if boundary else "nobody killed")
        report.add(name, partial(_storm, theatre, flavour, seed, boundary))
    report.close()


def _storm(theatre: Theatre, flavour: Flavour, seed: int, boundary: str) -> Played:
    faults: Sequence[Faults] = [Storm(seed + place) for place in range(len(theatre.proxies))]
    with theatre.scene(flavour) as scene:
        return theatre.troubled(flavour, scene, faults, boundary=boundary)
