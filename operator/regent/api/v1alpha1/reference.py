"""Writes the reference of the custom resources in Markdown, from the same schemas that the definitions carry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from regent.api.v1alpha1.base import API_VERSION, LIST_MAP_KEYS, LIST_TYPE, VALIDATIONS, Resource
from regent.api.v1alpha1.schema import KINDS, root_schema

_INTRODUCTION = f"""# API reference

The custom resources of `{API_VERSION}`. This page is generated from the models by `make generate`.

How to read the tables

- A field in **bold** is required where its parent is given. `[]` stands for the items of a list.
- Durations are text such as `250ms`, `2s` or `1m30s`; decimals are text such as `"53.3"`; percentages are whole
  numbers.
- The empty text, `{{}}` and `[]` mean "unset" where a field says so. A default of `{{}}` means that the object is
  always there, with the defaults of its fields.
- Rules are checked by the API server when an object is written; its answer says what to write instead.
"""
_BOUNDS = (
    ("minimum", "from {}"),
    ("maximum", "to {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("maxProperties", "at most {} keys"),
)


def reference() -> str:
    """Give the whole page."""
    return "\n".join([_INTRODUCTION, *(_kind(kind) for kind in KINDS)])


def _kind(kind: type[Resource]) -> str:
    schema = root_schema(kind)
    scope = "namespaced" if kind.NAMESPACED else "cluster-scoped"
    short = ", ".join(f"`{name}`" for name in kind.SHORT_NAMES)
    parts = [
        f"## {kind.KIND}\n",
        f"{schema['description']}\n",
        f"`{kind.PLURAL}.{API_VERSION.split('/', maxsplit=1)[0]}`, {scope}, short name {short}, category `regent`.\n",
        "Columns of `kubectl get`: " + ", ".join(_column(column) for column in kind.COLUMNS) + ".\n",
        "Field selectors: " + ", ".join(f"`{path[1:]}`" for path in kind.SELECTABLE_FIELDS) + ".\n",
        "Rules of the object:\n",
        *(f"- {_escaped(rule['message'])}" for rule in schema.get(VALIDATIONS, [])),
        "",
    ]
    for part in ("spec", "status"):
        parts += [f"### {kind.KIND} {part}\n", "| field | type | default | meaning | rules |", "|---|---|---|---|---|"]
        parts += _rows(schema["properties"][part], part)
        parts += ["", *(f"- {_escaped(rule)}" for rule in _bounds(schema["properties"][part]))]
        parts.append("")
    return "\n".join(parts)


def _column(column: Any) -> str:
    return f"{column.name.upper()} (`{column.path[1:]}`{', wide' if column.wide else ''})"


def _rows(node: dict[str, Any], path: str) -> Iterator[str]:
    """Give a row for each field below a node, parents before children."""
    required = node.get("required", [])
    for name, child in node.get("properties", {}).items():
        where = f"{path}.{name}"
        items = child.get("items", {})
        shown = f"**`{where}`**" if name in required else f"`{where}`"
        rules = _bounds(child) + [f"each item: {rule}" for rule in _bounds(items)]
        yield _row(shown, _type(child), _default(child), child.get("description", ""), rules)
        yield from _rows(child, where)
        yield from _rows(items, f"{where}[]")


def _type(node: dict[str, Any]) -> str:
    if "enum" in node:
        return " &#124; ".join(f"`{value}`" for value in node["enum"])
    match node:
        case {"type": "array", "items": {"enum": _} as items}:
            return f"list of {_type(items)}"
        case {"type": "array", "items": items}:
            return f"list of {items.get('type', 'any')}s"
        case {"type": "object", "additionalProperties": values}:
            return f"map of {values['type']}s"
        case {"type": kind, "format": "date-time"} if kind == "string":
            return "time"
        case {"type": kind}:
            return str(kind)
    return "any"


def _default(node: dict[str, Any]) -> str:
    return f"`{json.dumps(node['default'])}`" if "default" in node else ""


def _bounds(node: dict[str, Any]) -> list[str]:
    """Give bounds, keys and rules in words."""
    rules = [text.format(node[key]) for key, text in _BOUNDS if key in node]
    if LIST_MAP_KEYS in node:
        rules.append("unique by " + " and ".join(f"`{key}`" for key in node[LIST_MAP_KEYS]))
    if node.get(LIST_TYPE) == "set":
        rules.append("no item twice")
    return rules + [rule["message"] for rule in node.get(VALIDATIONS, [])]


def _row(field: str, kind: str, default: str, meaning: str, rules: list[str]) -> str:
    return f"| {field} | {kind} | {default} | {_escaped(meaning)} | {_escaped('; '.join(rules))} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
