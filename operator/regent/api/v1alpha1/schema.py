"""Turns the models into custom resource definitions with structural schemas.

pydantic gives a JSON schema with references; the API server wants a small subset of OpenAPI v3 without them. What is
translated is listed in `structural`; everything else about a kind stands in its model.
"""

from __future__ import annotations

from typing import Any

import yaml

from regent.api.v1alpha1.base import GROUP, PRESERVE_UNKNOWN, VALIDATIONS, VERSION, Resource
from regent.api.v1alpha1.failover import Failover
from regent.api.v1alpha1.failoverpolicy import FailoverPolicy
from regent.api.v1alpha1.placementpolicy import PlacementPolicy
from regent.api.v1alpha1.region import Region
from regent.api.v1alpha1.replicationpolicy import ReplicationPolicy

KINDS: tuple[type[Resource], ...] = (Region, FailoverPolicy, Failover, ReplicationPolicy, PlacementPolicy)

_INT32_MAX = 2**31 - 1
_STANDARD = {
    "apiVersion": "Version of the schema of this object, regent.dev/v1alpha1.",
    "kind": "Kind of this object.",
}
_ORDER = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "properties",
    "additionalProperties",
    "items",
    "required",
)

Node = dict[str, Any]


def custom_resource_definitions() -> list[dict[str, Any]]:
    """Give the custom resource definitions of all kinds, as `crds/` has them."""
    return [definition(kind) for kind in KINDS]


def definition(kind: type[Resource]) -> dict[str, Any]:
    """Give the custom resource definition of one kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if kind.NAMESPACED else "Cluster",
            "names": {
                "kind": kind.KIND,
                "listKind": f"{kind.KIND}List",
                "plural": kind.PLURAL,
                "singular": kind.SINGULAR,
                "shortNames": list(kind.SHORT_NAMES),
                "categories": ["regent"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column) for column in kind.COLUMNS],
                    "selectableFields": [{"jsonPath": path} for path in kind.SELECTABLE_FIELDS],
                    "schema": {"openAPIV3Schema": root_schema(kind)},
                }
            ],
        },
    }


def root_schema(kind: type[Resource]) -> Node:
    """Give the structural schema of a kind."""
    document = kind.model_json_schema(by_alias=True)
    del document["properties"]["metadata"]  # the API server has a schema of its own for it
    schema = structural(document, document.get("$defs", {}))
    parts = schema["properties"]
    schema["properties"] = {
        **{name: {"description": text, "type": "string"} for name, text in _STANDARD.items()},
        "metadata": {"type": "object"},
        "spec": parts["spec"],
        "status": parts["status"],
    }
    schema["required"] = ["spec"]
    return schema


def structural(node: Node, definitions: dict[str, Node]) -> Node:
    """Translate one node of pydantic's JSON schema.

    References are put in place, optional members lose their null, titles and defaults that mean "unset" go, integers
    get a format, and the keys come in one fixed order.
    """
    node = _resolved(node, definitions)
    for noise in ("title", "propertyNames", "$defs"):
        node.pop(noise, None)
    if node.get("default", "") in (None, "", []):
        node.pop("default", None)
    if "const" in node:
        node["enum"] = [node.pop("const")]
    if node.get("type") == "integer":
        node["format"] = "int32" if node["maximum"] <= _INT32_MAX else "int64"
    if node.get(PRESERVE_UNKNOWN):
        node.pop("additionalProperties", None)
    if isinstance(node.get("additionalProperties"), bool):
        del node["additionalProperties"]
    if "properties" in node:
        node["properties"] = {name: structural(child, definitions) for name, child in node["properties"].items()}
    for container in ("items", "additionalProperties"):
        if container in node:
            node[container] = structural(node[container], definitions)
    known = {key: node[key] for key in _ORDER if key in node}
    return known | {key: node[key] for key in sorted(node) if key not in known}


def to_yaml(document: dict[str, Any]) -> str:
    """Write a definition as YAML, the same each time."""
    return yaml.dump(document, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=118)


class _PlainDumper(yaml.SafeDumper):
    """Writes shared values in full: an API server reads anchors, a person does not."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _resolved(node: Node, definitions: dict[str, Node]) -> Node:
    """Put references and optional members in place; the outer keys win, rules add up."""
    node = dict(node)
    while True:
        if "$ref" in node:
            inner = definitions[node.pop("$ref").removeprefix("#/$defs/")]
        elif "anyOf" in node:
            (inner,) = [member for member in node.pop("anyOf") if member != {"type": "null"}]
        elif "allOf" in node:
            (inner,) = node.pop("allOf")
        else:
            return node
        rules = [*inner.get(VALIDATIONS, []), *node.get(VALIDATIONS, [])]
        node = {**inner, **node}
        if rules:
            node[VALIDATIONS] = rules


def _column(column: Any) -> dict[str, Any]:
    item = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        "description": column.description,
    }
    return item | ({"priority": 1} if column.wide else {})
