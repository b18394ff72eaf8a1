"""How many writes are under way in one region, whichever policies they are of: as many as its API server takes."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from regent.domain.replication.pacing import Concurrency
from regent.engine.ports import Clock


class Pace:
    """An asynchronous context: inside, one write is under way. `busy` and `clean` say how the server took it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._state = Concurrency()
        self._under_way = 0
        self._changed = asyncio.Event()

    @property
    def allowed(self) -> int:
        """Writes that may be under way."""
        return self._state.allowed

    def busy(self, *, retry_after: float) -> None:
        """The server had too much to do."""
        self._state = self._state.busy(self._clock.monotonic(), retry_after=retry_after)

    def clean(self) -> None:
        """The server answered as usual."""
        self._state = self._state.clean(self._clock.monotonic())

    async def __aenter__(self) -> Self:
        while self._under_way >= self._state.allowed:
            self._changed.clear()
            await self._changed.wait()
        self._under_way += 1
        try:
            await asyncio.sleep(max(0.0, self._state.paused_until - self._clock.monotonic()))
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self._under_way -= 1
        self._changed.set()


class Paces:
    """One pace for each region."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._paces: dict[str, Pace] = {}

    def of(self, region: str) -> Pace:
        """Return the region's."""
        return self._paces.setdefault(region, Pace(self._clock))
