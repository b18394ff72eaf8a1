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


def among(wanted: Mapping[str, float], eligible: Collection[str], *, whole: int = FULL) -> dict[str, int]:
    """The distribution in the ratios of `wanted`, with what regions outside `eligible` had given to the others.

    Returns {} when no eligible region is left: the caller keeps the last good distribution (fail open). Eligible
    regions that all have a share of 0 take it in equal parts. `whole` is what there is to share out.
    """
    names = [name for name in wanted if name in eligible]
    if not names:
        return {}
    ratios: list[float] = [wanted[name] for name in names]
    if not any(ratios):
        ratios = [1.0] * len(names)
    parts = dict(zip(names, split(whole, ratios), strict=True))
    return {name: parts.get(name, 0) for name in wanted}


def blend(before: Mapping[str, int], after: Mapping[str, int], percent: int) -> dict[str, int]:
    """The distribution `percent` of the way from `before` to `after`: a stage of a gradual shift.

    Regions keep their order; what rounding takes is given by the largest remainder, so the sum stays 100.
    """
    names = list(dict.fromkeys([*before, *after]))
    ratios = [before.get(name, 0) * (100 - percent) + after.get(name, 0) * percent for name in names]
    return dict(zip(names, split(FULL, ratios), strict=True))


def fit(ideal: Mapping[str, int], before: Mapping[str, int], rooms: Mapping[str, int | None]) -> dict[str, int]:
    """`ideal`, but no region gets more than its share in `before` and its room on top of it.

    What is cut off goes to the other regions that grow, in proportion to what they were to get; what nobody can take
    stays with the regions that were to shrink. `rooms` are percent points; None or missing means unlimited.
    """
    names = list(dict.fromkeys([*ideal, *before]))
    growing = [name for name in names if ideal.get(name, 0) > before.get(name, 0)]
    shrinking = [name for name in names if ideal.get(name, 0) < before.get(name, 0)]
    caps = {name: FULL if (room := rooms.get(name)) is None else room for name in growing}
    gains = _fill({name: ideal[name] - before.get(name, 0) for name in growing}, caps)
    moved = sum(gains.values())
    losses = split(moved, [before[name] - ideal.get(name, 0) for name in shrinking]) if moved else []
    after = {name: before.get(name, 0) + gains.get(name, 0) for name in names}
    for name, loss in zip(shrinking, losses, strict=False):
        after[name] -= loss
    return after


def _fill(wanted: Mapping[str, int], caps: Mapping[str, int]) -> dict[str, int]:
    """Give everyone what is wanted up to the cap, and what that leaves over to the others in proportion."""
    gains = dict.fromkeys(wanted, 0)
    left = sum(wanted.values())
    while left > 0:
        open_to = [name for name in wanted if gains[name] < caps[name]]
        if not open_to:
            break
        parts = dict(zip(open_to, split(left, [wanted[name] for name in open_to]), strict=True))
        for name, part in parts.items():
            taken = min(part, caps[name] - gains[name])
            gains[name] += taken
            left -= taken
    return gains


def moved(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    """How many percent points change their region."""
    return sum(max(0, share - before.get(name, 0)) for name, share in after.items())


def carrying(distribution: Mapping[str, int]) -> list[str]:
    """The regions with a share above zero, in order."""
    return [name for name, share in distribution.items() if share > 0]


def describe(distribution: Mapping[str, int]) -> str:
    """`eu 60 %, us 40 %`: the shares above zero, for people."""
    return ", ".join(f"{name} {share} %" for name, share in distribution.items() if share > 0) or "nothing"
