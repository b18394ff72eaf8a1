"""Follows the active hub: a change there is here a moment later, and nothing is asked for while nothing changes.

It watches with the reflections of the replicator, and pulls: the standby has an account in the active hub that may only
read, and the active hub has none here. Every replica of a standby does it; the second one finds everything done. What
it lists and watches is what `regent hub export` takes along. Neighbours: `engine.standby.copies` (writes),
`engine.hub_guard` (says while it is to be done).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Collection

from regent.domain.errors import ClusterError, ForbiddenError, NotFoundError, PromotionProblemError
from regent.domain.hub import COPIED, secrets_named
from regent.domain.hub_term import HubRole
from regent.engine.hub_guard import HubGuard
from regent.engine.hub_identity import HubIdentity
from regent.engine.hub_record import change_record
from regent.engine.ports import Clock, Cluster, Metrics, Object
from regent.engine.records import annotations_of
from regent.engine.replication.entries import Name
from regent.engine.replication.ports import Access, Reflectors
from regent.engine.replication.reflection import Reflection
from regent.engine.resources import NAMESPACES, SECRETS, Resource
from regent.engine.standby.copies import COPIED_KINDS, FOLLOWED, HubCopies
from regent.engine.store import Store

log = logging.getLogger("regent.hub")

TICK = 1.0
"""Seconds after which it looks again whether it is still to follow, and tries again what failed."""
WHOLE = 60.0
"""Seconds between two comparisons of everything, which also read the Secrets."""
SILENCE = 10.0
"""Seconds without a sign of life after which the active hub is said not to answer; it is asked every two seconds."""


class HubFollower:
    """Keeps the copies up to date.

    Args:
        cluster: the standby hub.
        store: what is known of it.
        source: the active hub, as region `FOLLOWED`.
        reflectors: watches in it.
        guard: says whether this hub is a standby.
        namespace: the operator's, in both hubs.
        secret: name of the Secret that leads to the active hub.
        secret_namespaces: namespaces whose Secrets are copied when Regions or policies name them; empty: none are.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        source: Access,
        reflectors: Reflectors,
        guard: HubGuard,
        identity: HubIdentity,
        namespace: str,
        secret: str,
        secret_namespaces: Collection[str],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._source = source
        self._reflectors = reflectors
        self._guard = guard
        self._identity = identity
        self._namespace = namespace
        self._secret = secret
        self._secret_namespaces = frozenset(secret_namespaces)
        self._clock = clock
        self._metrics = metrics
        self._copies = HubCopies(cluster=cluster, store=store)
        self._reflections: dict[Resource, Reflection] = {}
        self._dirty: set[tuple[Resource, Name]] = set()
        self._wake = asyncio.Event()
        self._whole_due = 0.0
        self._uid = ""
        self._lost = False
        self._problem = ""

    async def run(self) -> None:
        """Follow whenever this hub is a standby, until cancelled."""
        while True:
            await self._guard.follows()
            await self._store.wait_synced()
            await self._follow()

    async def _follow(self) -> None:
        watched = [(self._reflectors.acquire(FOLLOWED, resource, ""), resource) for resource in COPIED_KINDS]
        self._reflections = {resource: reflection for reflection, resource in watched}
        self._uid, self._whole_due = "", 0.0
        listeners = {resource: self._marker(resource) for resource in COPIED_KINDS}
        for resource, reflection in self._reflections.items():
            reflection.subscribe(listeners[resource], self._changed)
        try:
            while self._guard.following:
                self._wake.clear()
                with contextlib.suppress(ClusterError, PromotionProblemError):
                    await self._round()
                self._measure()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), timeout=TICK)
        finally:
            for resource, reflection in self._reflections.items():
                reflection.unsubscribe(listeners[resource], self._changed)
                self._reflectors.release(reflection)

    async def _round(self) -> None:
        if not self._uid:
            try:
                await self._meet()
            except (ClusterError, PromotionProblemError) as error:
                self._complain(str(error))
                return
        now = self._clock.monotonic()
        if not all(reflection.complete for reflection in self._reflections.values()):
            return
        if now >= self._whole_due:
            self._mark_all()
            await self._copy_secrets()
            self._whole_due = now + WHOLE
        for resource in COPIED_KINDS:
            for name in sorted(name for of, name in self._dirty if of == resource):
                if not self._guard.following:
                    return  # promoted meanwhile
                await self._settle(resource, name)

    async def _meet(self) -> None:
        """Find out which cluster it is, and write it down: a promotion has to know whom it takes over from."""
        cluster = await self._source.cluster(FOLLOWED)
        uid = str((await cluster.get(NAMESPACES, "", "kube-system"))["metadata"]["uid"])
        if uid == self._identity.uid:
            log.error("Secret %s leads to this very hub, which cannot follow itself", self._secret)
            raise PromotionProblemError("SameHub", "the hub to follow is this one")
        await change_record(
            self._cluster,
            self._namespace,
            lambda record: (
                dataclasses.replace(record, role=HubRole.STANDBY, other=uid, secret=f"{self._namespace}/{self._secret}")
                if self._guard.following and record.role in (None, HubRole.STANDBY, HubRole.SUPERSEDED)
                else record
            ),
        )
        self._uid = uid
        log.info("Following hub %s", uid)

    async def _settle(self, resource: Resource, name: Name) -> None:
        """Bring one copy up to date; what fails stays to be done."""
        source = self._reflections[resource].get(name)
        try:
            if source is not None and not source["metadata"].get("deletionTimestamp"):
                written = await self._copies.put(resource, source, hub=self._uid)
            else:
                written = self._may_drop() and await self._copies.drop(resource, *name, hub=self._uid)
        except ClusterError as error:
            self._metrics.count("regent_hub_copies_total", kind=resource.kind, result="error")
            level = logging.ERROR if isinstance(error, ForbiddenError) else logging.WARNING
            log.log(level, "Not copied: %s", error, extra={"object": f"{resource.kind} {'/'.join(name)}"})
            return
        self._dirty.discard((resource, name))
        if written:
            self._metrics.count("regent_hub_copies_total", kind=resource.kind, result="ok")

    def _may_drop(self) -> bool:
        """A hub that knows nothing at all has lost its memory: its standby may be the only one that still has it."""
        known = {resource: len(reflection) for resource, reflection in self._reflections.items()}
        return any(known.values())

    async def _copy_secrets(self) -> None:
        """Bring the Secrets up to date that are named there, from the namespaces that are allowed."""
        if not self._secret_namespaces:
            return
        cluster = await self._source.cluster(FOLLOWED)
        objects = [obj for reflection in self._reflections.values() for _, obj in reflection.items()]
        named = {item for obj in objects for item in secrets_named(obj, self._namespace)}
        for namespace, name in sorted(item for item in named if item[0] in self._secret_namespaces):
            if not self._guard.following:
                return
            try:
                found = await cluster.get(SECRETS, namespace, name)
                written = await self._copies.put_secret(found, hub=self._uid)
            except NotFoundError:
                continue  # it is missing there too, and its Region says so
            except ClusterError as error:
                self._metrics.count("regent_hub_copies_total", kind="Secret", result="error")
                log.warning("Secret %s/%s not copied: %s", namespace, name, error)
                continue
            if written:
                self._metrics.count("regent_hub_copies_total", kind="Secret", result="ok")

    def _mark_all(self) -> None:
        for resource, reflection in self._reflections.items():
            self._dirty.update((resource, name) for name in reflection.names())
            for obj in self._store.list(resource):
                if COPIED in annotations_of(obj):
                    self._dirty.add((resource, _name(obj)))

    def _measure(self) -> None:
        heard = [reflection.heard_at for reflection in self._reflections.values()]
        times = [at for at in heard if at is not None]
        if len(times) < len(heard):
            return  # not known yet, which is not zero
        age = self._clock.monotonic() - min(times)
        self._metrics.gauge("regent_hub_heard_age_seconds", age)
        if (age > SILENCE) is not self._lost:
            self._lost = not self._lost
            text = "does not answer; regent hub promote takes over from it" if self._lost else "answers again"
            log.warning("The active hub %s", text, extra={"hub": self._uid})

    def _complain(self, text: str) -> None:
        """Say why it does not begin, once for each reason: it tries every second."""
        if text != self._problem:
            self._problem = text
            log.warning("The active hub cannot be followed: %s", text)

    def _marker(self, resource: Resource) -> _Marker:
        return _Marker(resource, self._dirty, self._wake)

    def _changed(self) -> None:
        # It was listed anew: what went meanwhile shows only when everything is compared.
        self._whole_due = 0.0
        self._wake.set()


@dataclasses.dataclass(frozen=True, eq=False)
class _Marker:
    """Listens to one reflection."""

    resource: Resource
    dirty: set[tuple[Resource, Name]]
    wake: asyncio.Event

    def __call__(self, name: Name) -> None:
        self.dirty.add((self.resource, name))
        self.wake.set()


def _name(obj: Object) -> Name:
    metadata = obj["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata["name"])
