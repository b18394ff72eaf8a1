"""The one cluster that an agent reaches: its region's own."""

from __future__ import annotations

from collections.abc import Callable

from regent.domain.errors import UnavailableError
from regent.engine.ports import Cluster


class OwnRegion:
    """Implements `regent.engine.promotion.MemberAccess` for an agent.

    Args:
        region: its own.
        cluster: returns the client that acts as an account (`namespace:name`; "": as ourselves).
    """

    def __init__(self, region: str, *, cluster: Callable[[str], Cluster]) -> None:
        self._region = region
        self._cluster = cluster

    async def cluster(self, region: str, *, account: str = "") -> Cluster:
        """Return the region's cluster; no other is reached from here."""
        if region != self._region:
            raise UnavailableError(f"the agent of {self._region} does not reach {region}", reason="OtherRegion")
        return self._cluster(account)

    def shared(self, first: str, second: str) -> bool:
        """Nothing is known here of other regions; the hub has looked before it asked."""
        return False
