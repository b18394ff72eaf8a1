"""Writes what is known of each Region into its status, on the leader, and tells people what happened.

Probing does not depend on this: `engine.region_setup` configures the probes on every replica, and a failing probe
reaches the failover decision without waiting for any of these writes. So Regions are visited with low priority.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from regent.domain.health.model import Health, RegionHealth
from regent.engine.health import HealthTracker
from regent.engine.ports import Clock, Object, Recorder
from regent.engine.queue import Key, KeyedQueue, Priority
from regent.engine.region_clusters import ClusterChecks
from regent.engine.region_setup import RegionSetup
from regent.engine.region_status import HUB_INSIDE, Found, SteadyFigures, build
from regent.engine.resources import FAILOVER_POLICIES, REGIONS
from regent.engine.status import StatusWriter
from regent.engine.store import Store

log = logging.getLogger("regent.regions")

REVISIT = 60.0
"""Seconds between looks at the figures; a look writes nothing while they are steady."""

SOON = 2.0
"""Seconds until the next look while figures are still to come."""


class RegionReconciler:
    """Visits Regions.

    Args:
        queue: the common one; a Region is queued when its health, its setup, its cluster or the policies change.
        setup: what came of the specs.
        checks: what is known of the member clusters.
        hub: the uid of the hub's kube-system namespace, "" while it is not known.
        stand_back: says in how many seconds to come again, because failovers go first; None: now is well.
    """

    def __init__(
        self,
        *,
        store: Store,
        status: StatusWriter,
        queue: KeyedQueue,
        tracker: HealthTracker,
        setup: RegionSetup,
        checks: ClusterChecks,
        recorder: Recorder,
        clock: Clock,
        hub: Callable[[], str] = lambda: "",
        stand_back: Callable[[Key], float | None] = lambda _key: None,
    ) -> None:
        self._store = store
        self._status = status
        self._queue = queue
        self._tracker = tracker
        self._setup = setup
        self._checks = checks
        self._recorder = recorder
        self._clock = clock
        self._hub = hub
        self._stand_back = stand_back
        self._warned: set[str] = set()
        self._figures: dict[str, SteadyFigures] = {}
        self._active: dict[Key, frozenset[str]] = {}
        self._primaries: Counter[str] = Counter()
        tracker.subscribe(self.changed)
        store.subscribe(REGIONS, lambda key: self.changed(key.name))
        store.subscribe(FAILOVER_POLICIES, self._on_policy)

    def changed(self, region: str) -> None:
        """Ask for a visit of a Region."""
        self._queue.add(Key(REGIONS, "", region), priority=Priority.LOW)

    async def reconcile(self, key: Key) -> float | None:
        """Bring the status of one Region up to date."""
        obj = self._store.get(REGIONS, "", key.name)
        if obj is None:
            self._figures.pop(key.name, None)
            self._warned.discard(key.name)
            return None
        later = self._stand_back(key)
        if later is not None:
            return later
        setup = self._setup.setup(key.name)
        if setup is None or setup.uid != obj["metadata"].get("uid", ""):
            return None  # its setup asks for a visit when it is done
        steady = self._figures.setdefault(key.name, SteadyFigures())
        found = Found(
            setup=setup,
            health=self._tracker.health(key.name),
            vantages=self._tracker.vantages(key.name),
            cluster=self._checks.condition(key.name),
            primary_of=self._primaries[key.name],
            certificate_expiry_time=self._tracker.certificate_expiry(key.name),
            wall=self._clock.wall(),
            hub_inside=bool(self._hub()) and self._checks.uid(key.name) == self._hub(),
        )
        self._warn(key.name, found)
        figures, now = found.health.figures, self._clock.monotonic()
        before: list[Object] = []

        def change(current: Object) -> dict[str, Any]:
            before[:] = [current]
            return build(current, found, steady.choose(current.get("status") or {}, figures, now=now))

        written = await self._status.transact(REGIONS, "", key.name, change, uid=setup.uid)
        if written is not None and before and written is not before[0]:
            self._announce(before[0], written, found.health)
        # The first figures come a moment after the first verdict; a table with empty columns would puzzle people.
        missing = figures.latency_p50 is None and found.health.health not in (Health.UNKNOWN, Health.UNREACHABLE)
        return SOON if missing else REVISIT

    def _warn(self, region: str, found: Found) -> None:
        """Say it once in the log of each process: whoever starts Regent there reads that first."""
        if not found.hub_inside:
            self._warned.discard(region)
        elif region not in self._warned:
            self._warned.add(region)
            log.warning(
                "The hub lives inside region %s: it is lost together with the region that it is to fail over",
                region,
                extra={"object": f"Region/{region}", "reason": HUB_INSIDE},
            )

    def _on_policy(self, key: Key) -> None:
        """Keep count of the policies that have a region active; visit the regions whose count changed."""
        policy = self._store.get(FAILOVER_POLICIES, key.namespace, key.name)
        status = (policy.get("status") or {}) if policy is not None else {}
        names = {status.get("activeRegion") or "", *(status.get("activeRegions") or ())} - {""}
        now, was = frozenset(map(str, names)), self._active.get(key, frozenset())
        if now:
            self._active[key] = now
        else:
            self._active.pop(key, None)
        for region in now - was:
            self._primaries[region] += 1
        for region in was - now:
            self._primaries[region] -= 1
        for region in now ^ was:
            self.changed(region)

    def _announce(self, before: Object, after: Object, health: RegionHealth) -> None:
        """Post an event when the health that is shown has changed."""
        was, now = _shown(before), _shown(after)
        if was is now:
            return
        kind, reason, what_next = _STORIES[now]
        if health.reason == "Disabled":
            kind, reason, what_next = "Normal", "RegionDisabled", "Nothing is known of it until it is enabled again."
        elif now is Health.HEALTHY and was in (Health.UNREACHABLE, Health.UNHEALTHY, Health.RECOVERING):
            reason, what_next = "RegionRecovered", "It is a candidate for failover and failback again."
        elif now is Health.UNREACHABLE and self._primaries[after["metadata"]["name"]]:
            what_next = (
                f"It is active in {self._primaries[after['metadata']['name']]} failover policies: those with mode "
                "Automatic move now, the others ask for a person. " + what_next
            )
        note = f"Region is {now.value}, was {was.value}: {health.message}. {what_next}".strip()
        self._recorder.event(after, kind=kind, reason=reason, action="Probe", note=note[:1000])


_STORIES = {
    Health.HEALTHY: ("Normal", "RegionHealthy", "It is a candidate for failover."),
    Health.DEGRADED: (
        "Warning",
        "RegionDegraded",
        "Traffic stays; a failover policy moves it only if one of its triggers on figures holds.",
    ),
    Health.UNHEALTHY: (
        "Warning",
        "RegionUnhealthy",
        "It is no candidate for failover; triggers on error rate and capacity decide whether traffic leaves it.",
    ),
    Health.UNREACHABLE: (
        "Warning",
        "RegionUnreachable",
        "It is probed on; when it answers again it is Recovering until the recovery period is over.",
    ),
    Health.RECOVERING: ("Normal", "RegionRecovering", "It becomes a candidate again when the period is over."),
    Health.UNKNOWN: (
        "Warning",
        "RegionHealthUnknown",
        "Nothing is decided on its account: unknown is not down.",
    ),
}


def _shown(obj: Object) -> Health:
    try:
        return Health((obj.get("status") or {}).get("health", "Unknown"))
    except ValueError:
        return Health.UNKNOWN
