"""Faults planted into the operator are found: an invariant that nothing can break proves nothing.

Here the ones that are found quickly; `make simulate-mutants` hunts all of them.
"""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, hunt
from tests.simulation.planting import StaleEditError, planted

pytestmark = pytest.mark.timeout(300)  # seconds of computing, on a machine that may have other things to do
QUICK = [mutant for mutant in MUTANTS if mutant.quick]


@pytest.mark.parametrize("mutant", QUICK, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_planted_fault_is_found(mutant: Mutant) -> None:
    assert hunt(mutant) is not None, f"survived {mutant.seeds} scenarios"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_every_fault_can_be_planted(mutant: Mutant) -> None:
    """An edit whose text has left the source would plant nothing, and be found by nobody."""
    with planted(mutant.place, mutant.old, mutant.new):
        pass


def test_an_edit_that_does_not_fit_the_source_is_an_error() -> None:
    with pytest.raises(StaleEditError), planted("tests.simulation.planting:planted", "no such text", ""):
        pass
    with pytest.raises(StaleEditError), planted("tests.simulation.planting:StaleEditError", "", ""):
        pass


def test_a_planted_edit_runs_until_it_is_taken_out() -> None:
    with planted("tests.simulation.test_mutants:_answer", "return 1", "return 2"):
        assert _answer() == 2
    assert _answer() == 1


def _answer() -> int:
    return 1
