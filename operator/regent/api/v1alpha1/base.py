"""What every model of the API is made of: the base classes, CEL rules, and the extras of a custom resource definition.

A model is the one source for a kind: its fields give the schema, its docstrings and descriptions the text of
`kubectl explain` and of the reference, its `RULES` the checks at admission. `schema.py` turns models into custom
resource definitions and `reference.py` into documentation; neither adds knowledge of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

GROUP = "regent.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

VALIDATIONS = "x-kubernetes-validations"
LIST_TYPE = "x-kubernetes-list-type"
LIST_MAP_KEYS = "x-kubernetes-list-map-keys"
MAP_TYPE = "x-kubernetes-map-type"
PRESERVE_UNKNOWN = "x-kubernetes-preserve-unknown-fields"


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL rule of the schema. The message says what to write instead; `field_path` names the field it is about."""

    rule: str
    message: str
    field_path: str = ""

    def as_schema(self) -> dict[str, str]:
        """Give the rule as an item of `x-kubernetes-validations`."""
        item = {"rule": self.rule, "message": self.message}
        if self.field_path:
            item["fieldPath"] = self.field_path
        return item


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """An annotation that adds CEL rules and `x-kubernetes-*` extras to the schema of a type.

    Annotations on nested aliases add up: rules are concatenated, the other extras of the outermost one win.
    """

    rules: tuple[Rule, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Add the extras to what pydantic makes of the annotated type."""
        node = handler(core_schema)
        return _with_extras(node, self.rules, self.extra)


def check(rule: str, message: str, *, field_path: str = "") -> Schema:
    """Annotate a type with one CEL rule."""
    return Schema(rules=(Rule(rule, message, field_path),))


def list_map(*keys: str) -> Schema:
    """Annotate a list whose items are merged by these keys; the keys are unique."""
    return Schema(extra={LIST_TYPE: "map", LIST_MAP_KEYS: list(keys)})


LIST_SET = Schema(extra={LIST_TYPE: "set"})
LIST_ATOMIC = Schema(extra={LIST_TYPE: "atomic"})


def nested(model: type[BaseModel], description: str) -> Any:
    """Declare a field that is always there: `default: {}` in the schema, so that the defaults inside it apply."""
    return Field(default_factory=model, description=description, json_schema_extra={"default": {}})


class ApiModel(BaseModel):
    """Base of every object in the API: camelCase on the wire, unknown fields ignored when reading, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="ignore", frozen=True
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()
    ATOMIC: ClassVar[bool] = False

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Add the class's CEL rules and map type to its schema."""
        node = handler(core_schema)
        extra = {MAP_TYPE: "atomic"} if cls.ATOMIC else {}
        _with_extras(handler.resolve_ref_schema(node), cls.RULES, extra)
        return node

    def to_manifest(self) -> dict[str, Any]:
        """Give the object as JSON values for the API server: only what was set, nothing that is None."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


def _with_extras(node: dict[str, Any], rules: tuple[Rule, ...], extra: Mapping[str, Any]) -> dict[str, Any]:
    if rules:
        node[VALIDATIONS] = [*node.get(VALIDATIONS, []), *(rule.as_schema() for rule in rules)]
    node.update(extra)
    return node


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column: what `kubectl get` shows. It reads a plain scalar field."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False


AGE = Column("Age", ".metadata.creationTimestamp", "Time since the object was created", "date")


class Resource(ApiModel):
    """Base of the five kinds: what a custom resource definition says beside the schema."""

    KIND: ClassVar[str]
    PLURAL: ClassVar[str]
    SINGULAR: ClassVar[str]
    SHORT_NAMES: ClassVar[tuple[str, ...]]
    NAMESPACED: ClassVar[bool]
    COLUMNS: ClassVar[tuple[Column, ...]]
    SELECTABLE_FIELDS: ClassVar[tuple[str, ...]]

    @classmethod
    def parse(cls, manifest: Mapping[str, Any]) -> Self:
        """Read an object as the API server serves it.

        Raises:
            pydantic.ValidationError: The object does not fit the schema.
        """
        return cls.model_validate(dict(manifest))
