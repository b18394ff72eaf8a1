"""Whether the regions can do without one of them: what each serves now, and what the others have free. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionCapacity:
    """One region. `total` is in the user's unit, `free_percent` of it is free; None: not known."""

    region: str
    total: float | None = None
    free_percent: float | None = None
    serving: bool = True
    """It can take traffic: enabled, and not down."""

    @property
    def free(self) -> float | None:
        """What is free, in the unit of `total`."""
        if self.total is None or self.free_percent is None:
            return None
        return self.total * self.free_percent / 100

    @property
    def used(self) -> float | None:
        """What is in use, in the unit of `total`."""
        return None if self.total is None or self.free is None else self.total - self.free


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What would happen to a region's load if it were lost. Figures are None when one they need is not known."""

    region: str
    load: float | None
    free_elsewhere: float | None
    """What the other regions that serve have free; those without a figure count as having none."""
    unknown: tuple[str, ...]
    """Serving regions without a figure."""

    @property
    def short(self) -> float | None:
        """What would find no room; 0 when everything fits."""
        if self.load is None or self.free_elsewhere is None:
            return None
        return max(0.0, self.load - self.free_elsewhere)


def losses(regions: Sequence[RegionCapacity]) -> list[Loss]:
    """Judge the loss of each region that serves, in the order given."""
    found = []
    for lost in regions:
        if not lost.serving:
            continue
        others = [other for other in regions if other.serving and other.region != lost.region]
        known = [other.free for other in others if other.free is not None]
        found.append(
            Loss(
                region=lost.region,
                load=lost.used,
                free_elsewhere=sum(known) if known or not others else None,
                unknown=tuple(other.region for other in others if other.free is None),
            )
        )
    return found
