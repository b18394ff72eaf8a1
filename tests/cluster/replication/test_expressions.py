"""CEL expressions in transforms, from a policy to objects on another API server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.replication.bench import EU, HUB, Bench

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.xdist_group("replication")]

OURS, THEIRS = "registry.hub.example.com", "registry.eu.example.com"


def deployment(name: str, image: str, **labels: str) -> dict[str, Any]:
    app = {"app": name}
    containers = [{"name": "web", "image": image}, {"name": "log", "image": "mirror.example.com/log:2"}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": app},
            "template": {"metadata": {"labels": app}, "spec": {"containers": containers}},
        },
    }


def images(bench: Bench, name: str) -> list[str]:
    """The images of a copy; none when there is no copy."""
    found = bench.get(EU, "deployments", name, api="apps/v1")
    return [item["image"] for item in found["spec"]["template"]["spec"]["containers"]] if found else []


def policy(bench: Bench, expression: str) -> None:
    transforms = [
        {
            "kinds": ["Deployment"],
            "cel": [
                {"path": "/spec/template/spec/containers/*/image", "expression": expression},
                {"path": "/spec/template/spec/initContainers/*/image", "expression": expression},
            ],
        },
        {
            "when": "object.metadata.?labels.?tier.orValue('') == 'web'",
            "cel": [{"path": "/metadata/labels/slot", "expression": "string(int(object.metadata.labels.rank) + 1)"}],
        },
    ]
    bench.policy(
        resources=[{"category": "Workload", "kinds": [{"group": "apps", "version": "v1", "kind": "Deployment"}]}],
        targets=[{"region": EU, "transforms": transforms}],
    )


def test_copies_get_what_expressions_give(bench: Bench) -> None:
    """Fails when a copied Deployment has images of another region's registry, when a copy equal to its source passes
    for what it should be, when one object's failing expression stops others, or when an expression that cannot be right
    is tried."""
    bench.apply(HUB, deployment("web", f"{OURS}/web:1", tier="web", rank="1"), deployment("api", f"{OURS}/api:1"))
    policy(bench, f"self.replace('{OURS}/', '{THEIRS}/'")
    where = "transforms[0].cel[0].expression: line 1, column"
    bench.until(lambda: where in bench.condition("Ready").get("message", ""), "the fault of the expression")
    assert bench.condition("Ready")["reason"] == "TransformInvalid"
    assert not images(bench, "web")

    policy(bench, f"self.replace('{OURS}/', '{THEIRS}/')")
    bench.in_state("InSync")
    assert images(bench, "web") == [f"{THEIRS}/web:1", "mirror.example.com/log:2"]
    assert images(bench, "api") == [f"{THEIRS}/api:1", "mirror.example.com/log:2"]
    copy = bench.get(EU, "deployments", "web", api="apps/v1")
    assert copy is not None
    assert copy["metadata"]["labels"]["slot"] == "2"
    assert copy["metadata"]["name"] == "web"

    # Somebody puts the source's image into the copy: equal to the source, and still not what the copy should be.
    path = bench.path("deployments", "web", api="apps/v1")
    foreign = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": f"{OURS}/web:1"}]
    bench.planes[EU].api.patch(path, foreign, content_type="application/json-patch+json")
    bench.until(lambda: images(bench, "web")[:1] == [f"{THEIRS}/web:1"], "the repair of the copy")

    bench.apply(HUB, deployment("web", f"{OURS}/web:2", tier="web", rank="one"))
    bench.apply(HUB, deployment("api", f"{OURS}/api:2"), deployment("new", f"{OURS}/new:1"))
    bench.until(lambda: images(bench, "new")[:1] == [f"{THEIRS}/new:1"], "the object behind the failing one")
    bench.until(lambda: images(bench, "api")[:1] == [f"{THEIRS}/api:2"], "the change of another object")
    bench.until(lambda: bench.row().get("objects", {}).get("failed") == 1, "the object that cannot be transformed")
    assert images(bench, "web")[:1] == [f"{THEIRS}/web:1"], "it stays as it was"
    bench.apply(HUB, deployment("web", f"{OURS}/web:2", tier="web", rank="4"))
    bench.until(lambda: images(bench, "web")[:1] == [f"{THEIRS}/web:2"], "the object that was put right")
    bench.in_state("InSync")
