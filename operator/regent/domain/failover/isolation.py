"""Isolation of a region that cannot be asked itself: what its agent's word and its agent's silence prove.

An agent lives inside the region. While it reaches the hub it renews a Lease there; when it has not been able to for the
Lease's duration, by its own clock, it demotes and stops its side of every policy that it guards, within its demotion
limit, and keeps it so until it has heard from the hub again. So there are two proofs that nothing of a policy writes in
the region any more:

- its word: the agent says that it has isolated the policy, at this fence or a later one;
- its silence: the Lease has not changed before the waiter's own eyes for as long as the agent may need (`patience`) and
  the clock skew.

The waiter counts from when *it* first saw the present renewal: the agent cannot have renewed later than that. A renewal
that is new starts over, and so does a waiter that has just begun to look (a new leader). Silence proves nothing where
the agent did not know the policy as it is, had been stopped on purpose, or could not do its work when last heard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from regent.domain.duration import format_duration
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import PromotionStep

TAKEOVER = 0.65
"""Share of the Lease's duration that it may take on top when the agent dies just before it would have fenced, until
another one of its region has taken over (0.4) and finds itself cut off (0.25)."""

ASK_AGAIN = 0.25
"""Seconds between two looks for the answer of an agent that is connected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """What the hub can read of a region's agent."""

    holder: str
    """Identity of the agent's process; "": it was stopped, or has never run."""
    renewal: tuple[str, ...]
    """Everything about the last renewal. Two renewals are never equal."""
    duration: float
    """Seconds without a renewal after which the agent fences, by its own clock."""
    demotion_limit: float
    """Seconds within which it promises to be done with that."""
    impaired: str = ""
    """Why it could not have kept that promise when last heard; "": it could."""
    guards: Mapping[str, str] = field(default_factory=dict)
    """`guard` of each policy that it knows, by the policy's key."""
    isolated: Mapping[str, Fence] = field(default_factory=dict)
    """Fence of each policy whose side it has demoted, and keeps so, by the policy's key."""

    @property
    def patience(self) -> float:
        """Seconds of silence after which the region's agents have fenced it, by their own clocks. One of them may have
        died meanwhile."""
        return self.duration * (1 + TAKEOVER) + self.demotion_limit


@dataclass(frozen=True, slots=True)
class Sighting:
    """The last renewal that a waiter has seen, and since when (its own monotonic clock)."""

    renewal: tuple[str, ...]
    since: float


class Standing(Enum):
    """How a region's isolation stands."""

    NO_AGENT = "NoAgent"
    STOPPED = "Stopped"
    NOT_GUARDED = "NotGuarded"
    IMPAIRED = "Impaired"
    ASKED = "Asked"
    """The agent is connected and has been asked; its answer is waited for."""
    SILENT = "Silent"
    """The agent is silent, but not for long enough yet."""
    ISOLATED = "Isolated"
    """Proved by its word."""
    LAPSED = "Lapsed"
    """Proved by its silence."""


PROVED = frozenset({Standing.ISOLATED, Standing.LAPSED})
POSSIBLE = frozenset({*PROVED, Standing.ASKED, Standing.SILENT})
"""Standings in which waiting brings proof, or has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is known, in words too. `retry_after`: seconds until it can be otherwise by itself."""

    standing: Standing
    message: str
    retry_after: float = 1.0

    @property
    def proved(self) -> bool:
        """Nothing of the policy writes in the region, and nothing will before it is released."""
        return self.standing in PROVED

    @property
    def possible(self) -> bool:
        """Waiting longer can bring proof."""
        return self.standing in POSSIBLE


def proof_steps(policy: PolicySpec) -> tuple[PromotionStep, ...]:
    """The steps that have to be proved passive: where anything diverges that is the data, else all of them."""
    steps = policy.options.promotion
    data = tuple(step for step in steps if step.holds_data)
    return data or steps


def guard(policy: PolicySpec) -> str:
    """A digest of what an agent has to know of a policy in order to fence it. What is not in it may change freely."""
    steps = [[step.name, step.kind.value, dict(step.settings)] for step in policy.options.promotion]
    regions = sorted(entry.name for entry in policy.regions)
    body = json.dumps([policy.uid, regions, policy.options.service_account, steps], sort_keys=True, default=str)
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def sight(last: Sighting | None, presence: Presence, *, now: float) -> Sighting:
    """Return since when the present renewal has been seen."""
    if last is not None and last.renewal == presence.renewal:
        return last
    return Sighting(presence.renewal, now)


def find(
    presence: Presence | None,
    sighting: Sighting | None,
    policy: PolicySpec,
    *,
    region: str,
    fence: Fence,
    now: float,
    skew: float,
) -> Finding:
    """Judge whether `region` is isolated from `policy`.

    Args:
        presence: what was read of the agent just now; None: there is no agent.
        sighting: the one that `sight` made of it.
        policy: as it is now.
        region: the region in question.
        fence: the fence of the run that asks.
        now: the clock that `sighting` is by.
        skew: seconds by which two clocks may differ over the time that is waited.
    """
    if presence is None or sighting is None:
        message = f"no agent is known in region {region}: run `regent agent --fence` there, or fence it by hand"
        return Finding(standing=Standing.NO_AGENT, message=message)
    quiet = max(0.0, now - sighting.since)
    connected = bool(presence.holder) and quiet < presence.duration
    guarded = presence.guards.get(policy.key) == guard(policy)
    isolated = presence.isolated.get(policy.key)
    agent = f"the agent in {region}"
    if guarded and isolated is not None and isolated >= fence:
        return Finding(standing=Standing.ISOLATED, message=f"{agent} has isolated it at {isolated}")
    if not presence.holder:
        return Finding(standing=Standing.STOPPED, message=f"{agent} was stopped or has never run: it fences nothing")
    if connected:
        return Finding(standing=Standing.ASKED, message=f"{agent} is asked to isolate it", retry_after=ASK_AGAIN)
    # Without the seconds so far: a text that changes with each look would be written with each look.
    heard = f"{agent} is silent"
    if not guarded:
        message = f"{heard} and did not know the policy as it is now"
        return Finding(standing=Standing.NOT_GUARDED, message=message)
    if presence.impaired:
        message = f"{heard} and could not have fenced it: {presence.impaired}"
        return Finding(standing=Standing.IMPAIRED, message=message)
    wait = presence.patience + skew
    if quiet < wait:
        message = f"{heard}; after {format_duration(wait)} it has fenced its region"
        return Finding(standing=Standing.SILENT, message=message, retry_after=min(1.0, wait - quiet))
    return Finding(
        standing=Standing.LAPSED, message=f"{heard} for {format_duration(wait)}: it has fenced its region by itself"
    )


def foresee(presence: Presence | None, policy: PolicySpec, *, region: str, skew: float) -> Finding:
    """Judge whether the isolation of `region` would be proved if nothing of it could be reached from now on.

    Its agent would fall silent now and fence: what keeps that from being a proof can be seen beforehand.
    """
    if presence is None:
        return find(None, None, policy, region=region, fence=Fence(0), now=0.0, skew=skew)
    wait = presence.patience + skew
    sighting = Sighting(presence.renewal, -wait)
    # What it has isolated before is another run's: that of now is asked for at a higher fence.
    found = find(
        replace(presence, isolated={}), sighting, policy, region=region, fence=Fence(0), now=0.0, skew=skew
    )  # fmt: skip
    if not found.proved:
        return found
    message = f"the agent in {region} would have fenced it {format_duration(wait)} after it was last heard"
    return Finding(standing=found.standing, message=message, retry_after=wait)
