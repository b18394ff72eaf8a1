"""One probe of one region while it is being run: its machine, its samples, its timers.

Plain records, changed by `engine.probing` and read by `engine.health`. They are mutable and slotted because there are
thousands of them and several change each millisecond.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from dataclasses import dataclass, field

from regent.domain.health.endpoint import Endpoint
from regent.domain.health.lateness import Lateness
from regent.domain.health.model import Outcome, ProbeSpec
from regent.domain.health.window import Series, Window
from regent.engine.ports import EndpointProber
from regent.engine.probing_lanes import Lane

COLD_EVERY = 20
"""Every how many scheduled probes one connects afresh. A TLS handshake costs about ten times a kept-alive request, so
one in twenty adds half the price of the others; at 4 probes/s it looks at DNS and certificate every five seconds."""

COLD_WITHIN = 60.0
"""A cold probe comes at least this often, in seconds: slow schedules connect afresh more often than each twentieth."""


@dataclass(slots=True, eq=False)
class Run:
    """One probe that is out."""

    target: Target
    ticket: int
    started: float
    timeout: float
    cold: bool
    scheduled: bool
    """Counts as a sample; the re-probes of an episode do not."""
    stalls: float
    """Seconds that the event loop had stood still in all when the probe started."""
    lane: Lane
    late: bool = False
    late_timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None


@dataclass(slots=True, eq=False)
class Target:
    """A probe of a region."""

    spec: ProbeSpec
    prober: EndpointProber
    endpoint: Endpoint
    window: Window = field(default_factory=Window)
    error_rates: Series = field(default_factory=Series)
    capacities: Series = field(default_factory=Series)
    hot_latency: Lateness = field(default_factory=Lateness)
    cold_latency: Lateness = field(default_factory=Lateness)
    runs: dict[int, Run] = field(default_factory=dict)
    """Probes that are out, by ticket, the oldest first."""
    slot: float = 0.0
    """When the next scheduled probe is due, before jitter."""
    slot_timer: asyncio.TimerHandle | None = None
    retry_timer: asyncio.TimerHandle | None = None
    queued: bool = False
    """A probe waits for room."""
    last_start: float = 0.0
    countdown: int = 0
    """Scheduled probes until the next cold one."""
    not_run: int = 0
    """Probes in a row that could not run."""
    down_detail: str = ""
    """What the failure said that made it Down."""
    successes: int = 0
    """Successes since they were last reported as metrics; apart from the others because hashing an enum is slow."""
    failures: Counter[Outcome] = field(default_factory=Counter)
    """All other results since they were last reported as metrics."""
    certificate_expiry_time: float | None = None
    ended_at: float = 0.0
    """When a probe last ended, in whatever way, or when this one was configured."""
    closed: bool = False
    hash: float = field(init=False)
    """A number in [0, 1) that is the same on each replica and after each restart."""

    def __post_init__(self) -> None:
        self.hash = zlib.crc32(f"{self.spec.region}/{self.spec.name}".encode()) / 2**32

    @property
    def cold_every(self) -> int:
        """Every how many scheduled probes one is cold."""
        return max(1, min(COLD_EVERY, int(COLD_WITHIN / self.spec.interval)))

    def late_after(self, *, cold: bool) -> float | None:
        """Return seconds after which an answer is late; None before anything is known of the endpoint's latency."""
        known = (self.cold_latency if cold else self.hot_latency).bound()
        if known is None and not cold:
            known = self.cold_latency.bound()
        return None if known is None else max(self.spec.retry_interval, known)

    @property
    def hot_busy(self) -> bool:
        """Whether the kept-alive connection is in use."""
        return any(not run.cold for run in self.runs.values())
