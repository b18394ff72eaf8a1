"""Every version that objects have had since a moment, as the API server's watch tells them afterwards.

A final state does not show that something was done and undone, or done twice; the sequence of versions does.
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

from testbed.controlplane.api import ApiClient

Json = dict[str, Any]
WATCH_SECONDS = 20


def now(api: ApiClient, path: str) -> int:
    """The resourceVersion of a collection at this moment: where its history is to begin."""
    return int(api.get(path, limit="1")["metadata"]["resourceVersion"])


def versions(api: ApiClient, path: str, *, since: int) -> list[Json]:
    """The versions that a collection's objects have had since `since`, in order. What was deleted is left out.

    Raises:
        ApiError: the API server does not remember that far back (it keeps at least a minute).
    """
    # The watch says nothing after its last event, so the end has to be known before.
    until = max((_version(item) for item in api.get(path)["items"]), default=0)
    found: list[Json] = []
    if until <= since:
        return found
    query = {"watch": "true", "resourceVersion": str(since), "timeoutSeconds": str(WATCH_SECONDS)}
    with closing(api.lines(path, query=query)) as lines:
        for event in map(json.loads, lines):
            if event["type"] in ("ADDED", "MODIFIED"):
                found.append(event["object"])
            if _version(event["object"]) >= until:
                break
    return found


def _version(obj: Json) -> int:
    return int(obj["metadata"]["resourceVersion"])
