"""The generated definitions are structural, bounded, described, and in the repository as they are generated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from regent.api.v1alpha1 import Resource
from regent.api.v1alpha1.generate import main, write_crds
from regent.api.v1alpha1.reference import reference
from regent.api.v1alpha1.schema import KINDS, custom_resource_definitions, root_schema, to_yaml

REPOSITORY = Path(__file__).parents[3]
Node = dict[str, Any]


def nodes(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    """Every node of a schema but the standard ones of the root."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        if f"{path}.{name}" not in (".apiVersion", ".kind", ".metadata"):
            yield from nodes(child, f"{path}.{name}")
    for container in ("items", "additionalProperties"):
        if container in node:
            yield from nodes(node[container], f"{path}[]")


SCHEMAS = [pytest.param(kind, id=kind.KIND) for kind in KINDS]


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_string_list_map_and_number_is_bounded(kind: type[Resource]) -> None:
    unbounded = [path for path, node in nodes(root_schema(kind), "") if not _bounded(node)]
    assert unbounded == []


def _bounded(node: Node) -> bool:
    match node.get("type"):
        case "string":
            return "maxLength" in node or "enum" in node
        case "integer":
            return {"minimum", "maximum", "format"} <= node.keys()
        case "array":
            return "maxItems" in node
        case "object" if "additionalProperties" in node or "x-kubernetes-preserve-unknown-fields" in node:
            return "maxProperties" in node
    return True


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_field_is_described_in_a_sentence(kind: type[Resource]) -> None:
    for path, node in nodes(root_schema(kind), ""):
        if not path.endswith("[]"):
            assert node.get("description", "").strip(), path
            assert node["description"][-1] in ".,", path


@pytest.mark.parametrize("kind", SCHEMAS)
def test_only_what_a_structural_schema_allows(kind: type[Resource]) -> None:
    forbidden = {"$ref", "$defs", "anyOf", "oneOf", "allOf", "title", "const", "uniqueItems", "propertyNames"}
    for path, node in nodes(root_schema(kind), ""):
        assert not forbidden & node.keys(), path
        assert "type" in node or node.get("x-kubernetes-preserve-unknown-fields"), path
        assert node.get("additionalProperties") not in (True, False), path


@pytest.mark.parametrize("kind", SCHEMAS)
def test_parents_of_defaults_are_defaulted(kind: type[Resource]) -> None:
    """A default inside an optional object applies when the object is there; `nested` makes it always there."""
    for path, node in nodes(root_schema(kind), ""):
        if node.get("default") == {}:
            assert not node.get("required"), f"{path}: an empty default lacks {node.get('required')}"


@pytest.mark.parametrize("kind", SCHEMAS)
def test_rules_say_what_to_write_in_one_line(kind: type[Resource]) -> None:
    for path, node in nodes(root_schema(kind), ""):
        for rule in node.get("x-kubernetes-validations", []):
            assert 20 <= len(rule["message"]) <= 300, path
            assert "\n" not in rule["message"] + rule["rule"], path
            field = rule.get("fieldPath", "")
            target: Any = node
            for name in filter(None, field.split(".")):
                target = target["properties"][name]


@pytest.mark.parametrize("kind", SCHEMAS)
def test_no_enum_value_is_a_boolean_word_of_yaml(kind: type[Resource]) -> None:
    for path, node in nodes(root_schema(kind), ""):
        if path.endswith((".failoverReady", ".conditions[].status")):
            continue  # the status of a condition, written by Regent only
        for value in node.get("enum", []):
            assert isinstance(yaml.safe_load(f"v: {value}")["v"], str), path


def test_the_repository_holds_what_is_generated(tmp_path: Path) -> None:
    write_crds(tmp_path)
    generated = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert generated == {path.name: path.read_text() for path in (REPOSITORY / "crds").glob("*.yaml")}
    assert reference() == (REPOSITORY / "docs" / "reference" / "api.md").read_text()


def test_yaml_reads_back_as_it_was() -> None:
    for crd in custom_resource_definitions():
        text = to_yaml(crd)
        assert yaml.safe_load(text) == crd
        assert "&id" not in text


def test_the_reference_names_every_field_once_per_place() -> None:
    page = reference()
    for kind in KINDS:
        section = page.split(f"## {kind.KIND}\n")[1].split("\n## ")[0]
        for path, _ in nodes(root_schema(kind), ""):
            if path.startswith((".spec.", ".status.")) and not path.endswith("[]"):
                assert f"`{path[1:]}`" in section, path


def test_the_generator_refuses_unknown_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crd"]) == 2
    assert "usage" in capsys.readouterr().err
