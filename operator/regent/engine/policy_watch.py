"""Which events lead to a visit of which policy.

Health changes arrive by a function call from the probe that found them, with high priority: no watch round trip and no
queue of status work lies between a failing probe and the decision.
"""

from __future__ import annotations

from regent.engine.health import HealthTracker
from regent.engine.ports import Object
from regent.engine.queue import Key, KeyedQueue, Priority
from regent.engine.resources import (
    FAILOVER_POLICIES,
    FAILOVERS,
    PLACEMENT_POLICIES,
    REGIONS,
    REPLICATION_POLICIES,
    SERVICES,
)
from regent.engine.store import Store
from regent.engine.traffic import TARGET_FIELDS, names_in_hub


class PolicyWatch:
    """Subscribes the queue of policies to everything that a decision depends on."""

    def __init__(self, *, store: Store, tracker: HealthTracker, queue: KeyedQueue) -> None:
        self._store = store
        self._queue = queue
        store.subscribe(FAILOVER_POLICIES, self._policy)
        store.subscribe(FAILOVERS, self._run)
        store.subscribe(REGIONS, lambda key: self.region(key.name, priority=Priority.NORMAL))
        for resource in TARGET_FIELDS:
            store.subscribe(resource, self._target)
        store.subscribe(SERVICES, self._service)
        store.subscribe(PLACEMENT_POLICIES, self._neighbour)
        store.subscribe(REPLICATION_POLICIES, self._neighbour)
        tracker.subscribe(self.region)

    def region(self, region: str, *, priority: Priority = Priority.HIGH) -> None:
        """Visit every policy that lists `region`."""
        for policy in self._store.list(FAILOVER_POLICIES):
            if any(entry.get("name") == region for entry in (policy.get("spec") or {}).get("regions") or ()):
                self._queue.add(_key(policy), priority=priority)

    def _policy(self, key: Key) -> None:
        self._queue.add(key)
        if self._store.get(FAILOVER_POLICIES, key.namespace, key.name) is None:
            # A policy that is gone may have held a target that another one waits for.
            for policy in self._store.list(FAILOVER_POLICIES, key.namespace):
                self._queue.add(_key(policy))

    def _run(self, key: Key) -> None:
        run = self._store.get(FAILOVERS, key.namespace, key.name)
        name = (((run or {}).get("spec") or {}).get("policyRef") or {}).get("name")
        if name:
            self._queue.add(Key(FAILOVER_POLICIES, key.namespace, name))

    def _target(self, key: Key) -> None:
        for policy in self._store.list(FAILOVER_POLICIES, key.namespace):
            if key.name in names_in_hub(policy, key.resource):
                self._queue.add(_key(policy))

    def _neighbour(self, key: Key) -> None:
        """Placement and replication of a namespace decide about the candidates of its policies."""
        for policy in self._store.list(FAILOVER_POLICIES, key.namespace):
            self._queue.add(_key(policy))

    def _service(self, key: Key) -> None:
        for policy in self._store.list(FAILOVER_POLICIES):
            if (policy.get("spec") or {}).get("targets"):
                self._queue.add(_key(policy), priority=Priority.LOW)


def _key(policy: Object) -> Key:
    return Key(FAILOVER_POLICIES, policy["metadata"]["namespace"], policy["metadata"]["name"])
