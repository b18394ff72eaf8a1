"""What the promotion drivers for Kubernetes objects have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from regent.adapters.promotion.objects import Objects
from regent.domain.errors import PromotionProblemError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.domain.failover.options import PromotionStep
from regent.domain.failover.roles import Role, RoleState, SyncState
from regent.engine.ports import Clock


class ObjectDriver(ABC):
    """A step about one Kubernetes object in each region. Implements the parts of
    `regent.engine.promotion.PromotionDriver` that are the same for all kinds."""

    one_for_each_region = False
    """Whether the objects have names of their own in each region, so that regions may share a cluster."""

    def __init__(self, policy: PolicySpec, step: PromotionStep, objects: Objects, clock: Clock) -> None:
        self._policy = policy
        self._step = step
        self._objects = objects
        self._clock = clock

    @property
    def step(self) -> PromotionStep:
        """What the policy says about it."""
        return self._step

    async def observe(self, region: str) -> RoleState:
        """Look at the object; see the port."""
        self._refuse_shared(region)
        try:
            return await self._look(region)
        except UnavailableError as error:
            return RoleState(role=Role.UNKNOWN, message=str(error))

    async def sync(self, source: str, to: str) -> SyncState:
        """There is no data in it."""
        return SyncState(done=True, message="the step has no data of its own")

    async def divergence(self, region: str, active: str) -> str:
        """There is no data in it that could differ."""
        return ""

    @abstractmethod
    async def promote(self, region: str, *, source: str, fence: Fence, run: str) -> None:
        """Ask for the active role; see the port."""

    @abstractmethod
    async def demote(self, region: str, *, successor: str, fence: Fence, run: str) -> None:
        """Ask for the standby role; see the port."""

    @abstractmethod
    async def restore(self, region: str, snapshot: Mapping[str, Any], *, fence: Fence, run: str) -> None:
        """Bring back what was; see the port."""

    @abstractmethod
    async def _look(self, region: str) -> RoleState:
        """Look at the object; raises what the port allows, and UnavailableError when it cannot be asked."""

    def _refuse_shared(self, region: str) -> None:
        """Raise PromotionProblemError when the object is that of another region too: demoting one side would be
        demoting the other. Seen at the first look, long before a failover."""
        if self.one_for_each_region:
            return
        for other in self._policy.regions:
            if other.name != region and self._objects.shared(region, other.name):
                raise PromotionProblemError(
                    "SameCluster",
                    f"promotion step {self._step.name}: {region} and {other.name} are in the same cluster, so its "
                    "object would be one for both: give each region a cluster of its own (Region spec.cluster)",
                )

    def _absent(self, region: str, kind: str, name: str) -> RoleState:
        return RoleState(
            role=Role.ABSENT,
            message=f"there is no {kind} {name} in namespace {self._objects.namespace} of region {region}",
        )


def condition(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the status condition of this type; {} when there is none."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((item for item in conditions if item.get("type") == kind), {})


def owned_by(obj: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    """Say whether `owner` is one of the owners of `obj`."""
    uid = owner["metadata"]["uid"]
    return any(reference.get("uid") == uid for reference in obj["metadata"].get("ownerReferences") or ())


def in_words(names: Sequence[str]) -> str:
    """Return a few of the names."""
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
