"""The epochs that every region has seen, in the region's own cluster: what survives the loss of the hub.

ConfigMap `regent-epochs` in the operator's namespace there, a fence for each policy. It is raised before anything of a
run is done in the region, compared and set, so a leader that was left behind finds itself fenced off also where its own
objects carry no fence; and a hub that is built anew finds there the epoch that it must not fall behind.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from regent.domain.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    FencedOffError,
    NotFoundError,
    PromotionProblemError,
    UnavailableError,
)
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.engine.agent_objects import config_map, data_key, read_fences
from regent.engine.ports import Object
from regent.engine.promotion import MemberAccess
from regent.engine.resources import CONFIG_MAPS

log = logging.getLogger("regent.epochs")

NAME = "regent-epochs"
MAX_CONFLICTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the regions of a policy say. `silent`: those that could not be asked, with the reason."""

    highest: Fence | None
    silent: dict[str, str]


class RegionEpochs:
    """Reads and raises the epochs.

    Args:
        members: how the regions' clusters are reached.
        namespace: the operator's, in all of them.
    """

    def __init__(self, *, members: MemberAccess, namespace: str) -> None:
        self._members = members
        self._namespace = namespace

    async def raise_to(self, region: str, policy: PolicySpec, fence: Fence) -> None:
        """Store `fence` as the policy's in the region. A repeated call writes nothing.

        Raises:
            FencedOffError: a greater one is stored there.
            ClusterError: not reachable, not allowed, or others keep writing.
            PromotionProblemError: the Region is wrong; says what to do.
        """
        for _ in range(MAX_CONFLICTS):
            cluster = await self._members.cluster(region)
            try:
                present: Object | None = await cluster.get(CONFIG_MAPS, self._namespace, NAME)
            except NotFoundError:
                present = None
            stored = read_fences(present).get(policy.key)
            if stored is not None and stored > fence:
                raise FencedOffError(f"region {region} has seen {stored} of {policy.key}, ours is {fence}")
            if stored == fence:
                return
            try:
                if present is None:
                    made = config_map(self._namespace, NAME, {data_key(policy.key): str(fence)})
                    await cluster.create(CONFIG_MAPS, made)
                else:
                    data = {**(present.get("data") or {}), data_key(policy.key): str(fence)}
                    await cluster.replace(CONFIG_MAPS, {**present, "data": data})
            except (ConflictError, AlreadyExistsError):
                continue
            return
        raise UnavailableError(f"{NAME} of region {region} was changed by others {MAX_CONFLICTS} times")

    async def enter(self, region: str, policy: PolicySpec, fence: Fence) -> None:
        """Raise the epoch before something is done in the region, as far as the region's API lets us.

        A database is often still reached where the API server is not, and must be demoted then all the same.

        Raises:
            FencedOffError: a greater one is stored there: nothing may be done.
        """
        try:
            await self.raise_to(region, policy, fence)
        except (ClusterError, PromotionProblemError) as error:
            log.warning("Epoch not stored: %s", error, extra={"object": policy.key, "region": region})

    async def stored(self, region: str, policy: PolicySpec) -> Fence | None:
        """Return the policy's fence in the region; None where there is none. Raises as `raise_to` does."""
        cluster = await self._members.cluster(region)
        try:
            return read_fences(await cluster.get(CONFIG_MAPS, self._namespace, NAME)).get(policy.key)
        except NotFoundError:
            return None

    async def highest(self, policy: PolicySpec) -> Found:
        """Ask all regions of the policy for the highest epoch; a region that cannot be asked is named, not waited for.

        A region that is not reached may hold the highest one, but a fence that is too low is found out by the first
        write there, while a policy that waits for a region that is down would protect nobody.
        """
        fences: list[Fence] = []
        silent: dict[str, str] = {}
        for entry in policy.regions:
            try:
                found = await self.stored(entry.name, policy)
            except (ClusterError, PromotionProblemError) as error:
                silent[entry.name] = str(error)
                continue
            if found is not None:
                fences.append(found)
        return Found(highest=max(fences, default=None), silent=silent)
