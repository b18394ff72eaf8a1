"""What `kubectl wait --for` takes: `condition=Ready`, `condition=Ready=False`, `jsonpath={.status.phase}=Running`.

The rules are kubectl's: names and statuses of conditions are compared without regard to case, the status defaults to
True, and neither counts while the object's controller has not seen its newest generation. A JSONPath must lead to one
value, which is compared as text; without a value to compare with, any will do. Of kubectl's JSONPath dialect all that
can lead to one value of an object is understood: names (dots in them escaped by `\\`), indexes and filters by equality.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regent.domain.errors import PromotionProblemError

_STEP = re.compile(
    r"""\.?\['((?:[^'\\]|\\.)*)'\]             # ['name']
      |\.?\["((?:[^"\\]|\\.)*)"\]              # ["name"]
      |\.?\[(-?[0-9]{1,6})\]                   # [0], [-1]
      |\.?\[\?\(\s*@((?:\.[^\s=!.\]]+)+)\s*(==|!=)\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9.-]+))\s*\)\]
      |\.((?:[^.\[\]\\*?()\s]|\\.)+)           # .name
    """,
    re.VERBOSE,
)

_Step = Callable[[list[Any]], list[Any]]


@dataclass(frozen=True, slots=True)
class Condition:
    """A status condition that must have a status."""

    name: str
    status: str = "true"

    def met(self, obj: Mapping[str, Any]) -> bool:
        """Say whether the object has it, at its newest generation."""
        status = obj.get("status") or {}
        for item in status.get("conditions") or ():
            if str(item.get("type", "")).lower() == self.name.lower():
                observed = item.get("observedGeneration", status.get("observedGeneration"))
                generation = int(obj["metadata"].get("generation", 0))
                fresh = observed is None or int(observed) >= generation
                return fresh and str(item.get("status", "")).lower() == self.status.lower()
        return False

    def __str__(self) -> str:
        """As in the policy."""
        return f"condition {self.name}={self.status}"


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A value in the object; `wanted` None: any."""

    text: str
    steps: tuple[_Step, ...]
    wanted: str | None

    def met(self, obj: Mapping[str, Any]) -> bool:
        """Say whether the path leads to the value; PromotionProblemError when it leads to what cannot be compared."""
        found: list[Any] = [obj]
        for step in self.steps:
            found = step(found)
        if len(found) > 1:
            raise PromotionProblemError("WaitForInvalid", f"waitFor: {self.text} leads to more than one value")
        if not found or self.wanted is None:
            return bool(found)
        [value] = found
        if isinstance(value, (dict, list)):
            raise PromotionProblemError("WaitForInvalid", f"waitFor: {self.text} leads to an object or a list")
        return self.wanted == (value if isinstance(value, str) else json.dumps(value))

    def __str__(self) -> str:
        """As in the policy."""
        return self.text if self.wanted is None else f"{self.text}={self.wanted}"


def parse_wait(text: str) -> Condition | JsonPath | None:
    """Return what is to be waited for; None when `text` is empty.

    Raises:
        PromotionProblemError: it is not understood; says what is.
    """
    if not text:
        return None
    kind, _, rest = text.partition("=")
    if kind == "condition" and rest:
        name, _, status = rest.partition("=")
        return Condition(name, status or "true")
    if kind == "jsonpath" and rest.startswith("{"):
        expression, closed, value = rest[1:].partition("}")
        if closed and (not value or value.startswith("=")):
            wanted = value[1:].strip("'\"") if value else None
            return JsonPath(f"{{{expression}}}", _steps(expression), wanted)
    raise PromotionProblemError("WaitForInvalid", f"waitFor {text!r}: write condition=Ready or jsonpath={{.a.b}}=value")


def _steps(expression: str) -> tuple[_Step, ...]:
    position = 1 if expression.startswith("$") else 0
    steps: list[_Step] = []
    while position < len(expression):
        match = _STEP.match(expression, position)
        if match is None:
            raise PromotionProblemError(
                "WaitForInvalid",
                f"waitFor: the JSONPath {{{expression}}} is not understood from character {position + 1} on: write it "
                "like {.a.b[0]['c'].conditions[?(@.type==\"Ready\")].status}",
            )
        single, double, index, member, operator, *operands, name = match.groups()
        if index is not None:
            steps.append(_item(int(index)))
        elif member is not None:
            operand = next(value for value in operands if value is not None)
            steps.append(_filter(member[1:].split("."), operand, equal=operator == "=="))
        else:
            given = next(value for value in (single, double, name) if value is not None)
            steps.append(_member(re.sub(r"\\(.)", r"\1", given)))
        position = match.end()
    return tuple(steps)


def _member(name: str) -> _Step:
    return lambda found: [value[name] for value in found if isinstance(value, dict) and name in value]


def _item(index: int) -> _Step:
    def step(found: list[Any]) -> list[Any]:
        return [value[index] for value in found if isinstance(value, list) and -len(value) <= index < len(value)]

    return step


def _filter(path: Sequence[str], operand: str, *, equal: bool) -> _Step:
    def value_of(item: Any) -> Any:
        for name in path:
            item = item.get(name) if isinstance(item, dict) else None
        return item

    def step(found: list[Any]) -> list[Any]:
        items = [item for value in found if isinstance(value, list) for item in value]
        texts = [(item, value_of(item)) for item in items]
        return [
            item
            for item, value in texts
            if value is not None and ((value if isinstance(value, str) else json.dumps(value)) == operand) is equal
        ]

    return step
