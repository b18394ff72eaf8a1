"""Changes that copies get on the way, as a policy writes them: JSON patches (RFC 6902), and values by CEL expressions.

Expressions are evaluated in a process apart (`sandbox`), all of one transform in one request; what they give is put
into the object here. Nothing that is said about a failure quotes what is in the object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any, cast

import jsonpatch

from regent.adapters.replication.sandbox import FatalError, Sandbox, UnansweredError
from regent.domain.replication.assign import Place, overlap, places, put
from regent.domain.replication.model import Transform
from regent.engine.ports import Clock, Object

MAX_KNOWN = 5000
"""Expressions of which is remembered what is wrong with them: those of the largest policy, and then some."""


class Transformations:
    """Implements `regent.engine.replication.ports.Transforms`."""

    def __init__(self, *, clock: Clock) -> None:
        self._sandbox = Sandbox(clock=clock)
        self._known: dict[tuple[str, bool], str] = {}

    def apply(self, obj: Object, transform: Transform) -> Object:
        """Change an object of one's own, or leave it when the transform's condition does not hold; see the port."""
        before = _identity(obj)
        if transform.when or transform.cel:
            try:
                found = [places(obj, assignment.path) for assignment in transform.cel]
            except ValueError:
                # A condition may be there just so that the place is.
                if transform.when and self._evaluate(obj, replace(transform, cel=()), []) is None:
                    return obj
                raise
            values = self._evaluate(obj, transform, found)
            if values is None:
                return obj
            for assignment, targets, given in zip(transform.cel, found, values, strict=True):
                for place, value in zip(targets, given, strict=True):
                    try:
                        put(place, value)
                    except ValueError as error:
                        raise ValueError(f"the transform of {assignment.path} fails: {error}") from error
        changed = _patched(obj, transform)
        if _identity(changed) != before:
            raise ValueError("the transform changes apiVersion, kind, name or namespace, which a copy keeps")
        return changed

    async def problem(self, transform: Transform) -> str:
        """Return what is wrong with the expressions of a transform; see the port."""
        for (_, one), (number, other) in combinations(enumerate(transform.cel), 2):
            if overlap(one.path, other.path):
                return f"cel[{number}].path: {other.path} and {one.path} overlap: write one expression for both"
        expressions = [("when", transform.when, True)] if transform.when else []
        expressions += [(f"cel[{n}].expression", item.expression, False) for n, item in enumerate(transform.cel)]
        for place, expression, boolean in expressions:
            if (expression, boolean) not in self._known:
                try:
                    # Apart from the event loop: the first one waits until the process has started.
                    request = {"check": expression, "boolean": boolean}
                    answer = await asyncio.to_thread(self._sandbox.check, request)
                except FatalError as error:
                    answer = {"error": str(error)}
                except UnansweredError as error:
                    return f"{place}: {error}"
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known[expression, boolean] = answer.get("error", "")
            if wrong := self._known[expression, boolean]:
                return f"{place}: {wrong}"
        return ""

    @property
    def pid(self) -> int | None:
        """Of the process that evaluates expressions; None while none is needed."""
        return self._sandbox.pid

    def close(self) -> None:
        """End the process."""
        self._sandbox.close()

    def _evaluate(self, obj: Object, transform: Transform, found: list[list[Place]]) -> list[list[Any]] | None:
        """Return the value for each place of each assignment; None when the condition does not hold."""
        asked = [
            (item.expression, [place.value for place in targets])
            for item, targets in zip(transform.cel, found, strict=True)
        ]
        if not transform.when and not any(targets for targets in found):
            return [[] for _ in found]
        request = {"object": obj, "when": transform.when, "assignments": asked}
        try:
            answer = self._sandbox.ask(request, blame=(transform.when, transform.cel))
        except UnansweredError as error:
            raise ValueError(f"the transform fails: {error}") from error
        if "error" in answer:
            where = f" of {transform.cel[answer['at']].path}" if "at" in answer else ""
            raise ValueError(f"the transform{where} fails: {answer['error']}")
        return cast(list[list[Any]], answer["values"]) if answer["applies"] else None


def _patched(obj: Object, transform: Transform) -> Object:
    """Apply the operations one by one, so that a remove of what is not there can be passed over."""
    changed: Any = obj
    for operation in transform.patch:
        try:
            changed = jsonpatch.apply_patch(changed, [dict(operation)], in_place=True)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
            if operation.get("op") != "remove":
                # Without the library's words: they quote the object, which may be a Secret.
                what = f"{operation.get('op')} of {operation.get('path')}"[:300]
                raise ValueError(f"the transform does not fit: {what}") from error
    return cast(Object, changed)


def _identity(obj: Mapping[str, Any]) -> tuple[Any, ...]:
    """What an object is, wherever it is changed."""
    metadata = obj.get("metadata")
    named = (metadata.get("name"), metadata.get("namespace")) if isinstance(metadata, Mapping) else ()
    return obj.get("apiVersion"), obj.get("kind"), *named
