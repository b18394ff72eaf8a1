"""What reflections keep of objects: packed, whole again when asked for, and of Secrets nothing but metadata."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regent.domain.replication import marks
from regent.engine.replication.entries import Bodies
from regent.engine.replication.listing import SLICE, Listing
from regent.engine.replication.packing import pack, unpack
from regent.engine.replication.reflection import BodyMissingError, Reflection
from regent.engine.resources import CONFIG_MAPS, SECRETS

TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = (
    LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(TEXT, LEAVES | st.lists(LEAVES, max_size=2), max_size=3)
)


def obj(name: str, version: int, uid: str = "", **more: Any) -> dict[str, Any]:
    metadata = {"namespace": "n", "name": name, "uid": uid or name, "resourceVersion": str(version), **more}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"key": f"{name}-{version}"}}


def listed(seen: Reflection, *objs: dict[str, Any]) -> None:
    listing = Listing(seen)
    for item in objs:
        listing.add(item)
    list(listing.finish())


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_what_is_packed_is_the_same_when_it_is_unpacked(value: dict[str, Any]) -> None:
    assert unpack(pack(value)) == value


def test_lone_surrogates_and_large_objects_survive() -> None:
    value = {"data": {"odd": "\ud800", "large": "".join(map(str, range(50_000)))}}
    assert unpack(pack(value)) == value


def test_an_object_takes_little_memory() -> None:
    copy = marks.mark(
        obj("item", 5), policy_uid="0b0f3f1c-3c4d-4b38-9c2f-0d2f6a0c2b11", source_region="eu", source_uid="u" * 36,
        source_rv="12345", content_hash="a" * 64, epoch=3, observed_at=1.7e9, policy_name="shop/shop",
    )  # fmt: skip
    assert len(pack(copy)) < 260
    assert sys.getsizeof(pack(copy)) < sys.getsizeof(str(copy)) / 2


def test_what_is_asked_of_all_objects_is_known_without_unpacking(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Reflection("eu", CONFIG_MAPS, "n")
    labels = {marks.MANAGED_BY_LABEL: marks.MANAGED_BY, marks.POLICY_LABEL: "policy"}
    seen.observe(obj("copy", 5, labels=labels))
    seen.observe(obj("other", 6, labels={marks.POLICY_LABEL: "policy"}))

    def fail(packed: bytes) -> None:
        raise AssertionError("it was unpacked")

    monkeypatch.setattr("regent.engine.replication.reflection.unpack", fail)
    assert seen.names(copies_of="policy") == [("n", "copy")]
    assert sorted(seen.names()) == [("n", "copy"), ("n", "other")]
    found = seen.entry(("n", "other"))
    assert found is not None
    assert (found.version, found.policy_uid) == ("6", "")


def test_a_long_list_lets_others_have_their_turn() -> None:
    seen = Reflection("eu", CONFIG_MAPS, "n")
    listing = Listing(seen)
    for number in range(3 * SLICE):
        listing.add(obj(f"item-{number}", number + 1))
    assert sum(1 for _ in listing.finish()) >= 3
    assert len(seen) == 3 * SLICE


def test_what_goes_or_comes_between_two_slices_stays_so() -> None:
    seen = Reflection("eu", CONFIG_MAPS, "n")
    seen.observe(obj("old", 1))
    listing = Listing(seen)
    for number in range(SLICE):
        listing.add(obj(f"item-{number}", number + 1))
    listing.add(obj("last", 1))
    slices = listing.finish()
    next(slices)
    seen.observe(obj("last", 900))
    seen.observe(obj("new", 901))
    seen.remove(obj("item-0", 902))
    list(slices)
    assert seen.get(("n", "last")) == obj("last", 900)
    assert seen.get(("n", "new")) is not None
    assert seen.get(("n", "item-0")) is None
    assert seen.get(("n", "old")) is None


def test_what_went_while_the_list_was_on_its_way_stays_gone() -> None:
    seen = Reflection("eu", CONFIG_MAPS, "n")
    listing = Listing(seen)
    listing.add(obj("one", 5))
    seen.remove(obj("one", 6))
    list(listing.finish())
    assert seen.get(("n", "one")) is None
    assert not seen.observe(obj("one", 7)), "what was deleted stays deleted"


def test_a_cluster_that_was_restored_from_a_backup_is_believed() -> None:
    """Fails when an object that was deleted after the backup is never seen again."""
    seen = Reflection("eu", CONFIG_MAPS, "n")
    listed(seen, obj("one", 500), obj("two", 501))
    seen.remove(obj("one", 502))
    listed(seen, obj("one", 300), obj("two", 301))
    assert seen.get(("n", "one")) == obj("one", 300)
    assert seen.get(("n", "two")) == obj("two", 301)
    assert seen.observe(obj("one", 310))


def test_an_object_that_leaves_a_selection_may_come_back() -> None:
    seen = Reflection("eu", CONFIG_MAPS, "n", selector="app=shop")
    seen.observe(obj("one", 5))
    seen.remove(obj("one", 8))
    assert seen.get(("n", "one")) is None
    assert not seen.observe(obj("one", 7)), "older than its leaving"
    assert seen.observe(obj("one", 9))
    assert seen.get(("n", "one")) == obj("one", 9)


def secrets() -> Reflection:
    seen = Reflection("eu", SECRETS, "n", bodies=Bodies.of(SECRETS))
    seen.observe(obj("one", 5))
    return seen


def test_the_body_of_a_secret_is_not_kept() -> None:
    seen, name = secrets(), ("n", "one")
    with pytest.raises(BodyMissingError):
        seen.get(name)
    glance = seen.glance(name)
    assert glance is not None
    assert (glance["kind"], "data" in glance) == ("Secret", False)
    seen.lend(obj("one", 5))
    assert (seen.get(name) or {})["data"] == {"key": "one-5"}
    seen.take_back(name)
    with pytest.raises(BodyMissingError):
        seen.get(name)


def test_the_body_of_an_older_version_is_not_taken_for_the_present_one() -> None:
    seen, name = secrets(), ("n", "one")
    seen.lend(obj("one", 5))
    seen.observe(obj("one", 6))
    with pytest.raises(BodyMissingError):
        seen.get(name)
    seen.lend(obj("one", 5))
    with pytest.raises(BodyMissingError):
        seen.get(name)
    seen.lend(obj("one", 7))
    assert (seen.get(name) or {})["data"] == {"key": "one-7"}


def test_a_secret_that_is_gone_has_no_body() -> None:
    seen = secrets()
    seen.lend(obj("one", 5))
    seen.remove(obj("one", 6))
    assert seen.get(("n", "one")) is None
