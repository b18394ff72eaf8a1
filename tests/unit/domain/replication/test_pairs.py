"""What is written for a pair: exactly what the winner says, and nothing that is the loser's cluster's own."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.merge_patch import merged
from regent.domain.replication import conflict, kinds, marks, pairs
from regent.domain.replication.conflict import Outcome, OutcomeKind, decide_pair, sides
from regent.domain.replication.model import (
    Adoption,
    Category,
    Direction,
    KindChoice,
    Object,
    ResourceSelector,
    SourceRef,
    Standby,
    Strategy,
    TargetSpec,
)
from regent.domain.replication.shape import REGION_LABEL
from tests.fakes.replication import (
    config_map,
    deployment,
    desired_of,
    link_of,
    object_of,
    replication_spec,
    secret,
    stored,
)

SPEC = replication_spec(direction=Direction.BIDIRECTIONAL)
LINK = link_of()
FOLLOWING = replication_spec(direction=Direction.BIDIRECTIONAL, source=SourceRef(follow_policy="app"))


def outcome_of(source: Object | None, target: Object | None, spec: Any = SPEC) -> Outcome:
    return decide_pair(*sides(source, target, spec=spec, link=LINK), spec=spec)


def carried(winner: Object, loser: Object | None = None, spec: Any = SPEC, **changes: Any) -> Object:
    """What the target's object is after the source's was copied."""
    outcome = Outcome(kind=OutcomeKind.TO_TARGET, reason="", **{"common": "c", "home": "eu", **changes})
    wanted = desired_of(winner, spec, LINK, target=loser)
    body = pairs.target_body(wanted, spec, LINK, outcome, winner=winner, loser=loser, observed_at=1.0)
    return body if loser is None else merged(loser, pairs.change(loser, body))


def marked(obj: Object, common: str, spec: Any = SPEC, region: str = "us") -> Object:
    outcome = Outcome(kind=OutcomeKind.MARK, reason="", common=common, home="eu")
    return merged(obj, pairs.mark_patch(outcome, spec, other_region=region))


def test_the_loser_says_exactly_what_the_winner_says() -> None:
    service = {"selector": {"a": "b"}, "ports": [{"port": 80}]}
    theirs = {"selector": {"a": "b", "c": "d"}, "ports": [{"port": 80, "nodePort": 30001}, {"port": 81}]}
    winner = stored(object_of(kinds.SERVICE, "web", service, annotations={"x": "1"}))
    loser = stored(
        object_of(
            kinds.SERVICE,
            "web",
            {**theirs, "clusterIP": "10.0.0.1"},
            annotations={"y": "1", marks.MISSING_SINCE: "2026-01-01T00:00:00Z"},
            finalizers=["keep"],
        ),
        uid="us-1",
    )
    after = carried(winner, loser)
    assert after["spec"] == {**service, "clusterIP": "10.0.0.1"}, "the address is the cluster's"
    assert after["metadata"]["finalizers"] == ["keep"]
    notes = after["metadata"]["annotations"]
    assert (notes.get("x"), "y" in notes, marks.MISSING_SINCE in notes) == ("1", False, False)


def test_regions_in_labels_change_places_and_back() -> None:
    """Fails when an object that names the other region never equals its copy, or comes back as one of ours."""
    for label, copied in (("eu", "us"), ("us", "eu"), ("ap", "ap")):
        origin = stored(config_map(a="1"))
        origin["metadata"]["labels"] = {REGION_LABEL: label}
        first = outcome_of(origin, None)
        copy = stored(carried(origin, common=first.common), uid="us-1")
        assert copy["metadata"]["labels"][REGION_LABEL] == copied
        assert outcome_of(origin, copy).kind is OutcomeKind.MARK
        back = pairs.source_body(copy, None, SPEC, LINK, first, observed_at=1.0)
        assert back["metadata"]["labels"][REGION_LABEL] == label
        turned = link_of(source_region="us", target=TargetSpec(region="eu", namespace="shop"))
        assert [side.essence for side in sides(copy, origin, spec=SPEC, link=turned)] == [first.common] * 2


def test_what_an_api_server_made_of_it_is_nobodys_change() -> None:
    origin = stored(config_map(a="1"))
    common = outcome_of(origin, None).common
    copy = stored({**carried(origin, common=common), "immutable": False}, uid="us-1")
    origin = marked(origin, common)
    assert outcome_of(origin, copy).kind is OutcomeKind.TO_SOURCE, "nobody has said yet whose it is"
    found = conflict.pair_essence(copy, region="us", other="eu", spec=SPEC, link=LINK)
    copy = merged(copy, pairs.served_patch(found, common))
    assert outcome_of(origin, copy).kind is OutcomeKind.NOTHING
    assert outcome_of(origin, None).kind is OutcomeKind.DELETE_SOURCE
    assert outcome_of(None, copy).kind is OutcomeKind.DELETE_TARGET
    changed = {**copy, "data": {"a": "2"}}
    assert outcome_of(origin, changed).kind is OutcomeKind.TO_SOURCE
    # The note is worth nothing once both have something else in common.
    assert outcome_of(marked(origin, "other"), marked(copy, "other")).kind is not OutcomeKind.NOTHING


def test_a_route_keeps_the_weights_that_a_failover_sets_on_either_side() -> None:
    def route(weight: int, name: str = "web", **notes: str) -> Object:
        rules = [{"backendRefs": [{"name": name, "port": 80, "weight": weight}]}]
        return stored(object_of(kinds.HTTP_ROUTE, "web", {"rules": rules}, annotations=notes))

    steered = {"regent.dev/policy": "shop/app/uid"}
    source, target = route(100, **steered), route(0)
    first = outcome_of(source, target)
    assert first.kind is OutcomeKind.MARK
    target["spec"]["hostnames"] = ["shop.example.com"]
    body = pairs.source_body(target, source, SPEC, LINK, first, observed_at=1.0)
    after = merged(source, pairs.change(source, body))
    assert after["spec"]["hostnames"] == ["shop.example.com"]
    assert after["spec"]["rules"][0]["backendRefs"][0]["weight"] == 100
    assert after["metadata"]["annotations"]["regent.dev/policy"] == "shop/app/uid"
    back = carried(after, route(0))
    assert back["spec"]["rules"][0]["backendRefs"][0]["weight"] == 0


def test_nothing_that_runs_is_stopped_with_a_fixed_source() -> None:
    awake = stored(deployment(replicas=4, image="shop:1"), uid="us-1")
    after = carried(stored(deployment(replicas=3, image="shop:2")), awake)
    assert (after["spec"]["replicas"], marks.REPLICAS in after["metadata"]["annotations"]) == (4, False)
    sleeping = stored(deployment(replicas=0), uid="us-1", annotations={marks.REPLICAS: "2"})
    after = carried(stored(deployment(replicas=3)), sleeping)
    assert (after["spec"]["replicas"], after["metadata"]["annotations"][marks.REPLICAS]) == (0, "3")
    followed = carried(stored(deployment(replicas=3)), awake, FOLLOWING)
    assert (followed["spec"]["replicas"], followed["metadata"]["annotations"][marks.REPLICAS]) == (0, "3")


@pytest.mark.parametrize(
    ("spec", "notes", "active", "change"),
    [
        (SPEC, {}, False, None),
        (SPEC, {marks.REPLICAS: "3"}, False, {"spec": {"replicas": 0}}),
        (SPEC, {marks.REPLICAS: "2"}, True, None),
        (FOLLOWING, {}, False, {"metadata": {"annotations": {marks.REPLICAS: "3"}}, "spec": {"replicas": 0}}),
    ],
)
def test_how_an_equal_workload_is_to_rest(
    spec: Any, notes: dict[str, str], active: bool, change: Object | None
) -> None:
    target = stored(deployment(replicas=4), uid="us-1", annotations=notes)
    wanted = desired_of(stored(deployment(replicas=3)), spec, LINK, target=target)
    assert pairs.rest_change(wanted, target, spec, link_of(target_active=active)) == change


def test_a_copy_that_sleeps_is_woken_when_the_standby_is_to_run() -> None:
    running = replication_spec(direction=Direction.BIDIRECTIONAL, standby=Standby.RUNNING)
    target = stored(deployment(replicas=0), uid="us-1", annotations={marks.REPLICAS: "3"})
    change = pairs.rest_change(desired_of(stored(deployment(replicas=3)), running, LINK), target, running, LINK)
    assert change == {"metadata": {"annotations": {marks.REPLICAS: None}}, "spec": {"replicas": 3}}


def test_a_volume_that_is_new_in_the_target_is_not_primary_twice() -> None:
    volume = stored(object_of(kinds.VOLUME_REPLICATION, "db", {"replicationState": "primary"}), uid="us-1")
    body = pairs.source_body(volume, None, SPEC, LINK, outcome_of(None, volume), observed_at=1.0)
    assert body["spec"]["replicationState"] == "secondary"
    assert body["metadata"]["annotations"][marks.REPLICATION_STATE] == "primary"


def test_what_an_earlier_policy_of_the_name_left_is_adopted_like_anything_else() -> None:
    earlier = replication_spec(uid="earlier")
    source, target = marked(stored(config_map(a="1")), "x", earlier), marked(stored(config_map(a="1")), "x", earlier)
    assert outcome_of(source, target).kind is OutcomeKind.MARK
    assert outcome_of(source, None).reason == "New", "what is missing was deleted by nobody that this policy knows of"
    other = replication_spec(uid="other", name="other")
    assert outcome_of(source, marked(stored(config_map(a="1")), "x", other)).reason == "OtherPolicy"


def test_equal_objects_are_not_joined_against_the_rules() -> None:
    same = stored(config_map(a="1"))
    refusing = replication_spec(direction=Direction.BIDIRECTIONAL, adoption=Adoption.REFUSE)
    assert outcome_of(same, same, refusing).reason == "Exists"
    tool = stored(config_map(a="1"))
    tool["metadata"]["labels"] = {"applyset.kubernetes.io/part-of": "another"}
    assert outcome_of(tool, tool).reason == "OtherTool"
    assert outcome_of(marked(same, outcome_of(same, None).common), same, refusing).kind is OutcomeKind.MARK
    one_way = merged(marked(same, "x"), {"metadata": {"annotations": {marks.LAST_COMMON: None}}})
    assert outcome_of(same, one_way, refusing).kind is OutcomeKind.MARK, "the policy made it while it was one-way"


def test_no_content_of_a_secret_is_in_a_message() -> None:
    one, two = stored(secret(a="MQ==")), stored(secret(a="Mg=="))
    assert "M" not in outcome_of(one, two).message.replace("Manual", "")


def test_what_has_no_way_back_is_refused() -> None:
    def refusal(**changes: Any) -> str:
        return conflict.refusal(replication_spec(direction=Direction.BIDIRECTIONAL, **changes))

    cart = KindChoice(group="shop.example.com", version="v1", kind="Cart", include_status=True)
    assert "includeStatus" in refusal(resources=(ResourceSelector(category=Category.STATE, kinds=(cart,)),))
    assert "strategy: Full" in refusal(strategy=Strategy.PARTIAL)
    both = (TargetSpec(region="eu", namespace="shop"), TargetSpec(region="us", namespace="shop"))
    assert "exactly one" in refusal(targets=both)
    following = replication_spec(direction=Direction.BIDIRECTIONAL, targets=both)
    assert conflict.refusal(following, targets=1) == "", "one of the two is the source"
