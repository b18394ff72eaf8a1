"""The leader is killed -9, or stands still and wakes too late, at every boundary of a run.

An undisturbed run tells which boundaries there are and what has to come out. Whatever happens to the leader, the run
ends the same, every effect is made once, and nothing of a leader whose time is over arrives. `make test` plays a sample
that is drawn by a seed; `make test-crash` plays all, with the default lease, and holds them to ten seconds more.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.crash.flavours import FLAVOURS, GRADUALLY, PROMOTED, UNPLANNED, Flavour
from tests.e2e.crash.plan import LEASE, WHOLE, Report, by_chance, needs_members, sample, settings
from tests.e2e.crash.theatre import BEFORE, Played, Theatre, Wake

MORE = 10.0
"""Seconds that a crash may cost, with the default lease of 5 s."""
TRIES = 3
HARDEST = {
    GRADUALLY: "Shift/60: write HTTPRoute, before",
    PROMOTED: "Promote/web: write Deployment, before",
}
"""In the middle of a gradual shift, and of a promotion, with the effect itself on its way."""
KILLED = FLAVOURS if WHOLE else (UNPLANNED,)

pytestmark = pytest.mark.timeout(7200 if WHOLE else 400)


@pytest.fixture(scope="module")
def theatre(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Theatre]:
    members = needs_members(request.session.items)
    with Theatre(stage, tmp_path_factory.mktemp("theatre"), settings=settings(), members=members) as made:
        yield made


@pytest.mark.parametrize("flavour", KILLED, ids=lambda flavour: flavour.name)
def test_a_run_ends_the_same_wherever_its_leader_dies(flavour: Flavour, theatre: Theatre) -> None:
    """Fails when a run hangs or takes another course after a crash, or an effect is made twice or not at all."""
    whole = theatre.whole(flavour)
    assert len(whole.boundaries) > 30, whole.boundaries
    report = Report(f"kill-{flavour.name}", undisturbed=whole.seconds, boundaries=whole.boundaries)
    for boundary in sample(whole.boundaries, report.name, count=1):
        report.add(boundary, partial(_killed, theatre, flavour, boundary))
    report.close()


def _killed(theatre: Theatre, flavour: Flavour, boundary: str) -> Played:
    more, found = 0.0, None
    for _ in range(TRIES):
        played = theatre.killed_at(flavour, boundary)
        found = played if played.hit else found
        more = played.seconds - theatre.whole(flavour).seconds
        # Other work on the machine makes a play slower, never faster: what it can do once is what it does.
        if played.hit and more <= MORE:
            break
    assert found is not None or by_chance(boundary), f"the leader never came to {boundary!r}"
    if WHOLE and LEASE == 5:
        assert more <= MORE, f"took {more:.1f} s more than the undisturbed run"
    return found or played


@pytest.mark.parametrize("flavour", tuple(HARDEST), ids=lambda flavour: flavour.name)
def test_a_leader_that_wakes_too_late_has_no_effect(flavour: Flavour, theatre: Theatre) -> None:
    """A write that it has sent before it stopped arrives after the other has gone on, inside the same epoch. Such a
    write has passed every check that a process can make of itself: only what stands in the object can refuse it.

    Fails when a late write is taken, when a fence or a step goes back, or when the old leader does not end itself.
    """
    whole, hardest = theatre.whole(flavour), HARDEST[flavour]
    report = Report(f"overlap-{flavour.name}", undisturbed=whole.seconds, boundaries=whole.boundaries)
    for boundary in [hardest, *(sample(whole.boundaries, report.name, count=0) if WHOLE else ())]:
        report.add(boundary, partial(_overlapped, theatre, flavour, boundary, Wake.IN_THE_MIDDLE))
    for wake in (Wake.AT_ONCE, Wake.AT_THE_END) if WHOLE else ():
        report.add(f"{hardest}, woken {wake.value}", partial(_overlapped, theatre, flavour, hardest, wake))
    report.close()


def _overlapped(theatre: Theatre, flavour: Flavour, boundary: str, wake: Wake) -> Played:
    for _ in range(TRIES):
        played = theatre.overlapped_at(flavour, boundary, wake=wake)
        if played.hit:
            break
    assert played.hit or by_chance(boundary), f"the leader never came to {boundary!r}"
    if played.hit and boundary.endswith(BEFORE):
        assert played.late, "a write was to be on its way"
    if wake is not Wake.AT_ONCE:
        # Woken in the very moment of the take-over it may still be the first to do what both are about to do; then
        # the ledger shows that it was done once.
        assert all(status >= 400 for _, status in played.late), played.late
    return played
