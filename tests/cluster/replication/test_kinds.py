"""More than ConfigMaps: workloads that sleep, other namespaces, transforms, kinds of users, what is in the way."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.replication.bench import EU, HUB, US, Bench

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240), pytest.mark.xdist_group("replication")]


def deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "web", "image": "registry.invalid/web:1", "ports": [{"containerPort": 80}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def cart_definition(kind: str = "Cart") -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1", "served": True, "storage": True,
        "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
    }  # fmt: skip
    names = {"plural": plural, "singular": kind.lower(), "kind": kind}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.shop.example.com"},
        "spec": {"group": "shop.example.com", "names": names, "scope": "Namespaced", "versions": [version]},
    }


def rights_on_carts(kind: str = "Cart") -> list[dict[str, Any]]:
    """What the README of deploy/member says is to be granted for kinds of one's own."""
    plural = f"{kind.lower()}s"
    rule = {
        "apiGroups": ["shop.example.com"],
        "resources": [plural, f"{plural}/status"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    }
    name = {"name": f"regent-copies-{plural}"}
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": name, "rules": [rule]},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": name,
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", **name},
            "subjects": [{"kind": "ServiceAccount", "name": "regent", "namespace": "regent-system"}],
        },
    ]


def test_workloads_sleep_in_a_standby_and_services_get_addresses_of_their_own(bench: Bench) -> None:
    """Fails when a standby starts to run, forgets its replicas, or a cluster's own fields are copied or fought over."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2, "maxReplicas": 6,
        },
    }  # fmt: skip
    job = {"metadata": {"name": "x"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": []}}}}
    job["spec"]["template"]["spec"]["containers"] = [{"name": "tidy", "image": "registry.invalid/tidy:1"}]
    cron = {
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tidy"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": job["spec"]}},
    }  # fmt: skip
    bench.apply(HUB, deployment("web", 3), service, scaler, cron)
    bench.policy(
        resources=[{"category": "Workload"}, {"category": "Network", "kinds": [{"kind": "Service"}]}], strategy="Full"
    )
    bench.in_state("InSync")
    copy = bench.get(EU, "deployments", "web", api="apps/v1")
    assert copy is not None
    assert copy["spec"]["replicas"] == 0
    assert copy["metadata"]["annotations"]["regent.dev/replicas"] == "3"
    standby = bench.get(EU, "cronjobs", "tidy", api="batch/v1")
    assert standby is not None
    assert standby["spec"]["suspend"] is True
    there, here = bench.get(EU, "services", "web"), bench.get(HUB, "services", "web")
    assert there is not None
    assert here is not None
    assert there["spec"]["ports"][0]["port"] == 80
    version = copy["metadata"]["resourceVersion"]
    bench.planes[HUB].api.patch(bench.path("deployments", "web", api="apps/v1"), {"spec": {"replicas": 5}})

    def noted() -> bool:
        found = bench.get(EU, "deployments", "web", api="apps/v1") or {}
        return bool(found["metadata"]["annotations"]["regent.dev/replicas"] == "5" and found["spec"]["replicas"] == 0)

    bench.until(noted, "the new number of replicas in the sleeping copy")
    assert version


def test_another_namespace_and_transforms(bench: Bench) -> None:
    """Fails when the namespace is not mapped, or a patch is not made, or one that does not fit stops the others."""
    other = f"{bench.namespace}-dr"
    bench.planes[EU].create_namespace(other)
    bench.config_map(HUB, "one", {"url": "http://west", "debug": "on"})
    bench.config_map(HUB, "two", {"plain": "yes"})
    transforms = [
        {
            "names": ["one"],
            "patch": [
                {"op": "replace", "path": "/data/url", "value": "http://east"},
                {"op": "remove", "path": "/data/debug"},
                {"op": "remove", "path": "/data/absent"},
            ],
        }
    ]
    bench.policy(targets=[{"region": EU, "namespace": other, "transforms": transforms}])
    bench.in_state("InSync")
    assert bench.data(EU, "one", namespace=other) == {"url": "http://east"}
    assert bench.data(EU, "two", namespace=other) == {"plain": "yes"}
    assert bench.data(EU, "one") is None
    transforms[0]["patch"] = [{"op": "replace", "path": "/data/nowhere/deep", "value": "x"}]
    bench.policy(targets=[{"region": EU, "namespace": other, "transforms": transforms}])
    bench.until(lambda: bench.row().get("objects", {}).get("failed") == 1, "the object that cannot be transformed")
    bench.config_map(HUB, "three")
    bench.until(lambda: bench.data(EU, "three", namespace=other) is not None, "the objects behind it")


def test_kinds_of_users_with_their_status_and_without_a_definition_in_the_target(bench: Bench) -> None:
    """Fails when a kind that the target does not know stops the rest, or is not taken up when it gets to know it."""
    for region in (HUB, US):
        bench.planes[region].install_crds([cart_definition()])
    for region in (EU, US):
        bench.planes[region].apply(rights_on_carts())
    cart = {"apiVersion": "shop.example.com/v1", "kind": "Cart", "metadata": {"name": "c1"}, "spec": {"items": [1, 2]}}
    bench.apply(HUB, cart)
    bench.config_map(HUB, "one")
    path = bench.path("carts", "c1", api="shop.example.com/v1")
    bench.planes[HUB].api.patch(f"{path}/status", {"status": {"total": "12.50"}})
    kinds = [{"group": "shop.example.com", "version": "v1", "kind": "Cart", "includeStatus": True}]
    bench.policy(
        targets=[{"region": EU}, {"region": US}],
        resources=[{"category": "State", "kinds": kinds}, {"category": "Config"}],
    )
    bench.until(lambda: bench.row(US).get("state") == "InSync", "the target that knows the kind")
    copy = bench.get(US, "carts", "c1", api="shop.example.com/v1")
    assert copy is not None
    assert (copy["spec"], copy["status"]) == ({"items": [1, 2]}, {"total": "12.50"})
    bench.until(lambda: bench.row(EU).get("objects", {}).get("failed") == 1, "the kind that is not known")
    assert bench.data(EU, "one") is not None
    assert any("Cart" in text for text in bench.row(EU)["errors"])
    bench.planes[EU].install_crds([cart_definition()])
    bench.until(lambda: bench.get(EU, "carts", "c1", api="shop.example.com/v1") is not None, "the kind after all")
    bench.in_state("InSync")


def test_secrets_only_when_asked_for(bench: Bench) -> None:
    """Fails when a Secret leaves its cluster without being asked for."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"key": "hush"}}
    bench.apply(HUB, secret)
    bench.config_map(HUB, "one")
    bench.policy(resources=[{"category": "Config"}])
    bench.in_state("InSync")
    assert bench.get(EU, "secrets", "keys") is None
    bench.policy(resources=[{"category": "Config", "includeSecrets": True}])
    bench.until(lambda: bench.get(EU, "secrets", "keys") is not None, "the Secret")
    bench.in_state("InSync")
    assert "hush" not in bench.operator.text()
    assert "hush" not in str(bench.status())


def test_adoption(bench: Bench) -> None:
    """Fails when an object that was there is taken over against the policy, or is not with it."""
    bench.config_map(HUB, "same", {"a": "1"})
    bench.config_map(HUB, "other", {"a": "1"})
    bench.config_map(EU, "same", {"a": "1"})
    bench.config_map(EU, "other", {"a": "2"})
    bench.policy(adoption="Refuse")
    bench.until(lambda: bench.row().get("objects", {}).get("conflicted") == 2, "both refused")
    bench.policy(adoption="IfIdentical")
    bench.until(lambda: bench.row().get("objects", {}).get("conflicted") == 1, "one adopted")
    assert bench.data(EU, "other") == {"a": "2"}
    bench.policy(adoption="Force")
    bench.until(lambda: bench.data(EU, "other") == {"a": "1"}, "the other overwritten")
    bench.in_state("InSync")


def test_placement_denies_a_region(bench: Bench) -> None:
    """Fails when an object leaves the regions that its namespace's placement allows."""
    bench.config_map(HUB, "free")
    bench.config_map(HUB, "bound", labels={"data": "personal"})
    bench.apply(
        HUB,
        {
            "apiVersion": "regent.dev/v1alpha1",
            "kind": "PlacementPolicy",
            "metadata": {"name": "home"},
            "spec": {"selector": {"matchLabels": {"data": "personal"}}, "allowedRegions": [HUB, US]},
        },
    )
    bench.policy(targets=[{"region": EU}, {"region": US}])
    bench.until(lambda: bench.data(US, "bound") is not None, "the copy where it may be")
    bench.until(lambda: bench.data(EU, "free") is not None, "the copy that may be anywhere")
    bench.until(lambda: bench.condition("Ready").get("reason") == "PlacementDenied", "the refusal")
    assert bench.data(EU, "bound") is None
