"""Objects stored under an older definition live on under the present one.

The older definition is the present one without anything that came later: no defaults, no rules, no optional fields
below the spec. It is installed under a group of its own, so that other tests are left alone.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.crds.support import CRDS, MERGE, RestClient, established, load_crds, resource_path

pytestmark = pytest.mark.cluster

GROUP = "upgrade.regent.dev"
REQUIRED = {
    "Region": {"adminState": "Disabled"},
    "FailoverPolicy": {"regions": [{"name": "a"}, {"name": "b"}]},
    "Failover": {"policyRef": {"name": "shop"}, "from": "a"},
    "ReplicationPolicy": {
        "source": {"region": "a"},
        "targets": [{"region": "b"}],
        "resources": [{"category": "Config"}],
    },
    "PlacementPolicy": {"compliance": ["GDPR"]},
}
CHANGES = {
    "Region": {"priority": 7},
    "FailoverPolicy": {"mode": "Manual"},
    "Failover": {"control": {"desired": "Cancel"}},
    "ReplicationPolicy": {"suspend": True},
    "PlacementPolicy": {"locality": "Region"},
}


def _renamed(crd: dict[str, Any]) -> dict[str, Any]:
    crd = copy.deepcopy(crd)
    crd["spec"]["group"] = GROUP
    crd["metadata"]["name"] = f"{crd['spec']['names']['plural']}.{GROUP}"
    return crd


def _older(node: Any) -> Any:
    if isinstance(node, list):
        return [_older(item) for item in node]
    if not isinstance(node, dict):
        return node
    later = {"default", "x-kubernetes-validations"}
    return {key: _older(value) for key, value in node.items() if key not in later or key == "properties"}


@pytest.fixture(params=load_crds(), ids=lambda crd: crd["spec"]["names"]["kind"])
def definition(api: RestClient, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    crd = _renamed(request.param)
    yield crd
    api.ok("DELETE", f"{CRDS}/{crd['metadata']['name']}")


def test_an_old_object_gets_defaults_and_can_be_changed(
    api: RestClient, space: str, definition: dict[str, Any]
) -> None:
    path = f"{CRDS}/{definition['metadata']['name']}"
    older = copy.deepcopy(definition)
    older["spec"]["versions"] = _older(older["spec"]["versions"])
    older["spec"]["versions"][0].pop("selectableFields")
    api.apply(older, path)
    established(api, definition["metadata"]["name"])

    kind = definition["spec"]["names"]["kind"]
    manifest = {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": {"name": "old"}, "spec": REQUIRED[kind]}
    api.ok("POST", resource_path(manifest, space, group=GROUP), manifest, params={"fieldValidation": "Strict"})
    object_path = resource_path(manifest, space, named=True, group=GROUP)
    before = api.ok("GET", object_path)
    assert before["spec"] == REQUIRED[kind]
    assert "status" not in before

    api.apply(definition, path)
    after = _read_with_defaults(api, object_path)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["conditions"][0] | {"type": "Ready", "status": "Unknown"} == after["status"]["conditions"][0]
    assert len(after["spec"]) >= len(before["spec"])

    changed = api.ok("PATCH", object_path, {"spec": CHANGES[kind]}, content_type=MERGE)
    for field, value in CHANGES[kind].items():
        assert changed["spec"][field] == value or changed["spec"][field].items() >= value.items()
    api.ok("PATCH", f"{object_path}/status", {"status": {"observedGeneration": 2}}, content_type=MERGE)
    assert api.ok("GET", object_path)["status"]["observedGeneration"] == 2


def _read_with_defaults(api: RestClient, path: str) -> dict[str, Any]:
    """Read the object once the API server has taken the new definition into use."""
    deadline = time.monotonic() + 20
    while True:
        found = api.ok("GET", path)
        if "status" in found:
            return found
        assert time.monotonic() < deadline, f"no defaults on {path}: {found}"
        time.sleep(0.05)
