"""The clusters of a few regions in memory, for promotion drivers: implements `regent.engine.promotion.MemberAccess`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from regent.adapters.promotion.factory import PromotionDrivers, object_drivers
from regent.domain.errors import UnavailableError
from regent.domain.failover.model import PolicyRegion, PolicySpec
from regent.domain.failover.options import PromotionStep, RunOptions, StepKind
from regent.engine.promotion import PromotionDriver
from tests.fakes.clock import FakeClock
from tests.fakes.cluster import FakeCluster


class FakeMembers:
    """A cluster for each region, made when it is asked for."""

    def __init__(self) -> None:
        self.clusters: dict[str, FakeCluster] = defaultdict(FakeCluster)
        self.down: set[str] = set()
        self.together: set[str] = set()
        """Regions in one cluster."""
        self.accounts: list[tuple[str, str]] = []
        """(region, account) of every access, in order."""

    async def cluster(self, region: str, *, account: str = "") -> FakeCluster:
        self.accounts.append((region, account))
        if region in self.down:
            raise UnavailableError(f"the cluster of region {region} does not answer", reason="Timeout")
        return self.clusters[region]

    def shared(self, first: str, second: str) -> bool:
        return {first, second} <= self.together

    def used(self) -> set[tuple[str, str]]:
        """Everything that was done anywhere, as (plural, verb of RBAC)."""
        return {(resource.plural, verb) for cluster in self.clusters.values() for verb, resource, _, _ in cluster.calls}


def driver_of(
    members: FakeMembers,
    kind: StepKind,
    settings: Mapping[str, Any],
    *,
    clock: FakeClock | None = None,
    account: str = "failover",
    regions: tuple[str, ...] = (),
) -> PromotionDriver:
    """Return the driver of a policy `shop/shop` with this one step, as the operator would make it."""
    step = PromotionStep(name="step", kind=kind, settings=settings)
    policy = PolicySpec(
        namespace="shop",
        name="shop",
        uid="policy-uid",
        regions=tuple(PolicyRegion(name=name) for name in regions),
        options=RunOptions(promotion=(step,), service_account=account),
    )
    [made] = PromotionDrivers(object_drivers(members, clock=clock or FakeClock())).drivers(policy)
    return made
