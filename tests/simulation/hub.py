"""The hub's API server, and how one process sees it: requests that take time, get lost or fail, watches that lag.

The server is `FakeCluster`, applied at one instant per request. All that is hard about it lies in between: a request
may be held up in its own process or in the network (and so arrive after its sender was paused, lost its lease, or
died), its answer may be lost after it was applied, and the watch tells of changes late, twice, or not at all until the
next complete list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from regent.domain.errors import ClusterError, ConflictError, UnavailableError
from regent.engine.ports import Object
from regent.engine.resources import (
    FAILOVER_POLICIES,
    FAILOVERS,
    HTTP_ROUTES,
    REGIONS,
    SERVICES,
    Resource,
)
from regent.engine.store import Store
from tests.fakes.cloning import clone
from tests.fakes.cluster import FakeCluster
from tests.simulation.invariants import ViolationError
from tests.simulation.virtual import ProcessLoop, Scheduler

WATCHED = (REGIONS, SERVICES, FAILOVER_POLICIES, FAILOVERS, HTTP_ROUTES)
CLIENT_TIMEOUT = 2.0
Request = Callable[[], Coroutine[Any, Any, Any]]
Written = tuple[Resource, str, str]
"""Kind, namespace and name of an object that is written."""


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine of the fake server to its end: it never really waits."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as result:
        return result.value


@dataclass
class Weather:
    """How bad the network between the processes and the hub is at the moment."""

    latency: float = 0.004
    held_up: float = 0.0
    """Chance of a request that is under way for seconds."""
    refused: float = 0.0
    """Chance of an error without an effect."""
    ambiguous: float = 0.0
    """Chance of an answer that is lost after the effect."""
    watch_delay: float = 0.02
    repeats: float = 0.0
    """Chance of a watch event that is delivered again later."""


@dataclass
class Crash:
    """Kill a process at its n-th write from now, before or after it is applied."""

    nth: int
    after: bool


@dataclass
class Hub:
    """The API server with its clients' links."""

    scheduler: Scheduler
    server: FakeCluster
    trace: Callable[[str, str], None]
    lease: bool = True
    """Whether a leader has to hold its lease as it begins a write."""
    weather: Weather = field(default_factory=Weather)
    cut: set[str] = field(default_factory=set)
    """Processes whose link to the API server is cut."""
    terms: dict[Written, int] = field(default_factory=dict)
    """The latest term of leadership in which each object was written."""

    def applied(self, name: str, key: Written, term: int) -> None:
        """A write of a leader has changed an object: none of an earlier leader may after one of a later."""
        latest, (resource, _, obj) = self.terms.get(key, 0), key
        if term < latest and (self.lease or resource is HTTP_ROUTES):
            self.scheduler.failure = ViolationError(
                f"{name} changed {resource.kind} {obj} in term {term}, after the leader of term {latest}"
            )
        self.terms[key] = term

    def travel(self) -> float:
        """Seconds that a message takes."""
        draw = self.scheduler.random.random
        if self.weather.held_up and draw() < self.weather.held_up:
            return 0.5 + 3.5 * draw()
        return self.weather.latency * (0.5 + draw())


class HubClient:
    """`ports.Cluster` of one process."""

    def __init__(
        self, hub: Hub, name: str, loop: ProcessLoop, die: Callable[[], None], *, timeout: float = CLIENT_TIMEOUT
    ) -> None:
        self._hub = hub
        self._name = name
        self._loop = loop
        self._die = die
        self._timeout = timeout
        self.crash: Crash | None = None
        self.before_write: Callable[[], None] = lambda: None
        """Called as the engine hands a write over."""
        self.term: Callable[[], int] | None = None
        """The term of leadership in which it writes; None: it is no leader's."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        return await self._call(lambda: self._hub.server.get(resource, namespace, name))

    async def list(self, resource: Resource, namespace: str = "", *, label_selector: str = "") -> Sequence[Object]:
        return await self._call(lambda: self._hub.server.list(resource, namespace, label_selector=label_selector))

    async def create(self, resource: Resource, obj: Object) -> Object:
        obj = clone(obj)
        return await self._call(lambda: self._hub.server.create(resource, obj), write=_key(resource, obj))

    async def replace(self, resource: Resource, obj: Object) -> Object:
        obj = clone(obj)
        return await self._call(lambda: self._hub.server.replace(resource, obj), write=_key(resource, obj))

    async def replace_status(self, resource: Resource, obj: Object) -> Object:
        obj = clone(obj)
        return await self._call(lambda: self._hub.server.replace_status(resource, obj), write=_key(resource, obj))

    async def patch(self, resource: Resource, namespace: str, name: str, change: Object) -> Object:
        change = clone(change)
        return await self._call(
            lambda: self._hub.server.patch(resource, namespace, name, change), write=(resource, namespace, name)
        )

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        await self._call(
            lambda: self._hub.server.delete(resource, namespace, name, uid=uid), write=(resource, namespace, name)
        )

    async def discover(self, api_version: str, kind: str) -> Resource:
        return await self._call(lambda: self._hub.server.discover(api_version, kind))

    async def _call(self, request: Request, *, write: Written | None = None) -> Any:
        if self._loop.dead:
            raise asyncio.CancelledError
        term = 0
        if write:
            self.before_write()
            term = self.term() if self.term is not None else 0
        future = self._loop.create_future()
        timer = self._loop.call_later(self._timeout, self._give_up, future)
        # It leaves at the next turn of this process's loop: a process that is frozen right here sends it when it wakes.
        self._loop.call_later(0.0005, self._send, request, write, term, future)
        try:
            return await future
        finally:
            timer.cancel()

    def _send(self, request: Request, write: Written | None, term: int, future: asyncio.Future[Any]) -> None:
        if self._name not in self._hub.cut:
            self._hub.scheduler.after(self._hub.travel(), self._arrive, request, write, term, future)

    def _arrive(self, request: Request, write: Written | None, term: int, future: asyncio.Future[Any]) -> None:
        hub, draw = self._hub, self._hub.scheduler.random.random
        if self._name in hub.cut:
            return
        dies = write is not None and self._counts_down()
        if dies and self.crash and not self.crash.after:
            self.crash = None
            self._die()
            return
        try:
            if hub.weather.refused and draw() < hub.weather.refused:
                raise _refusal(draw(), write=write is not None)
            version = hub.server.version
            answer, error = at_once(request()), None
            if write is not None and term and hub.server.version > version:
                hub.applied(self._name, write, term)
            if hub.weather.ambiguous and draw() < hub.weather.ambiguous:
                error = UnavailableError("the answer was lost", status=500)
        except ClusterError as refused:
            answer, error = None, refused
        if dies:
            self.crash = None
            self._die()
            return
        hub.scheduler.after(hub.travel(), self._answer, future, answer, error)

    def _counts_down(self) -> bool:
        if self.crash is None or self._loop.dead:
            return False
        self.crash.nth -= 1
        return self.crash.nth <= 0

    def _answer(self, future: asyncio.Future[Any], answer: Any, error: ClusterError | None) -> None:
        if self._loop.dead or self._name in self._hub.cut:
            return
        self._loop.call_soon(_settle, future, answer, error)

    def _give_up(self, future: asyncio.Future[Any]) -> None:
        _settle(future, None, UnavailableError("timed out"))


def _key(resource: Resource, obj: Object) -> Written:
    return resource, str(obj["metadata"].get("namespace", "")), str(obj["metadata"]["name"])


def _settle(future: asyncio.Future[Any], answer: Any, error: ClusterError | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)


def _refusal(draw: float, *, write: bool) -> ClusterError:
    if draw < 0.4 and write:
        return ConflictError("the object has been modified", status=409, reason="Conflict")
    if draw < 0.7:
        return UnavailableError("too many requests", status=429, retry_after=0.5)
    return UnavailableError("internal error", status=500)


class WatchStream:
    """Feeds the store of one process with what happens at the server, late and imperfectly."""

    def __init__(self, hub: Hub, name: str, loop: ProcessLoop, store: Store) -> None:
        self._hub = hub
        self._name = name
        self._loop = loop
        self._store = store
        self._last: dict[Resource, float] = {}
        self.stalled_until: dict[Resource, float] = {}
        self.missed = False

    def tell(self, event: str, resource: Resource, obj: Object) -> None:
        """A change happened at the server."""
        hub = self._hub
        if self._loop.dead or resource not in WATCHED:
            return
        if self._name in hub.cut:
            self.missed = True
            return
        draw = hub.scheduler.random.random
        due = max(hub.scheduler.now + hub.weather.watch_delay * (0.2 + draw()), self.stalled_until.get(resource, 0.0))
        due = self._last[resource] = max(due, self._last.get(resource, 0.0))
        hub.scheduler.at(due, self._deliver, event, resource, obj)
        if hub.weather.repeats and draw() < hub.weather.repeats:
            hub.scheduler.at(due + 2 * draw(), self._deliver, event, resource, obj)

    def _deliver(self, event: str, resource: Resource, obj: Object) -> None:
        if not self._loop.dead:
            take = self._store.remove if event == "DELETED" else self._store.observe
            self._loop.call_soon(take, resource, obj)
