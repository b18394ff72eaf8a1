"""Label selectors as Kubernetes evaluates them: all of `matchLabels` and all of `matchExpressions`; empty means all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
"""What API servers take as a label's value or the name of its key, and as what stands before the name's slash."""


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether the selector (as the API serves it) matches an object with these labels.

    An operator that is not known matches nothing: a selector that cannot be understood must not widen a rule.
    """
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_holds(item, labels) for item in selector.get("matchExpressions") or ())


def query_text(selector: Mapping[str, Any]) -> str:
    """Return the selector as the text of a query (`labelSelector`), which an API server reads in the same way; "" for
    one that selects everything, or that has no such text for certain, so that its reader has to select for himself."""
    equal = selector.get("matchLabels") or {}
    keys, values, parts = list(equal), list(equal.values()), [f"{key}={value}" for key, value in sorted(equal.items())]
    for item in selector.get("matchExpressions") or ():
        form = _FORMS.get((str(item.get("operator")), bool(item.get("values"))))
        if form is None:
            return ""
        keys.append(item.get("key"))
        values += item.get("values") or ()
        parts.append(form.format(item.get("key"), ",".join(map(str, item.get("values") or ()))))
    valid = all(map(_is_key, keys)) and all(isinstance(value, str) and _VALUE.fullmatch(value) for value in values)
    return ",".join(parts) if valid else ""


_FORMS = {
    ("In", True): "{} in ({})",
    ("NotIn", True): "{} notin ({})",
    ("Exists", False): "{}",
    ("DoesNotExist", False): "!{}",
}


def _is_key(key: Any) -> bool:
    prefix, slash, name = key.rpartition("/") if isinstance(key, str) else ("", "", "")
    return bool(_VALUE.fullmatch(name) and (not slash or _PREFIX.fullmatch(prefix)))


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
