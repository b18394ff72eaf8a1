"""kopf, embedded: it watches, and hands every event to the store. Nothing else of it is used.

kopf is good at what is hard about watching (410 Gone, bookmarks, streams that go silent, credentials that expire) and
is used for exactly that, with `on.event` handlers of a few lines. Its other powers are left alone: its timers, state in
annotations, event posting and peering would each get in the way of a failover.

The set of watched kinds is fixed when kopf starts, so the bridge starts it anew when a kind appears or goes. It does
the same when kopf gives up, for instance because an API server that is starting up forbade everything for a while: all
watches or none, never some. The store stays, and a resync catches what went unseen meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import kopf
from kopf import OperatorRegistry, OperatorSettings

from regent.adapters.kubernetes.connection import Connection
from regent.engine.ports import Metrics
from regent.engine.resources import Resource
from regent.engine.resync import Resync, Watched
from regent.engine.store import Store

log = logging.getLogger("regent.watch")

RESTART = 1.0
"""Seconds before kopf is started anew after it gave up."""
SETTLE = 0.1
"""Seconds that the set of kinds may go on changing before kopf is started for it."""
SCAN = 1.0
"""Seconds within which kopf has looked at the API groups after its start."""
PATIENCE = 60
"""Failed starts in a row, one a second, after which the process ends."""


class _Backoffs:
    """Delays between kopf's own tries of one request: quick at first, then once a second for about a minute."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.1, 0.2, 0.5)
        for _ in range(60):
            yield 1.0


class WatchBridge:
    """Feeds the store from kopf's watches.

    Args:
        resync: tells which kinds the cluster serves, and lists anew after watches were down.
        install_signal_handlers: called after each start of kopf, which puts its own handlers in the place of ours.
    """

    def __init__(
        self,
        connection: Connection,
        store: Store,
        resync: Resync,
        *,
        watched: Sequence[Watched],
        metrics: Metrics,
        install_signal_handlers: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._store = store
        self._resync = resync
        self._watched = watched
        self._metrics = metrics
        self._install_signal_handlers = install_signal_handlers
        self._changed = asyncio.Event()
        self.watching = False
        """Whether kopf runs. When it does not, the store is only as fresh as the last resync."""
        resync.subscribe(self._changed.set)

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            RuntimeError: kopf could not be kept running.
        """
        failures = 0
        await self._resync.looked_around()
        while failures < PATIENCE:
            # Definitions are mostly installed several at a time; kopf need not be started anew for each.
            await asyncio.sleep(SETTLE)
            self._changed.clear()
            served = [watch for watch in self._watched if watch.resource in self._resync.served()]
            if not served:
                await self._changed.wait()
                continue
            started = asyncio.get_running_loop().time()
            reason = await self._session(served)
            if reason:
                lasted = asyncio.get_running_loop().time() - started
                failures = 1 if lasted > PATIENCE else failures + 1
                self._metrics.count("regent_watch_restarts_total")
                log.warning("Watches ended, starting them anew: %s", reason)
                await asyncio.sleep(RESTART)
                self._resync.request()
        raise RuntimeError(f"kopf ended {PATIENCE} times in a row")

    async def _session(self, served: Sequence[Watched]) -> str:
        """Run kopf until the set of kinds changes ("") or one of its root tasks ends (why)."""
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()
        started = loop.time()
        vault_session = _Session(self._connection, self._on_listed)
        tasks = await kopf.spawn_tasks(
            registry=self._registry(served, vault_session),
            settings=_settings(served),
            standalone=True,
            clusterwide=True,
            stop_flag=stopped,
        )
        self._install_signal_handlers()
        self.watching = True
        log.info("Watching", extra={"kinds": ",".join(watch.resource.kind for watch in served)})
        changed = asyncio.create_task(self._changed.wait(), name="kinds-changed")
        try:
            done, _ = await asyncio.wait({changed, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            if changed in done:
                # Its look at the API groups must not be cut off: kopf would leave the requests behind, unawaited.
                await asyncio.sleep(max(0.0, started + SCAN - loop.time()))
                return ""
            return "; ".join(_why(task) for task in done)
        finally:
            # Set before cancelling: kopf would otherwise arm a SIGKILL of this thread as a last resort.
            stopped.set()
            self.watching = False
            changed.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(changed, *tasks, return_exceptions=True)
            await vault_session.close()

    def _on_listed(self, path: str) -> None:
        """Have everything listed again after kopf itself has listed a kind.

        kopf lists at its start and whenever its watch was lost for too long, and does not tell what was deleted
        before. Our own LIST must begin after kopf's was answered: what goes between the two is then reported by the
        watch that follows from kopf's.
        """
        if any(path.endswith(f"/{watch.resource.plural}") for watch in self._watched):
            self._resync.request()

    def _registry(self, served: Sequence[Watched], session: _Session) -> OperatorRegistry:
        registry = OperatorRegistry()
        kopf.on.login(registry=registry, id="login")(session.login)
        for watch in served:
            resource = watch.resource
            kopf.on.event(
                group=resource.group, version=resource.version, plural=resource.plural, registry=registry, id="store"
            )(self._handler(resource))
        return registry

    def _handler(self, resource: Resource) -> Any:
        async def take_in(event: Any, **_: Any) -> None:
            obj = event["object"]
            obj.setdefault("apiVersion", resource.api_version)
            obj.setdefault("kind", resource.kind)
            if event["type"] == "DELETED":
                self._store.remove(resource, obj)
            else:
                self._store.observe(resource, obj)
            self._metrics.count("regent_watch_events_total", kind=resource.kind)

        return take_in


class _Session:
    """The HTTP session that kopf watches with: credentials and TLS are those of the connection."""

    def __init__(self, connection: Connection, listed: Callable[[str], None]) -> None:
        self._connection = connection
        self._listed = listed
        self._sessions: list[Any] = []

    async def login(self, **_: Any) -> kopf.AiohttpSession:
        """Give kopf a session; called at the start, and again when the API server refused the last one."""
        session = self._connection.session(listed=self._listed)
        self._sessions.append(session)
        return kopf.AiohttpSession(server=self._connection.server, aiohttp_session=session)

    async def close(self) -> None:
        for session in self._sessions:
            await session.close()


class _NoDifferences(kopf.DiffBaseStorage):
    """Nothing is compared: kopf copies every object of every event twice to find differences that nobody asks for."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return cast(kopf.BodyEssence, {})

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is kept."""


def _settings(served: Sequence[Watched]) -> OperatorSettings:
    settings = OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.networking.request_timeout = 15
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = _Backoffs()
    settings.watching.server_timeout = 290
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 5
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 500
    settings.process.ultimate_exiting_timeout = 20
    settings.persistence.finalizer = "regent.dev/watch"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix="watch.regent.dev")
    settings.persistence.diffbase_storage = _NoDifferences()
    for watch in served:
        if watch.label_selector:
            settings.watching.label_selectors[_selector(watch.resource)] = watch.label_selector
    return settings


def _selector(resource: Resource) -> Callable[[Any], bool]:
    return lambda found: bool(found.group == resource.group and found.plural == resource.plural)


def _why(task: asyncio.Task[Any]) -> str:
    with contextlib.suppress(asyncio.CancelledError):
        error = task.exception()
        return f"{task.get_name()}: {error!r}"[:300] if error else f"{task.get_name()} ended"
    return f"{task.get_name()} was cancelled"
