"""What is counted of runs. Each case says in its name what would go wrong without it."""

from __future__ import annotations

import dataclasses

import pytest

from regent.domain.failover.analytics import Origin, Outcome, RunFacts, StepTime, Tally, analyse, spread, tally
from regent.domain.failover.analytics_trend import Direction
from regent.domain.failover.model import RunType, TriggerKind
from regent.domain.failover.options import TransitionType

WEST, CENTRAL = {"west": 100, "central": 0}, {"west": 0, "central": 100}
HOUR = 3600.0


def fault(name: str, at: float, **fields: object) -> RunFacts:
    """A run away from west, which did not answer."""
    made = RunFacts(
        policy="shop/shop",
        name=name,
        trigger=TriggerKind.UNREACHABLE,
        origin=Origin.AUTOMATIC,
        source="west",
        to="central",
        before=WEST,
        after=CENTRAL,
        start_time=at - 1,
        completion_time=at,
        duration=1.0,
    )
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


def failback(name: str, at: float, **fields: object) -> RunFacts:
    changed = {
        "type": RunType.FAILBACK,
        "trigger": TriggerKind.FAILBACK,
        "source": "central",
        "to": "west",
        "before": CENTRAL,
        "after": WEST,
    }
    return fault(name, at, **{**changed, **fields})


def test_success_is_judged_only_by_runs_that_tried() -> None:
    ended = [Outcome.SUCCEEDED] * 3 + [Outcome.FAILED, Outcome.CANCELLED, Outcome.NOT_NEEDED, Outcome.UNFINISHED]
    counts = tally([fault(f"r{i}", i, outcome=outcome) for i, outcome in enumerate(ended)])
    assert counts.runs == 7
    assert counts.success_percent == 75
    assert Tally().success_percent is None


def test_strategies_origins_and_triggers_are_counted_apart() -> None:
    runs = [
        fault("a", 1),
        fault("b", 2, transition=TransitionType.GRADUAL, origin=Origin.MANUAL, outcome=Outcome.ROLLED_BACK),
        fault("c", 3, attempts=2),
        fault("d", 4, trigger=TriggerKind.ERROR_RATE, outcome=Outcome.FAILED),
    ]
    found = analyse(runs, totals={}, until=10)
    assert {kind: counts.success_percent for kind, counts in found.transitions.items()} == {
        TransitionType.IMMEDIATE: pytest.approx(66.67, abs=0.01),
        TransitionType.GRADUAL: 0,
    }
    assert found.origins[Origin.MANUAL].runs == 1
    assert list(found.triggers) == [TriggerKind.UNREACHABLE, TriggerKind.ERROR_RATE]  # the most frequent first
    assert found.cascades.runs == 1


def test_dry_runs_do_not_count() -> None:
    assert analyse([fault("plan", 1, dry_run=True)], totals={}, until=2).total.runs == 0


def test_drills_move_nothing_and_are_counted_apart() -> None:
    """A rehearsal that passed is no failover that succeeded, and its plan is where no traffic ever was."""
    runs = [
        fault("a", 1, outcome=Outcome.FAILED),
        fault("d1", 2, type=RunType.DRILL, committed=False),
        fault("d2", 3, type=RunType.DRILL, committed=False, outcome=Outcome.FAILED, message="db is Absent in us"),
        fault("d3", 4, type=RunType.DRILL, committed=False, outcome=Outcome.UNFINISHED, completion_time=None),
    ]
    found = analyse(runs, totals={}, until=10)
    assert (found.total.runs, found.total.success_percent) == (1, 0)
    assert (found.trends, sum(row.left + row.entered for row in found.regions)) == ((), 0)
    assert found.duration is None
    assert (found.drills.counts.runs, found.drills.counts[Outcome.SUCCEEDED]) == (3, 1)
    assert [(run.name, run.message) for run in found.drills.last] == [("d2", "db is Absent in us")]


def test_pruned_runs_are_in_the_total_and_marked() -> None:
    totals = {"shop/shop": {Outcome.SUCCEEDED: 5, Outcome.FAILED: 1}, "other/other": {Outcome.SUCCEEDED: 2}}
    found = analyse([fault("a", 1), fault("b", 2)], totals=totals, until=3)
    assert (found.pruned[Outcome.SUCCEEDED], found.pruned[Outcome.FAILED]) == (5, 1)
    assert found.total[Outcome.SUCCEEDED] == 7
    assert found.transitions[TransitionType.IMMEDIATE].runs == 2


def test_a_run_that_is_not_in_the_totals_makes_no_negative_number() -> None:
    never_committed = fault("c", 3, committed=False, outcome=Outcome.CANCELLED)
    totals = {"shop/shop": {Outcome.SUCCEEDED: 1, Outcome.CANCELLED: 1}}
    found = analyse([fault("a", 1), fault("b", 2), never_committed], totals=totals, until=4)
    assert found.pruned.counts == {Outcome.CANCELLED: 1}
    assert found.total.runs == 4


def test_durations_are_values_that_were_measured() -> None:
    found = spread([float(value) for value in range(1, 101)])
    assert found is not None
    assert (found.count, found.median, found.p95, found.longest) == (100, 50, 95, 100)
    assert spread([]) is None
    single = spread([0.25])
    assert single is not None
    assert single.median == single.p95 == 0.25


def test_only_runs_that_succeeded_have_a_duration() -> None:
    found = analyse([fault("a", 1), fault("b", 2, duration=900.0, outcome=Outcome.FAILED)], totals={}, until=3)
    assert found.duration is not None
    assert found.duration.longest == 1.0


def test_steps_keep_their_order_and_count_every_attempt() -> None:
    steps = (
        StepTime(name="Commit", attempt=1, seconds=0.01),
        StepTime(name="Shift", attempt=1, seconds=5.0),
        StepTime(name="Shift", attempt=2, seconds=0.5),
    )
    found = analyse([fault("a", 1, steps=steps)], totals={}, until=2)
    assert list(found.steps) == ["Commit", "Shift"]
    assert (found.steps["Shift"].count, found.steps["Shift"].median) == (2, 0.5)


def test_regions_are_counted_by_what_moved() -> None:
    runs = [
        fault("a", 1),
        failback("b", 2),
        fault("c", 3, outcome=Outcome.FAILED),  # a fault, though nothing moved
        fault("d", 4, trigger=TriggerKind.ADMIN_STATE),  # moved, though there was no fault
    ]
    found = {row.region: row for row in analyse(runs, totals={}, until=5).regions}
    assert (found["west"].left, found["west"].entered, found["west"].faults) == (2, 1, 2)
    assert (found["central"].left, found["central"].entered, found["central"].faults) == (1, 2, 0)


def test_a_return_that_was_pruned_is_inferred_from_the_next_failure() -> None:
    runs = [fault("a", HOUR), fault("b", 3 * HOUR), failback("c", 5 * HOUR)]
    found = analyse(runs, totals={}, until=6 * HOUR).recovery
    assert found.away is not None
    assert (found.away.count, found.away.longest) == (1, 2 * HOUR)


def test_recovery_counts_the_time_away_over_several_moves() -> None:
    onwards = fault("b", 2 * HOUR, source="central", to="east", before=CENTRAL, after={"east": 100})
    home = failback("c", 5 * HOUR, source="east")
    found = analyse([fault("a", HOUR), onwards, home], totals={}, until=6 * HOUR).recovery
    assert found.away is not None
    assert found.away.longest == 4 * HOUR
    assert found.still_away == 1  # central, which failed as well and was never returned to
    assert found.failbacks[Outcome.SUCCEEDED] == 1


def test_a_failover_back_home_ends_the_time_away_without_a_failback() -> None:
    back = fault("b", 2 * HOUR, source="central", to="west", before=CENTRAL, after=WEST)
    found = analyse([fault("a", HOUR), back], totals={}, until=3 * HOUR).recovery
    assert (found.away, found.still_away) == (None, 1)


def test_rollbacks_are_told_from_runs_that_stayed_broken() -> None:
    runs = [
        fault("a", 1, outcome=Outcome.ROLLED_BACK),
        fault("b", 2, outcome=Outcome.FAILED),
        fault("c", 3, outcome=Outcome.FAILED, committed=False),
    ]
    found = analyse(runs, totals={}, until=4).recovery
    assert (found.rolled_back, found.not_rolled_back) == (1, 1)


def test_the_trend_is_weighed_by_time() -> None:
    runs = [fault("a", 100.0, start_time=100.0), failback("b", 400.0), fault("c", 450.0, outcome=Outcome.ROLLED_BACK)]
    (trend,) = analyse(runs, totals={}, until=500.0).trends
    assert [(point.time, point.run) for point in trend.points] == [(100, ""), (100, "a"), (400, "b")]
    assert trend.average == {"west": 25, "central": 75}


def test_the_trend_bears_clocks_that_disagree() -> None:
    for start, until in ((100.0, 50.0), (120.0, 200.0)):
        (trend,) = analyse([fault("a", 100.0, start_time=start)], totals={}, until=until).trends
        assert trend.average == {"west": 0, "central": 100}


def test_policies_have_trends_of_their_own() -> None:
    found = analyse([fault("a", 1), fault("b", 2, policy="shop/other")], totals={}, until=3)
    assert [trend.policy for trend in found.trends] == ["shop/other", "shop/shop"]


def test_a_regions_traffic_rises_or_falls_against_its_average() -> None:
    away = fault("a", 100.0, start_time=0.0)
    there_and_back = [fault("b", 100.0, start_time=0.0, policy="shop/other"), failback("c", 300.0, policy="shop/other")]
    found = analyse([away, *there_and_back], totals={}, until=500.0)
    west, central = (next(row for row in found.shares if row.region == name) for name in ("west", "central"))
    # shop: 100 s of 500 in west; other: 300 s of 500.
    assert (west.average, west.now, west.direction) == (pytest.approx(40), 50, Direction.RISING)
    assert (central.average, central.now, central.direction) == (pytest.approx(60), 50, Direction.FALLING)
    still = analyse([away], totals={}, until=100.0 + 1e9)
    assert [row.direction for row in still.shares] == [Direction.STEADY] * 2
