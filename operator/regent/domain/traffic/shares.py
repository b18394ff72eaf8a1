"""Distributions: which share of the traffic each region of a policy carries.

A distribution maps every region of the policy to whole percents that add up to 100. Splitting uses the largest
remainder (Hamilton) method, ties broken by the order given, so that equal input gives equal shares on every replica.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

FULL = 100


def split(total: int, ratios: Sequence[float]) -> list[int]:
    """Split `total` into whole parts in proportion to `ratios`.

    A part with a ratio above zero gets at least 1 when `total` allows it: a region with a share is never rounded away.

    Raises:
        ValueError: no ratio is above zero, or one is negative.
    """
    whole = sum(ratios)
    if whole <= 0 or min(ratios) < 0:
        raise ValueError(f"cannot split {total} by {list(ratios)!r}: ratios must be >= 0 and one of them above 0")
    exact = [total * ratio / whole for ratio in ratios]
    parts = [int(value) for value in exact]
    by_remainder = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], i))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    for i, ratio in enumerate(ratios):
        if ratio > 0 and parts[i] == 0 and max(parts) > 1:
            parts[parts.index(max(parts))] -= 1
            parts[i] = 1
    return parts


def only(regions: Iterable[str], active: str) -> dict[str, int]:
    """Everything on one region (ActivePassive)."""
    return {name: FULL if name == active else 0 for name in regions}


def among(wanted: Mapping[str, float], eligible: Collection[str]) -> dict[str, int]:
    """The distribution in the ratios of `wanted`, with what regions outside `eligible` had given to the others.

    Returns {} when no eligible region is left: the caller keeps the last good distribution (fail open). Eligible
    regions that all have a share of 0 take it in equal parts.
    """
    names = [name for name in wanted if name in eligible]
    if not names:
        return {}
    ratios: list[float] = [wanted[name] for name in names]
    if not any(ratios):
        ratios = [1.0] * len(names)
    parts = dict(zip(names, split(FULL, ratios), strict=True))
    return {name: parts.get(name, 0) for name in wanted}


def blend(before: Mapping[str, int], after: Mapping[str, int], percent: int) -> dict[str, int]:
    """The distribution `percent` of the way from `before` to `after`: a stage of a gradual shift.

    Regions keep their order; what rounding takes is given by the largest remainder, so the sum stays 100.
    """
    names = list(dict.fromkeys([*before, *after]))
    ratios = [before.get(name, 0) * (100 - percent) + after.get(name, 0) * percent for name in names]
    return dict(zip(names, split(FULL, ratios), strict=True))


def carrying(distribution: Mapping[str, int]) -> list[str]:
    """The regions with a share above zero, in order."""
    return [name for name, share in distribution.items() if share > 0]


def describe(distribution: Mapping[str, int]) -> str:
    """`eu 60 %, us 40 %`: the shares above zero, for people."""
    return ", ".join(f"{name} {share} %" for name, share in distribution.items() if share > 0) or "nothing"
