"""Hashes: the same for equal objects, different for different ones, and of a form that never changes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from regent.domain.replication import kinds
from regent.domain.replication.content import bucket_digest, canonical, content_hash, too_deep
from regent.domain.replication.model import ObjectKey

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
OBJECTS = st.dictionaries(st.text(max_size=5), st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3)))


def test_the_stored_form_is_fixed() -> None:
    # These hashes stand on copies in clusters: another form would make every copy look changed.
    assert canonical({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'.encode()
    assert content_hash({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


@given(obj=OBJECTS)
def test_the_order_of_keys_does_not_matter(obj: dict[str, Any]) -> None:
    assert content_hash(dict(reversed(list(obj.items())))) == content_hash(obj)


@given(left=OBJECTS, right=OBJECTS)
def test_different_objects_have_different_hashes(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert (content_hash(left) == content_hash(right)) == (canonical(left) == canonical(right))


def key(name: str, namespace: str = "shop") -> ObjectKey:
    return ObjectKey(kinds.CONFIG_MAP, namespace, name)


def test_a_bucket_is_its_names_and_hashes() -> None:
    one = bucket_digest({key("a"): "1", key("b"): "2"})
    assert one == bucket_digest({key("b", "other"): "2", key("a", "other"): "1"}) == bucket_digest({"a": "1", "b": "2"})
    others = ({"a": "2", "b": "1"}, {"a": "1"}, {"a": "1", "b": "2", "c": ""}, {}, {"a=1\n1:b": "2"}, {"ab": "12"})
    assert len({one, *map(bucket_digest, others)}) == len(others) + 1


def test_lone_surrogates_are_no_trouble() -> None:
    assert content_hash({"a": "\ud800"})
    assert bucket_digest({"\ud800": "1"})


def test_depth() -> None:
    assert not too_deep({"a": {"b": [1]}}, limit=3)
    assert too_deep({"a": {"b": [1]}}, limit=2) is True
    assert not too_deep({"a": {"b": "c"}}, limit=2)
