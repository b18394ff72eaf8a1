"""The models read and write what the API server serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from regent.api import v1alpha1
from regent.api.v1alpha1 import Failover, FailoverPolicy, Region, Resource
from regent.api.v1alpha1.schema import KINDS, root_schema

REPOSITORY = Path(__file__).parents[3]
SAMPLES = [
    pytest.param(document, id=f"{path.stem}/{document['metadata']['name']}")
    for path in sorted((REPOSITORY / "deploy" / "samples").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
DEFAULTS = yaml.safe_load((REPOSITORY / "tests" / "cluster" / "crds" / "defaults.yaml").read_text())


def model_of(manifest: dict[str, Any]) -> type[Resource]:
    return next(kind for kind in KINDS if manifest["kind"] == kind.KIND)


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples_survive_a_round_trip(sample: dict[str, Any]) -> None:
    parsed = model_of(sample).parse(sample)
    written = parsed.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    assert written["spec"] == sample["spec"]
    assert model_of(sample).parse(json.loads(json.dumps(written))) == parsed


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples_fit_the_schema(sample: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(root_schema(model_of(sample))).validate(sample)


@pytest.mark.parametrize("case", DEFAULTS, ids=lambda case: case["kind"])
def test_models_default_as_the_api_server_does(case: dict[str, Any]) -> None:
    """An object that a model makes from the required fields equals the one that the API server would serve."""
    kind = model_of(case)
    made = kind.parse({"metadata": {"name": "x"}, "spec": case["spec"]})
    served = kind.parse({"metadata": {"name": "x"}, "spec": case["read"], "status": case["status"]})
    assert made == served


def test_unknown_fields_are_ignored_when_reading() -> None:
    region = Region.parse({"metadata": {"name": "a", "new": 1}, "spec": {"adminState": "Disabled", "later": {"x": 1}}})
    assert region.spec.admin_state == "Disabled"
    assert "later" not in region.to_manifest()["spec"]


def test_status_conditions_and_times_are_read() -> None:
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Ok",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    manifest = {"metadata": {"name": "a"}, "spec": {"adminState": "Disabled"}, "status": {"conditions": [condition]}}
    region = Region.parse(manifest)
    assert region.status.conditions[0].last_transition_time.year == 2026
    assert region.to_manifest()["status"]["conditions"] == [condition]


def test_names_that_python_reserves_are_aliased() -> None:
    run = Failover.parse({"spec": {"policyRef": {"name": "shop"}, "from": "a"}})
    assert run.spec.from_ == "a"
    assert run.to_manifest()["spec"]["from"] == "a"
    policy = FailoverPolicy.parse({"spec": {"regions": [{"name": "a"}], "triggers": {"errorRate": {"for": "1s"}}}})
    assert policy.spec.triggers.error_rate.for_ == "1s"


def test_a_manifest_holds_only_what_was_set() -> None:
    region = Region.parse({"metadata": {"name": "a"}, "spec": {"endpoint": "https://x", "probes": []}})
    assert region.to_manifest() == {"metadata": {"name": "a"}, "spec": {"endpoint": "https://x", "probes": []}}


def test_objects_are_immutable() -> None:
    region = Region.parse({"spec": {"adminState": "Disabled"}})
    with pytest.raises(ValidationError, match="frozen"):
        region.spec.priority = 1  # type: ignore[misc]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "tier": st.sampled_from(["Primary", "Secondary", "Master", "", 1]),
            "priority": st.integers(-2, 1002),
            "quorum": st.integers(-1, 40),
            "displayName": st.text(max_size=140),
            "compliance": st.lists(st.text(max_size=70), max_size=40),
            "capacity": st.fixed_dictionaries({}, optional={"total": st.integers(-1, 2**54)}),
        },
    )
)
def test_model_and_schema_refuse_the_same(spec: dict[str, Any]) -> None:
    """The native part of the schema (types, bounds, enums, required fields) and the model are one."""
    validator = jsonschema.Draft202012Validator(root_schema(Region)["properties"]["spec"])
    try:
        Region.parse({"spec": spec})
    except ValidationError:
        accepted = False
    else:
        accepted = True
    assert accepted == validator.is_valid(spec)


def test_kinds_say_what_the_client_needs() -> None:
    found = {kind.KIND: (kind.PLURAL, kind.NAMESPACED) for kind in KINDS}
    assert found == {
        "Region": ("regions", False),
        "FailoverPolicy": ("failoverpolicies", True),
        "Failover": ("failovers", True),
        "ReplicationPolicy": ("replicationpolicies", True),
        "PlacementPolicy": ("placementpolicies", True),
    }
    for kind in KINDS:
        for suffix in ("", "Spec", "Status"):
            assert hasattr(v1alpha1, f"{kind.KIND}{suffix}")
    assert v1alpha1.API_VERSION == f"{v1alpha1.GROUP}/{v1alpha1.VERSION}" == "regent.dev/v1alpha1"
