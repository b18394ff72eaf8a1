"""JSON merge patches (RFC 7386): applying one, telling whether it is applied, and the patch that takes it back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any


def merged(target: Any, patch: Any) -> Any:
    """Return `target` with `patch` applied; neither is changed."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = copy.deepcopy(dict(target)) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def applied(target: Any, patch: Any) -> bool:
    """Say whether `target` has everything that `patch` sets and nothing that it removes.

    An object that is not there counts as an empty one: API servers leave empty objects out.
    """
    if not isinstance(patch, Mapping):
        return bool(target == patch)
    if target is None:
        target = {}
    if not isinstance(target, Mapping):
        return False
    return all(
        target.get(name) is None if value is None else applied(target.get(name), value) for name, value in patch.items()
    )


def inverse(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the patch that brings every field that `patch` touches back to what it is in `target`, whatever has been
    done to these fields since. Fields that `patch` does not name are not in it."""
    result: dict[str, Any] = {}
    for name, value in patch.items():
        present = target.get(name)
        if isinstance(value, Mapping) and isinstance(present, Mapping):
            result[name] = inverse(present, value)
        else:
            result[name] = copy.deepcopy(present)
    return result
