from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regent.domain.traffic import shares
from regent.domain.traffic.backends import Backend, adopt_ratios, shares_of, weigh


@given(st.integers(1, 10_000), st.lists(st.floats(0, 1000), min_size=1, max_size=64).filter(any))
def test_split_is_whole_and_keeps_everyone_with_a_ratio(total: int, ratios: list[float]) -> None:
    parts = shares.split(total, ratios)
    assert sum(parts) == total
    assert all(part >= 0 for part in parts)
    assert all(part == 0 for part, ratio in zip(parts, ratios, strict=True) if ratio == 0)
    if total >= 2 * len(ratios):
        assert all(part > 0 for part, ratio in zip(parts, ratios, strict=True) if ratio > 0)


@pytest.mark.parametrize("ratios", [[0, 0], [-1, 2], []])
def test_split_refuses_what_has_no_answer(ratios: list[float]) -> None:
    with pytest.raises(ValueError, match=r"ratios|empty"):
        shares.split(100, ratios)


def test_a_lost_share_goes_to_the_others_in_proportion() -> None:
    wanted = {"eu": 60, "us": 30, "ap": 10}
    assert shares.among(wanted, ["us", "ap"]) == {"eu": 0, "us": 75, "ap": 25}
    assert shares.among(wanted, []) == {}
    assert shares.among({"eu": 100, "us": 0, "ap": 0}, ["us", "ap"]) == {"eu": 0, "us": 50, "ap": 50}


def test_equal_shares_add_up() -> None:
    assert shares.among({"a": 1, "b": 1, "c": 1}, ["a", "b", "c"]) == {"a": 34, "b": 33, "c": 33}


def test_a_regions_backends_keep_their_ratio_through_zero() -> None:
    rule = [Backend("eu-a", "eu", 30), Backend("eu-b", "eu", 10), Backend("us", "us", 0)]
    ratios = adopt_ratios([rule])
    assert ratios == {"eu-a": 30, "eu-b": 10}
    [gone] = weigh([rule], {"eu": 0, "us": 100}, ratios).rules
    assert gone == (0, 0, 10_000)
    back = [Backend(b.service, b.region, w) for b, w in zip(rule, gone, strict=True)]
    assert weigh([back], {"eu": 100, "us": 0}, ratios).rules == ((7_500, 2_500, 0),)


def test_backends_of_no_region_keep_their_weight_and_the_regions_theirs_beside_them() -> None:
    rule = [Backend("eu", "eu", 90), Backend("us", "us", 0), Backend("canary", None, 10)]
    assert weigh([rule], {"eu": 0, "us": 100}, {}).rules == ((0, 90, 10),)


def test_shares_of_reads_what_weigh_writes() -> None:
    rule = [Backend("eu", "eu", 1), Backend("us", "us", 1)]
    [weights] = weigh([rule], {"eu": 70, "us": 30}, {}).rules
    written = [Backend(b.service, b.region, w) for b, w in zip(rule, weights, strict=True)]
    assert shares_of([[], written]) == {"eu": 70, "us": 30}


DISTRIBUTION = st.lists(st.integers(0, 10), min_size=4, max_size=4).filter(any).map(lambda r: shares.split(100, r))
NAMES = ("a", "b", "c", "d")


@given(DISTRIBUTION, DISTRIBUTION, st.lists(st.none() | st.integers(0, 100), min_size=4, max_size=4))
def test_what_fits_keeps_to_the_room_and_moves_all_that_it_can(
    ideal: list[int], before: list[int], rooms: list[int | None]
) -> None:
    wanted, now = dict(zip(NAMES, ideal, strict=True)), dict(zip(NAMES, before, strict=True))
    room = dict(zip(NAMES, rooms, strict=True))
    after = shares.fit(wanted, now, room)
    assert sum(after.values()) == 100
    growers = [name for name in NAMES if wanted[name] > now[name]]
    for name in NAMES:
        limit = room[name]
        assert limit is None or after[name] <= now[name] + limit
        assert after[name] >= min(now[name], wanted[name])
    unlimited = sum(100 if room[name] is None else room[name] or 0 for name in growers)
    assert shares.moved(now, after) == min(shares.moved(now, wanted), unlimited)


def test_what_one_cannot_take_goes_to_the_others_and_the_rest_stays() -> None:
    before = {"eu": 60, "us": 20, "ap": 20}
    ideal = {"eu": 0, "us": 50, "ap": 50}
    assert shares.fit(ideal, before, {"us": 10, "ap": None}) == {"eu": 0, "us": 30, "ap": 70}
    assert shares.fit(ideal, before, {"us": 10, "ap": 20}) == {"eu": 30, "us": 30, "ap": 40}
    assert shares.fit(ideal, before, {}) == ideal
