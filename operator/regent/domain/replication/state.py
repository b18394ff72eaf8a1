"""How far the copies are: lag, counts and the state, by rules that can be read aloud.

Paused: suspended, or the region is in maintenance, or a failover has frozen the policy.
Failed: the target cannot be reached, its credentials are refused, or the last objects that were applied all failed.
OutOfSync: the lag is over the limit, or digests differ after a complete pass, or something is in conflict or held back.
Syncing: something is to be written and the lag is within the limit.
InSync: nothing is to be written, and the digests were found equal less than two verification intervals ago.
Unknown: anything else. What has not been verified is not in sync, and a lag that is not known is not zero.
The first that holds is the state.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from regent.domain.replication.model import ObjectKey

FAILURES_IN_A_ROW = 10
"""Objects that were applied last, each counted once, that must all have failed for the target to count as failed."""


class State(Enum):
    """State of a target or a policy; the values are the API's."""

    IN_SYNC = "InSync"
    SYNCING = "Syncing"
    OUT_OF_SYNC = "OutOfSync"
    FAILED = "Failed"
    PAUSED = "Paused"
    UNKNOWN = "Unknown"


_SEVERITY = (State.IN_SYNC, State.SYNCING, State.PAUSED, State.UNKNOWN, State.OUT_OF_SYNC, State.FAILED)


class Digests(Enum):
    """What the last comparison of digests said."""

    NEVER = "Never"
    EQUAL = "Equal"
    DIFFERENT = "Different"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Objects of one target by state."""

    desired: int = 0
    in_sync: int = 0
    pending: int = 0
    drifted: int = 0
    """Part of `pending`: copies that somebody changed in the target."""
    conflicted: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """What the state of a target follows from. Times are seconds since the epoch."""

    now: float
    paused: str = ""
    """Why nothing is copied, for people; "" when it is."""
    broken: str = ""
    """Why the target cannot be written to at all: not reachable, credentials refused; "" when it can."""
    all_failed: bool = False
    """`Outcomes.all_failed`."""
    counts: Counts = field(default_factory=Counts)
    lag: float | None = None
    """By `lag`."""
    digests: Digests = Digests.NEVER
    verified_at: float | None = None
    """When digests were last found equal."""
    prune_blocked: bool = False
    verify_interval: float
    out_of_sync_after: float


def lag(
    *, now: float, oldest_pending: float | None, heard_at: float | None, frozen_at: float | None = None
) -> float | None:
    """Return how far a target is behind, in seconds; None when that is not known.

    The greater of the age of the oldest change that was seen and is not applied, and of the silence since the source
    was last heard (an event, a bookmark, a read that it answered): a dead source has a lag that grows.

    Args:
        now: seconds since the epoch, as all times here.
        oldest_pending: when the oldest change was seen that is not applied; None: there is none. Objects that fail for
            good are not in it.
        heard_at: when the source was last heard; None: never.
        frozen_at: when an unplanned failover was detected: the lag stays what it was then.
    """
    if heard_at is None:
        return None
    moment = now if frozen_at is None else min(now, frozen_at)
    ages = [moment - time for time in (heard_at, oldest_pending) if time is not None]
    return max(0.0, *ages)


def target_state(facts: TargetFacts) -> State:
    """Return the state of one target, by the rules of this module."""
    counts = facts.counts
    if facts.paused:
        return State.PAUSED
    if facts.broken or facts.all_failed:
        return State.FAILED
    late = facts.lag is not None and facts.lag > facts.out_of_sync_after
    differs = facts.digests is Digests.DIFFERENT and counts.pending == 0
    if late or differs or counts.conflicted or counts.failed or facts.prune_blocked:
        return State.OUT_OF_SYNC
    if facts.lag is None:
        return State.UNKNOWN
    if counts.pending:
        return State.SYNCING
    if facts.digests is Digests.EQUAL and facts.verified_at is not None:
        age = facts.now - facts.verified_at
        return State.IN_SYNC if age < 2 * facts.verify_interval else State.UNKNOWN
    return State.UNKNOWN


def worst_state(states: Iterable[State]) -> State:
    """Return the state of a policy from those of its targets; Unknown without any."""
    return max(states, key=_SEVERITY.index, default=State.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The last objects that were applied to one target, the newest last, each once: retries of one object that fails
    for ever must not make a healthy target look failed."""

    last: tuple[tuple[ObjectKey, bool], ...] = ()

    def add(self, key: ObjectKey, *, succeeded: bool) -> Outcomes:
        """Return the outcomes with one more."""
        kept = tuple(item for item in self.last if item[0] != key)
        return Outcomes((*kept, (key, succeeded))[-FAILURES_IN_A_ROW:])

    def all_failed(self, *, desired: int) -> bool:
        """Whether the last objects all failed: ten, or as many as there are."""
        enough = len(self.last) >= max(1, min(FAILURES_IN_A_ROW, desired))
        return enough and not any(succeeded for _, succeeded in self.last)
