"""The epochs that regions have kept, read and raised by a hub that takes over.

ConfigMap `regent-epochs` of the operator's namespace in each member cluster, the one that runs enter their epoch in
(`engine.region_epochs`). All policies of a region are raised by one write, compared and set, which also says which hub
it was and in which term: the same takeover again is then no takeover of a takeover, and the hub before finds out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from regent.domain.errors import AlreadyExistsError, ConflictError, NotFoundError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.hub import TERM
from regent.domain.hub_term import Claim
from regent.engine.agent_objects import config_map, data_key, read_fences
from regent.engine.ports import Object
from regent.engine.promotion import MemberAccess
from regent.engine.region_epochs import MAX_CONFLICTS, NAME
from regent.engine.resources import CONFIG_MAPS

HUB_ANNOTATION = "regent.dev/promoted-hub"
"""On the ConfigMap: uid of the hub that took over last."""
TERM_ANNOTATION = "regent.dev/hub-term"
"""Beside it: the term that this hub began with that."""
TERM_DIGITS = 9
"""Digits of a term that are believed."""


class OvertakenError(Exception):
    """Something in a region has become newer since it was looked at."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a region has kept: the fence of each policy, the hub that took over last, and its term."""

    fences: Mapping[str, Fence] = field(default_factory=dict)
    hub: str = ""
    term: int = 0

    def claim(self, region: str) -> Claim:
        """Give what the region says about hubs."""
        return Claim(region, self.hub, self.term)


async def read_kept(members: MemberAccess, region: str, namespace: str) -> Kept:
    """Return what the region has kept; raises as `MemberAccess.cluster` does."""
    cluster = await members.cluster(region)
    try:
        return _kept(await cluster.get(CONFIG_MAPS, namespace, NAME))
    except NotFoundError:
        return Kept()


async def raise_kept(
    members: MemberAccess, region: str, namespace: str, fences: Mapping[str, Fence], *, seen: Kept, hub: str, term: int
) -> None:
    """Raise the fences of these policies in the region, where they are still those that were `seen`, and leave there
    that `hub` has the `term` now.

    Raises:
        OvertakenError: a run or another hub has left another one since, so that what was judged is not so any more.
        ClusterError, PromotionProblemError: the region is not reached, or the write is not allowed.
    """
    cluster = await members.cluster(region)
    for _ in range(MAX_CONFLICTS):
        try:
            present: Object | None = await cluster.get(CONFIG_MAPS, namespace, NAME)
        except NotFoundError:
            present = None
        kept = _kept(present)
        moved = [key for key, fence in fences.items() if kept.fences.get(key) not in (seen.fences.get(key), fence)]
        if moved:
            raise OvertakenError(f"region {region} has seen another epoch of {', '.join(moved)} meanwhile")
        if (kept.term, kept.hub) != (seen.term, seen.hub) and kept.hub != hub:
            raise OvertakenError(f"another hub has taken over in region {region} meanwhile")
        data = {data_key(key): str(fence) for key, fence in fences.items()}
        claim = {HUB_ANNOTATION: hub, TERM_ANNOTATION: str(term)}
        try:
            if present is None:
                made = config_map(namespace, NAME, data)
                made["metadata"]["annotations"] = claim
                await cluster.create(CONFIG_MAPS, made)
                return
            metadata = present["metadata"]
            notes = {**(metadata.get("annotations") or {}), **claim}
            wanted = {
                **present,
                "metadata": {**metadata, "annotations": notes},
                "data": {**(present.get("data") or {}), **data},
            }
            if wanted != present:
                await cluster.replace(CONFIG_MAPS, wanted)
            return
        except (ConflictError, AlreadyExistsError):
            continue
    raise UnavailableError(f"{NAME} of region {region} was changed by others {MAX_CONFLICTS} times")


def _kept(obj: Object | None) -> Kept:
    annotations = ((obj or {}).get("metadata") or {}).get("annotations") or {}
    fences, hub = read_fences(obj), str(annotations.get(HUB_ANNOTATION) or "")
    text = str(annotations.get(TERM_ANNOTATION) or "")
    if text.isascii() and text.isdigit() and len(text) <= TERM_DIGITS:
        return Kept(fences, hub, int(text))
    # A hub that wrote no term has left epochs of its term all the same.
    return Kept(fences, hub, max((fence.epoch // TERM for fence in fences.values()), default=0) if hub else 0)
