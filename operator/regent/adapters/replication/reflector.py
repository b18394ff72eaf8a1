"""Keeps reflections of regions' objects up to date: one watch for each kind, namespace and region, however many use it.

A reflection begins with a streaming list where the API server has them (a plain LIST costs it several times the answer
in memory), else with a LIST in chunks. A stream that the server ends is taken up where it ended, without a list. One
that has been silent for too long, or whose place in history is gone (410), begins anew. A region that cannot be reached
is tried again after a growing delay, and every few seconds a small request tells whether it can.

A label selector goes with the watch, so that what nobody selects costs nothing; users with other selectors have a watch
of their own. Of kinds whose bodies are not kept only metadata is asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from regent.adapters.kubernetes.copying import CopyingCluster, Event, View
from regent.adapters.replication.access import ReplicationAccess
from regent.domain.errors import ClusterError, NotFoundError, PromotionProblemError
from regent.domain.replication.compare import CHANGED_AT, changed_at
from regent.domain.replication.marks import FIELD_MANAGER
from regent.engine.ports import Clock, Metrics, Object
from regent.engine.replication.entries import Bodies
from regent.engine.replication.listing import Listing
from regent.engine.replication.reflection import Reflection
from regent.engine.resources import Resource

log = logging.getLogger("regent.replication")

SILENCE = 90.0
"""Seconds without an event or a bookmark after which a watch is taken for dead; the server sends one a minute."""
LASTS = 300.0
"""Seconds after which the server ends a watch, spread by a fifth."""
CHUNK = 500
PULSE = 2.0
"""Seconds between two looks whether a region's API server answers."""
FIRST_RETRY = 0.2
LAST_RETRY = 15.0
UNSURE = 2.0
"""Seconds by which a region's clock may seem to be off without being so: it is told to the second, and on the way."""
GONE = 410
NO_STREAMING = (400, 422)
CREATED_BY_UPDATE = [{"manager": FIELD_MANAGER, "operation": "Update"}]
"""What is kept of the managedFields of a copy that was made by POST: its fields are not those of an apply yet."""

_Key = tuple[str, Resource, str, str]


@dataclass(slots=True, eq=False)
class _Followed:
    reflection: Reflection
    users: int = 1
    task: asyncio.Task[None] | None = None
    streaming: bool = False
    refreshes: set[asyncio.Task[None]] = field(default_factory=set)


class WatchReflectors:
    """Implements `regent.engine.replication.ports.Reflectors`.

    Args:
        jitter: returns a number in [0, 1), which spreads retries and the ends of watches.
    """

    def __init__(
        self,
        access: ReplicationAccess,
        *,
        clock: Clock,
        metrics: Metrics,
        jitter: Callable[[], float],
        silence: float = SILENCE,
    ) -> None:
        self._access = access
        self._clock = clock
        self._metrics = metrics
        self._jitter = jitter
        self._silence = silence
        self._followed: dict[_Key, _Followed] = {}
        self._pulses: dict[str, asyncio.Task[None]] = {}
        self._ahead: dict[str, float] = {}
        """By how many seconds the clocks of the regions' API servers are ahead of ours."""
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Follow what is acquired, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for followed in self._followed.values():
                self._start(followed)
            await asyncio.Event().wait()

    def acquire(self, region: str, resource: Resource, namespace: str, *, selector: str = "") -> Reflection:
        """Return the reflection, which is watched from now on; see the port."""
        key = (region, resource, namespace, selector)
        followed = self._followed.get(key)
        if followed is not None:
            followed.users += 1
            return followed.reflection
        slim = partial(_slim, ahead=lambda: self._ahead.get(region, 0.0))
        bodies = Bodies.of(resource)
        followed = _Followed(Reflection(region, resource, namespace, selector=selector, bodies=bodies, slim=slim))
        self._followed[key] = followed
        self._start(followed)
        return followed.reflection

    def release(self, reflection: Reflection) -> None:
        """End the watch with its last user; see the port."""
        key = _key(reflection)
        followed = self._followed[key]
        followed.users -= 1
        if followed.users:
            return
        del self._followed[key]
        for task in (followed.task, *followed.refreshes):
            if task is not None:
                task.cancel()
        if not any(region == reflection.region for region, *_ in self._followed):
            pulse = self._pulses.pop(reflection.region, None)
            if pulse is not None:
                pulse.cancel()

    def refresh(self, reflection: Reflection) -> None:
        """Have it listed anew beside its watch; see the port."""
        followed = self._followed.get(_key(reflection))
        group = self._group
        if followed is None or group is None or followed.refreshes:
            return
        task = group.create_task(self._refresh(followed), name=f"refresh-{reflection.resource.plural}")
        followed.refreshes.add(task)
        task.add_done_callback(followed.refreshes.discard)

    def _start(self, followed: _Followed) -> None:
        group, region = self._group, followed.reflection.region
        if group is None or followed.task is not None:
            return
        name = f"reflect-{region}-{followed.reflection.resource.plural}"
        followed.task = group.create_task(self._follow(followed), name=name)
        if region not in self._pulses:
            self._pulses[region] = group.create_task(self._pulse(region), name=f"pulse-{region}")

    async def _follow(self, followed: _Followed) -> None:
        reflection, failures = followed.reflection, 0
        place = _Place()
        while True:
            began = self._clock.monotonic()
            try:
                await self._watch(followed, place)
                failures = 0
                continue
            except NotFoundError:
                place.version = ""
                reflection.absent = True
                problem = f"the cluster of region {reflection.region} knows no {reflection.resource.kind}"
            except (ClusterError, PromotionProblemError) as error:
                problem = self._judge(reflection, place, error)
            except Exception:
                log.exception("Reflection failed", extra={"region": reflection.region})
                place.version, problem = "", "internal error, see the operator's log"
            finally:
                followed.streaming = False
            self._metrics.count("regent_replication_watch_restarts_total", region=reflection.region)
            reflection.lost(problem, gap=not place.version)
            failures = 1 if self._clock.monotonic() - began > LAST_RETRY else failures + 1
            delay = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 10))
            await asyncio.sleep(delay * (1 - self._jitter() / 2))

    def _judge(self, reflection: Reflection, place: _Place, error: ClusterError | PromotionProblemError) -> str:
        """Decide how to go on after an error; return what people are told."""
        if isinstance(error, ClusterError):
            if error.status in NO_STREAMING and not place.version:
                place.can_stream = False
            if error.status == GONE or error.reason == "Timeout":
                # Its place in history is gone, or the stream was silent for too long: nothing but a list tells.
                place.version = ""
        return f"region {reflection.region}: {error}"[:512]

    async def _watch(self, followed: _Followed, place: _Place) -> None:
        """Follow the stream to its end."""
        reflection = followed.reflection
        cluster = await self._access.cluster(reflection.region)
        if cluster is not place.cluster:
            # Perhaps another cluster, whose versions count differently.
            place.cluster, place.version = cluster, ""
            if cluster.clock_offset() is None:
                await cluster.ping()
        self._look_at_clock(reflection.region, cluster)
        if not place.version and not place.can_stream:
            place.version = await self._list(cluster, reflection)
        initial = Listing(reflection) if not place.version else None
        lasts = LASTS * (1 - self._jitter() / 5)
        stream = cluster.watch(_view(reflection), version=place.version, silence=self._silence, lasts=lasts)
        async for event in stream:
            if event.kind == "OPENED":
                followed.streaming = True
            elif initial is not None:
                if not _take(initial, event):
                    continue
                await _finish(initial)
                self._metrics.count("regent_replication_lists_total", region=reflection.region)
                reflection.absent = False
                reflection.list_completed()
                initial = None
            elif event.kind == "DELETED":
                reflection.remove(event.obj)
            elif event.kind != "BOOKMARK":
                reflection.observe(event.obj)
            if initial is None:
                place.version = str(event.obj["metadata"].get("resourceVersion") or place.version)
            reflection.heard(self._clock.monotonic())

    async def _list(self, cluster: CopyingCluster, reflection: Reflection) -> str:
        """List all objects in chunks; return the list's version."""
        listing, token = Listing(reflection), ""
        while True:
            page, token, version = await cluster.page(_view(reflection), limit=CHUNK, token=token)
            for obj in page:
                listing.add(obj)
            if not token:
                break
        await _finish(listing)
        self._metrics.count("regent_replication_lists_total", region=reflection.region)
        reflection.absent = False
        reflection.heard(self._clock.monotonic())
        reflection.list_completed()
        return version

    async def _refresh(self, followed: _Followed) -> None:
        try:
            cluster = await self._access.cluster(followed.reflection.region)
            await self._list(cluster, followed.reflection)
        except (ClusterError, PromotionProblemError) as error:
            # The watch finds out for itself, and whoever waits asks again.
            log.info("Relist failed: %s", error, extra={"region": followed.reflection.region})

    async def _pulse(self, region: str) -> None:
        """Ask every few seconds: a quiet namespace says nothing for a minute, and its lag must not grow for that."""
        silent = 0
        while True:
            await asyncio.sleep(PULSE)
            try:
                cluster = await self._access.cluster(region)
                await cluster.ping()
                self._look_at_clock(region, cluster)
                silent = 0
            except (ClusterError, PromotionProblemError) as error:
                silent += 1
                if silent > 1:
                    for reflection in self._streaming(region):
                        reflection.lost(f"region {region}: {error}"[:512], gap=False)
                continue
            now = self._clock.monotonic()
            for reflection in self._streaming(region):
                reflection.heard(now)

    def _look_at_clock(self, region: str, cluster: CopyingCluster) -> None:
        offset = cluster.clock_offset() or 0.0
        self._ahead[region] = offset if abs(offset) > UNSURE else 0.0

    def _streaming(self, region: str) -> list[Reflection]:
        return [
            followed.reflection
            for followed in self._followed.values()
            if followed.reflection.region == region and followed.streaming
        ]


@dataclass(slots=True)
class _Place:
    """Where in a region's history the next watch begins."""

    version: str = ""
    can_stream: bool = True
    cluster: CopyingCluster | None = None


def _key(reflection: Reflection) -> _Key:
    return reflection.region, reflection.resource, reflection.namespace, reflection.selector


def _view(reflection: Reflection) -> View:
    bodies = reflection.bodies is Bodies.KEPT
    return View(reflection.resource, reflection.namespace, selector=reflection.selector, bodies=bodies)


def _take(initial: Listing, event: Event) -> bool:
    """Take in a message of a streaming list; True when the list is complete."""
    if event.kind == "DELETED":
        initial.discard(event.obj)
    elif event.kind != "BOOKMARK":
        initial.add(event.obj)
    return event.synced


async def _finish(listing: Listing) -> None:
    for _ in listing.finish():
        await asyncio.sleep(0)  # many objects: let others have their turn


def _slim(obj: Object, *, ahead: Callable[[], float]) -> Object:
    """The object without managedFields, a third of its memory, but for the two facts that are asked of them.

    Who changed an object last is asked across clusters, so the time is turned into ours by how far theirs is `ahead`.
    """
    metadata = obj["metadata"]
    fields = metadata.get("managedFields")
    if fields is None:
        return obj
    rest = {name: value for name, value in metadata.items() if name != "managedFields"}
    if any(item.get("manager") == FIELD_MANAGER and item.get("operation") == "Update" for item in fields):
        rest["managedFields"] = CREATED_BY_UPDATE
    if (changed := changed_at(obj)) is not None:
        rest[CHANGED_AT] = changed - ahead()
    return {**obj, "metadata": rest}
