"""The leader lease: which of the replicas may decide and write.

The rules are those of client-go's leader election. A holder renews; a candidate takes the lease over when it has not
seen it change for its whole duration, by the candidate's own monotonic clock, so clocks of different machines are never
compared. The holder stops believing in itself earlier than that: after a deadline that counts from the *start* of the
last renewal that succeeded. Between the two lies more than the time that a request of either may be under way.

A process that was frozen finds its deadline passed when it wakes, and ends, before it can do anything else as a leader.
Two leaders can still overlap for the length of one request that is under way, so what cannot be undone carries the
lease's `leaseTransitions` as a fence and is a compare-and-swap besides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from regent.domain.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    LeadershipLostError,
    NotFoundError,
)
from regent.domain.times import rfc3339_micro
from regent.engine.ports import Clock, Cluster, Metrics, Object
from regent.engine.resources import LEASES

log = logging.getLogger("regent.lease")

DEADLINE = 0.6
"""Share of the duration after which a holder that could not renew stops believing in itself."""
REQUEST = 0.18
"""Share of the duration that one request may take: less than half of what the deadline leaves."""


def request_timeout(duration: float) -> float:
    """Return the time-out in seconds for the requests of an elector whose lease lasts `duration` seconds."""
    return duration * REQUEST


class LeaseElector:
    """Implements `regent.engine.ports.Leadership`. Run `run` for as long as the process lives.

    Args:
        cluster: with a request time-out of `request_timeout(duration)` and connections of its own.
        identity: of this process; never the same for two processes, also not for two starts of one pod.
        duration: seconds after which others may take an unrenewed lease; whole seconds, at least 1.
        renew: seconds between renewals, and between looks of a candidate.
        jitter: returns a number in [0, 1), so that candidates do not look all at once.
        clock: one whose monotonic time goes on while the machine is suspended.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        metrics: Metrics,
        jitter: Callable[[], float],
        duration: float = 5.0,
        renew: float = 1.0,
    ) -> None:
        if duration < 1 or duration != int(duration):
            raise ValueError("the lease duration must be whole seconds, at least 1")
        if renew + request_timeout(duration) > duration * DEADLINE:
            raise ValueError("the renewal interval must be well below the lease duration, at most 40 % of it")
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self.identity = identity
        self._clock = clock
        self._metrics = metrics
        self._jitter = jitter
        self.duration = duration
        self._renew = renew
        self._deadline = duration * DEADLINE
        self._lease: Object | None = None
        """The Lease as it can be written; None while it has to be read first."""
        self._seen: dict[str, Any] = {}
        """The spec as last seen. It outlives `_lease`: the number of a term holds for as long as the term does, and a
        fence without it would be older than what this very leader has written."""
        self._observed: tuple[Any, ...] = ()
        self._observed_at = float("-inf")
        self._valid_until = float("-inf")
        self._held = False
        self._problem = ""
        self._renewed_at: float | None = None
        self._tried_at = clock.monotonic()
        self._elected = asyncio.Event()

    @property
    def leading(self) -> bool:
        """True while the lease is held, by the local monotonic clock."""
        return self._held and self._clock.monotonic() < self._valid_until

    @property
    def transitions(self) -> int:
        """`leaseTransitions` of the lease as last seen: the middle number of every fence."""
        return int(self._seen.get("leaseTransitions") or 0)

    @property
    def holder(self) -> str:
        """The identity that holds the lease as last seen, "" for none."""
        return str(self._seen.get("holderIdentity") or "")

    def check(self) -> None:
        """Raise LeadershipLostError unless leading; called right before every effect."""
        if not self.leading:
            raise LeadershipLostError("this replica does not hold the lease")

    def age(self) -> float:
        """Return for how many seconds the lease has been neither renewed nor read; 0.0 before the first try."""
        return 0.0 if self._renewed_at is None else self._clock.monotonic() - self._renewed_at

    def idle(self) -> float:
        """Return for how many seconds no try to renew, take or read the lease has ended, whatever came of it."""
        return self._clock.monotonic() - self._tried_at

    @property
    def holding(self) -> bool:
        """True from taking the lease until it is released or known to be lost, without regard to the deadline."""
        return self._held

    async def elected(self) -> None:
        """Wait until this replica leads."""
        await self._elected.wait()

    async def run(self) -> None:
        """Take the lease when it is free, then keep it.

        Raises:
            LeadershipLostError: it was held and is not any more.
        """
        # It may be long since this part was made: a standby hub begins to compete when it is promoted.
        self._renewed_at = self._tried_at = self._clock.monotonic()
        while True:
            started = self._clock.monotonic()
            if self._held and started >= self._valid_until:
                raise self._lost(f"not renewed for {self._deadline:.1f}s")
            await self._try()
            self._tried_at = self._clock.monotonic()
            if self._held and not self.leading:
                raise self._lost("renewed too late")
            # A candidate looks twice as often as a holder renews: that is how quick a clean hand-over is.
            interval = self._renew if self._held else self._renew / 2
            spread = interval * (1 + 0.1 * self._jitter())
            await asyncio.sleep(max(0.0, started + spread - self._clock.monotonic()))

    async def release(self) -> None:
        """Give the lease back, so that another replica need not wait for its end. Stop all effects before."""
        if not self.leading or self._lease is None:
            return
        self._held = False
        spec = {**self._seen, "holderIdentity": "", "leaseDurationSeconds": 1}
        spec["renewTime"] = spec["acquireTime"] = rfc3339_micro(self._clock.wall())
        try:
            await self._cluster.replace(LEASES, {**self._lease, "spec": spec})
            log.info("Lease released", extra={"lease": f"{self._namespace}/{self._name}"})
        except ClusterError as error:
            log.warning("Lease could not be released, it runs out by itself: %s", error)

    async def _try(self) -> None:
        """Renew or take the lease once. Errors of the API server only cost time: the deadline judges."""
        problem = ""
        try:
            result = await self._acquire_or_renew()
        except ConflictError:
            # Somebody wrote in between; forget our copy, so that the next try reads who it was. At once, because
            # for a holder this may be a stray edit of the Lease as well as a successor.
            self._lease = None
            result = "conflict"
            if self._held:
                result = await self._again()
        except ClusterError as error:
            # Of a candidate the first in a row: it tries often, and one that never gets through must not be silent.
            problem = str(error) or type(error).__name__
            loud = self._held or not self._problem
            log.log(logging.WARNING if loud else logging.DEBUG, "Lease request failed: %s", problem)
            result = "error"
        self._problem = problem
        self._metrics.count("regent_lease_renewals_total", result=result)
        self._metrics.gauge("regent_leader", float(self.leading))
        self._metrics.gauge("regent_lease_transitions", self.transitions)

    async def _again(self) -> str:
        try:
            return await self._acquire_or_renew()
        except ClusterError:
            self._lease = None
            return "conflict"

    async def _acquire_or_renew(self) -> str:
        started = self._clock.monotonic()
        lease = self._lease if self._held else None
        if lease is None:
            try:
                lease = await self._cluster.get(LEASES, self._namespace, self._name)
            except NotFoundError:
                return await self._create(started)
            self._observe(lease)
        if self._held and self.holder != self.identity:
            raise self._lost(f"taken by {self.holder or 'nobody'}")
        if not self._held and self.holder not in ("", self.identity) and not self._expired():
            return "held"
        return await self._write(lease, started)

    async def _create(self, started: float) -> str:
        if self._held:
            raise self._lost("the Lease was deleted")
        metadata = {"namespace": self._namespace, "name": self._name}
        body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata}
        try:
            lease = await self._cluster.create(LEASES, {**body, "spec": self._claim({})})
        except AlreadyExistsError:
            return "held"
        self._take(lease, started)
        return "acquired"

    async def _write(self, lease: Object, started: float) -> str:
        held = self._held
        self._take(
            await self._cluster.replace(LEASES, {**lease, "spec": self._claim(lease.get("spec") or {})}), started
        )
        return "renewed" if held else "acquired"

    def _claim(self, old: dict[str, Any]) -> dict[str, Any]:
        now = rfc3339_micro(self._clock.wall())
        spec = {**old, "holderIdentity": self.identity, "leaseDurationSeconds": int(self.duration), "renewTime": now}
        if old.get("holderIdentity") != self.identity:
            spec["acquireTime"] = now
            # Also after a release, and starting at 1 for a new Lease: every term of leadership has its own number.
            spec["leaseTransitions"] = int(old.get("leaseTransitions") or 0) + 1
        return spec

    def _take(self, lease: Object, started: float) -> None:
        """Our write succeeded. The term counts from before the request: others saw it no earlier than that."""
        self._observe(lease)
        self._valid_until = started + self._deadline
        if not self._held:
            self._held = True
            log.info("Leading", extra={"identity": self.identity, "transitions": self.transitions})
            if self.leading:
                self._elected.set()

    def _observe(self, lease: Object) -> None:
        self._lease = lease
        self._renewed_at = self._clock.monotonic()
        self._seen = spec = dict(lease.get("spec") or {})
        seen = tuple(spec.get(field) for field in ("holderIdentity", "renewTime", "acquireTime", "leaseTransitions"))
        if seen != self._observed:
            self._observed, self._observed_at = seen, self._clock.monotonic()

    def _expired(self) -> bool:
        """Judge whether the lease of another has run out: it has not changed for its duration before our eyes."""
        duration = float(self._seen.get("leaseDurationSeconds") or self.duration)
        return self._clock.monotonic() >= self._observed_at + (duration if duration > 0 else self.duration)

    def _lost(self, why: str) -> LeadershipLostError:
        self._held = False
        self._elected.clear()
        self._metrics.gauge("regent_leader", 0.0)
        return LeadershipLostError(why)
