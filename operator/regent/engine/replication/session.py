"""One policy at work: its links, made anew when what it wants or where it copies changes.

A session is cheap to make: what is in the regions is known by the reflections, which outlive it where they are still
needed, and what a copy is stands on the copy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from regent.domain.errors import ClusterError, NotFoundError, PromotionProblemError
from regent.domain.replication.kinds import (
    AUTOSCALER,
    OPTIONAL_GROUPS,
    REPLICATION_DESTINATION,
    includes_status,
    kinds_of,
    kinds_of_spec,
    reads_destinations,
    wave,
)
from regent.domain.replication.model import Category, Direction, KindRef, ReplicationSpec
from regent.domain.replication.model import Link as Way
from regent.domain.replication.selection import common_query
from regent.engine.ports import Clock, Leadership, Metrics
from regent.engine.replication.linking import LinkMaker, Remembered
from regent.engine.replication.links import Link
from regent.engine.replication.looking import Tracked
from regent.engine.replication.ports import Access, Reflectors, Transforms
from regent.engine.replication.scope import Denied
from regent.engine.replication.spread import Spread
from regent.engine.replication.syncing import Syncing
from regent.engine.replication.transfers import Transfers
from regent.engine.replication.volumes import Volumes
from regent.engine.resources import Resource

log = logging.getLogger("regent.replication")


class LinkTasks:
    """Runs the loops of links; a part of the operator."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._waiting: list[Link] = []
        self._tasks: dict[Link, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Run what is started, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for link in self._waiting:
                self.start(link)
            self._waiting.clear()
            await asyncio.Event().wait()

    def start(self, link: Link) -> None:
        """Begin with a link."""
        group = self._group
        if group is None:
            self._waiting.append(link)
            return
        self._tasks[link] = group.create_task(link.run(), name=f"replicate-{link.spec.name}-{link.way.target.region}")

    async def stop(self, link: Link) -> None:
        """End a link, and wait until it has: nothing of it is written after that."""
        if link in self._waiting:
            self._waiting.remove(link)
        task = self._tasks.pop(link, None)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})


class Sessions:
    """Makes sessions.

    Args:
        may_write: says why a way may not be written to now, "" when it may; asked before each batch.
    """

    def __init__(
        self,
        *,
        access: Access,
        reflectors: Reflectors,
        transforms: Transforms,
        tasks: LinkTasks,
        may_write: Callable[[ReplicationSpec, Way], Awaitable[str]],
        leadership: Leadership,
        clock: Clock,
        jitter: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._access = access
        self._reflectors = reflectors
        self._transforms = transforms
        self._tasks = tasks
        self._clock = clock
        self._links = LinkMaker(
            access=access,
            reflectors=reflectors,
            transforms=transforms,
            may_write=may_write,
            leadership=leadership,
            clock=clock,
            jitter=jitter,
            metrics=metrics,
        )

    async def problem(self, spec: ReplicationSpec) -> str:
        """Return what is wrong with a transform of the policy, and where it stands; "" when nothing is."""
        for target in spec.targets:
            for number, transform in enumerate(target.transforms):
                if wrong := await self._transforms.problem(transform):
                    return f"transforms[{number}].{wrong} (target {target.region})"
        return ""

    async def open(
        self,
        spec: ReplicationSpec,
        ways: Sequence[Way],
        *,
        denied: Callable[[Way], Denied],
        remembered: Mapping[str, Remembered],
        transfers: Transfers,
        changed: Callable[[], None],
    ) -> Session:
        """Make a session; it copies from `Session.start` on.

        Args:
            ways: where to.
            denied: what placement says of a way.
            remembered: by region, what the status says.
            transfers: where copies are counted.
            changed: called when something that is shown has changed.

        Raises:
            ClusterError, PromotionProblemError: a kind that the policy names cannot be looked up now.
        """
        source = ways[0].source_region
        kinds = {kind: await self._served(source, kind) for kind in kinds_of_spec(spec)}
        session = Session(spec, self._tasks, self._reflectors, clock=self._clock)
        for way in ways:
            tracked = {
                resource: Tracked(
                    kind=KindRef(kind.group, kind.version, kind.kind, resource.plural, resource.namespaced),
                    source=self._reflectors.acquire(source, resource, spec.namespace, selector=_query(spec, kind)),
                    target=self._reflectors.acquire(way.target.region, resource, way.target.namespace),
                    selectors=tuple(selector for selector in spec.resources if kind in kinds_of(selector)),
                    include_status=includes_status(spec, kind),
                    wave=wave(kind),
                    optional=kind.group in OPTIONAL_GROUPS,
                )
                for kind, resource in kinds.items()
                if resource is not None
            }
            session.unserved = tuple(str(kind.kind) for kind, resource in kinds.items() if resource is None)
            known = remembered.get(way.target.region, Remembered())
            chosen = session.spread.chosen(way.target.region)
            syncing = self._links.make(
                spec, way, tracked, denied=denied, chosen=chosen, known=known, transfers=transfers, changed=changed
            )
            syncing.volumes = self._volumes(spec, way, tracked, known)
            session.targets.append(syncing)
        return session

    def _volumes(
        self, spec: ReplicationSpec, way: Way, tracked: Mapping[Resource, Tracked], known: Remembered
    ) -> Volumes | None:
        if not any(selector.category is Category.STORAGE for selector in spec.resources):
            return None
        destinations = None
        if any(map(reads_destinations, spec.resources)):
            kind = REPLICATION_DESTINATION
            resource = Resource(kind.group, kind.version, kind.plural, kind.kind)
            destinations = self._reflectors.acquire(way.target.region, resource, way.target.namespace)
        return Volumes(spec, way, tracked.values(), destinations=destinations, known=known.storage)

    async def _served(self, region: str, kind: KindRef) -> Resource | None:
        """Where the kind is served; None where the source knows no such kind in namespaces, which only users name."""
        if kind.plural:
            return Resource(kind.group, kind.version, kind.plural, kind.kind, kind.namespaced)
        cluster = await self._access.cluster(region)
        try:
            found = await cluster.discover(kind.api_version, kind.kind)
        except NotFoundError:
            return None
        # A policy is about the objects of its namespace: others are not its to copy.
        return found if found.namespaced else None


class Session:
    """The links of one policy. Whoever made it owes a `close`."""

    def __init__(self, spec: ReplicationSpec, tasks: LinkTasks, reflectors: Reflectors, *, clock: Clock) -> None:
        self.spec = spec
        self.spread = Spread(spec)
        self._clock = clock
        self.targets: list[Syncing] = []
        self.unserved: tuple[str, ...] = ()
        """Kinds that the policy names and the source does not serve."""
        self._tasks = tasks
        self._reflectors = reflectors

    def start(self) -> None:
        """Begin."""
        for syncing in self.targets:
            syncing.link.start()
            self._tasks.start(syncing.link)

    def spread_out(self) -> None:
        """See which targets can be used, and have objects looked at anew whose place has changed by that."""
        answers = {syncing.link.way.target.region: _answers(syncing.link) for syncing in self.targets}
        if self.spread.visit(answers, now=self._clock.monotonic()):
            for syncing in self.targets:
                syncing.link.look_at_everything()

    async def close(self) -> None:
        """End all links; what they have written stays."""
        for syncing in self.targets:
            await self._tasks.stop(syncing.link)
            syncing.link.stop()
            for item in syncing.link.tracked.values():
                self._reflectors.release(item.source)
                self._reflectors.release(item.target)
            if syncing.volumes is not None and syncing.volumes.destinations is not None:
                self._reflectors.release(syncing.volumes.destinations)


def _query(spec: ReplicationSpec, kind: KindRef) -> str:
    """The labels that objects of a kind are asked for by in the source; "" where all are needed.

    Not for autoscalers: also one that is not selected sets the replicas of a workload that is. Not where both sides are
    sources: what is somebody else's there has to be seen. And never in a target, for the same reason.
    """
    if spec.direction is not Direction.ONE_WAY or kind == AUTOSCALER:
        return ""
    return common_query(selector for selector in spec.resources if kind in kinds_of(selector))


def _answers(link: Link) -> bool | None:
    """Whether the link's target can be used; None while that is not known. By its watches, which go on whether or not
    anything is to be written there."""
    if any(item.target.problem and not item.target.absent for item in link.tracked.values()):
        return False
    ready = all(item.target.complete or item.target.absent for item in link.tracked.values())
    return True if ready else None


UNREACHABLE = (ClusterError, PromotionProblemError)
"""What is raised where a region cannot be asked now."""
