"""Which of a region's agents acts: the one that holds the Lease in the region's own cluster.

When that cluster's API server does not answer, nobody can hold the Lease, and the agent that held it last goes on: it
still reaches the hub, whom it tells that it is impaired, and databases, which it demotes by their own API. That two
agents act at once for a moment is harmless: what they do is the same, and fenced.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from regent.domain.errors import LeadershipLostError

log = logging.getLogger("regent.agent")


class Elector(Protocol):
    """The part of `regent.adapters.kubernetes.lease.LeaseElector` that counts here."""

    identity: str

    @property
    def leading(self) -> bool:
        """Whether the Lease is held."""
        ...

    @property
    def holder(self) -> str:
        """Who holds it as last seen; "": nobody, or nothing was seen yet."""
        ...

    async def run(self) -> None:
        """Take it and keep it; raises LeadershipLostError."""
        ...

    async def release(self) -> None:
        """Give it back."""
        ...


class Acting:
    """Says whether this process acts. Run `run` for as long as it lives.

    Args:
        make: makes an elector; a new one is needed after a lost Lease.
    """

    def __init__(self, make: Callable[[], Elector]) -> None:
        self._make = make
        self._elector = make()
        self._held_last = False
        """It held the Lease, and has not seen that another does since."""

    @property
    def acting(self) -> bool:
        """Whether this process acts for the region now."""
        if self._elector.leading:
            self._held_last = True
        elif self._another:
            self._held_last = False
        return self._held_last

    @property
    def unsettled(self) -> str:
        """Why it is not known which agent acts; "": this one, or another."""
        return "" if self.acting or self._another else "the Lease in the region's own cluster could not be taken yet"

    @property
    def impaired(self) -> str:
        """Why the region's workloads could not be stopped now; "": they could."""
        return "" if self._elector.leading else "the region's API server does not answer"

    @property
    def _another(self) -> bool:
        return self._elector.holder not in ("", self._elector.identity)

    async def run(self) -> None:
        """Keep the Lease.

        Raises:
            LeadershipLostError: another agent acts now. It is for the process to end.
        """
        while True:
            try:
                await self._elector.run()
            except LeadershipLostError as error:
                if self._another:
                    raise
                log.warning("The region's Lease is lost: %s", error)
                self._elector = self._make()

    async def release(self) -> None:
        """Let another agent of the region take over at once."""
        await self._elector.release()
