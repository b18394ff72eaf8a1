"""What one visit of a policy works with, and what it hears back from a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from regent.domain.failover.model import PolicySpec, PolicyState, Snapshot
from regent.engine.alignment import TargetReport
from regent.engine.ports import Object
from regent.engine.promotion import PromotionDriver
from regent.engine.traffic import TrafficTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One policy, gathered for one visit."""

    policy: Object
    spec: PolicySpec
    state: PolicyState
    snapshot: Snapshot
    targets: Sequence[TrafficTarget]
    runs: Sequence[Object]
    drivers: Sequence[PromotionDriver] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """How far a run got. `over`: it is in a terminal phase. `held`: it waits, and others may go first. `action`: what
    a person can do so that it goes on."""

    over: bool = False
    held: bool = False
    retry_after: float | None = None
    reports: Sequence[TargetReport] = field(default_factory=tuple)
    action: str = ""
