"""Which objects of the source a policy selects, and which of these go to a target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from regent.domain.labels import query_text, selects
from regent.domain.replication.marks import annotations_of, labels_of
from regent.domain.replication.model import ReplicationSpec, ResourceSelector

ACCESSES_ANNOTATION = "regent.dev/accesses-per-day"
MAX_QUERY = 2000
"""Characters of a label selector that go into an address: servers and proxies bound what they read of one."""
HOT_LABEL = "regent.dev/hot"
"""Says that an object is hot ("true") or cold ("false") whatever its accesses are."""


def selected(obj: Mapping[str, Any], selector: ResourceSelector) -> bool:
    """Whether a selection takes the object: by its names and labels. Its kind is the caller's matter."""
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(name, str) or name in selector.exclude or (selector.names and name not in selector.names):
        return False
    return selects(selector.selector, labels_of(obj))


def common_query(selectors: Iterable[ResourceSelector]) -> str:
    """Return the label selector that an API server may be asked for, because all selections have the same; "" when it
    has to be asked for everything. `selected` still decides: names are not in it."""
    texts = {query_text(selector.selector) for selector in selectors}
    text = texts.pop() if len(texts) == 1 else ""
    return text if len(text) <= MAX_QUERY else ""


def hot(obj: Mapping[str, Any], spec: ReplicationSpec) -> bool:
    """Whether strategy Partial copies the object: its label says so, or its accesses per day are above the threshold.

    Without label and annotation an object is cold; what is no number counts as none.
    """
    label = labels_of(obj).get(HOT_LABEL)
    if label in ("true", "false"):
        return label == "true"
    text = str(annotations_of(obj).get(ACCESSES_ANNOTATION, ""))
    return text.isascii() and text.isdigit() and len(text) <= 18 and int(text) > spec.hot_accesses
