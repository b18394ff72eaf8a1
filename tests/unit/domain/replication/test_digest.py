"""Comparing by digests finds exactly what differs, and opens only what has to be opened."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regent.domain.replication import kinds
from regent.domain.replication.digest import BucketDigest, digests, unequal, verify
from regent.domain.replication.model import KindRef, ObjectKey

KINDS = [kinds.CONFIG_MAP, kinds.SECRET, kinds.DEPLOYMENT]
KEYS = st.builds(ObjectKey, st.sampled_from(KINDS), st.just("shop"), st.sampled_from("abcd"))
SIDES = st.dictionaries(KEYS, st.sampled_from(["1", "2"]))


@given(source=SIDES, target=SIDES)
def test_it_finds_exactly_what_differs(source: dict[ObjectKey, str], target: dict[ObjectKey, str]) -> None:
    found = verify(source, target)
    assert set(found.missing) == source.keys() - target.keys()
    assert set(found.surplus) == target.keys() - source.keys()
    assert set(found.different) == {key for key in source.keys() & target.keys() if source[key] != target[key]}
    assert found.equal == (source == target)
    changed = {key.kind for key in (*found.missing, *found.surplus, *found.different)}
    assert found.opened == len(changed)
    assert {bucket[1] for bucket in unequal(digests(source), digests(target))} == {kind.kind for kind in changed}


def test_versions_of_a_kind_do_not_matter() -> None:
    newer = KindRef("apps", "v2", "Deployment", "deployments")
    source = {ObjectKey(kinds.DEPLOYMENT, "shop", "a"): "1", ObjectKey(kinds.DEPLOYMENT, "shop", "b"): "1"}
    target = {ObjectKey(newer, "shop", "a"): "1", ObjectKey(newer, "shop", "b"): "2"}
    assert verify(source, target).different == (ObjectKey(kinds.DEPLOYMENT, "shop", "b"),)


def test_a_digest_tells_a_count_and_nothing_of_the_objects() -> None:
    found = digests({ObjectKey(kinds.SECRET, "shop", "a"): "1", ObjectKey(kinds.SECRET, "shop", "b"): "2"})
    assert found.keys() == {("", "Secret", "shop")}
    only = found["", "Secret", "shop"]
    assert isinstance(only, BucketDigest)
    assert (only.count, len(only.digest)) == (2, 64)
