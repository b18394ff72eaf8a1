"""The corpus of worlds and verdicts: each entry of worlds/*.yaml is one world and what must be decided in it.

`then` may hold: plan (type of run) with trigger, from, to, after; hold (reason) with person; steady (what a failback
waits for) and pending (what another change waits for), both as a part of the text; reasons by region; says (parts of
the text that people read); wait (seconds until it is looked at again).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from regent.domain.failover.decide import decide
from regent.domain.failover.model import Hold, Plan, RunType, Steady, Topology
from regent.domain.health.model import AdminState
from tests.fakes.verdict_world import NOW, WALL, snapshot_of, words_of

FILES = sorted((Path(__file__).parent / "worlds").glob("*.yaml"))
CASES: list[dict[str, Any]] = [
    {**case, "name": f"{path.stem}: {case['name']}"}
    for path in FILES
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))
]
IDS = [case["name"] for case in CASES]


def test_the_corpus_is_large_and_says_nothing_twice() -> None:
    assert len(CASES) >= 180
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_verdict(case: dict[str, Any]) -> None:
    decision = decide(snapshot_of(case))
    found = words_of(decision)
    for key, wanted in case["then"].items():
        if key in ("steady", "pending") and wanted:
            assert wanted in found[key], found
        elif key == "says":
            missing = [text for text in wanted if text not in found["says"]]
            assert not missing, found
        elif key == "reasons":
            rows = {row.region: list(row.reasons) for row in decision.candidates}
            assert {name: rows[name] for name in wanted} == wanted
        elif key == "wait":
            assert not isinstance(decision, Plan)
            assert decision.retry_after == pytest.approx(wanted, abs=0.02)
        else:
            assert found.get(key) == wanted, found


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_verdict_depends_on_the_snapshot_alone_and_never_empties_the_traffic(case: dict[str, Any]) -> None:
    snapshot = snapshot_of(case)
    decision = decide(snapshot)
    assert decide(snapshot_of(case)) == decision
    if isinstance(decision, Plan):
        _check_plan(decision, snapshot)
    later = dataclasses.replace(snapshot, now=NOW + 1e6, wall_time=WALL - 86_400)
    assert isinstance(decide(later), Plan | Hold | Steady), "a clock that jumps is no reason to fail"


def _check_plan(plan: Plan, snapshot: Any) -> None:
    assert sum(plan.after.values()) == 100
    assert min(plan.after.values()) >= 0
    assert dict(plan.after) != {name: share for name, share in plan.before.items() if name in plan.after}
    growing = [name for name, share in plan.after.items() if share > plan.before.get(name, 0)]
    assert all(snapshot.regions[name].admin_state is AdminState.ENABLED for name in growing)
    assert not any(snapshot.regions[name].health.down for name in growing)
    assert not any(snapshot.regions[name].placement_denied for name in growing)
    down = [name for name, share in plan.after.items() if share and snapshot.regions[name].health.down]
    kept = [name for name in down if plan.after[name] == plan.before.get(name)]  # a rule holds what would leave it
    assert down == kept or plan.shortfall, "only want of room leaves a part on a region that is down"
    single = snapshot.policy.topology in (Topology.ACTIVE_PASSIVE, Topology.LEADER_ELECTION)
    divided = plan.type is RunType.REBALANCE or snapshot.policy.safety.max_shift.percent < 100
    if single and not divided:
        assert [name for name, share in plan.after.items() if share] == [plan.to]
