"""What is done about one object, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.failover import fence
from regent.domain.replication import marks, plan
from regent.domain.replication.model import Adoption, ConflictPolicy, Link, Object, ReplicationSpec, TargetSpec
from regent.domain.replication.plan import ActionKind, after_refusal, decide_object
from tests.fakes.replication import config_map, deployment, desired_of, link_of, replication_spec, secret, stored

SPEC, LINK = replication_spec(), link_of()
LATER, EARLIER = "2026-03-01T00:00:00Z", "2026-02-01T00:00:00Z"


def managed(time: str, manager: str = "kubectl") -> list[Object]:
    return [{"manager": manager, "operation": "Update", "time": time}]


def copied(
    obj: Object, *, spec: ReplicationSpec = SPEC, link: Link = LINK, uid: str = "copy", **changes: Any
) -> Object:
    """The copy of `obj` as the target's API server would serve it."""
    body = plan.applied_body(desired_of(stored(obj), spec, link), spec, link, observed_at=1000.0)
    return stored({**body, **changes}, uid=uid)


def annotated(obj: Object, **annotations: str) -> Object:
    metadata = obj["metadata"]
    return {**obj, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **annotations}}}


def decide(source: Object | None, target: Object | None, *, link: Link = LINK, **changes: Any) -> plan.Action:
    spec = replication_spec(**changes)
    want = None if source is None else desired_of(stored(source), spec, link, target=target)
    return decide_object(want, target, spec=spec, link=link)


def test_what_is_missing_is_made() -> None:
    assert decide(config_map(), None).kind is ActionKind.APPLY
    assert decide(None, None).kind is ActionKind.SKIP


@pytest.mark.parametrize("obj", [config_map(a="1"), secret(a="MQ=="), deployment()])
def test_a_copy_that_is_as_it_should_be_is_not_written(obj: Object) -> None:
    assert decide(obj, copied(obj)).kind is ActionKind.SKIP


def test_what_only_the_target_has_is_no_drift() -> None:
    copy = copied(deployment())
    copy["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    copy["spec"]["template"]["spec"]["containers"][0]["resources"] = {}
    copy["metadata"]["annotations"]["mesh.example.com/injected"] = "true"
    copy["metadata"]["labels"]["team"] = "x"
    copy["status"] = {"replicas": 0}
    assert decide(deployment(), copy).kind is ActionKind.SKIP


def test_changes_of_the_source_are_applied() -> None:
    action = decide(config_map(a="2"), copied(config_map(a="1")))
    assert (action.kind, action.reason, action.force) == (ActionKind.APPLY, "SourceChanged", True)
    gone = decide(config_map(), copied(config_map(a="1")))
    assert (gone.kind, gone.removal) == (ActionKind.APPLY, {"data": {"a": None}})


def test_drift_is_repaired_and_named_without_contents() -> None:
    copy = copied(secret(a="MQ=="))
    copy["data"] = {"a": "Mg==", "b/c": "x"}
    action = decide(secret(a="MQ=="), copy)
    assert (action.kind, action.reason, action.force) == (ActionKind.APPLY, "Drifted", True)
    assert action.message == "differs in /data/a, /data/b~1c"
    assert action.removal == {"data": {"b/c": None}}


def test_a_copy_that_was_woken_by_hand_is_put_back_to_sleep() -> None:
    copy = copied(deployment())
    copy["spec"]["replicas"] = 3
    assert decide(deployment(), copy).reason == "Drifted"


@pytest.mark.parametrize(
    ("policy", "changed", "kind", "force"),
    [
        (ConflictPolicy.SOURCE_WINS, False, ActionKind.APPLY, True),
        (ConflictPolicy.SOURCE_WINS, True, ActionKind.APPLY, True),
        (ConflictPolicy.TARGET_WINS, False, ActionKind.KEEP, False),
        (ConflictPolicy.TARGET_WINS, True, ActionKind.APPLY, False),
        (ConflictPolicy.NEWEST_WINS, False, ActionKind.KEEP, False),
        (ConflictPolicy.NEWEST_WINS, True, ActionKind.APPLY, False),
        (ConflictPolicy.MANUAL, False, ActionKind.CONFLICT, False),
        (ConflictPolicy.MANUAL, True, ActionKind.APPLY, False),
    ],
)
def test_who_wins(policy: ConflictPolicy, changed: bool, kind: ActionKind, force: bool) -> None:
    copy = copied(config_map(a="1", b="1"))
    copy["data"]["b"] = "drifted"
    action = decide(config_map(a="2" if changed else "1", b="1"), copy, conflict_policy=policy)
    assert (action.kind, action.force) == (kind, force)


@pytest.mark.parametrize(
    ("policy", "source_time", "target_time", "kind", "loser"),
    [
        (ConflictPolicy.SOURCE_WINS, None, LATER, ActionKind.APPLY, True),
        (ConflictPolicy.TARGET_WINS, 9e9, EARLIER, ActionKind.KEEP, False),
        (ConflictPolicy.NEWEST_WINS, 9e9, EARLIER, ActionKind.APPLY, True),
        (ConflictPolicy.NEWEST_WINS, 0.0, LATER, ActionKind.KEEP, False),
        (ConflictPolicy.NEWEST_WINS, None, LATER, ActionKind.KEEP, False),
        (ConflictPolicy.MANUAL, 9e9, EARLIER, ActionKind.CONFLICT, False),
    ],
)
def test_fields_that_others_own(
    policy: ConflictPolicy, source_time: float | None, target_time: str, kind: ActionKind, loser: bool
) -> None:
    spec = replication_spec(conflict_policy=policy)
    want = desired_of(stored(config_map(a="2")), spec, changed_at=source_time)
    target = copied(config_map(a="1"), uid="t")
    target["metadata"]["managedFields"] = managed(target_time)
    action = after_refusal(spec, want, target, ("/data/a", "/data/b", "/c", "/d", "/e"))
    assert (action.kind, action.keep_loser) == (kind, loser)
    assert "/data/a" in action.message and "and 1 more" in action.message
    assert action.kind is not ActionKind.APPLY or action.force, "the same request would be refused again"


def test_objects_of_others_are_not_touched() -> None:
    foreign = stored(config_map(a="other"), uid="x")
    assert decide(None, foreign).kind is ActionKind.KEEP
    assert decide(config_map(a="1"), foreign).reason == "NotIdentical"
    assert decide(config_map(a="1"), foreign, adoption=Adoption.REFUSE).kind is ActionKind.REFUSE_FOREIGN
    other_policy = copied(config_map(a="1"), spec=replication_spec(uid="other", name="other"))
    assert decide(config_map(a="1"), other_policy, adoption=Adoption.FORCE).reason == "OtherPolicy"
    assert decide(None, other_policy).kind is ActionKind.KEEP
    tool = stored(config_map(a="1"), uid="x", labels={"applyset.kubernetes.io/part-of": "applyset-1"})
    assert decide(config_map(a="1"), tool, adoption=Adoption.FORCE).reason == "OtherTool"


def test_adoption() -> None:
    same = stored(config_map(a="1"), uid="x")
    assert decide(config_map(a="1"), same).kind is ActionKind.ADOPT
    more = stored(config_map(a="1", b="2"), uid="x")
    assert decide(config_map(a="1"), more).reason == "NotIdentical"
    forced = decide(config_map(a="1"), more, adoption=Adoption.FORCE)
    assert (forced.kind, forced.force, forced.keep_loser, forced.removal) == (
        ActionKind.ADOPT, True, True, {"data": {"b": None}},
    )  # fmt: skip


def test_adopting_never_scales_down_what_runs() -> None:
    assert decide(deployment(replicas=3), stored(deployment(replicas=3), uid="x")).reason == "NotIdentical"
    assert decide(deployment(replicas=3), stored(deployment(replicas=0), uid="x")).kind is ActionKind.ADOPT


def test_copies_of_an_earlier_policy_of_the_name_are_adopted_by_the_rules() -> None:
    before = copied(config_map(a="1"), spec=replication_spec(uid="before"))
    assert decide(config_map(a="1"), before).kind is ActionKind.ADOPT
    assert decide(config_map(a="2"), before).reason == "NotIdentical"
    elsewhere = annotated(before, **{marks.SOURCE_UID: "another-object"})
    assert decide(config_map(a="1"), elsewhere).reason == "OtherPolicy"


def test_what_is_being_deleted_is_waited_for() -> None:
    copy = copied(config_map())
    copy["metadata"]["deletionTimestamp"] = LATER
    assert decide(config_map(a="1"), copy).kind is ActionKind.WAIT


def test_a_source_that_is_gone_is_the_pruners_matter() -> None:
    assert decide(None, copied(config_map())).kind is ActionKind.PRUNE


def test_a_tombstone_goes_when_the_source_is_back() -> None:
    copy = annotated(copied(config_map(a="1")), **{marks.MISSING_SINCE: LATER})
    assert decide(config_map(a="1"), copy).kind is ActionKind.REVIVE
    assert decide(config_map(a="2"), copy).kind is ActionKind.APPLY


@pytest.mark.parametrize("source", [config_map(a="1"), config_map(a="2"), None])
def test_nothing_is_written_to_a_region_that_is_active_or_has_seen_a_later_epoch(source: Object | None) -> None:
    copy = copied(config_map(a="1"), link=link_of(epoch=7))
    active = link_of(epoch=7, target_active=True)
    assert decide(source, copy, link=active).reason == "TargetIsActive"
    assert decide(source, None, link=active).reason in ("TargetIsActive", "Absent")
    if source is not None:
        assert decide(source, copy, link=link_of(epoch=6)).reason == "StaleEpoch"
        promoted = annotated(copy, **{fence.ANNOTATION: "8.1.1"})
        assert decide(source, promoted, link=link_of(epoch=7)).reason == "Promoted"
        assert decide(source, promoted, link=link_of(epoch=8)).kind is ActionKind.APPLY


def test_a_new_epoch_is_put_on_every_copy_once() -> None:
    copy = copied(config_map(a="1"), link=link_of(epoch=7))
    assert decide(config_map(a="1"), copy, link=link_of(epoch=8)).reason == "Remark"
    assert decide(
        config_map(a="1"), copied(config_map(a="1"), link=link_of(epoch=8)), link=link_of(epoch=8)
    ).reason == ("InSync")


BACK = link_of(source_region="us", target=TargetSpec(region="eu", namespace="shop"), epoch=8)


def turned(policy: ConflictPolicy = ConflictPolicy.SOURCE_WINS, **data: str) -> plan.Action:
    """eu was copied to us in epoch 7 with a=1; us took over in epoch 8. What is in eu now is `data`."""
    copy = copied(config_map(a="1"), link=link_of(epoch=7), uid="us-1")
    copy["data"] = {"a": "active"}
    spec = replication_spec(conflict_policy=policy)
    want = desired_of(copy, spec, BACK)
    return decide_object(want, stored(config_map(**data)), spec=spec, link=BACK)


def test_the_old_active_side_becomes_a_copy() -> None:
    action = turned(a="1")
    assert (action.kind, action.reason, action.force, action.keep_loser) == (
        ActionKind.ADOPT,
        "TurnedRound",
        True,
        False,
    )
    assert turned(a="active").reason == "TurnedRound", "equal anyway"


def test_what_the_old_side_wrote_last_is_kept_or_reported() -> None:
    action = turned(a="divergent", b="x")
    assert (action.kind, action.reason, action.keep_loser) == (ActionKind.ADOPT, "Diverged", True)
    assert action.removal == {"data": {"b": None}}
    assert turned(ConflictPolicy.MANUAL, a="divergent").kind is ActionKind.CONFLICT


def test_a_workload_that_a_run_put_to_sleep_has_not_diverged() -> None:
    copy = copied(deployment(replicas=3), link=link_of(epoch=7), uid="us-1")
    copy["spec"]["replicas"] = 3
    demoted = annotated(stored(deployment(replicas=0)), **{fence.ANNOTATION: "8.1.1"})
    spec = replication_spec()
    action = decide_object(desired_of(copy, spec, BACK), demoted, spec=spec, link=BACK)
    assert action.reason == "TurnedRound"


def test_another_object_of_the_name_is_not_the_old_active_one() -> None:
    copy = copied(config_map(a="1"), link=link_of(epoch=7), uid="us-1")
    spec = replication_spec()
    made_anew = stored(config_map(a="other"), uid="another")
    assert decide_object(desired_of(copy, spec, BACK), made_anew, spec=spec, link=BACK).reason == "NotIdentical"


def test_a_change_of_a_copy_while_it_was_active_is_kept() -> None:
    # eu to us in epoch 7, us active in epoch 8 and never copied anywhere, eu active again in epoch 9.
    copy = copied(config_map(a="1"), link=link_of(epoch=7))
    copy["data"] = {"a": "written in epoch 8"}
    action = decide(config_map(a="1"), copy, link=link_of(epoch=9))
    assert (action.kind, action.reason, action.keep_loser) == (ActionKind.APPLY, "Diverged", True)
    assert decide(config_map(a="1"), copy, link=link_of(epoch=7)).reason == "Drifted"


def test_digests_take_a_copy_that_is_right_for_equal() -> None:
    want, copy = desired_of(stored(deployment())), copied(deployment())
    copy["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    assert plan.copy_hash(want, copy) == want.content_hash
    copy["spec"]["replicas"] = 1
    assert plan.copy_hash(want, copy) != want.content_hash


def test_marks_survive_writing_and_reading() -> None:
    written = marks.read_marks(copied(config_map(a="1"), link=link_of(epoch=7)))
    assert written is not None
    assert (written.policy_uid, written.policy_name, written.source_region) == (SPEC.uid, "shop/shop", "eu")
    assert (written.source_uid, written.source_version, written.epoch) == ("uid-1", "7", 7)
    assert written.observed_at == 1000.0
    assert marks.read_marks(config_map()) is None


@pytest.mark.parametrize("junk", [None, 7, [], "x", {"a": 1}])
def test_marks_of_anything_can_be_read(junk: Any) -> None:
    for metadata in (junk, {"labels": junk, "annotations": junk}):
        assert marks.read_marks({"metadata": metadata}) is None


def test_nonsense_in_marks_counts_as_nothing() -> None:
    notes = {marks.EPOCH: "1e9", marks.OBSERVED_AT: "soon", marks.MISSING_SINCE: "9999-99-99", fence.ANNOTATION: "x"}
    written = marks.read_marks(annotated(copied(config_map()), **notes))
    assert written is not None
    assert (written.epoch, written.observed_at, written.missing_since, written.fence_epoch) == (0, None, None, 0)


def test_a_released_copy_is_an_object_like_any_other() -> None:
    from regent.domain.merge_patch import merged

    released = merged(copied(deployment()), marks.release_patch())
    assert marks.read_marks(released) is None
    assert set(released["metadata"]["annotations"]) == {marks.REPLICAS}
