"""Which region would be chosen, apart from any policy: all of them ranked as a failover ranks its candidates."""

from __future__ import annotations

from collections.abc import Collection

from regent.domain.failover.candidates import judge
from regent.domain.failover.model import Candidate, PolicyRegion, PolicySpec, PolicyState, Snapshot
from regent.domain.placement import PlacementRule
from regent.engine.resources import REGIONS
from regent.engine.simulation import region_view
from regent.engine.store import Store


def recommend(
    store: Store, *, wall: float, compliance: Collection[str] = (), exclude: Collection[str] = ()
) -> tuple[Candidate, ...]:
    """Rank the Regions in the store; those that cannot be chosen come last, with all that speaks against them.

    Args:
        store: with the Regions.
        wall: seconds since the epoch.
        compliance: frameworks that a region has to carry.
        exclude: names that are left out.
    """
    names = sorted(name for region in store.list(REGIONS) if (name := region["metadata"]["name"]) not in exclude)
    spec = PolicySpec(namespace="", name="", uid="", regions=tuple(PolicyRegion(name=name) for name in names))
    rules = [PlacementRule(name="asked for", compliance=frozenset(compliance))] if compliance else []
    snapshot = Snapshot(
        policy=spec,
        state=PolicyState(),
        regions={name: region_view(store.get(REGIONS, "", name), name, spec, rules, wall) for name in names},
        now=wall,
        wall_time=wall,
    )
    return judge(snapshot, desperate=False, fresh=False)
