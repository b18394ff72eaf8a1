"""Leadership without a lease, for development: this process believes that no other runs."""

from __future__ import annotations

import asyncio
import logging

from regent.adapters.kubernetes.client import KubernetesCluster
from regent.domain.errors import ClusterError

log = logging.getLogger("regent.lease")

CONTACT = 1.0
"""Seconds between looks at the API server where no lease is renewed: silence of it tells that we are cut off."""


class Alone:
    """Implements `ports.Leadership` where no replica is elected.

    Args:
        cluster: the API server that an election would ask.
    """

    leading = True
    transitions = 0

    def __init__(self, cluster: KubernetesCluster) -> None:
        self._cluster = cluster

    def check(self) -> None:
        """Always passes."""

    async def run(self) -> None:
        """Keep in contact with the API server, as renewing a lease would."""
        while True:
            try:
                await self._cluster.ping()
            except ClusterError as error:
                log.debug("API server did not answer: %s", error)
            await asyncio.sleep(CONTACT)
