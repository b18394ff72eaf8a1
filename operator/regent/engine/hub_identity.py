"""Which cluster the hub is: the uid of its kube-system namespace, by which member clusters are told apart too.

A hub that lives inside a region it guards is lost together with that region, of all moments when it is needed.
Neighbours: `region_clusters` finds the uid of each member cluster, `regions` shows the condition HubInsideRegion.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from regent.domain.errors import ClusterError, ForbiddenError
from regent.engine.ports import Cluster
from regent.engine.resources import NAMESPACES

log = logging.getLogger("regent.regions")

RETRY = 1.0
"""Seconds between two tries to read it; a hub does not act before."""


class HubIdentity:
    """Reads the uid once.

    Args:
        cluster: the hub.
        found: called when the uid is known.
    """

    def __init__(self, *, cluster: Cluster, found: Callable[[], None]) -> None:
        self._cluster = cluster
        self._found = found
        self._settled = asyncio.Event()
        self.uid = ""
        """"" until it is known."""

    async def settled(self) -> None:
        """Wait until the uid is known, or will not be."""
        await self._settled.wait()

    async def run(self) -> None:
        """Read it, trying again until that works; a hub that may not be asked is never found inside a region."""
        while not self.uid:
            try:
                namespace = await self._cluster.get(NAMESPACES, "", "kube-system")
            except ForbiddenError:
                log.warning("The account may not read namespace kube-system: a hub inside a region is not noticed")
                break
            except ClusterError as error:
                log.debug("The hub's kube-system cannot be read now: %s", error)
                await asyncio.sleep(RETRY)
            else:
                self.uid = str(namespace["metadata"]["uid"])
                self._found()
        self._settled.set()
        await asyncio.Event().wait()
