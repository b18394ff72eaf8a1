"""How far a Patroni standby is behind a primary: its lag, and what promoting it without that primary would lose.

Both count up to where the standby left the primary's history, if it did (`patroni_history`); what it has beyond is no
copy of anything. `patroni_positions` has the figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from regent.adapters.promotion.patroni_history import Histories, never_follows
from regent.adapters.promotion.patroni_positions import Loss, Track, estimate_loss, lag, replayed
from regent.adapters.promotion.patroni_state import Seen
from regent.domain.errors import UnavailableError
from regent.engine.ports import Clock

RECENT = 1.0
"""Seconds for which the last look at a primary is good enough to tell a standby's lag."""

PATIENCE = 5.0
"""Seconds for which a region that did not answer is not asked again on the side."""

QUICK = 0.5
"""Seconds for a look on the side, at a region that the call is not about."""


class Look(Protocol):
    """Looks at the Patroni of a region, and remembers what it saw."""

    async def __call__(self, region: str, *, timeout: float) -> Seen | UnavailableError:
        """Return what was seen, or why nothing was."""
        ...


class Distance:
    """Compares the regions of one step.

    Args:
        look: at a region, on the side.
        histories: say where a standby left a primary.
        tracks: what is remembered of the regions.
        clock: ages of what is remembered.
    """

    def __init__(self, look: Look, histories: Histories, tracks: dict[str, Track], clock: Clock) -> None:
        self._look = look
        self._histories = histories
        self._tracks = tracks
        self._clock = clock

    async def of(self, region: str, seen: Seen, clusters: Sequence[str]) -> tuple[float | None, str, str]:
        """Compare a standby with the primary that was seen last: its lag, what is known where that is not, and why it
        has another history."""
        if seen.position is None or seen.held:
            return None, "", ""  # what is held back may be of another history
        primary = await self._primary(region, seen, clusters)
        if primary is None:
            time = None if seen.replayed_time is None else seen.replayed_time // 60 * 60  # not another one at each look
            return None, f"its primary was never seen{replayed(time)}", ""
        track = self._tracks[primary]
        fork = await self._histories.left(region, seen, primary)
        if track.failed is None and (fork is not None or await self._ahead(seen.position, primary)):
            return None, "", never_follows(region, seen, primary, fork)
        # What it has of the primary's ends where it left its history, however far it is by itself.
        position = seen.position if fork is None else min(seen.position, fork.position)
        return lag(track, position=position, streaming=seen.streaming), "", ""

    async def loss(self, source: str, to: str, new: Seen) -> Loss:
        """Bound what promoting `to` without `source` loses."""
        track = self._tracks.get(source)
        if track is None or track.last is None or new.position is None:
            return Loss(seconds=None, known_bytes=None, replayed_time=new.replayed_time)
        fork = await self._histories.left(to, new, source)
        position = new.position if fork is None else min(new.position, fork.position)
        return estimate_loss(track, position=position, now=self._clock.monotonic())

    async def _primary(self, region: str, seen: Seen, clusters: Sequence[str]) -> str | None:
        """The region whose primary was seen last. The others are asked where that was too long ago, and where the
        standby does not stream: is its source gone, or only the way to it?"""
        now = self._clock.monotonic()
        others = [name for name in clusters if name != region]
        if not seen.streaming or not any(self._fresh(name, now) for name in others):
            asked = [name for name in others if self._answered(name, now)]
            await asyncio.gather(*(self._look(name, timeout=QUICK) for name in asked))
        times = {name: track.last.time for name in others if (track := self._tracks.get(name)) and track.last}
        return max(times, key=lambda name: times[name], default=None)

    async def _ahead(self, position: int, primary: str) -> bool:
        """Whether a standby at `position` is ahead of the primary, which is asked once more when it may be: it has
        written since."""
        last = self._tracks[primary].last
        if last is None or last.position >= position:
            return False
        now = await self._look(primary, timeout=QUICK)
        return (
            isinstance(now, Seen) and now.recovering is False and now.position is not None and now.position < position
        )

    def _fresh(self, region: str, now: float) -> bool:
        track = self._tracks.get(region)
        return track is not None and track.last is not None and now - track.last.time < RECENT

    def _answered(self, region: str, now: float) -> bool:
        track = self._tracks.get(region)
        return track is None or track.failed is None or now - track.failed > PATIENCE
