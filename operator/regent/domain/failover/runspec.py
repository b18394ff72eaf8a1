"""What a Failover object asks for, resolved from its spec."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from regent.domain.failover.model import RunType
from regent.domain.failover.options import Transition

LATEST = 600.0
"""A scheduled run that is later than this many seconds is cancelled: the world has moved on."""


class Desired(Enum):
    """What a person wants of the run now."""

    RUN = "Run"
    PAUSE = "Pause"
    CANCEL = "Cancel"
    ROLLBACK = "Rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One run as it was asked for."""

    namespace: str
    name: str
    uid: str
    policy: str
    type: RunType = RunType.FAILOVER
    source: str = ""
    to: str = ""
    dry_run: bool = False
    reason: str = ""
    schedule_time: float | None = None
    desired: Desired = Desired.RUN
    force: bool = False
    approved_plan: str = ""
    accept_data_loss: bool = False
    transition: Transition | None = None
    """Replaces the policy's, where it is given."""
    unsupported: tuple[str, ...] = ()
    """Fields that ask for what this version does not do: the run is refused, never half obeyed."""
