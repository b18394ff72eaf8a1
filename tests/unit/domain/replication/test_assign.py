"""Places that transforms set: where a path leads, and what becomes of what is there."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regent.domain.replication.assign import MAX_PLACES, overlap, places, put

POD: dict[str, Any] = {
    "metadata": {"labels": {"a/b": "1", "c~d": "2"}},
    "spec": {"containers": [{"name": "web", "image": "one"}, {"name": "log"}], "replicas": 2},
}


def assigned(path: str, value: Any, obj: dict[str, Any] = POD) -> dict[str, Any]:
    changed = copy.deepcopy(obj)
    for place in places(changed, path):
        put(place, value)
    return changed


def values(path: str, obj: dict[str, Any] = POD) -> list[Any]:
    return [place.value for place in places(obj, path)]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/spec/replicas", [2]),
        ("/spec/paused", [None]),
        ("/metadata/labels/a~1b", ["1"]),
        ("/metadata/labels/c~0d", ["2"]),
        ("/metadata/labels/*", ["1", "2"]),
        ("/spec/containers/1/name", ["log"]),
        ("/spec/containers/-", [None]),
        ("/spec/containers/*/image", ["one", None]),
        ("/spec/containers/*/ports/*/name", []),
        ("/spec/initContainers/*/image", []),
        ("/spec/replicas/*", []),
    ],
)
def test_paths_lead_to_what_is_there_and_to_what_can_be_added(path: str, found: list[Any]) -> None:
    assert values(path) == found


@pytest.mark.parametrize(
    "path", ["/status/phase", "/spec/containers/2", "/spec/containers/x", "/spec/replicas/a", "/spec/containers/-/a"]
)
def test_a_path_without_a_star_that_leads_nowhere_is_a_fault(path: str) -> None:
    with pytest.raises(ValueError, match="there is no such place") as caught:
        places(copy.deepcopy(POD), path)
    assert path in str(caught.value)


def test_places_are_set_added_and_removed() -> None:
    assert assigned("/spec/containers/*/image", "x")["spec"]["containers"] == [
        {"name": "web", "image": "x"},
        {"name": "log", "image": "x"},
    ]
    assert assigned("/spec/containers/-", {"name": "new"})["spec"]["containers"][2] == {"name": "new"}
    assert assigned("/spec/containers/0", {"name": "new"})["spec"]["containers"][0] == {"name": "new"}
    assert assigned("/metadata/labels/*", None)["metadata"] == {"labels": {}}
    assert assigned("/spec/nothing", None) == POD
    with pytest.raises(ValueError, match="null removes members of objects only"):
        assigned("/spec/containers/0", None)


def test_the_number_of_places_is_bounded() -> None:
    assert len(places({"a": [0] * MAX_PLACES}, "/a/*")) == MAX_PLACES
    for path in ("/a/*", "/a/*/*"):
        with pytest.raises(ValueError, match=f"more than {MAX_PLACES} places"):
            places({"a": [{"b": 0}] * (MAX_PLACES + 1)}, path)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("/a", "/a", True),
        ("/a", "/a/b", True),
        ("/a/*/c", "/a/b", True),
        ("/a/*/c", "/a/b/d", False),
        ("/a", "/ab", False),
        ("/a/b", "/a/c", False),
        ("/*", "/a/b", True),
    ],
)
def test_paths_overlap_when_one_leads_into_the_other(first: str, second: str, *, found: bool) -> None:
    assert overlap(first, second) is overlap(second, first) is found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~*-0", max_size=2), inner, max_size=3),
    max_leaves=12,
)
PATH = st.lists(st.sampled_from(["a", "b", "ab", "0", "1", "-", "*", "~1", "~0"]), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)


@given(st.dictionaries(st.text("ab/~-0", max_size=2), JSON, max_size=3), PATH)
def test_what_is_put_back_as_it_was_changes_nothing(obj: dict[str, Any], path: str) -> None:
    """Fails when a value is not that of its place, or one place is taken for another."""
    before = copy.deepcopy(obj)
    try:
        found = places(obj, path)
    except ValueError:
        return
    for place in found:
        if place.value is not None:
            put(place, place.value)
    assert obj == before
