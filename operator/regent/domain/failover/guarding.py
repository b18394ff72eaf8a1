"""The agent's side of isolation: when it fences a policy in its region, and when it lets go again. Pure.

The rule that the rest stands on: what the agent has stopped stays stopped until it has read from the hub, after it was
cut off, that no run holds the policy. Only then does it ask who is active: if that is its own region it brings back
what it had stopped, else it leaves it a standby. A run that begins after this reading asks the agent anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from regent.domain.failover.fence import Fence


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView:
    """A policy's status as last read from the hub."""

    epoch: int
    held: bool
    """A committed run holds the policy."""
    active: bool
    """The agent's region is active, or one of the active ones."""
    current: bool
    """It was read since the hub could last be reached."""


class Act(Enum):
    """What the agent does about a policy now."""

    NOTHING = "Nothing"
    FENCE = "Fence"
    """Demote what is not passive, and keep it so. While the hub is lost that holds for whatever is found, also for what
    was activated since: without its lease the region may not serve."""
    RESTORE = "Restore"
    """Bring back what was stopped."""
    LET_GO = "LetGo"
    """Forget that it was stopped: it is a standby now."""


GRACE = 0.25
"""Share of the lease's duration for which an agent that has just taken over tries to reach the hub. Short, because it
does not know for how long the one before it had not: `isolation.TAKEOVER` allows for that."""


def cut_off(*, now: float, since: float, renewed: float | None, duration: float) -> bool:
    """Whether the agent must take the hub for lost.

    Args:
        now: its monotonic clock.
        since: when this process began to act for the region.
        renewed: when the last renewal that succeeded was *sent*; None: none has since then.
        duration: of the lease.
    """
    if renewed is not None:
        return now - renewed >= duration
    return now - since >= duration * GRACE


def live(asked: Fence | None, view: PolicyView) -> bool:
    """Whether the hub's request to isolate still stands: its run holds the policy, or is newer than what we read."""
    return asked is not None and (asked.epoch > view.epoch or (asked.epoch == view.epoch and view.held))


def decide(*, fenced: bool, cut: bool, asked: Fence | None, view: PolicyView) -> Act:
    """Return what to do about one policy.

    Args:
        fenced: the agent has stopped its side, for whatever reason.
        cut: the hub is lost, see `cut_off`.
        asked: the fence of the hub's request to isolate; None: there is none.
        view: the policy.
    """
    if cut or live(asked, view):
        return Act.FENCE
    if not fenced:
        return Act.NOTHING
    if not view.current or view.held:
        return Act.FENCE
    return Act.RESTORE if view.active else Act.LET_GO


def own_fence(*, epoch: int, found: Fence | None, asked: Fence | None) -> Fence:
    """The fence under which the agent stops its side: never greater than what the hub has written or asked for, so
    that the hub's next write is not shut out, and never smaller than what stands on the objects."""
    return max(Fence(epoch), found or Fence(0), asked or Fence(0))
