"""Which of the selected objects go to which target: the strategies Partial and Sharded.

Partial copies what is hot and leaves the rest in its source. Sharded puts each object on some of the targets; when a
target is lost its objects move to the others, and they move back once it has been well for a while. The rules are
`domain.replication.shard` and `selection.hot`; here is only what has to be remembered between two visits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from regent.domain.replication.model import KindRef, ObjectKey, ReplicationSpec, Strategy
from regent.domain.replication.selection import hot
from regent.domain.replication.shard import STABILITY, TargetHealth, in_use, placement
from regent.engine.ports import Object

Chosen = Callable[[KindRef, Object], bool]


class Spread:
    """The spread of one policy over its targets.

    Args:
        stability: seconds that a target must have been well before objects are moved back to it.
    """

    def __init__(self, spec: ReplicationSpec, *, stability: float = STABILITY) -> None:
        self._spec = spec
        self._stability = stability
        self._health: dict[str, TargetHealth] = {}
        self._in_use: frozenset[str] = frozenset()
        self.settled = spec.strategy is not Strategy.SHARDED
        """Whether it is known which targets can be used. Before that nothing may be copied: the first target to answer
        would get everything."""

    def chosen(self, region: str) -> Chosen | None:
        """Return what says whether an object goes to the target in `region`; None: all do."""
        if self._spec.strategy is Strategy.PARTIAL:
            return lambda _kind, obj: hot(obj, self._spec)
        if self._spec.strategy is Strategy.SHARDED:
            return lambda kind, obj: region in self._places(kind, obj)
        return None

    def visit(self, targets: Mapping[str, bool | None], *, now: float) -> bool:
        """Take in how the targets are; return whether objects have to be looked at anew, because places have changed.

        Args:
            targets: by region, whether it answers; None: not known yet.
            now: monotonic seconds.
        """
        if self._spec.strategy is not Strategy.SHARDED:
            return False
        for region, well in targets.items():
            before = self._health.get(region)
            if well is not None and (before is None or before.healthy is not well):
                self._health[region] = TargetHealth(well, now)
        if self._health.keys() < targets.keys():
            return False
        used = in_use(self._health, before=self._in_use, now=now, stability=self._stability)
        if self.settled and used == self._in_use:
            return False
        self.settled = True
        # With no target left everybody keeps what was last: there is nowhere to move to.
        changed = bool(used) and used != self._in_use
        self._in_use = used or self._in_use
        return changed

    def _places(self, kind: KindRef, obj: Object) -> tuple[str, ...]:
        metadata = obj["metadata"]
        key = ObjectKey(kind, str(metadata.get("namespace") or ""), str(metadata["name"]))
        return placement(key, self._in_use, self._spec.sharding_replicas)
