"""New weights for the backends of a route, from a distribution over regions: pure, route by route, rule by rule.

A route is given as what matters of it: for each rule, the backends with their region (None: of no region) and weight.
Rules of the field: a region's share is split among its backends in the ratio they had when they were adopted; backends
of no region keep their weight, and the regions together keep theirs beside them; a rule that lacks every region with a
share stays as it is and is reported; weights are never all zero.

The same rules serve the routes of the Gateway API, whose weights are relative, and Istio's, which are percentages
(`Total`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from regent.domain.traffic.shares import FULL, split

MAX_WEIGHT = 1_000_000
"""Upper bound of a backendRef's weight in the Gateway API."""


class Total(Enum):
    """What the weights of a rule add up to."""

    RELATIVE = "relative"
    """Anything: as fine as is needed to keep ratios, and beside backends of no region what it was."""
    PERCENT = "percent"
    """100, or with backends of no region in the rule exactly what it was: weights are percentages."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One backendRef or destination: its name, the region it belongs to (None: of no region) and its weight."""

    service: str
    region: str | None
    weight: int


@dataclass(frozen=True, slots=True)
class Weights:
    """What a route should look like: per rule the new weights, and which rules could not be covered."""

    rules: tuple[tuple[int, ...], ...]
    uncovered: tuple[int, ...] = ()


Ratios = Mapping[str, int]
"""By service: the weight it had when adopted. Needed where a region has several backends in one rule, because a region
at 0 has lost the ratio of its own backends."""


def weigh(
    rules: Sequence[Sequence[Backend]],
    distribution: Mapping[str, int],
    ratios: Ratios,
    total: Total = Total.RELATIVE,
) -> Weights:
    """Return the weights of all rules under `distribution`."""
    result: list[tuple[int, ...]] = []
    uncovered: list[int] = []
    for index, rule in enumerate(rules):
        present = {backend.region for backend in rule if backend.region is not None}
        if not present:
            result.append(tuple(backend.weight for backend in rule))
        elif not any(distribution.get(region, 0) > 0 for region in present) or _taken(rule, total):
            uncovered.append(index)
            result.append(tuple(backend.weight for backend in rule))
        else:
            result.append(_weigh_rule(rule, distribution, ratios, total))
    return Weights(tuple(result), tuple(uncovered))


def _taken(rule: Sequence[Backend], total: Total) -> bool:
    """Whether backends of no region hold all percents of a rule: none are left to give to a region."""
    others = any(backend.weight for backend in rule if backend.region is None)
    return total is Total.PERCENT and others and not any(b.weight for b in rule if b.region is not None)


def _weigh_rule(
    rule: Sequence[Backend], distribution: Mapping[str, int], ratios: Ratios, total: Total
) -> tuple[int, ...]:
    mapped = [backend for backend in rule if backend.region is not None]
    parts: list[float] = []
    for backend in mapped:
        siblings = [ratios.get(other.service, 1) for other in mapped if other.region == backend.region]
        own = ratios.get(backend.service, 1)
        # Siblings that were all at 0 when adopted share equally: a region with a share is never all zero.
        ratio = own / sum(siblings) if any(siblings) else 1 / len(siblings)
        parts.append(distribution.get(backend.region or "", 0) * ratio)
    weights = iter(split(_scale(rule, mapped, total), parts))
    return tuple(backend.weight if backend.region is None else next(weights) for backend in rule)


def _scale(rule: Sequence[Backend], mapped: Sequence[Backend], total: Total) -> int:
    """What the weights of the regions in a rule add up to."""
    others = sum(backend.weight for backend in rule if backend.region is None)
    together = sum(backend.weight for backend in mapped)
    if others and together:
        return min(together, MAX_WEIGHT)  # one backend may have to carry all of it
    several = len(mapped) > len({backend.region for backend in mapped})
    return FULL * FULL if several and total is Total.RELATIVE else FULL


def shares_of(rules: Sequence[Sequence[Backend]]) -> dict[str, int]:
    """The share of each region in percent as the weights have it now: of the first rule that has regions at all."""
    for rule in rules:
        mapped = [backend for backend in rule if backend.region is not None]
        if not mapped:
            continue
        regions = list(dict.fromkeys(backend.region or "" for backend in mapped))
        sums = [sum(backend.weight for backend in mapped if backend.region == region) for region in regions]
        return dict(zip(regions, split(FULL, sums), strict=True)) if any(sums) else dict.fromkeys(regions, 0)
    return {}


def adopt_ratios(rules: Sequence[Sequence[Backend]]) -> dict[str, int]:
    """The ratios worth remembering: of backends that share a region with another backend of the same rule."""
    found: dict[str, int] = {}
    for rule in rules:
        for backend in rule:
            siblings = [other for other in rule if other.region == backend.region and backend.region is not None]
            if len(siblings) > 1 and any(other.weight for other in siblings):
                found.setdefault(backend.service, backend.weight)
    return found
