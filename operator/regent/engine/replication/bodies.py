"""Fetches bodies that reflections do not keep, for as long as an object is looked at.

They are Secrets: what they say is in this process only while it is compared and copied.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from regent.domain.errors import NotFoundError
from regent.engine.replication.entries import Bodies, Name
from regent.engine.replication.ports import Access
from regent.engine.replication.reflection import Reflection

AT_ONCE = 8

Place = tuple[Reflection, Name]


class BodyFetcher:
    """Fetches for one link."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def lend(self, places: Sequence[Place]) -> None:
        """Have these objects whole at hand; those that are gone meanwhile are left to their watch.

        Raises:
            ClusterError, PromotionProblemError: as the API server or the way to it says.
        """
        for reflection, name in places:
            if reflection.bodies is Bodies.KEPT or reflection.entry(name) is None:
                continue
            async with self._turn:
                cluster = await self._access.cluster(reflection.region)
                try:
                    reflection.lend(await cluster.get(reflection.resource, *name))
                except NotFoundError:
                    continue

    async def lend_all(self, groups: Iterable[Sequence[Place]]) -> list[Exception | None]:
        """Do that for many at once; return for each what went wrong, as `lend` would have raised it."""
        results = await asyncio.gather(*map(self.lend, groups), return_exceptions=True)
        return [result if isinstance(result, Exception) else None for result in results]

    @staticmethod
    def take_back(places: Sequence[Place]) -> None:
        """Forget their bodies."""
        for reflection, name in places:
            reflection.take_back(name)
