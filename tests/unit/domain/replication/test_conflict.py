"""Pairs that both sides may change: every case of the three-way comparison."""

from __future__ import annotations

from itertools import product

import pytest

from regent.domain.merge_patch import merged
from regent.domain.replication import conflict, marks, pairs, plan
from regent.domain.replication.conflict import Outcome, OutcomeKind, Side, decide_pair, sides
from regent.domain.replication.model import Adoption, ConflictPolicy, Direction, Object, TargetSpec, Transform
from tests.fakes.replication import config_map, deployment, desired_of, link_of, replication_spec, stored

SPEC = replication_spec(direction=Direction.BIDIRECTIONAL)
LINK = link_of()
ABSENT = {"eu": Side(region="eu"), "us": Side(region="us")}


def a(essence: str, common: str = "", *, region: str = "eu", home: str = "", changed_at: float | None = None) -> Side:
    return Side(region=region, present=True, essence=essence, common=common, home=home, changed_at=changed_at)


def b(essence: str, common: str = "", *, home: str = "", changed_at: float | None = None) -> Side:
    return a(essence, common, region="us", home=home, changed_at=changed_at)


def decide(
    source: Side, target: Side, policy: ConflictPolicy = ConflictPolicy.SOURCE_WINS, **changes: Adoption
) -> Outcome:
    return decide_pair(source, target, spec=replication_spec(conflict_policy=policy, **changes))


@pytest.mark.parametrize(
    ("source", "target", "kind", "reason"),
    [
        (ABSENT["eu"], ABSENT["us"], OutcomeKind.NOTHING, "Absent"),
        (a("1"), ABSENT["us"], OutcomeKind.TO_TARGET, "New"),
        (ABSENT["eu"], b("1"), OutcomeKind.TO_SOURCE, "New"),
        (a("1", "1"), ABSENT["us"], OutcomeKind.DELETE_SOURCE, "DeletedThere"),
        (ABSENT["eu"], b("1", "1"), OutcomeKind.DELETE_TARGET, "DeletedThere"),
        (a("2", "1"), ABSENT["us"], OutcomeKind.TO_TARGET, "DeletedAndChanged"),
        (ABSENT["eu"], b("2", "1"), OutcomeKind.TO_SOURCE, "DeletedAndChanged"),
        (a("1"), b("1"), OutcomeKind.MARK, "Equal"),
        (a("1", "0"), b("1", "1"), OutcomeKind.MARK, "Equal"),
        (a("1", "1", home="eu"), b("1", "1", home="eu"), OutcomeKind.NOTHING, "InSync"),
        (a("2", "1"), b("1", "1"), OutcomeKind.TO_TARGET, "SourceChanged"),
        (a("1", "1"), b("2", "1"), OutcomeKind.TO_SOURCE, "TargetChanged"),
        # The replicator died after it had written the target and before it had marked the source.
        (a("2", "0"), b("1", "1"), OutcomeKind.TO_TARGET, "SourceChanged"),
        (a("1", "0"), b("2", "1"), OutcomeKind.TO_SOURCE, "TargetChanged"),
        (a("2", "1"), b("3", "1"), OutcomeKind.TO_TARGET, "BothChanged"),
        (a("1"), b("2"), OutcomeKind.CONFLICT, "NotIdentical"),
    ],
)
def test_three_ways(source: Side, target: Side, kind: OutcomeKind, reason: str) -> None:
    outcome = decide(source, target)
    assert (outcome.kind, outcome.reason) == (kind, reason)
    assert outcome.keep_loser == (reason == "BothChanged")


@pytest.mark.parametrize(
    ("policy", "times", "kind"),
    [
        (ConflictPolicy.SOURCE_WINS, (1.0, 2.0), OutcomeKind.TO_TARGET),
        (ConflictPolicy.TARGET_WINS, (2.0, 1.0), OutcomeKind.TO_SOURCE),
        (ConflictPolicy.NEWEST_WINS, (1.0, 2.0), OutcomeKind.TO_SOURCE),
        (ConflictPolicy.NEWEST_WINS, (2.0, 1.0), OutcomeKind.TO_TARGET),
        (ConflictPolicy.NEWEST_WINS, (None, 1.0), OutcomeKind.TO_SOURCE),
        (ConflictPolicy.MANUAL, (1.0, 2.0), OutcomeKind.CONFLICT),
    ],
)
def test_who_wins(policy: ConflictPolicy, times: tuple[float | None, float | None], kind: OutcomeKind) -> None:
    source, target = a("2", "1", changed_at=times[0]), b("3", "1", changed_at=times[1])
    assert decide(source, target, policy).kind is kind
    assert decide(a("2"), b("3"), policy).kind is OutcomeKind.CONFLICT


@pytest.mark.parametrize(("home", "kind"), [("eu", OutcomeKind.TO_TARGET), ("us", OutcomeKind.TO_SOURCE)])
def test_the_home_region_wins_where_the_clocks_do_not_decide(home: str, kind: OutcomeKind) -> None:
    source, target = a("2", "1", home=home, changed_at=5.0), b("3", "1", home=home, changed_at=5.0)
    assert decide(source, target, ConflictPolicy.NEWEST_WINS).kind is kind


def test_what_was_there_before_is_settled_by_force_only() -> None:
    forced = decide(a("1"), b("2"), adoption=Adoption.FORCE)
    assert (forced.kind, forced.keep_loser) == (OutcomeKind.TO_TARGET, True)


def test_a_deletion_against_a_change_is_left_to_people_with_manual() -> None:
    assert decide(a("2", "1"), ABSENT["us"], ConflictPolicy.MANUAL).kind is OutcomeKind.CONFLICT
    assert decide(a("1", "1"), ABSENT["us"], ConflictPolicy.MANUAL).kind is OutcomeKind.DELETE_SOURCE


def test_the_home_is_where_an_object_was_first() -> None:
    assert decide(a("1"), ABSENT["us"]).home == "eu"
    assert decide(ABSENT["eu"], b("1")).home == "us"
    assert decide(a("1", "1", home="us"), b("2", "1", home="us")).home == "us"


def test_nothing_is_deleted_or_overwritten_that_was_never_common() -> None:
    essences, commons = ("1", "2"), ("", "1", "2")
    for left, right, first, second in product(essences, essences, commons, commons):
        for policy, adoption in product(ConflictPolicy, Adoption):
            outcome = decide(a(left, first), b(right, second), policy, adoption=adoption)
            assert outcome.kind not in (OutcomeKind.DELETE_SOURCE, OutcomeKind.DELETE_TARGET)
            loser = {OutcomeKind.TO_TARGET: right, OutcomeKind.TO_SOURCE: left}.get(outcome.kind)
            assert loser is None or loser in (first, second) or outcome.keep_loser
        for single in (decide(a(left, first), ABSENT["us"]), decide(ABSENT["eu"], b(left, first))):
            deletes = single.kind in (OutcomeKind.DELETE_SOURCE, OutcomeKind.DELETE_TARGET)
            assert deletes == (left == first)


def copied(obj: Object, outcome: Outcome) -> Object:
    want = desired_of(stored(obj), SPEC, LINK)
    body = plan.applied_body(want, SPEC, LINK, observed_at=1.0, home=outcome.home, last_common=outcome.common)
    return stored(body, uid="us-1")


def marked(obj: Object, outcome: Outcome, region: str) -> Object:
    return merged(stored(obj), pairs.mark_patch(outcome, SPEC, other_region=region))


@pytest.mark.parametrize("obj", [config_map(a="1"), deployment(replicas=3)])
def test_a_copy_and_its_origin_are_in_sync_after_both_writes(obj: Object) -> None:
    source, target = sides(stored(obj), None, spec=SPEC, link=LINK)
    outcome = decide_pair(source, target, spec=SPEC)
    copy = copied(obj, outcome)
    between = decide_pair(*sides(stored(obj), copy, spec=SPEC, link=LINK), spec=SPEC)
    assert between.kind is OutcomeKind.MARK
    after = decide_pair(*sides(marked(obj, outcome, "us"), copy, spec=SPEC, link=LINK), spec=SPEC)
    assert (after.kind, after.home) == (OutcomeKind.NOTHING, "eu")


def test_a_change_of_the_copy_comes_back_awake_and_in_the_sources_namespace() -> None:
    elsewhere = TargetSpec(region="us", namespace="shop-us")
    spec = replication_spec(direction=Direction.BIDIRECTIONAL, targets=(elsewhere,))
    link = link_of(spec)
    origin = deployment(replicas=3)
    origin["metadata"]["labels"] = {"regent.dev/region": "eu"}
    first = decide_pair(*sides(stored(origin), None, spec=spec, link=link), spec=spec)
    want = desired_of(stored(origin), spec, link)
    copy = stored(plan.applied_body(want, spec, link, observed_at=1.0, home="eu", last_common=first.common), uid="us-1")
    origin = merged(stored(origin), pairs.mark_patch(first, spec, other_region="us"))
    copy["spec"]["template"]["spec"]["containers"][0]["image"] = "shop:2"
    outcome = decide_pair(*sides(origin, copy, spec=spec, link=link), spec=spec)
    assert outcome.kind is OutcomeKind.TO_SOURCE
    back = pairs.source_body(copy, origin, spec, link, outcome, observed_at=2.0)
    assert (back["metadata"]["namespace"], back["spec"]["replicas"]) == ("shop", 3)
    assert back["metadata"]["labels"]["regent.dev/region"] == "eu"
    assert marks.REPLICAS not in back["metadata"]["annotations"]
    copy = merged(copy, pairs.mark_patch(outcome, spec, other_region="eu"))
    settled = decide_pair(*sides(stored(back), copy, spec=spec, link=link), spec=spec)
    assert settled.kind is OutcomeKind.NOTHING


def test_an_object_that_comes_from_the_target_is_awake_in_the_source() -> None:
    copy = stored(deployment(replicas=2), uid="us-1")
    outcome = decide_pair(*sides(None, copy, spec=SPEC, link=LINK), spec=SPEC)
    body = pairs.source_body(copy, None, SPEC, LINK, outcome, observed_at=1.0)
    assert body["spec"]["replicas"] == 2


def test_copies_of_other_policies_are_left_alone() -> None:
    other = copied(config_map(a="1"), Outcome(kind=OutcomeKind.MARK, reason="", common="x"))
    other["metadata"]["labels"][marks.POLICY_LABEL] = "other"
    other["metadata"]["annotations"][marks.POLICY_NAME] = "shop/other"
    outcome = decide_pair(*sides(stored(config_map(a="2")), other, spec=SPEC, link=LINK), spec=SPEC)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.CONFLICT, "OtherPolicy")


def test_what_cannot_be_turned_round_is_refused() -> None:
    assert conflict.refusal(SPEC) == ""
    patched = TargetSpec(region="us", namespace="shop", transforms=(Transform(patch=({},)),))
    assert "transforms" in conflict.refusal(replication_spec(direction=Direction.BIDIRECTIONAL, targets=(patched,)))
    assert conflict.refusal(replication_spec(targets=(patched,))) == ""
    two = (TargetSpec(region="us", namespace="shop"), TargetSpec(region="ap", namespace="shop"))
    assert "exactly one" in conflict.refusal(replication_spec(direction=Direction.BIDIRECTIONAL, targets=two))
