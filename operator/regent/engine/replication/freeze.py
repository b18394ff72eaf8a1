"""When a policy's copies must stand still: while a failover moves what they are about.

From its commit to its end a run owns both sides. What the old side had written until it was stopped is still copied
(the run waits for that in its step FinalSync); after that nothing is, because the new side's objects are being woken
and a copy of the old side would put them to sleep again.
"""

from __future__ import annotations

from regent.domain.failover.model import PolicySpec
from regent.domain.replication.model import Link as Way
from regent.domain.replication.model import ReplicationSpec
from regent.engine.region_epochs import RegionEpochs
from regent.engine.replication.scope import Scope
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS
from regent.engine.store import Store

FINAL_SYNC = "FinalSync"


def frozen(spec: ReplicationSpec, scope: Scope, way: Way, store: Store) -> str:
    """Why nothing is written now because of a failover; "" when it is."""
    for policy in store.list(FAILOVER_POLICIES, spec.namespace):
        name, status = policy["metadata"]["name"], policy.get("status") or {}
        operation = status.get("operation") or {}
        if not operation or not (name == scope.failover or _refers(policy, spec.name)):
            continue
        run = store.get(FAILOVERS, spec.namespace, str(operation.get("name") or ""))
        steps = ((run or {}).get("status") or {}).get("steps") or ()
        synced = any(item.get("name") == FINAL_SYNC and item.get("state") in ("Succeeded", "Skipped") for item in steps)
        if synced or run is None:
            return f"frozen by Failover {operation.get('name')}"
    return ""


def _refers(policy: dict[str, object], name: str) -> bool:
    spec = policy.get("spec")
    refs = spec.get("replicationPolicyRefs") if isinstance(spec, dict) else None
    return any(isinstance(ref, dict) and ref.get("name") == name for ref in refs or ())


class EpochCheck:
    """Asks a target before each batch which epoch it has seen: a replicator that was left behind must not write."""

    def __init__(self, *, store: Store, epochs: RegionEpochs) -> None:
        self._store = store
        self._epochs = epochs

    async def may_write(self, spec: ReplicationSpec, way: Way) -> str:
        """Say why nothing may be written now, "" when it may. Raises as `RegionEpochs.stored` does."""
        followed = spec.source.follow_policy
        policy = self._store.get(FAILOVER_POLICIES, spec.namespace, followed) if followed else None
        if policy is None:
            return ""
        owner = PolicySpec(namespace=spec.namespace, name=followed, uid=str(policy["metadata"]["uid"]))
        seen = await self._epochs.stored(way.target.region, owner)
        if seen is not None and seen.epoch > way.epoch:
            return f"StaleEpoch: region {way.target.region} has seen epoch {seen.epoch}, this copy is of {way.epoch}"
        return ""
