"""Writes into each PlacementPolicy what it comes to: the regions that satisfy it, and which policies break it now.

Obeying is done elsewhere, where candidates are judged (`policy_surroundings`) and where copies are made
(`replication.scope`); both read the rule as it is read here (`domain.placement`).
"""

from __future__ import annotations

from typing import Any

from regent.domain.conditions import Condition, merge
from regent.domain.labels import selects
from regent.domain.placement import ScopedRule, judge, satisfies, scoped_rule
from regent.domain.replication.placement import denied
from regent.domain.times import rfc3339
from regent.engine.ports import Clock, Object
from regent.engine.queue import Key, KeyedQueue, Priority
from regent.engine.records import status_of
from regent.engine.resources import FAILOVER_POLICIES, PLACEMENT_POLICIES, REGIONS, REPLICATION_POLICIES
from regent.engine.status import StatusWriter
from regent.engine.store import Store

NAMED = 8
"""Offenders that a message names."""

LENGTH = 4096
"""Characters of `status.eligibleRegions`."""


class PlacementReconciler:
    """Visits PlacementPolicies: low in priority, nothing waits for what it writes."""

    def __init__(self, *, store: Store, status: StatusWriter, queue: KeyedQueue, clock: Clock) -> None:
        self._store = store
        self._status = status
        self._queue = queue
        self._clock = clock
        store.subscribe(PLACEMENT_POLICIES, lambda key: self._add(key.namespace, key.name))
        store.subscribe(REGIONS, lambda key: self._all())
        for resource in (FAILOVER_POLICIES, REPLICATION_POLICIES):
            store.subscribe(resource, lambda key: self._all(key.namespace))

    def _add(self, namespace: str, name: str) -> None:
        self._queue.add(Key(PLACEMENT_POLICIES, namespace, name), priority=Priority.LOW)

    def _all(self, namespace: str | None = None) -> None:
        for obj in self._store.list(PLACEMENT_POLICIES, namespace):
            self._add(obj["metadata"]["namespace"], obj["metadata"]["name"])

    async def reconcile(self, key: Key) -> float | None:
        """Bring the status of one PlacementPolicy up to date."""
        obj = self._store.get(PLACEMENT_POLICIES, key.namespace, key.name)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return None
        now = rfc3339(self._clock.wall())
        await self._status.transact(
            PLACEMENT_POLICIES,
            key.namespace,
            key.name,
            lambda current: self._compose(current, now=now),
            uid=str(obj["metadata"]["uid"]),
        )
        return None

    def _compose(self, obj: Object, *, now: str) -> dict[str, Any]:
        scoped = scoped_rule(obj)
        regions = {item["metadata"]["name"]: _compliance(item) for item in self._store.list(REGIONS)}
        eligible = sorted(name for name, carries in regions.items() if satisfies(scoped.rule, name, carries))
        offenders = self._offenders(obj["metadata"]["namespace"], scoped, regions)
        generation = int(obj["metadata"].get("generation", 1))
        status = dict(status_of(obj))
        status["observedGeneration"] = generation
        status["eligibleRegions"] = ",".join(eligible)[:LENGTH]
        status["violations"] = len(offenders)
        ready = _ready(eligible, offenders)
        status["conditions"] = merge(status.get("conditions") or [], [ready], now=now, generation=generation)
        return status

    def _offenders(self, namespace: str, scoped: ScopedRule, regions: dict[str, frozenset[str]]) -> list[str]:
        found = []
        for policy in self._store.list(FAILOVER_POLICIES, namespace):
            if not selects(scoped.selector, policy["metadata"].get("labels") or {}):
                continue
            active = status_of(policy).get("activeRegions") or ()
            if any(judge([scoped.rule], name, regions.get(name, frozenset())).denied for name in active):
                found.append(f"FailoverPolicy {policy['metadata']['name']}")
        for policy in self._store.list(REPLICATION_POLICIES, namespace):
            labels = policy["metadata"].get("labels") or {}
            source = str(status_of(policy).get("sourceRegion") or "")
            targets = [str(item.get("region") or "") for item in (policy.get("spec") or {}).get("targets") or ()]
            refused = [
                name
                for name in targets
                if name != source
                and denied(
                    [scoped],
                    labels,
                    source_region=source,
                    target_region=name,
                    compliance=regions.get(name, frozenset()),
                )
            ]
            if refused:
                found.append(f"ReplicationPolicy {policy['metadata']['name']}")
        return sorted(found)


def _ready(eligible: list[str], offenders: list[str]) -> Condition:
    if not eligible:
        text = "no Region satisfies it: nothing that it selects may be anywhere. Correct allowedRegions or compliance"
        return Condition("Ready", "False", "NoEligibleRegion", text)
    if offenders:
        more = f" and {len(offenders) - NAMED} more" if len(offenders) > NAMED else ""
        text = f"active or to be copied where it may not be: {', '.join(offenders[:NAMED])}{more}"
        return Condition("Ready", "True", "Violated", text)
    return Condition("Ready", "True", "Obeyed", "")


def _compliance(region: Object) -> frozenset[str]:
    return frozenset(map(str, (region.get("spec") or {}).get("compliance") or ()))
