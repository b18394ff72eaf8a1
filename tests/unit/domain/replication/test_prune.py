"""When copies are deleted: two passes, a brake, and everything that holds it back."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.replication import kinds, marks
from regent.domain.replication.model import Object, ObjectKey, Prune
from regent.domain.replication.prune import PrunePlan, SourceView, plan_prune
from regent.domain.times import rfc3339
from tests.fakes.replication import config_map, desired_of, link_of, replication_spec, stored

NOW = 1_000_000.0
GRACE = 600.0
SEEN = SourceView(complete=True, healthy=True)


def key(name: str, kind: kinds.KindRef = kinds.CONFIG_MAP) -> ObjectKey:
    return ObjectKey(kind, "shop", name)


def copies(*names: str, missing_since: float | None = None, epoch: int = 0, **changes: Any) -> dict[ObjectKey, Object]:
    from regent.domain.replication.plan import applied_body

    spec, link, made = replication_spec(), link_of(epoch=epoch), {}
    for name in names:
        obj = stored(
            applied_body(desired_of(stored(config_map(name))), spec, link, observed_at=1.0), uid=name, **changes
        )
        if missing_since is not None:
            obj["metadata"]["annotations"][marks.MISSING_SINCE] = rfc3339(missing_since)
        made[key(name)] = obj
    return made


def planned(
    found: dict[ObjectKey, Object], *wanted: str, source: SourceView = SEEN, epoch: int = 0, **options: Any
) -> PrunePlan:
    prune = options.pop("prune", Prune(grace=GRACE))
    return plan_prune(
        spec=replication_spec(
            prune=prune, **({"batch_size": options.pop("batch_size")} if "batch_size" in options else {})
        ),
        link=options.pop("link", link_of(epoch=epoch)),
        copies=found,
        wanted={key(name) for name in wanted},
        source=source,
        now=NOW,
        **options,
    )


TEN = tuple("abcdefghij")


def test_nothing_is_missing() -> None:
    assert planned(copies(*TEN), *TEN) == PrunePlan()


def test_first_a_tombstone_and_after_the_grace_period_the_deletion() -> None:
    assert planned(copies(*TEN), *TEN[1:]).mark == (key("a"),)
    waiting = {**copies(*TEN), **copies("a", missing_since=NOW - 590)}
    assert (planned(waiting, *TEN[1:]).waiting, planned(waiting, *TEN[1:]).next_due) == (1, 10.0)
    due = planned({**copies(*TEN), **copies("a", missing_since=NOW - 600)}, *TEN[1:])
    assert (due.mark, [(victim.key, victim.uid, victim.resource_version) for victim in due.delete]) == (
        (), [(key("a"), "a", "7")],
    )  # fmt: skip


def test_a_tombstone_from_the_future_starts_anew() -> None:
    plan = planned({**copies(*TEN), **copies("a", missing_since=NOW + 60)}, *TEN[1:])
    assert (plan.mark, plan.delete) == ((key("a"),), ())


@pytest.mark.parametrize(
    ("gone", "percent", "blocked"),
    [
        (2, 20, ""),
        (3, 20, "TooMany"),
        (3, 30, ""),
        (9, 100, ""),
        (10, 100, "SourceEmpty"),
        (1, 0, "TooMany"),
        (1, 5, ""),
    ],
)
def test_the_brake(gone: int, percent: int, blocked: str) -> None:
    found = {**copies(*TEN), **copies(*TEN[:gone], missing_since=NOW - GRACE)}
    plan = planned(found, *TEN[gone:], prune=Prune(max_percent=percent, grace=GRACE))
    assert plan.blocked_reason == blocked
    assert len(plan.delete) == (0 if blocked else gone)
    assert plan.mark == ()


def test_the_brake_counts_what_waits_too() -> None:
    # One a minute is a landslide as well, when nothing has come back for ten minutes.
    found = copies(*TEN) | copies("a", missing_since=NOW - GRACE) | copies("b", "c", missing_since=NOW - 1)
    assert planned(found, *TEN[3:]).blocked_reason == "TooMany"


def test_one_object_is_no_landslide_but_the_last_one_is() -> None:
    due = copies("a", missing_since=NOW - GRACE)
    assert len(planned({**due, **copies("b")}, "b").delete) == 1
    assert planned(due).blocked_reason == "SourceEmpty"


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (SourceView(complete=False, healthy=True), "SourceIncomplete"),
        (SourceView(complete=True, healthy=False), "SourceNotHealthy"),
    ],
)
def test_a_source_that_is_not_seen_well_deletes_nothing(view: SourceView, reason: str) -> None:
    plan = planned({**copies(*TEN), **copies("a", missing_since=NOW - GRACE)}, *TEN[1:], source=view)
    assert (plan.blocked_reason, plan.mark, plan.delete) == (reason, (), ())


def test_an_active_region_is_not_pruned() -> None:
    found = {**copies(*TEN), **copies("a", missing_since=NOW - GRACE)}
    assert planned(found, *TEN[1:], link=link_of(target_active=True)).blocked_reason == "TargetIsActive"


def test_disabled() -> None:
    assert planned(copies(*TEN), *TEN[1:], prune=Prune(enabled=False)) == PrunePlan()


def test_only_own_copies_are_counted_and_deleted() -> None:
    foreign = {key(name): stored(config_map(name)) for name in ("x", "y")}
    others = next(iter(copies("z").values()))
    others["metadata"]["labels"][marks.POLICY_LABEL] = "another-policy"
    plan = planned({**foreign, key("z"): others, **copies("a", "b")}, "a")
    assert (plan.mark, plan.blocked_reason) == ((key("b"),), "")


def test_what_is_being_deleted_is_not_deleted_again() -> None:
    found = copies("a", missing_since=NOW - GRACE, deletionTimestamp="2026-01-01T00:00:00Z") | copies("b")
    assert planned(found, "b") == PrunePlan()


def test_a_copy_from_before_the_turn_is_kept_unless_its_source_was_seen_to_go() -> None:
    found = copies(*TEN, epoch=8) | copies("a", epoch=7, missing_since=NOW - GRACE)
    plan = planned(found, *TEN[1:], epoch=8)
    assert (plan.unproved, plan.delete) == ((key("a"),), ())
    assert len(planned(found, *TEN[1:], epoch=8, deleted={key("a")}).delete) == 1


def test_what_is_elsewhere_goes_without_the_brake() -> None:
    found = copies(*TEN, missing_since=NOW - GRACE)
    plan = planned(found, elsewhere={key(name) for name in TEN})
    assert (len(plan.delete), plan.blocked_reason) == (10, "")
    mixed = planned(found, *TEN[:2], elsewhere={key(name) for name in TEN[2:6]})
    assert ({victim.key.name for victim in mixed.delete}, mixed.blocked_reason) == (set(TEN[2:6]), "TooMany")


def test_what_refers_to_others_goes_first_and_no_more_than_a_batch() -> None:
    found = copies(*TEN) | copies("a", "b", missing_since=NOW - GRACE)
    workload = next(iter(copies("w", missing_since=NOW - GRACE).values()))
    found = {**found, key("w", kinds.DEPLOYMENT): workload}
    everything = Prune(max_percent=100, grace=GRACE)
    plan = planned(found, *TEN[2:], prune=everything, batch_size=2)
    assert [victim.key.kind.kind for victim in plan.delete] == ["Deployment", "ConfigMap"]
