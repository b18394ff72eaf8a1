"""The checks of /healthz: each tells that one part of the process stands still, and for how long.

A check may fail only for what a restart can cure. An API server that is away is no such thing: a replica that is
restarted for that loses its evidence, sits in a restart back-off when the API server returns, and has helped nobody. So
what is measured is whether our own parts go round, whatever the answers are; silence of the API server makes a replica
unready (`lease_seen`) and fails /healthz only after minutes, when the connections themselves may be at fault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from regent.adapters.kubernetes.lease import LeaseElector
from regent.engine.health import HealthTracker
from regent.engine.reconcile import Workers
from regent.engine.resources import REGIONS
from regent.engine.resync import WATCHED, Resync
from regent.engine.store import Store
from regent.server.operational import Check

LATE = 2.0
"""Seconds by which the event loop may be late."""
RESYNCS = 3
"""Intervals without a resync."""
SWEEP = 5.0
"""Seconds without a look at the health of all regions, which is due each second."""
TERMS = 2
"""Lease durations without a finished try, or without having read the lease. The tries of one round cannot take longer
than one and a quarter: four requests of 0.18 each, and the pause."""


class Lagging(Protocol):
    """What knows how late the event loop is."""

    @property
    def lag(self) -> float:
        """Seconds."""
        ...


def event_loop(heart: Lagging) -> Check:
    """Fail when the event loop runs its timers late."""
    return lambda: f"late by {heart.lag:.1f}s" if heart.lag > LATE else ""


def resync(part: Resync, *, interval: float) -> Check:
    """Fail when some kind has not been listed for three intervals."""
    return _limit(part.age, RESYNCS * interval, "the API server has not been listed for {:.0f}s")


def workers(part: Workers, *, stuck_after: float) -> Check:
    """Fail when one visit of an object does not end."""

    def check() -> str:
        seconds, key = part.longest()
        return f"{key} has been visited for {seconds:.0f}s" if seconds > stuck_after else ""

    return check


def health(part: HealthTracker) -> Check:
    """Fail when the tracker no longer looks at its regions, so that only probes and not time change a verdict."""
    return _limit(part.idle, SWEEP, "regions have not been looked at for {:.0f}s")


def probes(part: HealthTracker) -> Check:
    """Fail when most targets are not probed any more.

    Most and not one: a single probe that hangs makes its own region stale, which its status says. Ending the process
    for it, perhaps again and again, would take failover from all other regions.
    """

    def check() -> str:
        stuck, targets = part.unprobed()
        if 2 * len(stuck) <= targets:
            return ""
        return f"{len(stuck)} of {targets} targets are not probed, among them {stuck[0]}"

    return check


def lease(part: LeaseElector, *, competing: Callable[[], bool] = lambda: True) -> Check:
    """Fail when the elector has stopped trying, or believes that it leads although it has not renewed in time. Nobody
    tries in a hub that does not act."""
    limit = TERMS * part.duration

    def check() -> str:
        if not competing():
            return ""
        if (idle := part.idle()) > limit:
            return f"the lease has not been tried for {idle:.0f}s"
        # The elector ends the process long before; this is for the case that its own watch over itself fails.
        if part.holding and part.age() > part.duration:
            return f"leading, and the lease has not been renewed for {part.age():.1f}s"
        return ""

    return check


def lease_seen(part: LeaseElector) -> Check:
    """Fail (/readyz) when the lease could not be renewed or read: this replica would not notice that it is its turn."""
    return _limit(part.age, TERMS * part.duration, "the lease has not been seen for {:.0f}s")


def watches(store: Store, *, watching: Callable[[], bool]) -> Check:
    """Fail (/readyz) until every kind has been listed and is being watched."""

    def check() -> str:
        missing = [watch.resource.plural for watch in WATCHED if not store.synced(watch.resource)]
        if missing:
            return f"not listed yet: {', '.join(missing)}"
        return "" if watching() else "not watching yet"

    return check


def probed(store: Store, tracker: HealthTracker) -> Check:
    """Fail (/readyz) until every Region has been probed once."""

    def check() -> str:
        names = [region["metadata"]["name"] for region in store.list(REGIONS)]
        missing = [name for name in names if not tracker.first_round_done(name)]
        return f"not probed yet: {', '.join(missing[:5])}" if missing else ""

    return check


def _limit(age: Callable[[], float], limit: float, words: str) -> Check:
    def check() -> str:
        seconds = age()
        return words.format(seconds) if seconds > limit else ""

    return check
