"""The definitions as the API server serves them: installed, defaulted, explained, listed and selected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.crds.support import GROUP, MERGE, REPOSITORY, TABLE, RestClient, load_crds, resource_path

pytestmark = pytest.mark.cluster

DEFAULTS = yaml.safe_load((Path(__file__).parent / "defaults.yaml").read_text())
ACCEPTED = yaml.safe_load((Path(__file__).parent / "accepted.yaml").read_text())
SAMPLES = sorted((REPOSITORY / "deploy" / "samples").glob("*.yaml"))
NAMES = {
    "Region": ("regions", "rgn", False),
    "FailoverPolicy": ("failoverpolicies", "fpol", True),
    "Failover": ("failovers", "fo", True),
    "ReplicationPolicy": ("replicationpolicies", "rpol", True),
    "PlacementPolicy": ("placementpolicies", "ppol", True),
}
COLUMNS = {
    "regions": "NAME TIER STATE HEALTH LATENCY FREE ENDPOINT AGE",
    "failoverpolicies": "NAME TOPOLOGY MODE ACTIVE PHASE READY EPOCH LAST AGE",
    "failovers": "NAME POLICY TYPE FROM TO PHASE STEP TRIGGER DURATION AGE",
    "replicationpolicies": "NAME SOURCE TARGETS STATE INSYNC LAG OBJECTS VERIFIED AGE",
    "placementpolicies": "NAME LOCALITY TRANSFER REGIONS VIOLATIONS AGE",
}
PENDING = {
    "type": "Ready",
    "status": "Unknown",
    "reason": "Pending",
    "message": "The operator has not looked at this object yet",
    "lastTransitionTime": "1970-01-01T00:00:00Z",
}


def region(name: str, **spec: Any) -> dict[str, Any]:
    base = {"endpoint": "https://eu.example.com", "probes": [{"name": "web", "http": {}}]}
    return {
        "apiVersion": "regent.dev/v1alpha1",
        "kind": "Region",
        "metadata": {"name": name},
        "spec": {**base, **spec},
    }


def policy(name: str, **spec: Any) -> dict[str, Any]:
    base = {"regions": [{"name": "a"}, {"name": "b"}]}
    return {
        "apiVersion": "regent.dev/v1alpha1",
        "kind": "FailoverPolicy",
        "metadata": {"name": name},
        "spec": {**base, **spec},
    }


def create(api: RestClient, space: str, manifest: dict[str, Any]) -> str:
    """Create an object and give its path."""
    api.ok("POST", resource_path(manifest, space), manifest, params={"fieldValidation": "Strict"})
    return resource_path(manifest, space, named=True)


def test_definitions_are_structural_and_established(installed: dict[str, dict[str, Any]]) -> None:
    assert set(installed) == {f"{plural}.{GROUP}" for plural, _, _ in NAMES.values()}
    for name, conditions in installed.items():
        assert conditions["Established"]["status"] == "True", name
        assert "NonStructuralSchema" not in conditions, conditions
        assert conditions["NamesAccepted"]["status"] == "True", name


def test_names_short_names_and_category(api: RestClient, installed: dict[str, Any]) -> None:
    served = api.ok("GET", f"/apis/{GROUP}/v1alpha1")["resources"]
    found = {r["kind"]: r for r in served if "/" not in r["name"]}
    for kind, (plural, short, namespaced) in NAMES.items():
        assert (found[kind]["name"], found[kind]["shortNames"]) == (plural, [short])
        assert found[kind]["namespaced"] is namespaced
        assert found[kind]["categories"] == ["regent"]
    assert {f"{plural}/status" for plural, _, _ in NAMES.values()} <= {r["name"] for r in served}


@pytest.mark.parametrize("sample", SAMPLES, ids=[path.stem for path in SAMPLES])
def test_samples_apply(api: RestClient, space: str, sample: Path) -> None:
    for document in yaml.safe_load_all(sample.read_text()):
        if document["kind"] == "Region":
            document["metadata"]["name"] = f"{space}-{document['metadata']['name']}"
        api.apply(document, resource_path(document, space, named=True))


def test_there_is_a_minimal_and_a_full_sample_of_each_kind() -> None:
    stems = {path.stem for path in SAMPLES}
    assert {f"{kind.lower()}-{size}" for kind in NAMES for size in ("minimal", "full")} <= stems


@pytest.mark.parametrize("kind", NAMES)
def test_unknown_fields_are_refused_under_strict_validation(api: RestClient, space: str, kind: str) -> None:
    sample = REPOSITORY / "deploy" / "samples" / f"{kind.lower()}-minimal.yaml"
    manifest = yaml.safe_load(sample.read_text())
    manifest["spec"]["replicaz"] = 1
    path = resource_path(manifest, space)
    answer = api.request("POST", path, manifest, params={"fieldValidation": "Strict", "dryRun": "All"})
    assert answer.status_code == 400
    assert 'strict decoding error: unknown field "spec.replicaz"' in answer.json()["message"]


@pytest.mark.parametrize("case", DEFAULTS, ids=lambda case: case["kind"])
def test_defaults_are_as_documented(api: RestClient, space: str, case: dict[str, Any]) -> None:
    manifest = {
        "apiVersion": case["apiVersion"],
        "kind": case["kind"],
        "metadata": {"name": f"{space}-defaults"},
        "spec": case["spec"],
    }
    found = api.ok("GET", create(api, space, manifest))
    assert found["spec"] == case["read"]
    assert found["status"] == {**case["status"], "conditions": [PENDING]}


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case["name"])
def test_unset_values_and_unusual_forms_are_accepted(api: RestClient, space: str, case: dict[str, Any]) -> None:
    manifest = {key: case[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": f"{space}-ok"}}
    path = resource_path(manifest, space)
    api.ok("POST", path, manifest, params={"fieldValidation": "Strict", "dryRun": "All"})


@pytest.mark.parametrize(
    "change",
    [
        {"regions": [{"name": "a"}, {"name": "c"}]},
        {"topology": "ActiveActive"},
        {"regions": [{"name": "a"}]},
    ],
)
def test_other_regions_can_be_removed_while_one_is_active(api: RestClient, space: str, change: dict[str, Any]) -> None:
    path = create(api, space, policy("shop"))
    api.ok("PATCH", f"{path}/status", {"status": {"activeRegion": "a"}}, content_type=MERGE)
    api.ok("PATCH", path, {"spec": change}, content_type=MERGE)


def test_control_of_a_run_can_be_changed(api: RestClient, space: str) -> None:
    manifest = yaml.safe_load((REPOSITORY / "deploy" / "samples" / "failover-full.yaml").read_text())
    path = create(api, space, manifest)
    change = {"control": {"desired": "Cancel", "approvedPlan": "sha256:0a", "acceptDataLoss": True, "force": True}}
    assert api.ok("PATCH", path, {"spec": change}, content_type=MERGE)["spec"]["control"] == change["control"]


def test_status_is_a_subresource(api: RestClient, space: str) -> None:
    path = create(api, space, region(f"{space}-a"))
    api.ok("PATCH", path, {"status": {"health": "Healthy"}}, content_type=MERGE)
    assert api.ok("GET", path)["status"]["health"] == "Unknown"
    api.ok(
        "PATCH", f"{path}/status", {"status": {"health": "Healthy"}, "spec": {"tier": "Primary"}}, content_type=MERGE
    )
    found = api.ok("GET", path)
    assert (found["status"]["health"], found["spec"]["tier"]) == ("Healthy", "Secondary")
    assert found["metadata"]["generation"] == 1
    refused = api.request("PATCH", f"{path}/status", {"status": {"health": "Fine"}}, content_type=MERGE)
    assert refused.status_code == 422
    assert 'supported values: "Healthy"' in refused.json()["message"]


def test_conditions_of_several_managers_are_merged_by_type(api: RestClient, space: str) -> None:
    path = create(api, space, region(f"{space}-a"))
    for manager, kind in (("prober", "Healthy"), ("regent", "Ready")):
        condition = {**PENDING, "type": kind, "status": "True", "reason": "Ok"}
        body = region(f"{space}-a") | {"status": {"conditions": [condition]}}
        del body["spec"]
        api.apply(body, f"{path}/status", manager=manager)
    found = {c["type"]: c["status"] for c in api.ok("GET", path)["status"]["conditions"]}
    assert found == {"Ready": "True", "Healthy": "True"}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("spec.tier=Primary", {"a"}),
        ("spec.tier!=Primary", {"b", "c"}),
        ("spec.adminState=Drained", {"b"}),
        ("spec.provider=AWS", {"a", "b"}),
        ("status.health=Unreachable", {"c"}),
        ("status.health=Unreachable,spec.provider=GCP", {"c"}),
    ],
)
def test_regions_are_selected_by_field(api: RestClient, space: str, selector: str, expected: set[str]) -> None:
    create(api, space, region(f"{space}-a", tier="Primary", provider="AWS"))
    create(api, space, region(f"{space}-b", adminState="Drained", provider="AWS"))
    path = create(api, space, region(f"{space}-c", provider="GCP"))
    api.ok("PATCH", f"{path}/status", {"status": {"health": "Unreachable"}}, content_type=MERGE)
    found = api.ok("GET", "/apis/regent.dev/v1alpha1/regions", params={"fieldSelector": selector})["items"]
    names = {r["metadata"]["name"] for r in found}
    assert {name.removeprefix(f"{space}-") for name in names if name.startswith(space)} == expected


def test_every_selectable_field_is_accepted(api: RestClient, space: str, crds: list[dict[str, Any]]) -> None:
    for crd in crds:
        fields = [field["jsonPath"] for field in crd["spec"]["versions"][0]["selectableFields"]]
        assert 1 <= len(fields) <= 8
        for field in fields:
            path = f"/apis/{GROUP}/v1alpha1/{crd['spec']['names']['plural']}"
            found = api.ok("GET", path, params={"fieldSelector": f"{field[1:]}=no-such-value"})
            assert found["items"] == []


@pytest.mark.parametrize("plural", COLUMNS)
def test_printer_columns(api: RestClient, installed: dict[str, Any], plural: str) -> None:
    table = api.ok("GET", f"/apis/{GROUP}/v1alpha1/{plural}", accept=TABLE)
    shown = [c["name"].upper() for c in table["columnDefinitions"] if c["priority"] == 0]
    assert shown == COLUMNS[plural].split()
    wide = [c["name"].upper() for c in table["columnDefinitions"] if c["priority"] > 0]
    assert wide == (["PROVIDER", "PRIORITY", "COST", "MESSAGE"] if plural == "regions" else [])


def test_columns_show_the_fields(api: RestClient, space: str) -> None:
    path = create(api, space, policy("shop"))
    status = {
        "activeRegion": "a",
        "active": "a",
        "phase": "Steady",
        "failoverReady": "True",
        "epoch": 7,
        "lastFailover": {"name": "shop-9", "summary": "b→a 0.8s"},
    }
    api.ok("PATCH", f"{path}/status", {"status": status}, content_type=MERGE)
    row = api.kubectl("get", "fpol", "-n", space, "--no-headers").split()
    assert row[:-1] == ["shop", "ActivePassive", "Automatic", "a", "Steady", "True", "7", "b→a", "0.8s"]


def test_category_and_wait_with_kubectl(api: RestClient, space: str) -> None:
    path = create(api, space, policy("shop"))
    assert "failoverpolicy.regent.dev/shop" in api.kubectl("get", "regent", "-n", space, "-o", "name")
    ready = {**PENDING, "status": "True", "reason": "Reconciled"}
    api.ok("PATCH", f"{path}/status", {"status": {"conditions": [ready]}}, content_type=MERGE)
    assert "condition met" in api.kubectl("wait", "fpol/shop", "-n", space, "--for=condition=Ready", "--timeout=10s")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("regions.spec.probes.interval", "One second finds a dead region in about"),
        ("fpol.spec.safety.cooldown", "After a committed run"),
        ("fo.spec.control.approvedPlan", "The value of status.plan.hash"),
        ("rpol.spec.prune.maxPercent", "Brake"),
        ("ppol.spec.locality", "never leaves the allowed set"),
    ],
)
def test_kubectl_explains(api: RestClient, installed: dict[str, Any], path: str, text: str) -> None:
    assert text in " ".join(api.kubectl("explain", path).split())


@pytest.mark.parametrize("crd", load_crds(), ids=lambda crd: crd["spec"]["names"]["kind"])
def test_the_served_schema_describes_every_field(
    api: RestClient, installed: dict[str, Any], crd: dict[str, Any]
) -> None:
    document = api.ok("GET", f"/openapi/v3/apis/{GROUP}/v1alpha1")
    served = document["components"]["schemas"][f"dev.regent.v1alpha1.{crd['spec']['names']['kind']}"]
    bare = list(_without_description(served, ""))
    assert bare == []


def _without_description(node: dict[str, Any], path: str) -> list[str]:
    found: list[str] = []
    for name, child in node.get("properties", {}).items():
        where = f"{path}.{name}"
        if where in (".apiVersion", ".kind", ".metadata"):
            continue
        if not child.get("description"):
            found.append(where)
        found += _without_description(child, where)
        found += _without_description(child.get("items", {}), where)
    return found
