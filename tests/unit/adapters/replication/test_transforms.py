"""JSON patches of users on copies."""

from __future__ import annotations

from typing import Any

import pytest

from regent.adapters.replication.transforms import JsonPatches
from regent.domain.replication.model import Transform


def patched(obj: dict[str, Any], *operations: dict[str, Any]) -> dict[str, Any]:
    return JsonPatches().apply(obj, Transform(patch=operations))


def test_operations_are_done_in_order() -> None:
    found = patched(
        {"data": {"a": "1", "b": "2"}},
        {"op": "replace", "path": "/data/a", "value": "3"},
        {"op": "add", "path": "/data/c", "value": "4"},
        {"op": "remove", "path": "/data/b"},
    )
    assert found == {"data": {"a": "3", "c": "4"}}


def test_a_remove_of_what_is_not_there_does_nothing() -> None:
    removal = {"op": "remove", "path": "/data/none"}
    assert patched({"data": {"a": "1"}}, removal, {"op": "remove", "path": "/none/at/all"}) == {"data": {"a": "1"}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "/data/none", "value": 1},
        {"op": "add", "path": "/none/at/all", "value": 1},
        {"op": "replace", "path": "/data/list/9", "value": 1},
    ],
)
def test_what_does_not_fit_is_said(operation: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="does not fit") as caught:
        patched({"data": {"a": "secret", "list": [1]}}, operation)
    assert operation["path"] in str(caught.value)
    assert "secret" not in str(caught.value)
