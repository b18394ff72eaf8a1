"""How copies look: asleep in every kind's own way, in their namespace, transformed; and how they are woken again."""

from __future__ import annotations

from typing import Any

import pytest

from regent.domain.failover import fence
from regent.domain.merge_patch import merged
from regent.domain.replication import kinds, marks, plan, shape
from regent.domain.replication.model import Object, Standby, TargetSpec, Transform
from regent.domain.replication.normalise import normalise
from tests.fakes.replication import config_map, deployment, desired_of, link_of, object_of, replication_spec, stored


def copy_of(obj: Object, standby: Standby = Standby.SCALED0, **options: Any) -> Object:
    return desired_of(stored(obj), replication_spec(standby=standby), **options).body


def notes_of(obj: Object) -> dict[str, str]:
    return dict(marks.annotations_of(obj))


MACHINE = {"runStrategy": "RerunOnFailure", "template": {}}
ASLEEP: list[tuple[str, Object, Object, dict[str, str]]] = [
    ("Deployment", deployment(replicas=3), {"replicas": 0}, {marks.REPLICAS: "3"}),
    ("Deployment of default size", deployment(replicas=None), {"replicas": 0}, {marks.REPLICAS: "1"}),
    ("StatefulSet", object_of(kinds.STATEFUL_SET, "db", {"replicas": 2}), {"replicas": 0}, {marks.REPLICAS: "2"}),
    ("CronJob", object_of(kinds.CRON_JOB, "c", {"schedule": "@daily"}), {"suspend": True}, {marks.SUSPEND: "false"}),
    ("suspended", object_of(kinds.CRON_JOB, "c", {"suspend": True}), {"suspend": True}, {marks.SUSPEND: "true"}),
    ("Job", object_of(kinds.JOB, "j", {"suspend": False}), {"suspend": True}, {marks.SUSPEND: "false"}),
    (
        "HPA to zero",
        object_of(kinds.AUTOSCALER, "a", {"minReplicas": 0}),
        {"minReplicas": 1},
        {marks.MIN_REPLICAS: "0"},
    ),
    ("HPA", object_of(kinds.AUTOSCALER, "a", {"minReplicas": 2}), {"minReplicas": 2}, {}),
    ("PDB", object_of(kinds.DISRUPTION_BUDGET, "p", {"minAvailable": 1}), {"minAvailable": 1}, {}),
    (
        "machine",
        object_of(kinds.VIRTUAL_MACHINE, "vm", dict(MACHINE)),
        {"runStrategy": "Halted"},
        {marks.RUN_STRATEGY: "RerunOnFailure"},
    ),
    (
        "machine of the older form",
        object_of(kinds.VIRTUAL_MACHINE, "vm", {"running": True, "template": {}}),
        {"runStrategy": "Halted"},
        {marks.RUN_STRATEGY: "Always"},
    ),
    (
        "volume",
        object_of(kinds.VOLUME_REPLICATION, "v", {"replicationState": "primary"}),
        {"replicationState": "secondary"},
        {marks.REPLICATION_STATE: "primary"},
    ),
    (
        "sender",
        object_of(kinds.REPLICATION_SOURCE, "v", {"sourcePVC": "data", "paused": False}),
        {"paused": True},
        {marks.PAUSED: "false"},
    ),
    (
        "sender that rests",
        object_of(kinds.REPLICATION_SOURCE, "v", {"sourcePVC": "data", "paused": True}),
        {"paused": True},
        {marks.PAUSED: "true"},
    ),
]


@pytest.mark.parametrize("standby", [Standby.SCALED0, Standby.SUSPENDED])
@pytest.mark.parametrize(("obj", "fields", "notes"), [case[1:] for case in ASLEEP], ids=[case[0] for case in ASLEEP])
def test_copies_sleep_and_remember(standby: Standby, obj: Object, fields: Object, notes: dict[str, str]) -> None:
    copy = copy_of(obj, standby)
    assert {name: copy["spec"].get(name) for name in fields} == fields
    assert notes_of(copy) == notes
    assert "running" not in copy["spec"]


@pytest.mark.parametrize("obj", [case[1] for case in ASLEEP], ids=[case[0] for case in ASLEEP])
def test_waking_gives_what_the_source_was(obj: Object) -> None:
    copy = copy_of(obj)
    waking = shape.awake(copy)
    woken = merged(copy, waking) if waking is not None else copy
    spec = {"replicas": 1, "suspend": False, **obj["spec"]}
    if "running" in spec:
        spec = {**spec, "runStrategy": "Always"}
        del spec["running"]
    assert {"replicas": 1, "suspend": False, **woken["spec"]} == spec
    assert notes_of(woken) == {}
    assert shape.awake(woken) is None, "what is awake is not woken again"


@pytest.mark.parametrize(
    "obj", [case[1] for case in ASLEEP if case[0] not in ("volume", "sender", "sender that rests")]
)
def test_running_copies_are_as_the_source(obj: Object) -> None:
    assert copy_of(obj, Standby.RUNNING) == normalise(obj)


def test_a_volume_is_never_primary_twice() -> None:
    obj = object_of(kinds.VOLUME_REPLICATION, "v", {"replicationState": "primary"})
    assert copy_of(obj, Standby.RUNNING)["spec"]["replicationState"] == "secondary"


def test_the_data_of_a_volume_is_never_sent_from_two_regions() -> None:
    """Fails when a standby that runs overwrites what it was sent, or a sender that was woken forgets what it was."""
    obj = object_of(kinds.REPLICATION_SOURCE, "v", {"sourcePVC": "data"})
    copy = copy_of(obj, Standby.RUNNING)
    assert copy["spec"]["paused"] is True
    # The direction has turned round before the copy was woken: what it was in its source is not forgotten.
    assert notes_of(copy_of(copy)) == {marks.PAUSED: "false"}
    waking = shape.awake(copy)
    assert waking == {"metadata": {"annotations": {marks.PAUSED: None}}, "spec": {"paused": False}}


def test_an_autoscaled_running_copy_has_its_own_replicas() -> None:
    assert "replicas" not in copy_of(deployment(), Standby.RUNNING, autoscaled=True)["spec"]
    assert copy_of(deployment(), Standby.SCALED0, autoscaled=True)["spec"]["replicas"] == 0


def test_waking_leaves_what_runs_already_alone() -> None:
    copy = copy_of(deployment(replicas=3))
    copy["spec"]["replicas"] = 5
    assert shape.awake(copy) == {"metadata": {"annotations": {marks.REPLICAS: None}}}


@pytest.mark.parametrize("text", ["", "-1", "many", "9" * 40])
def test_nonsense_in_a_note_wakes_one_replica(text: str) -> None:
    copy = copy_of(deployment())
    copy["metadata"]["annotations"][marks.REPLICAS] = text
    waking = shape.awake(copy)
    assert waking is not None
    assert waking["spec"] == {"replicas": 1}


def test_a_run_that_scales_the_source_down_does_not_teach_the_copy_to_wake_with_nothing() -> None:
    before = copy_of(deployment(replicas=3))
    demoted = deployment(replicas=0)
    demoted["metadata"]["annotations"] = {fence.ANNOTATION: "8.1.1"}
    assert notes_of(copy_of(demoted, target=before)) == {marks.REPLICAS: "3"}
    # Scaled to zero by its owner, it is to wake with zero.
    assert notes_of(copy_of(deployment(replicas=0), target=before)) == {marks.REPLICAS: "0"}


def test_a_machine_that_a_run_has_halted_is_remembered_as_it_was() -> None:
    halted = object_of(kinds.VIRTUAL_MACHINE, "vm", {"runStrategy": "Halted"})
    halted["metadata"]["annotations"] = {marks.RUN_STRATEGY: "RerunOnFailure"}
    assert notes_of(copy_of(halted)) == {marks.RUN_STRATEGY: "RerunOnFailure"}


def test_disks_of_machines_are_taken_over() -> None:
    volume = object_of(kinds.DATA_VOLUME, "disk", {"source": {"blank": {}}})
    assert notes_of(copy_of(volume)) == {"cdi.kubevirt.io/allowClaimAdoption": "true"}


ELSEWHERE = replication_spec(targets=(TargetSpec(region="us", namespace="shop-copy"),))


def moved(obj: Object) -> Object:
    return desired_of(stored(obj), ELSEWHERE).body


def test_references_to_the_own_namespace_move_with_the_object() -> None:
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "b", "namespace": "shop"},
        "subjects": [{"kind": "ServiceAccount", "name": "web", "namespace": "shop"}, {"kind": "User", "name": "shop"},
                     {"kind": "ServiceAccount", "name": "ci", "namespace": "ci"}],
    }  # fmt: skip
    result = moved(binding)
    assert result["metadata"]["namespace"] == "shop-copy"
    assert [subject.get("namespace") for subject in result["subjects"]] == ["shop-copy", None, "ci"]
    route = object_of(kinds.HTTP_ROUTE, "r", {"rules": [{"backendRefs": [{"name": "shop", "namespace": "shop"}]}]})
    assert moved(route)["spec"]["rules"][0]["backendRefs"] == [{"name": "shop", "namespace": "shop-copy"}]
    peers = {
        "from": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop", "app": "shop"}}},
            {
                "namespaceSelector": {
                    "matchExpressions": [{"key": "kubernetes.io/metadata.name", "values": ["shop", "a"]}]
                }
            },
        ]
    }
    labels, expressions = moved(object_of(kinds.NETWORK_POLICY, "n", {"ingress": [peers]}))["spec"]["ingress"][0][
        "from"
    ]
    assert labels["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "shop-copy", "app": "shop"}
    assert expressions["namespaceSelector"]["matchExpressions"][0]["values"] == ["shop-copy", "a"]


def test_custom_kinds_are_not_searched_for_namespaces() -> None:
    cart = object_of(kinds.KindRef("shop.example.com", "v1", "Cart"), "c", {"namespace": "shop"})
    assert moved(cart)["spec"] == {"namespace": "shop"}


def test_an_object_of_the_source_region_is_copied_as_one_of_the_targets() -> None:
    obj = config_map()
    obj["metadata"]["labels"] = {"regent.dev/region": "eu"}
    assert desired_of(obj).body["metadata"]["labels"] == {"regent.dev/region": "us"}
    obj["metadata"]["labels"] = {"regent.dev/region": "ap"}
    assert desired_of(obj).body["metadata"]["labels"] == {"regent.dev/region": "ap"}


def test_transforms_that_fit_are_applied_in_their_order_and_are_part_of_the_hash() -> None:
    patches = tuple(
        Transform(patch=({"value": value},), kinds=frozenset({kind}), names=frozenset(names))
        for value, kind, names in (("1", "ConfigMap", ()), ("2", "ConfigMap", ("settings",)), ("3", "Secret", ()))
    )
    spec = replication_spec(targets=(TargetSpec(region="us", namespace="shop", transforms=patches),))

    def add(obj: Object, transform: Transform) -> Object:
        obj["data"]["seen"] = obj["data"].get("seen", "") + transform.patch[0]["value"]
        return obj

    changed = desired_of(config_map(), spec, transformer=add)
    other = desired_of(config_map("other"), spec, transformer=add)
    assert (changed.body["data"], other.body["data"]) == ({"seen": "12"}, {"seen": "1"})
    assert changed.content_hash != desired_of(config_map()).content_hash
    assert changed.source_hash == desired_of(config_map()).source_hash


def test_the_copy_of_an_object_does_not_change_it() -> None:
    obj = stored(deployment())
    before = stored(deployment())
    desired_of(obj, ELSEWHERE)
    assert obj == before


def route(*weights: int | None, **annotations: str) -> Object:
    refs = [
        {"name": f"web-{index}", "port": 80, **({} if weight is None else {"weight": weight})}
        for index, weight in enumerate(weights)
    ]
    return object_of(kinds.HTTP_ROUTE, "shop", {"rules": [{"backendRefs": refs}]}, annotations=annotations)


def test_a_steered_route_keeps_the_weights_of_its_region() -> None:
    want = desired_of(route(100, 0, 7, **{"regent.dev/policy": "x"}))
    target = stored(route(0, 100), uid="t")
    body = plan.applied_body(want, replication_spec(), link_of(), observed_at=0.0, target=target)
    weights = [reference.get("weight") for reference in body["spec"]["rules"][0]["backendRefs"]]
    assert weights == [0, 100, None]
    assert "weight" not in want.body["spec"]["rules"][0]["backendRefs"][0]
    # Steered in the target alone, its weights are no drift and not overwritten either.
    steered_target = stored(route(0, 100, **{"regent.dev/policy": "x"}), uid="t")
    want = desired_of(route(60, 40), target=steered_target)
    assert plan.drift(want, steered_target) == ()
