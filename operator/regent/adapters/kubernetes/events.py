"""Kubernetes Events (events.k8s.io/v1) about Regent's objects: aggregated, limited, best effort.

Events are for people who look; nothing depends on one arriving. So `event` only puts it into a bounded queue and never
waits. The same event again within a while raises the count of the first one (a series) instead of making another. One
object that makes a lot of noise is limited on its own, so that it cannot drown the others.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from regent.domain.errors import ClusterError
from regent.domain.times import rfc3339_micro
from regent.engine.ports import Clock, Cluster, Metrics, Object
from regent.engine.resources import EVENTS

log = logging.getLogger("regent.events")

CONTROLLER = "regent.dev/operator"
NOTE_BYTES = 1024
"""The API server counts bytes, not characters."""
SERIES_WINDOW = 600.0
"""Seconds after which the same event begins a new series."""
SERIES_UPDATE = 30.0
"""Seconds between two updates of the count of one series."""
BURST = 25
REFILL = 20.0
"""Of one object so many events at once, then one in so many seconds."""
QUEUE = 1000
OBJECTS = 2000
"""Most events that wait, and most objects and series that are remembered."""


class _Series(NamedTuple):
    uid: str
    namespace: str
    kind: str
    reason: str
    action: str
    note: str


@dataclass(slots=True)
class _Posted:
    """An event that was posted; `event` is None while that is under way or after it failed."""

    event: Object | None
    since: float
    queued: bool = True
    """The first of it waits in the queue; repeats of that need no event of their own."""
    count: int = 1
    updated: float = 0.0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class EventRecorder:
    """Implements `regent.engine.ports.Recorder`. `run` posts; without it events only queue up.

    Args:
        instance: names this process in the events, at most 128 characters.
    """

    def __init__(self, cluster: Cluster, *, instance: str, clock: Clock, metrics: Metrics) -> None:
        self._cluster = cluster
        self._instance = instance[:128]
        self._clock = clock
        self._metrics = metrics
        self._queue: asyncio.Queue[tuple[_Series, Object]] = asyncio.Queue(QUEUE)
        self._series: OrderedDict[_Series, _Posted] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def event(self, obj: Mapping[str, Any], *, kind: str, reason: str, action: str, note: str) -> None:
        """Queue an event; see the port. Dropped, and counted, when there are too many."""
        metadata = obj["metadata"]
        # Events about cluster-scoped objects have to live in `default`.
        namespace = str(metadata.get("namespace") or "default")
        series = _Series(str(metadata.get("uid", "")), namespace, kind, reason, action, cut(note))
        if not self._allowed(series):
            self._metrics.count("regent_events_total", result="dropped")
            return
        try:
            self._queue.put_nowait((series, self._body(obj, series)))
        except asyncio.QueueFull:
            self._metrics.count("regent_events_total", result="dropped")

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            series, body = await self._queue.get()
            try:
                await self._post(series, body)
                self._metrics.count("regent_events_total", result="posted")
            except ClusterError as error:
                self._metrics.count("regent_events_total", result="failed")
                log.debug("Event could not be posted: %s", error)
            finally:
                self._queue.task_done()

    async def drain(self, timeout: float) -> None:
        """Give the events that wait `timeout` seconds to be posted, before `run` is cancelled."""
        try:
            await asyncio.wait_for(self._queue.join(), timeout)
        except TimeoutError:
            log.debug("Events were left unposted")

    async def _post(self, series: _Series, body: Object) -> None:
        now = self._clock.monotonic()
        posted = self._series.get(series)
        if posted is None or posted.event is None or now - posted.since > SERIES_WINDOW:
            posted = _Posted(None, now, queued=False)
            self._remember(series, posted)
            posted.event = await self._cluster.create(EVENTS, body)
            return
        posted.count += 1
        if posted.count > 2 and now - posted.updated < SERIES_UPDATE:
            return
        posted.updated = now
        # Only `series` may change. The count is ours alone, so a conflict means that somebody meddled: begin anew.
        progress = {"count": posted.count, "lastObservedTime": body["eventTime"]}
        event, posted.event = posted.event, None
        posted.event = await self._cluster.replace(EVENTS, {**event, "series": progress})

    def _remember(self, series: _Series, posted: _Posted) -> None:
        self._series[series] = posted
        self._series.move_to_end(series)
        while len(self._series) > OBJECTS:
            self._series.popitem(last=False)

    def _allowed(self, series: _Series) -> bool:
        """Take a token of the object's bucket; repeats of a known event cost none, they only raise a count."""
        now = self._clock.monotonic()
        posted = self._series.get(series)
        if posted and (posted.event is not None or posted.queued) and now - posted.since <= SERIES_WINDOW:
            return True
        bucket = self._buckets.setdefault(series.uid, _Bucket(BURST, now))
        self._buckets.move_to_end(series.uid)
        while len(self._buckets) > OBJECTS:
            self._buckets.popitem(last=False)
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.at) / REFILL)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        self._remember(series, _Posted(None, now))
        return True

    def _body(self, obj: Mapping[str, Any], series: _Series) -> Object:
        metadata = obj["metadata"]
        regarding = {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": series.uid,
            "resourceVersion": str(metadata.get("resourceVersion", "")),
        }
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"namespace": series.namespace, "name": f"{metadata['name'][:200]}.{secrets.token_hex(8)}"},
            "eventTime": rfc3339_micro(self._clock.wall()),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": series.action[:128],
            "reason": series.reason[:128],
            "type": series.kind,
            "note": series.note,
            "regarding": {name: value for name, value in regarding.items() if value},
        }


def cut(note: str) -> str:
    """Shorten a note to what the API takes, in bytes, without breaking a character."""
    encoded = note.encode()
    if len(encoded) <= NOTE_BYTES:
        return note
    return encoded[: NOTE_BYTES - 3].decode(errors="ignore") + "…"
