"""JSON merge patches: the examples of RFC 7386, and that the inverse takes back what a patch did."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regent.domain.merge_patch import applied, inverse, merged

RFC = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"a": "foo"}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]

values = st.recursive(
    st.integers(0, 3) | st.text("ab", max_size=2) | st.lists(st.integers(0, 2), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from("abc"), values, max_size=3)
patches = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        st.none() | values, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
    ),
    max_size=3,
)


@pytest.mark.parametrize(("target", "patch", "result"), RFC)
def test_the_examples_of_the_rfc(target: Any, patch: Any, result: Any) -> None:
    assert merged(target, patch) == result


@given(objects, patches)
def test_what_is_merged_is_applied_and_merging_again_changes_nothing(target: Any, patch: Any) -> None:
    once = merged(target, patch)
    assert applied(once, patch)
    assert merged(once, patch) == once


@given(objects, patches)
def test_the_inverse_takes_it_back(target: Any, patch: Any) -> None:
    assert merged(merged(target, patch), inverse(target, patch)) == target


def test_what_differs_is_not_applied() -> None:
    assert not applied({"a": 1}, {"a": 2})
    assert not applied({"a": 1}, {"a": None})
    assert not applied({}, {"a": 1})
    assert not applied({"a": 1}, {"a": {"b": None}})
    assert applied({}, {"a": {"b": None}}), "servers leave empty objects out"
