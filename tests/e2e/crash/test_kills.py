"""The leader is killed -9 at every boundary of a run: the standby finishes it, to the same end, with each effect once.

An undisturbed run tells which boundaries there are and what has to come out. `make test` plays a sample that is drawn
by a seed; `make test-crash` plays all of them, with the default lease, and holds them to ten seconds more.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.crash.flavours import FLAVOURS, PROMOTED, UNPLANNED, Flavour
from tests.e2e.crash.plan import LEASE, WHOLE, Report, sample, settings
from tests.e2e.crash.theatre import Played, Theatre

MORE = 10.0
"""Seconds that a crash may cost, with the default lease of 5 s."""
SAMPLE = {UNPLANNED: 1, PROMOTED: 1}
WAITING = "seen Waiting"
"""Whether a step is looked at while it waits depends on the machine: such a boundary may be missed."""
TRIES = 3
CHOSEN = FLAVOURS if WHOLE else tuple(SAMPLE)


@pytest.mark.timeout(7200 if WHOLE else 400)
@pytest.mark.parametrize("flavour", CHOSEN, ids=lambda flavour: flavour.name)
def test_a_run_ends_the_same_wherever_its_leader_dies(flavour: Flavour, stage: Stage, tmp_path: Path) -> None:
    with Theatre(stage, flavour, tmp_path, settings=settings()) as theatre:
        whole = theatre.undisturbed()
        assert len(whole.boundaries) > 30, whole.boundaries
        report = Report(flavour.name, undisturbed=whole.seconds, boundaries=whole.boundaries)
        for boundary in sample(whole.boundaries, flavour.name, count=SAMPLE.get(flavour, 0)):
            report.add(boundary, lambda boundary=boundary: _play(theatre, boundary, whole))
        report.close()


def _play(theatre: Theatre, boundary: str, whole: Played) -> Played:
    for _ in range(TRIES):
        played = theatre.killed_at(boundary, whole.ledger)
        if played.hit:
            break
    if not played.hit and WAITING not in boundary:
        raise AssertionError(f"the leader never came to {boundary!r}")
    if WHOLE and LEASE == 5:
        more = played.seconds - whole.seconds
        assert more <= MORE, f"took {more:.1f} s more than the undisturbed run"
    return played
