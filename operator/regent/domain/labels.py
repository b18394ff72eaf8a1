"""Label selectors as Kubernetes evaluates them: all of `matchLabels` and all of `matchExpressions`; empty means all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether the selector (as the API serves it) matches an object with these labels.

    An operator that is not known matches nothing: a selector that cannot be understood must not widen a rule.
    """
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_holds(item, labels) for item in selector.get("matchExpressions") or ())


def _holds(item: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = str(item.get("key") or ""), item.get("values") or ()
    match item.get("operator"):
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False
