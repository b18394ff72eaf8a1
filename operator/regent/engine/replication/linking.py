"""Makes the parts of one link: one-way, only comparing, or with changes in both directions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from regent.domain.replication.model import Direction, ReplicationSpec, Strategy
from regent.domain.replication.model import Link as Way
from regent.domain.replication.pairs import mirrored
from regent.domain.replication.storage import Storage
from regent.engine.ports import Clock, Leadership, Metrics
from regent.engine.replication.bodies import BodyFetcher
from regent.engine.replication.comparing import Comparer
from regent.engine.replication.copier import Copier
from regent.engine.replication.links import Link
from regent.engine.replication.looking import Looker, Tracked
from regent.engine.replication.pace import Paces
from regent.engine.replication.pair_looking import PairLooker
from regent.engine.replication.pair_pruner import PairPruner
from regent.engine.replication.pair_writing import Half, PairCopier, PairWriter
from regent.engine.replication.ports import Access, Reflectors, Transforms
from regent.engine.replication.pruner import Pruner
from regent.engine.replication.scope import Denied
from regent.engine.replication.spread import Chosen
from regent.engine.replication.syncing import Syncing
from regent.engine.replication.transfers import Transfers
from regent.engine.replication.writing import Writer
from regent.engine.resources import Resource

C = TypeVar("C", bound=Copier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What the status says of a target, for whoever comes after."""

    last_pass: float | None = None
    token: str = ""
    verified: float | None = None
    storage: Storage | None = None


class LinkMaker:
    """Makes links; see `session.Sessions` for the arguments."""

    def __init__(
        self,
        *,
        access: Access,
        reflectors: Reflectors,
        transforms: Transforms,
        may_write: Callable[[ReplicationSpec, Way], Awaitable[str]],
        leadership: Leadership,
        clock: Clock,
        jitter: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._access = access
        self._reflectors = reflectors
        self._transforms = transforms
        self._may_write = may_write
        self._leadership = leadership
        self._clock = clock
        self._jitter = jitter
        self._metrics = metrics
        self._paces = Paces(clock)

    def make(
        self,
        spec: ReplicationSpec,
        way: Way,
        tracked: Mapping[Resource, Tracked],
        *,
        denied: Callable[[Way], Denied],
        chosen: Chosen | None,
        known: Remembered,
        transfers: Transfers,
        changed: Callable[[], None],
    ) -> Syncing:
        """Return the link with what happens to it by the clock."""
        if spec.direction is Direction.BIDIRECTIONAL:
            return self._both_ways(
                spec, way, tracked, denied=denied, chosen=chosen, known=known, transfers=transfers, changed=changed
            )
        looks = Comparer if spec.strategy is Strategy.LOCAL else Looker
        looker = looks(spec, way, tracked, transformer=self._transforms.apply, denied=denied(way), chosen=chosen)
        copier = self._copier(Copier, spec, way, transfers)
        writer = Writer(spec, copier, self._paces.of(way.target.region))
        link = self._link(
            spec,
            way,
            tracked,
            looker=looker,
            writer=writer,
            may_write=lambda: self._may_write(spec, way),
            changed=changed,
        )
        return self._syncing(link, Pruner(link, copier, clock=self._clock), known)

    def _both_ways(
        self,
        spec: ReplicationSpec,
        way: Way,
        tracked: Mapping[Resource, Tracked],
        *,
        denied: Callable[[Way], Denied],
        chosen: Chosen | None,
        known: Remembered,
        transfers: Transfers,
        changed: Callable[[], None],
    ) -> Syncing:
        back = mirrored(way, spec)

        async def may_write() -> str:
            return await self._may_write(spec, way) or await self._may_write(spec, back)

        looker = PairLooker(
            spec,
            way,
            tracked,
            transformer=self._transforms.apply,
            denied=denied(way),
            denied_back=denied(back),
            chosen=chosen,
        )
        halves = [
            Half(one, self._copier(PairCopier, spec, one, transfers), self._paces.of(one.target.region))
            for one in (way, back)
        ]
        writer = PairWriter(spec, forth=halves[0], back=halves[1], clock=self._clock)
        link = self._link(spec, way, tracked, looker=looker, writer=writer, may_write=may_write, changed=changed)
        return self._syncing(link, PairPruner(link, looker, halves, clock=self._clock), known)

    def _link(
        self,
        spec: ReplicationSpec,
        way: Way,
        tracked: Mapping[Resource, Tracked],
        *,
        looker: Looker,
        writer: Writer,
        may_write: Callable[[], Awaitable[str]],
        changed: Callable[[], None],
    ) -> Link:
        return Link(
            spec,
            way,
            tracked,
            looker=looker,
            writer=writer,
            bodies=BodyFetcher(self._access),
            may_write=may_write,
            clock=self._clock,
            jitter=self._jitter,
            metrics=self._metrics,
            changed=changed,
        )

    def _syncing(self, link: Link, pruner: Pruner | PairPruner, known: Remembered) -> Syncing:
        return Syncing(
            link,
            pruner=pruner,
            reflectors=self._reflectors,
            clock=self._clock,
            last=known.last_pass,
            token=known.token,
            verified=known.verified,
        )

    def _copier(self, kind: type[C], spec: ReplicationSpec, way: Way, transfers: Transfers) -> C:
        return kind(spec, way, access=self._access, leadership=self._leadership, clock=self._clock, transfers=transfers)
