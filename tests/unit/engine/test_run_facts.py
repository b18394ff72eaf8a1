"""Failover objects as records: what is read leniently, and what the document holds."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.failover.analytics import Origin, Outcome, analyse
from regent.domain.failover.model import TriggerKind
from regent.domain.failover.options import TransitionType
from regent.engine.run_facts import analytics_document, run_facts, runs_of_policies, totals_of


def a_run(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "shop-9", "namespace": "shop", "labels": {"regent.dev/managed-by": "regent"}},
        "spec": {"policyRef": {"name": "shop"}, "type": "Failover", "from": "west"},
        "status": {
            "phase": "Succeeded",
            "trigger": "ErrorRate",
            "epoch": 8,
            "plan": {
                "chosen": "central",
                "before": [{"region": "west", "weightPercent": 100}, {"region": "central"}],
                "after": [{"region": "west"}, {"region": "central", "weightPercent": 100}],
            },
            "startTime": "2026-11-21T11:59:00Z",
            "completionTime": "2026-11-21T11:59:01.500Z",
            "durationMilliseconds": 1812,
            "steps": [
                {
                    "attempt": 2,
                    "name": "Shift",
                    "state": "Succeeded",
                    "startTime": "2026-11-21T11:59:00Z",
                    "completionTime": "2026-11-21T11:59:00.250Z",
                },
                {"attempt": 1, "name": "Isolate", "state": "Skipped", "completionTime": "2026-11-21T11:59:00Z"},
            ],
            **status,
        },
    }


def test_a_run_is_read() -> None:
    found = run_facts(a_run(), policy={"spec": {"transition": {"type": "Gradual"}}})
    assert (found.policy, found.source, found.to, found.committed) == ("shop/shop", "west", "central", True)
    assert (found.outcome, found.origin, found.trigger) == (Outcome.SUCCEEDED, Origin.AUTOMATIC, TriggerKind.ERROR_RATE)
    assert found.transition is TransitionType.GRADUAL
    assert found.attempts == 2
    assert found.duration == 1.812
    assert [(step.name, step.seconds) for step in found.steps] == [("Shift", 0.25)]


def test_a_run_away_from_an_unreachable_region_was_immediate_whatever_was_asked_for() -> None:
    run = a_run(trigger="Unreachable")
    run["spec"]["transition"] = {"type": "Gradual"}
    assert run_facts(run).transition is TransitionType.IMMEDIATE


def test_the_plan_knows_best_how_traffic_moved() -> None:
    run = a_run()
    run["status"]["plan"]["transition"] = "Graceful"
    run["spec"]["transition"] = {"type": "Gradual"}
    assert run_facts(run).transition is TransitionType.GRACEFUL


@pytest.mark.parametrize(
    ("changed", "origin"),
    [({"scheduleTime": "2026-11-21T11:59:00Z"}, Origin.SCHEDULED), ({"reason": "by hand"}, Origin.MANUAL)],
)
def test_who_started_it(changed: dict[str, Any], origin: Origin) -> None:
    run = a_run()
    run["metadata"].pop("labels")
    run["spec"].update(changed)
    assert run_facts(run).origin is origin


def test_what_nobody_has_looked_at_is_unfinished() -> None:
    bare = {"metadata": {"name": "x", "namespace": "shop"}, "spec": {"policyRef": {"name": "shop"}, "from": "west"}}
    found = run_facts(bare)
    assert (found.outcome, found.committed, found.attempts) == (Outcome.UNFINISHED, False, 1)


def test_values_of_another_version_stop_nothing() -> None:
    found = run_facts(a_run(phase="Teleported", trigger="Boredom", startTime="yesterday"))
    assert (found.outcome, found.trigger, found.start_time) == (Outcome.UNFINISHED, TriggerKind.MANUAL, None)


def test_the_document_holds_every_part() -> None:
    policy = {
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {"transition": {"type": "Graceful"}},
        "status": {"totals": {"succeeded": 3, "rolledBack": 1}},
    }
    runs = runs_of_policies([a_run()], [policy])
    document = analytics_document(analyse(runs, totals=totals_of([policy]), until=1_763_726_400.0))
    assert (document["runs"]["succeeded"], document["prunedRuns"]["succeeded"]) == (3, 2)
    assert document["runs"]["rolledBack"] == 1
    assert document["runs"]["successPercent"] == 75.0
    assert document["strategies"][0]["strategy"] == "Graceful"
    assert document["steps"] == [
        {"step": "Shift", "count": 1, "medianMilliseconds": 250, "p95Milliseconds": 250, "longestMilliseconds": 250}
    ]
    assert document["duration"]["medianMilliseconds"] == 1812
    assert document["traffic"][0]["points"][0]["time"] == "2026-11-21T11:59:00Z"
    assert document["regions"][1] == {"region": "west", "left": 1, "entered": 0, "faults": 1}
    assert [row["trend"] for row in document["trafficByRegion"]] == ["Rising", "Falling"]
    assert document["drills"] == {**document["drills"], "runs": 0, "last": []}


def test_a_drill_is_told_with_its_result() -> None:
    run = a_run(phase="Failed", conditions=[{"type": "Complete", "status": "True", "message": "db is Absent"}])
    run["spec"]["type"] = "Drill"
    document = analytics_document(analyse([run_facts(run)], totals={}, until=1_763_726_400.0))
    assert (document["runs"]["runs"], document["drills"]["failed"]) == (0, 1)
    (row,) = document["drills"]["last"]
    assert (row["policy"], row["result"], row["message"]) == ("shop/shop", "Failed", "db is Absent")
