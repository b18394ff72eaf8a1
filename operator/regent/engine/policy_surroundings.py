"""What other objects of a policy's namespace say about its candidates: placement rules and the lag of replication.

Objects were validated when they were admitted and are read leniently here: what cannot be read binds nobody, but an
unknown lag counts as over the gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.domain.failover.model import PolicySpec, PolicyState
from regent.domain.labels import selects
from regent.domain.placement import PlacementRule, scoped_rule
from regent.engine.replication.storage_status import shown_storage
from regent.engine.resources import FAILOVER_POLICIES, PLACEMENT_POLICIES, REPLICATION_POLICIES
from regent.engine.store import Store


def placement_rules(store: Store, policy: PolicySpec) -> list[PlacementRule]:
    """Return the PlacementPolicies of the namespace that select the policy, by name."""
    if not store.list(PLACEMENT_POLICIES, policy.namespace):
        return []
    own = store.get(FAILOVER_POLICIES, policy.namespace, policy.name) or {"metadata": {}}
    labels = own["metadata"].get("labels") or {}
    rules = [
        scoped_rule(obj)
        for obj in store.list(PLACEMENT_POLICIES, policy.namespace)
        if not obj["metadata"].get("deletionTimestamp")
    ]
    return sorted((item.rule for item in rules if selects(item.selector, labels)), key=lambda rule: rule.name)


def replication_lags(
    store: Store, policy: PolicySpec, state: PolicyState, *, wall: float
) -> dict[str, dict[str, float | None]]:
    """Return, by Required ReplicationPolicy, the lag in seconds of each region that it replicates to: of its objects
    or of the data of its volumes, whichever is greater.

    A policy that is missing, or that replicates from elsewhere than the active region, says nothing about any region:
    its lags are unknown.
    """
    found: dict[str, dict[str, float | None]] = {}
    for ref in policy.options.replication:
        if not ref.required:
            continue
        obj = store.get(REPLICATION_POLICIES, policy.namespace, ref.name) or {}
        status = obj.get("status") or {}
        from_active = status.get("sourceRegion") == state.active_region
        rows = status.get("targets") or () if from_active else ()
        found[ref.name] = {str(row.get("region")): _lag(row, wall) for row in rows}
    return found


def _lag(row: Mapping[str, Any], wall: float) -> float | None:
    objects, storage = _seconds(row.get("lagMilliseconds")), shown_storage(row)
    if storage is None or objects is None:
        return objects
    data = storage.lag(wall)
    return None if data is None else max(objects, data)


def _seconds(milliseconds: object) -> float | None:
    return milliseconds / 1000.0 if isinstance(milliseconds, int | float) else None
