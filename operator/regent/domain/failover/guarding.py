"""The agent's side of isolation: when it fences a policy in its region, and when it lets go again. Pure.

The rule that the rest stands on: what the agent has stopped stays stopped until it has read from the hub, after it was
cut off, that no run holds the policy. Only then does it ask who is active: if that is its own region it brings back
what it had stopped, else it leaves it a standby. A run that begins after this reading asks the agent anew.

An agent that has just started knows nothing of what went on before: its region may have been away while another one was
activated, and its database may have started by itself. So data is *settled* only once the hub says that it is active
here, or it was seen passive at the hub's present epoch. And a database that is about to accept writes can ask first
(`may_promote`): that closes the time between its start and the agent's.
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
    """Another region is active: see that this one stands by, and then forget that it was stopped."""


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


def decide(*, fenced: bool, cut: bool, asked: Fence | None, view: PolicyView, settled: bool = True) -> Act:
    """Return what to do about one policy.

    Args:
        fenced: the agent has stopped its side, for whatever reason.
        cut: the hub is lost, see `cut_off`.
        asked: the fence of the hub's request to isolate; None: there is none.
        view: the policy.
        settled: its data was seen as the hub has it, at the present epoch; also where there is none.
    """
    if cut or live(asked, view):
        return Act.FENCE
    if not fenced and settled:
        return Act.NOTHING
    if not view.current or view.held:
        # What is not stopped is left alone until somebody says who is active: an agent that restarts in the middle of
        # a planned run must not stop a side that still serves. The run asks for it when it is time.
        return Act.FENCE if fenced else Act.NOTHING
    if not fenced and view.active:
        return Act.NOTHING
    return Act.RESTORE if view.active else Act.LET_GO


def own_fence(*, epoch: int, found: Fence | None, asked: Fence | None) -> Fence:
    """The fence under which the agent stops its side: never greater than what the hub has written or asked for, so
    that the hub's next write is not shut out, and never smaller than what stands on the objects."""
    return max(Fence(epoch), found or Fence(0), asked or Fence(0))


class Leave(Enum):
    """The answer to a database that asks whether it may accept writes."""

    YES = "yes"
    NOT_YET = "not yet"
    """It cannot be said now; another answer may come by itself."""
    NO = "no"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and its reason, for people."""

    leave: Leave
    reason: str


def may_promote(view: PolicyView, *, standby: bool, told: Fence | None) -> Answer:
    """Say whether a database of the region may start to accept writes.

    To be asked only while the agent's lease runs, with a view that was read from the hub after the question: whatever
    is committed after this reading reaches the agent, or waits until its lease has run out.

    Args:
        standby: the database's own configuration makes it a standby.
        told: the fence in that configuration: whoever wrote it last wanted the role that stands there.
    """
    if not view.current:
        return Answer(Leave.NOT_YET, "the hub does not say yet which region is active")
    if standby:
        return Answer(Leave.NO, "its configuration makes it a standby")
    if told is not None and told.epoch > view.epoch:
        # A hub that was restored from a backup has forgotten runs, and who is active since.
        return Answer(Leave.NOT_YET, f"the hub is at epoch {view.epoch} and has written {told} here before")
    if view.held:
        # The active region is changing. Only what the run itself has activated may start, and not what one of its
        # earlier attempts has: each attempt, and each undoing, has an epoch of its own.
        if told is not None and told.epoch == view.epoch:
            return Answer(Leave.YES, f"the run of epoch {view.epoch} has activated it")
        return Answer(Leave.NOT_YET, f"a run holds the policy at epoch {view.epoch}, and it was not activated by it")
    if view.active:
        return Answer(Leave.YES, f"the region is active at epoch {view.epoch}")
    return Answer(Leave.NO, f"another region is active, at epoch {view.epoch}")
