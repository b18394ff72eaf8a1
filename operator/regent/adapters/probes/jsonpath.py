"""A small JSONPath: member names and indexes, as in `.load.errors`, `$.pools[0]['free']`. Nothing that searches.

The load figures of a probe's answer are found with it; wildcards, filters and slices would let an answer decide how
much work a probe is.
"""

from __future__ import annotations

import re
from typing import Any

MAX_PATH = 256
"""Longest path, in characters."""

_STEP = re.compile(r"""\.([A-Za-z_][A-Za-z0-9_-]*)|\[([0-9]{1,6})\]|\['([^'\\]*)'\]|\["([^"\\]*)"\]""")

Path = tuple[str | int, ...]


def parse_path(text: str) -> Path:
    """Return the steps of `text`; ValueError with a message for the user when it is not in the supported subset."""
    if len(text) > MAX_PATH:
        raise ValueError(f"JSONPath is longer than {MAX_PATH} characters")
    position = 1 if text.startswith("$") else 0
    steps: list[str | int] = []
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise ValueError(f"JSONPath {text!r} is wrong at character {position + 1}: write it like .a.b[0]['c']")
        name, index, single, double = match.groups()
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(next(part for part in (name, single, double) if part is not None))
        position = match.end()
    if not steps:
        raise ValueError(f"JSONPath {text!r} names nothing: write it like .a.b[0]['c']")
    return tuple(steps)


def find(document: Any, path: Path) -> Any:
    """Return what `path` leads to in a decoded JSON document, None when there is nothing."""
    for step in path:
        if isinstance(step, int):
            if not isinstance(document, list) or step >= len(document):
                return None
            document = document[step]
        else:
            if not isinstance(document, dict):
                return None
            document = document.get(step)
    return document
