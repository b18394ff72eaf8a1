"""The health of regions as one replica's probes see it: a small model of the tracker with the same rules.

Three failures in a row are Down, two successes in a row are Up; a failure is looked into with quick probes. What fails
everywhere at once is the observer's own trouble.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from regent.domain.health.model import Health, RegionHealth
from regent.domain.health.suspicion import ObserverHealth
from tests.simulation.virtual import ProcessLoop, Scheduler

INTERVAL = 1.0
QUICK = 0.15
CONFIRMED = 3
TRUST = ObserverHealth()
DOUBT = ObserverHealth(suspect=True, score=7, message="no region answers")


class _Region:
    def __init__(self, name: str) -> None:
        self.name = name
        self.failures = 0
        self.successes = 0
        self.first_failure = 0.0
        self.up_since = 0.0
        self.first_round = False
        self.health = RegionHealth(region=name)
        self.failing_since: float | None = None


class SimTracker:
    """What `Snapshots` and `PolicyWatch` need of a health tracker.

    Args:
        answers: says whether a region answers a probe of this replica now.
        errors: says whether a region's callers report too many errors now.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        loop: ProcessLoop,
        names: list[str],
        answers: Callable[[str], bool],
        errors: Callable[[str], bool],
    ) -> None:
        self._scheduler = scheduler
        self._loop = loop
        self._regions = {name: _Region(name) for name in names}
        self._answers = answers
        self._errors = errors
        self._listeners: list[Callable[[str], None]] = []

    def start(self) -> None:
        """Begin to probe."""
        for place, region in enumerate(self._regions.values()):
            self._loop.call_later(0.05 + 0.02 * place, self._probe, region)

    def subscribe(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    def health(self, region: str) -> RegionHealth:
        found = self._regions.get(region)
        return found.health if found else RegionHealth(region=region)

    def held(self, region: str, *, figure: Any, threshold: float, duration: float) -> object | None:
        return True if figure.name == "LOAD_ERROR_RATE" and self._errors(region) else None

    def observer(self) -> ObserverHealth:
        return DOUBT if all(region.failures for region in self._regions.values()) else TRUST

    def first_round_done(self, region: str) -> bool:
        return region in self._regions and self._regions[region].first_round

    def noted(self, region: str) -> None:
        """Figures of a region changed."""
        for listener in self._listeners:
            listener(region)

    def _probe(self, region: _Region) -> None:
        if self._loop.dead:
            return
        now = self._loop.time()
        before = region.health
        if self._answers(region.name):
            self._good(region, now)
        else:
            self._bad(region, now)
        region.first_round = True
        quick = 0 < region.failures < CONFIRMED
        self._loop.call_later(QUICK if quick else INTERVAL * 0.95, self._probe, region)
        if (before.health, before.down) != (region.health.health, region.health.down):
            self.noted(region.name)

    def _good(self, region: _Region, now: float) -> None:
        if region.failures or not region.first_round:
            region.successes, region.up_since = 0, now
        region.failures = 0
        region.successes += 1
        if region.health.down and region.successes < 2:
            return
        region.health = RegionHealth(
            region=region.name, health=Health.HEALTHY, reason="Fine", message="answers", proved_at=now, vantages=1,
            probe_interval=INTERVAL, up_since=region.up_since,
        )  # fmt: skip

    def _bad(self, region: _Region, now: float) -> None:
        if not region.failures:
            region.first_failure = now
        region.failures += 1
        region.successes = 0
        if region.failures < CONFIRMED or region.health.down:
            return
        region.health = RegionHealth(
            region=region.name, health=Health.UNREACHABLE, reason="ProbesFail", message="refused", down=True,
            down_since=now, first_failure=region.first_failure, down_votes=1, vantages=1, probe_interval=INTERVAL,
        )  # fmt: skip
