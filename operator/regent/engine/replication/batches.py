"""Looks through a batch of objects: first those that are at hand whole, then those whose bodies have to be fetched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from regent.domain.errors import ClusterError, PromotionProblemError, UnavailableError
from regent.engine.replication.bodies import BodyFetcher, Place
from regent.engine.replication.looking import ItemKey, Look
from regent.engine.replication.reflection import BodyMissingError

AGAIN = 0.5
"""Seconds until an object is looked at again whose body could not be fetched."""


class Batch:
    """One batch of a link. Whoever made it owes an `end`.

    Args:
        places: where an object is on both sides.
        look: looks at one; None when that settles it.
        later: have it looked at again in so many seconds.
        fail: it cannot be looked at; says why.
    """

    def __init__(
        self,
        bodies: BodyFetcher,
        *,
        places: Callable[[ItemKey], Sequence[Place]],
        look: Callable[[ItemKey], Look | None],
        later: Callable[[ItemKey, float], None],
        fail: Callable[[ItemKey, str], None],
    ) -> None:
        self._bodies = bodies
        self._places = places
        self._look = look
        self._later = later
        self._fail = fail
        self._lent: list[Place] = []

    async def looks(self, keys: Sequence[ItemKey]) -> list[Look]:
        """Look at all of them; return what is to be written."""
        looks, bodiless = list[Look](), list[ItemKey]()
        for number, key in enumerate(keys):
            try:
                look = self._look(key)
            except BodyMissingError:
                bodiless.append(key)
            else:
                looks += [look] if look is not None else []
            if number % 50 == 49:
                await asyncio.sleep(0)  # let others have their turn
        return looks + await self._fetched(bodiless)

    def end(self) -> None:
        """Forget the bodies: what was written has been confirmed by its answer."""
        self._bodies.take_back(self._lent)

    async def _fetched(self, keys: Sequence[ItemKey]) -> list[Look]:
        looks = list[Look]()
        groups = [self._places(key) for key in keys]
        self._lent += [place for group in groups for place in group]
        for key, error in zip(keys, await self._bodies.lend_all(groups), strict=True):
            try:
                if error is not None:
                    raise error
                look = self._look(key)
            except (UnavailableError, PromotionProblemError, BodyMissingError) as missing:
                # A side does not answer, of which its watch tells too; or the object has changed or gone meanwhile.
                self._later(key, max(AGAIN, getattr(missing, "retry_after", None) or 0.0))
            except ClusterError as refusal:
                self._fail(key, str(refusal))
            else:
                looks += [look] if look is not None else []
        return looks
