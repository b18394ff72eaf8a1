"""The JSONPath subset of load figures."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regent.adapters.probes.jsonpath import MAX_PATH, find, parse_path

DOCUMENT = {"a": {"b": [{"c": 1}, {"odd key": 2, "": 3}]}, "x-y_z": None}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b[0].c", 1),
        ("$.a.b[0]['c']", 1),
        ('["a"]["b"][1]["odd key"]', 2),
        (".a.b[1]['']", 3),
        (".x-y_z", None),
        (".a.b[2].c", None),
        (".a.b.c", None),
        (".a[0]", None),
        (".missing.deeper", None),
        (".a.b[0].c.d", None),
    ],
)
def test_found(path: str, found: Any) -> None:
    assert find(DOCUMENT, parse_path(path)) == found


@pytest.mark.parametrize(
    "path",
    ["", "$", "a", ".", "..a", ".a.", ".a[", ".a[]", ".a[-1]", ".a[*]", ".a[1:2]", ".a[?(@.b)]", ".a b", ".a[9999999]",
     "$$.a", ".a['b]", ".1a", "." + "a" * MAX_PATH],
)  # fmt: skip
def test_refused(path: str) -> None:
    with pytest.raises(ValueError, match="JSONPath"):
        parse_path(path)


keys = st.text(st.characters(exclude_characters="'\\", exclude_categories=["Cs"]), max_size=8)


@given(st.lists(keys | st.integers(0, 5), min_size=1, max_size=6), st.integers())
def test_a_path_leads_to_what_it_was_made_from(steps: list[str | int], value: int) -> None:
    document: Any = value
    for step in reversed(steps):
        document = {step: document} if isinstance(step, str) else [None] * step + [document]
    text = "".join(f"['{step}']" if isinstance(step, str) else f"[{step}]" for step in steps)
    assert find(json.loads(json.dumps(document)), parse_path(text)) == value
