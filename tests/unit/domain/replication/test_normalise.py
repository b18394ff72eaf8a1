"""What of an object belongs to its cluster and is taken off, kind by kind; and which objects are never copied."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regent.domain.replication import kinds, marks
from regent.domain.replication.content import MAX_DEPTH, MAX_OBJECT_BYTES, content_hash
from regent.domain.replication.normalise import normalise, skip_reason, steered
from tests.fakes.replication import config_map, object_of, secret, stored

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["metadata", "spec", "status", "type", "data", "secrets", "imagePullSecrets"])
KIND_NAMES = st.sampled_from(
    ["v1/Service", "v1/Secret", "v1/ServiceAccount", "v1/PersistentVolumeClaim", "v1/PersistentVolume", "batch/v1/Job",
     "kubevirt.io/v1/VirtualMachine", "gateway.networking.k8s.io/v1/HTTPRoute", "apps/v1/Deployment"]
)  # fmt: skip


def with_kind(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    version, _, kind = name.rpartition("/")
    return {**fields, "apiVersion": version, "kind": kind}


def test_what_a_server_adds_to_any_object_goes() -> None:
    plain = config_map(a="1")
    served = stored(
        plain,
        generation=3,
        deletionGracePeriodSeconds=30,
        selfLink="/api",
        generateName="x-",
        managedFields=[{"manager": "kubectl"}],
        finalizers=["x/y"],
        ownerReferences=[{"kind": "App", "name": "shop", "uid": "u"}],
    )
    assert normalise(served) == plain


def test_status_goes_unless_it_is_what_is_copied() -> None:
    cart = {**object_of(kinds.KindRef("shop.example.com", "v1", "Cart"), "c", {}), "status": {"items": 3}}
    assert "status" not in normalise(cart)
    assert normalise(cart, include_status=True)["status"] == {"items": 3}


@pytest.mark.parametrize(
    "name",
    [
        "kubectl.kubernetes.io/last-applied-configuration",
        "deployment.kubernetes.io/revision",
        "pv.kubernetes.io/bind-completed",
        "pv.kubernetes.io/bound-by-controller",
        "volume.kubernetes.io/selected-node",
        "kopf.zalando.org/last-handled-configuration",
        "kopf.dev/progress",
        marks.CONTENT_HASH,
        marks.MISSING_SINCE,
        marks.REPLICAS,
        "regent.dev/fence",
        "regent.dev/policy",
    ],
)
def test_annotations_of_the_cluster_go(name: str) -> None:
    obj = config_map(a="1")
    obj["metadata"]["annotations"] = {name: "x"}
    assert normalise(obj) == config_map(a="1")


def test_annotations_and_labels_of_users_stay() -> None:
    obj = config_map(a="1")
    obj["metadata"] |= {"annotations": {"regent.dev/accesses-per-day": "5"}, "labels": {"team": "x"}}
    assert normalise(obj) == obj


def test_notes_about_sleep_stay_where_copies_are_compared() -> None:
    obj = config_map()
    obj["metadata"]["annotations"] = {marks.REPLICAS: "3", marks.CONTENT_HASH: "x"}
    assert normalise(obj, keep_originals=True)["metadata"]["annotations"] == {marks.REPLICAS: "3"}


def test_service() -> None:
    given_spec = {
        "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "healthCheckNodePort": 30100, "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80, "nodePort": 30080}], "selector": {"app": "web"},
    }  # fmt: skip
    result = normalise(object_of(kinds.SERVICE, "web", given_spec))
    assert result["spec"] == {"ports": [{"port": 80}], "selector": {"app": "web"}}


def test_a_headless_service_stays_one() -> None:
    spec = {"clusterIP": "None", "clusterIPs": ["None"], "ipFamilyPolicy": "RequireDualStack"}
    assert normalise(object_of(kinds.SERVICE, "web", spec))["spec"] == spec


def test_claims_are_not_bound() -> None:
    claim = object_of(kinds.VOLUME_CLAIM, "data", {"volumeName": "pv-1", "storageClassName": "fast"})
    assert normalise(claim)["spec"] == {"storageClassName": "fast"}
    volume = object_of(
        kinds.KindRef("", "v1", "PersistentVolume"),
        "pv",
        {"claimRef": {"name": "d", "uid": "u", "resourceVersion": "1"}},
    )
    assert normalise(volume)["spec"] == {"claimRef": {"name": "d"}}


def test_what_the_server_makes_of_a_jobs_uid() -> None:
    labels = {"controller-uid": "u", "job-name": "j", "batch.kubernetes.io/controller-uid": "u", "app": "x"}
    spec = {
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
        "template": {"metadata": {"labels": dict(labels)}, "spec": {}},
    }
    result = normalise(object_of(kinds.JOB, "j", spec, labels=dict(labels)))
    assert result["spec"] == {"template": {"metadata": {"labels": {"app": "x"}}, "spec": {}}}
    assert result["metadata"]["labels"] == {"app": "x"}


def test_a_selector_that_the_author_made_stays() -> None:
    spec = {"manualSelector": True, "selector": {"matchLabels": {"controller-uid": "mine"}}}
    assert normalise(object_of(kinds.JOB, "j", spec))["spec"] == spec


def test_secrets_that_a_cluster_made_for_an_account() -> None:
    account = {
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"},
        "secrets": [{"name": "web-token-x7"}, {"name": "mine"}], "imagePullSecrets": [{"name": "web-dockercfg-1"}],
    }  # fmt: skip
    result = normalise(account)
    assert result["secrets"] == [{"name": "mine"}]
    assert "imagePullSecrets" not in result


def route(**annotations: str) -> dict[str, Any]:
    refs = [{"name": "web-eu", "port": 80, "weight": 100}, {"name": "web-us", "port": 80, "weight": 0}]
    return object_of(kinds.HTTP_ROUTE, "shop", {"rules": [{"backendRefs": refs}]}, annotations=annotations)


def test_weights_that_a_failover_policy_sets_are_not_copied() -> None:
    owned = route(**{"regent.dev/policy": "shop/shop/uid", "regent.dev/backend-ratios": "{}"})
    assert steered(owned)
    refs = normalise(owned)["spec"]["rules"][0]["backendRefs"]
    assert refs == [{"name": "web-eu", "port": 80}, {"name": "web-us", "port": 80}]


def test_weights_of_users_are_copied_unless_the_other_side_is_steered() -> None:
    assert normalise(route())["spec"] == route()["spec"]
    assert "weight" not in normalise(route(), drop_weights=True)["spec"]["rules"][0]["backendRefs"][0]


def owned(kind: str, api: str, owner: str) -> dict[str, Any]:
    reference = {"kind": owner, "name": "o", "uid": "u", "controller": True}
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "x", "ownerReferences": [reference]}}


FINISHED_JOB = {
    **object_of(kinds.JOB, "j", {}),
    "status": {"conditions": [{"type": "Complete", "status": "True"}]},
}


@pytest.mark.parametrize(
    ("obj", "why"),
    [
        (owned("Pod", "v1", "ReplicaSet"), "every cluster makes its own Pod"),
        (owned("ReplicaSet", "apps/v1", "Deployment"), "every cluster makes its own ReplicaSet"),
        ({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"}, "every cluster makes its own EndpointSlice"),
        (owned("Job", "batch/v1", "CronJob"), "it belongs to CronJob o"),
        (owned("HorizontalPodAutoscaler", "autoscaling/v2", "ScaledObject"), "it belongs to ScaledObject o"),
        (owned("PersistentVolumeClaim", "v1", "DataVolume"), "it belongs to DataVolume o"),
        (config_map("kube-root-ca.crt"), "every cluster makes its own ConfigMap kube-root-ca.crt"),
        ({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}, "its own ServiceAccount"),
        ({**secret(), "type": "kubernetes.io/service-account-token"}, "worth something in its own cluster only"),
        (stored(config_map(), deletionTimestamp="2026-01-01T00:00:00Z"), "being deleted"),
        (FINISHED_JOB, "the Job has finished"),
        (config_map(big="x" * (MAX_OBJECT_BYTES + 1)), "an API server takes"),
    ],
)  # fmt: skip
def test_objects_that_are_never_copied(obj: dict[str, Any], why: str) -> None:
    assert why in skip_reason(obj)


@pytest.mark.parametrize(
    "obj",
    [
        config_map(),
        secret(),
        owned("ConfigMap", "v1", "App"),
        owned("Pod", "shop.example.com/v1", "App"),
        object_of(kinds.JOB, "j", {}),
        config_map(big="x" * 1_048_576),
    ],
)
def test_objects_that_are_copied(obj: dict[str, Any]) -> None:
    assert skip_reason(obj) == ""


def test_what_is_nested_too_deeply_is_refused_and_does_not_break_anything() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    assert f"deeper than {MAX_DEPTH}" in skip_reason({"apiVersion": "v1", "kind": "ConfigMap", "data": deep})
    # Python takes such a list apart recursively; taking it apart here keeps the interpreter out of it.
    while isinstance(deep, list):
        deep = deep.pop()


@given(name=KIND_NAMES, fields=st.dictionaries(FIELDS, JSON, max_size=4))
def test_anything_can_be_normalised_and_nothing_is_changed_in_place(name: str, fields: dict[str, Any]) -> None:
    obj = with_kind(name, fields)
    before = copy.deepcopy(obj)
    skip_reason(obj)
    result = normalise(obj)
    assert obj == before
    assert normalise(result) == result, "normalising twice changes nothing"
    assert content_hash(result) == content_hash(normalise(before))
