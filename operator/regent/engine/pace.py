"""How many policies set out at the same time when many have to.

When a site goes down, a hundred policies decide in the same moment, and all their writes go to one API server. Taken
side by side, each waits for all the others and the first weights are written when nearly everything is. Taken a few at
a time, half of the applications are back in half of the time, the last one is not later, and no decision is old when it
is carried out: a policy that waits for its turn decides when it has it.

Meanwhile whatever moves no traffic stands back: a run whose weights are written, a status that only tells. They cost
the API server as much as what moves traffic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from regent.engine.queue import Key

PATIENCE = 0.5
"""Seconds after which a turn counts as over. What takes longer waits for something else than this API server, be it the
gateway of a member cluster, and must not keep others waiting."""

LOOK_AGAIN = 1.0
"""Seconds after which a policy asks again by itself. A turn that was offered to one that no longer wants it would
otherwise be lost for those behind it."""

STAND_BACK = 5.0
"""Seconds for which one key stands back at most, however long the others take: people want to see what goes on, and a
run that has moved its traffic still has its old side to stop."""

COME_AGAIN = 0.5
"""Seconds after which a key that stood back asks again."""


class Pace:
    """Turns, in the order in which they were asked for.

    Args:
        at_once: turns at the same time.
        wake: has a policy visited whose turn has come.
    """

    def __init__(self, *, at_once: int, wake: Callable[[Key], None]) -> None:
        self._at_once = at_once
        self._wake = wake
        self._inside: dict[Key, asyncio.TimerHandle] = {}
        self._waiting: dict[Key, None] = {}
        self._back_since: dict[Key, float] = {}

    def enter(self, key: Key) -> bool:
        """Take a turn; False when it is for others first: `key` is woken when its turn has come."""
        if key in self._inside:
            return True
        if len(self._inside) >= self._at_once:
            self._waiting.setdefault(key)
            return False
        self._waiting.pop(key, None)
        self._inside[key] = asyncio.get_running_loop().call_later(PATIENCE, self.leave, key)
        return True

    def leave(self, key: Key) -> None:
        """Give the turn back. Harmless without one."""
        timer = self._inside.pop(key, None)
        if timer is None:
            return
        timer.cancel()
        # Whoever is woken asks again, so a key that is not there any more costs the others nothing but LOOK_AGAIN.
        following = next(iter(self._waiting), None)
        if following is not None:
            del self._waiting[following]
            self._wake(following)

    @property
    def crowded(self) -> bool:
        """Whether somebody waits for a turn. One who waits while nobody has a turn does not want it any more."""
        return bool(self._inside and self._waiting)

    def stand_back(self, key: Key) -> float | None:
        """Say in how many seconds to come again with what moves no traffic; None: it may be done now."""
        if not self.crowded:
            self._back_since.clear()
            return None
        now = asyncio.get_running_loop().time()
        since = self._back_since.setdefault(key, now)
        return COME_AGAIN if now - since < STAND_BACK else None
