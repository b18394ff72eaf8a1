"""Which hub acts: the roles of a hub, the terms that hubs have one after the other, and when one has been superseded.

A hub that takes over begins a term with a number that no hub had before it, and leaves it in every region that it
reaches, beside the raised epochs. A hub that finds there a greater term than its own, of another hub, has been
superseded while it was away: it may not act on what it remembers. Neighbours: `domain.hub` (epochs of a takeover),
`engine.hub_record` (where a hub keeps this), `engine.hub_guard` (who asks).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class HubRole(Enum):
    """What a hub is there for."""

    ACTIVE = "Active"
    STANDBY = "Standby"
    """Keeps what another hub knows, and decides nothing."""
    PROMOTING = "Promoting"
    """A takeover was begun: nothing is copied any more, and nothing is decided yet."""
    SUPERSEDED = "Superseded"
    """Another hub has taken over from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRecord:
    """What a hub has written down about itself."""

    role: HubRole | None = None
    """None: nothing; such a hub acts, unless it was told to follow another one."""
    term: int = 0
    """0: that of a hub that never took over."""
    other: str = ""
    """Uid of the hub that it follows, or that took over from it; "" while that is unknown."""
    secret: str = ""
    """`namespace/name` of the Secret with the kubeconfig of the hub that it follows."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a region says about hubs: uid and term of the one that took over last."""

    region: str
    hub: str
    term: int


def acting_role(record: HubRecord, *, follows: bool) -> HubRole:
    """Return the role of a hub.

    What was written down goes before what the settings say, since a promotion has to outlive the settings of a standby,
    and a standby whose settings were lost must not act on copies. A hub that was superseded may become a standby.

    Args:
        record: its own.
        follows: its settings name a hub to follow.
    """
    if record.role is None or record.role is HubRole.SUPERSEDED:
        return HubRole.STANDBY if follows else record.role or HubRole.ACTIVE
    return record.role


def superseded_by(claims: Iterable[Claim], *, hub: str, term: int) -> Claim | None:
    """Return the claim of the hub that has taken over from this one; None while this one may act.

    Two hubs that took over at the same time, each without the regions of the other, have the same term: of them the one
    with the greater uid goes on, as both find out when they see each other's regions.

    Args:
        claims: of all regions that answered. One that a later takeover did not reach keeps an old claim; so the
            greatest counts, and one of this hub's own shows its term even where its record was lost.
        hub: uid of this hub.
        term: its own, as recorded.
    """
    known = list(claims)
    own = max([term, *(claim.term for claim in known if claim.hub == hub)])
    others = [claim for claim in known if claim.term and claim.hub not in ("", hub)]
    highest = max(others, key=lambda claim: (claim.term, claim.hub), default=None)
    return highest if highest is not None and (highest.term, highest.hub) > (own, hub) else None


def next_term(claims: Iterable[Claim], *, hub: str, term: int, least: int = 0) -> int:
    """Return the term of a hub that takes over: beyond all claims of others, and its own one again when it is beyond
    them already, so that a takeover that was cut short is finished by the same one.

    Args:
        claims: of all regions that answered.
        hub: uid of this hub.
        term: its own, as recorded.
        least: what the epochs of the policies say about earlier terms.
    """
    known = list(claims)
    others = max((claim.term for claim in known if claim.hub != hub), default=0)
    own = max([term, *(claim.term for claim in known if claim.hub == hub)])
    return max(own if own > others else others + 1, least, 1)
