"""What a promotion step looks like in one region: the value that drivers report and the run machine judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from regent.domain.failover.fence import Fence


class Role(Enum):
    """The role that a step has in a region."""

    ACTIVE = "Active"
    """It serves (database: accepts writes; workload: scaled up and ready; VM: running)."""
    STANDBY = "Standby"
    """It is *proved* not to write: a demotion that is only on its way is CHANGING."""
    CHANGING = "Changing"
    """Between the two, or not the whole of either."""
    ABSENT = "Absent"
    """There is nothing to promote or demote in this region (object missing, region not listed by the step)."""
    UNKNOWN = "Unknown"
    """It could not be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleState:
    """One look at a step in a region."""

    role: Role
    message: str = ""
    """For people: what was seen, or why it could not be."""
    fence: Fence | None = None
    """The fence that stands on the object, where the step has somewhere to put one."""
    position: int | None = None
    """How far the data is, in the step's own unit (PostgreSQL: bytes of WAL). Comparable within one `history`."""
    history: str = ""
    """The line of history that `position` belongs to (PostgreSQL: the timeline)."""
    lag: float | None = None
    """Seconds that a standby is behind its source; None: not known."""
    doubt: str = ""
    """For people: what is known where the lag is not. It stays the same from look to look."""
    diverged: str = ""
    """For people: why a standby has another history than its source, and will never catch up; "": no sign of it."""
    wanted: Role | None = None
    """The role that its configuration asks for, whatever it has reached; None: not known."""
    held: bool = False
    """It was held back: it takes no writes, follows nobody, and keeps what it has written beside another region."""
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    """What `restore` needs to bring back exactly this state. JSON values only, and never a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncState:
    """How far the new side's data is behind the old side's final position."""

    done: bool
    """The final position is known and everything up to it has been replayed."""
    message: str = ""
    behind: int | None = None
    """Bytes (or the step's own unit) still missing; None: not known."""
    loss: str = ""
    """For people: what going on now may lose; "": what `message` says."""
