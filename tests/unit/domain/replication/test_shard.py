"""Objects are spread evenly, and move only when they must."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from regent.domain.replication import kinds
from regent.domain.replication.model import ObjectKey
from regent.domain.replication.shard import STABILITY, TargetHealth, in_use, placement

KEYS = [ObjectKey(kinds.CONFIG_MAP, "shop", f"object-{index}") for index in range(400)]
REGIONS = ("eu", "us", "ap", "sa", "af")
SUBSETS = st.lists(st.sampled_from(REGIONS), min_size=2, unique=True)


@given(regions=SUBSETS, replicas=st.integers(1, 4), index=st.integers(0, 399), data=st.data())
def test_only_the_objects_of_a_lost_target_move(
    regions: list[str], replicas: int, index: int, data: st.DataObject
) -> None:
    key, lost = KEYS[index], data.draw(st.sampled_from(regions))
    before = placement(key, regions, replicas)
    after = placement(key, [region for region in regions if region != lost], replicas)
    assert len(before) == len(set(before)) == min(replicas, len(regions))
    assert set(before) - {lost} <= set(after), "what a healthy target holds stays there"
    if lost not in before:
        assert before == after
    assert placement(key, reversed(regions), replicas) == before


def test_the_load_is_even() -> None:
    held = Counter(region for key in KEYS for region in placement(key, REGIONS, 2))
    assert all(120 <= held[region] <= 200 for region in REGIONS), held


def test_places_never_change_between_versions() -> None:
    # Objects in clusters lie where this said: another hash would move them all.
    assert placement(KEYS[0], REGIONS, 5) == placement(KEYS[0], set(REGIONS), 9)
    assert [placement(key, REGIONS, 1)[0] for key in KEYS[:6]] == ["ap", "ap", "ap", "us", "af", "eu"]


def health(**since: float | None) -> dict[str, TargetHealth]:
    return {name: TargetHealth(at is not None, at or 0.0) for name, at in since.items()}


def test_a_lost_target_leaves_at_once_and_comes_back_when_it_is_stable() -> None:
    both = frozenset({"eu", "us"})
    assert in_use(health(eu=0.0, us=None), before=both, now=1000.0) == {"eu"}
    assert in_use(health(eu=0.0, us=1000.0), before={"eu"}, now=1000.0 + STABILITY - 1) == {"eu"}
    assert in_use(health(eu=0.0, us=1000.0), before={"eu"}, now=1000.0 + STABILITY) == both


def test_at_the_beginning_and_after_all_were_lost_whoever_is_there_is_used() -> None:
    assert in_use(health(eu=999.0, us=None), before=frozenset(), now=1000.0) == {"eu"}
    assert in_use(health(eu=None, us=999.0), before={"eu"}, now=1000.0) == {"us"}
    assert in_use(health(eu=None, us=None), before={"eu"}, now=1000.0) == frozenset()
