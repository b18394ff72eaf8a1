"""Weights that are percentages: rules add up to 100, and what others hold of them is not ours to give away."""

from __future__ import annotations

from regent.domain.traffic.backends import Backend, Total, weigh

ALL_US = {"eu": 0, "us": 100}


def percent(*rule: Backend, distribution: dict[str, int] = ALL_US) -> tuple[tuple[int, ...], tuple[int, ...]]:
    weights = weigh([rule], distribution, {"eu-a": 30, "eu-b": 10}, Total.PERCENT)
    return weights.rules[0], weights.uncovered


def test_several_backends_of_a_region_share_its_percents() -> None:
    rule = (Backend("eu-a", "eu", 75), Backend("eu-b", "eu", 25), Backend("us", "us", 0))
    assert percent(*rule) == ((0, 0, 100), ())
    assert percent(*rule, distribution={"eu": 100, "us": 0}) == ((75, 25, 0), ())
    assert percent(*rule, distribution={"eu": 10, "us": 90}) == ((8, 2, 90), ())


def test_percents_of_others_are_left_to_them() -> None:
    assert percent(Backend("eu", "eu", 90), Backend("us", "us", 0), Backend("canary", None, 10)) == ((0, 90, 10), ())


def test_a_rule_that_others_hold_whole_is_left_and_reported() -> None:
    rule = (Backend("eu", "eu", 0), Backend("us", "us", 0), Backend("maintenance", None, 100))
    assert percent(*rule) == ((0, 0, 100), (0,))
    relative = weigh([rule], ALL_US, {})
    assert relative.rules == ((0, 100, 100),), "relative weights can be added beside those of others"
