"""When a policy's copies must stand still: while a failover moves what they are about.

From its commit to its end a run owns both sides. What the old side had written until it was stopped is still copied
(the run waits for that in its step FinalSync); after that nothing is, because the new side's objects are being woken
and a copy of the old side would put them to sleep again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regent.domain.failover.model import PolicySpec
from regent.domain.replication.model import Link as Way
from regent.domain.replication.model import ReplicationSpec
from regent.engine.region_epochs import RegionEpochs
from regent.engine.replication.scope import owners_of
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS
from regent.engine.store import Store

FINAL_SYNC = "FinalSync"


def frozen(spec: ReplicationSpec, store: Store) -> str:
    """Why nothing is written now because of a failover; "" when it is."""
    for status in owners_of(spec, store):
        operation = status.get("operation")
        if not operation:
            continue
        name = str(operation.get("name") or "")
        run = store.get(FAILOVERS, spec.namespace, name) or {}
        steps = (run.get("status") or {}).get("steps") or ()
        waits = any(item.get("name") == FINAL_SYNC and item.get("state") == "Running" for item in steps)
        if not waits and (any(item.get("name") == FINAL_SYNC for item in steps) or not _isolates(steps)):
            return f"frozen by Failover {name}"
    return ""


def _isolates(steps: Sequence[Mapping[str, object]]) -> bool:
    """Whether the old side is still being stopped: what it writes meanwhile may be copied as ever."""
    return not any(str(item.get("name")).startswith(("Promote", "Verify", "Shift")) for item in steps)


class EpochCheck:
    """Asks a target before each batch which epoch it has seen: a replicator that was left behind must not write."""

    def __init__(self, *, store: Store, epochs: RegionEpochs) -> None:
        self._store = store
        self._epochs = epochs

    async def may_write(self, spec: ReplicationSpec, way: Way) -> str:
        """Say why nothing may be written now, "" when it may. Raises as `RegionEpochs.stored` does."""
        # Read off the store at the last moment: a visit that would pause the link may come too late.
        reason = frozen(spec, self._store)
        if reason:
            return reason
        followed = spec.source.follow_policy
        policy = self._store.get(FAILOVER_POLICIES, spec.namespace, followed) if followed else None
        operation = ((policy or {}).get("status") or {}).get("operation") or {}
        if policy is None or way.target.region == operation.get("from"):
            # The side that a run is leaving has been told of its epoch already. It is written to only with changes in
            # both directions, while the run waits for the last of them.
            return ""
        owner = PolicySpec(namespace=spec.namespace, name=followed, uid=str(policy["metadata"]["uid"]))
        seen = await self._epochs.stored(way.target.region, owner)
        if seen is not None and seen.epoch > way.epoch:
            return f"StaleEpoch: region {way.target.region} has seen epoch {seen.epoch}, this copy is of {way.epoch}"
        return ""
