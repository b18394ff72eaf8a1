"""What may be forgotten of the past changes no rule: not now, not later, not after the next run."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from regent.domain.failover.cooldown import current, spent
from regent.domain.failover.limits import used
from regent.domain.failover.memory import forgettable
from regent.domain.failover.model import (
    PolicySpec,
    PolicyState,
    RunRecord,
    RunType,
    Safety,
    Snapshot,
    Topology,
    TriggerKind,
)
from regent.domain.failover.options import MaxShift
from regent.domain.failover.runspec import LATEST

NOW = 1_000_000.0
BUDGET_SPAN, SHIFT_SPAN = 1800.0, 900.0
REGIONS = ("eu", "us")


@st.composite
def runs(draw: st.DrawFn) -> list[RunRecord]:
    ages = draw(st.lists(st.integers(0, 4000), max_size=12, unique=True))
    made = []
    for number, age in enumerate(ages):
        kind = draw(st.sampled_from([RunType.FAILOVER, RunType.REBALANCE, RunType.DRILL, RunType.SWITCHOVER]))
        source = draw(st.sampled_from(REGIONS))
        to = REGIONS[1 - REGIONS.index(source)]
        committed = kind is not RunType.DRILL and draw(st.booleans())
        made.append(
            RunRecord(
                name=f"run-{number}",
                type=kind,
                trigger=TriggerKind.ERROR_RATE,
                committed=committed,
                automatic=draw(st.booleans()),
                left=frozenset({source}) if committed else frozenset(),
                completion_time=NOW - age,
                before={source: 100, to: 0},
                after={source: 0, to: 100},
                scheduled_time=NOW - age if kind is RunType.DRILL else None,
            )
        )
    return made


def policy(*, base: float, budget: int, limited: bool) -> PolicySpec:
    shift = MaxShift(percent=50 if limited else 100, per=SHIFT_SPAN)
    safety = Safety(cooldown=base, budget_failovers=budget, budget_per=BUDGET_SPAN, max_shift=shift)
    return PolicySpec(namespace="n", name="p", uid="u", topology=Topology.ACTIVE_PASSIVE, safety=safety)


def rules(spec: PolicySpec, known: list[RunRecord], moment: float) -> tuple[object, ...]:
    """What cooldown, budget and maxShift say at a moment."""
    safety = spec.safety
    cooldown = current(known, base=safety.cooldown)
    snapshot = Snapshot(
        policy=spec, state=PolicyState(), regions={}, now=moment, wall_time=moment, runs=tuple(known)
    )  # fmt: skip
    return (
        (cooldown.until_time, cooldown.left) if cooldown.active(moment) else None,
        spent(known, since_time=moment - safety.budget_per) >= safety.budget_failovers,
        used(snapshot) if safety.max_shift.percent < 100 else None,
    )


PAST = [
    RunRecord(
        name=f"run-{number}", type=RunType.FAILOVER, trigger=TriggerKind.ERROR_RATE, committed=True, automatic=True,
        left=frozenset({"eu"}), completion_time=NOW - age, before={"eu": 100}, after={"us": 100},
    )
    for number, age in enumerate((900, 600, 10))
]  # fmt: skip


@given(
    past=runs(),
    base=st.sampled_from([0.0, 60.0, 300.0]),
    budget=st.integers(0, 3),
    limited=st.booleans(),
    limit=st.integers(1, 4),
    later=st.sampled_from([0, 1, 60, 301, 1200, 5000]),
)
@example(past=PAST, base=300.0, budget=3, limited=True, limit=1, later=60)
def test_no_rule_notices(
    *, past: list[RunRecord], base: float, budget: int, limited: bool, limit: int, later: int
) -> None:
    spec = policy(base=base, budget=budget, limited=limited)
    gone = set(forgettable(past, spec, limit=limit, wall_time=NOW))
    kept = [run for run in past if run.name not in gone]
    newest_first = sorted(past, key=lambda run: run.completion_time or 0.0, reverse=True)
    assert gone.isdisjoint(run.name for run in newest_first[:limit]), "what people want to see"
    moment = NOW + later
    assert rules(spec, kept, moment) == rules(spec, past, moment)
    following = RunRecord(
        name="next", type=RunType.FAILOVER, trigger=TriggerKind.UNREACHABLE, committed=True, automatic=True,
        left=frozenset({"us"}), completion_time=moment, before={"us": 100}, after={"eu": 100},
    )  # fmt: skip
    assert rules(spec, [*kept, following], moment) == rules(spec, [*past, following], moment)
    if any((run.scheduled_time or 0) > NOW - LATEST for run in past):
        newest = max(run.scheduled_time or 0 for run in past)
        assert max(run.scheduled_time or 0 for run in kept) == newest, "its time would come again"


@given(past=runs())
def test_what_no_rule_counts_any_more_goes(past: list[RunRecord]) -> None:
    """A day later the last committed run is all that has to stay."""
    spec = policy(base=300.0, budget=3, limited=True)
    gone = forgettable(past, spec, limit=1, wall_time=NOW + 86_400)
    assert len(past) - len(gone) <= 2  # and the newest, whatever it is, because of the limit
