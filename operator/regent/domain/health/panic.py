"""Panic: when most regions seem to fail in the same moment, the observer is the likelier culprit.

More than `percent` of all enabled regions, of at least four, that went down within the same ten seconds is a panic.
Regions that were down before do not count, so two real failures in a row still fail over to the third region. It ends
when the share falls, or when a second vantage confirms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from regent.domain.health.model import RegionHealth

MINIMUM_REGIONS = 4
CONFIRMING_VOTES = 2
"""A region that this many vantages call Down is down, whoever doubts the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panic:
    """Why nothing is to be decided now."""

    regions: tuple[str, ...]
    """The regions that went down together, sorted."""
    enabled: int
    message: str


def panicking(healths: Iterable[RegionHealth], *, percent: int, window: float = 10.0) -> Panic | None:
    """Return the panic, or None.

    Args:
        healths: of all enabled regions, and only of those.
        percent: the largest share that may go down together (0-100); 100 turns the rule off.
        window: seconds that count as together.
    """
    regions = list(healths)
    if len(regions) < MINIMUM_REGIONS:
        return None
    falls = sorted(
        (health.down_since, health.region)
        for health in regions
        if health.down and health.down_since is not None and health.down_votes < CONFIRMING_VOTES
    )
    together: list[tuple[float, str]] = []
    start = 0
    for end, (moment, _) in enumerate(falls):
        while moment - falls[start][0] > window:
            start += 1
        if end + 1 - start > len(together):
            together = falls[start : end + 1]
    if len(together) * 100 <= percent * len(regions):
        return None
    names = tuple(sorted(name for _, name in together))
    return Panic(
        regions=names,
        enabled=len(regions),
        message=(
            f"{len(names)} of {len(regions)} regions went down within {window:g} s, more than {percent}%: the operator "
            "is likelier to be cut off than they are. It ends when regions come back or a second vantage confirms"
        ),
    )
