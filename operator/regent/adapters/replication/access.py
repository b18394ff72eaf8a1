"""The regions' API servers for the replicator: over connections of its own, so that no copy ever delays a failover."""

from __future__ import annotations

from typing import cast

from regent.adapters.kubernetes.copying import CopyingCluster
from regent.engine.region_access import RegionAccess


class ReplicationAccess:
    """Implements `regent.engine.replication.ports.Access`.

    Args:
        regions: made with a pool of `CopyingCluster`s, and with one for the hub.
    """

    def __init__(self, regions: RegionAccess) -> None:
        self._regions = regions

    async def cluster(self, region: str) -> CopyingCluster:
        """Return the region's API server, its identity proved; see the port."""
        return cast(CopyingCluster, await self._regions.cluster(region))

    def shared(self, first: str, second: str) -> bool:
        """Say whether both regions are in one cluster; see the port."""
        return self._regions.shared(first, second)

    async def close(self) -> None:
        """Close all connections."""
        await self._regions.close()
