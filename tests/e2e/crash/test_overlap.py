"""Two leaders at the same time: one that stood still (a paused virtual machine) wakes after another has taken over.

A write that it has sent before it stopped arrives after the other has gone on, inside the same epoch. Such a write has
passed every check that a process can make of itself: only what stands in the object can refuse it. When the old leader
wakes it must end, and nothing else of it may arrive.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.crash.flavours import GRADUALLY, PROMOTED, Flavour
from tests.e2e.crash.plan import WHOLE, Report, sample, settings
from tests.e2e.crash.theatre import BEFORE, Played, Theatre, Wake

HARDEST = {
    GRADUALLY: "Shift/60: write HTTPRoute, before",
    PROMOTED: "Promote/web: write Deployment, before",
}
"""In the middle of a gradual shift, and of a promotion, with the effect itself on its way."""
CHOSEN = tuple(HARDEST)


@pytest.mark.timeout(7200 if WHOLE else 400)
@pytest.mark.parametrize("flavour", CHOSEN, ids=lambda flavour: flavour.name)
def test_a_leader_that_wakes_too_late_has_no_effect(flavour: Flavour, stage: Stage, tmp_path: Path) -> None:
    """Fails when any write of the sleeper is taken, a fence or step goes back, or it goes on as a leader."""
    with Theatre(stage, flavour, tmp_path, settings=settings(), through_proxies=True) as theatre:
        whole = theatre.undisturbed()
        report = Report(f"overlap-{flavour.name}", undisturbed=whole.seconds, boundaries=whole.boundaries)
        chosen = sample(whole.boundaries, report.name, count=0) if WHOLE else []
        for boundary in [HARDEST[flavour], *chosen]:
            report.add(boundary, lambda boundary=boundary: _play(theatre, boundary, whole, Wake.IN_THE_MIDDLE))
        if WHOLE:
            for wake in (Wake.AT_ONCE, Wake.AT_THE_END):
                report.add(f"{HARDEST[flavour]}, woken {wake.value}", lambda wake=wake: _hardest(theatre, whole, wake))
        report.close()


def _hardest(theatre: Theatre, whole: Played, wake: Wake) -> Played:
    return _play(theatre, HARDEST[theatre.flavour], whole, wake)


def _play(theatre: Theatre, boundary: str, whole: Played, wake: Wake) -> Played:
    played = theatre.overlapped_at(boundary, whole.ledger, wake=wake)
    assert played.hit or "seen Waiting" in boundary, f"the leader never came to {boundary!r}"
    if boundary.endswith(BEFORE):
        assert played.late, "a write was to be on its way"
    if wake is not Wake.AT_ONCE:
        # Woken in the very moment of the take-over it may still be the first to do what both are about to do; then
        # the ledger shows that it was done once.
        assert all(status >= 400 for _, status in played.late), played.late
    return played
