"""Bad manifests are refused, each with a message that names the field and says what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.crds.support import MERGE, RestClient, load_crds, merged, resource_path

pytestmark = pytest.mark.cluster

TABLES = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted((Path(__file__).parent / "bad").glob("*.yaml"))
}
CASES = [
    pytest.param(table["base"], case, id=f"{kind}: {case['name']}")
    for kind, table in TABLES.items()
    for case in table["cases"]
]
UPDATES = yaml.safe_load((Path(__file__).parent / "updates.yaml").read_text())
STRICT = {"fieldValidation": "Strict", "dryRun": "All"}


@pytest.mark.parametrize(("base", "case"), CASES)
def test_a_bad_manifest_is_refused(
    api: RestClient, installed: dict[str, Any], base: dict[str, Any], case: dict[str, Any]
) -> None:
    manifest = merged(base, case["patch"])
    answer = api.request("POST", resource_path(manifest, "default"), manifest, params=STRICT)
    assert answer.status_code == 422, f"accepted: {answer.text}"
    message = answer.json()["message"]
    assert f"{case['field']}: " in message, f"does not name the field {case['field']}: {message}"
    assert case["remedy"] in message, f"does not say what to write instead: {message}"


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_base_of_each_table_is_accepted(api: RestClient, space: str, table: dict[str, Any]) -> None:
    """Else a case could be refused for a fault of the base."""
    api.ok("POST", resource_path(table["base"], space), table["base"], params=STRICT)


@pytest.mark.parametrize("case", UPDATES, ids=[case["name"] for case in UPDATES])
def test_a_bad_update_is_refused(api: RestClient, space: str, case: dict[str, Any]) -> None:
    manifest = case["manifest"]
    api.ok("POST", resource_path(manifest, space), manifest, params={"fieldValidation": "Strict"})
    path = resource_path(manifest, space, named=True)
    if "status" in case:
        api.ok("PATCH", f"{path}/status", {"status": case["status"]}, content_type=MERGE)
    answer = api.request("PATCH", path, case["patch"], content_type=MERGE)
    assert answer.status_code == 422, f"accepted: {answer.text}"
    message = answer.json()["message"]
    assert f"{case['field']}: " in message, f"does not name the field {case['field']}: {message}"
    assert case["remedy"] in message, f"does not say what to do instead: {message}"


def _rules(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return {message for item in schema for message in _rules(item)}
    if not isinstance(schema, dict):
        return set()
    own = {rule["message"] for rule in schema.get("x-kubernetes-validations", []) if isinstance(rule, dict)}
    return own | {message for value in schema.values() for message in _rules(value)}


@pytest.mark.parametrize("crd", load_crds(), ids=lambda crd: crd["spec"]["names"]["kind"])
def test_every_rule_has_a_case_that_breaks_it(crd: dict[str, Any]) -> None:
    """A rule that nothing breaks may be a rule that nothing can break."""
    kind = crd["spec"]["names"]["kind"]
    remedies = [case["remedy"] for table in TABLES.values() if table["base"]["kind"] == kind for case in table["cases"]]
    remedies += [case["remedy"] for case in UPDATES if case["manifest"]["kind"] == kind]
    untested = {rule for rule in _rules(crd) if not any(remedy in rule for remedy in remedies)}
    assert not untested


def test_the_table_is_large_enough() -> None:
    assert len(CASES) >= 100
