"""What people see of a hub that does not act: the condition Ready of its policies, so that nobody takes what stands
there for what is.

Written without a lease, as nobody leads there; replicas that write the same thing at once find it there the second
time. Neighbours: `engine.hub_guard`.
"""

from __future__ import annotations

import logging
from typing import Any

from regent.domain.conditions import Condition, merge
from regent.domain.errors import ClusterError
from regent.domain.hub_term import HubRecord, HubRole
from regent.domain.times import rfc3339
from regent.engine.ports import Clock, Cluster, Metrics, Object
from regent.engine.records import status_of
from regent.engine.resources import FAILOVER_POLICIES, REPLICATION_POLICIES
from regent.engine.status import StatusWriter
from regent.engine.store import Store

log = logging.getLogger("regent.hub")


class _Unled:
    """Implements `ports.Leadership` for the one thing that a hub without a leader writes."""

    leading = False
    transitions = 0

    def check(self) -> None:
        """Always passes."""


class HubNotice:
    """Writes the condition."""

    def __init__(self, *, cluster: Cluster, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._status = StatusWriter(cluster, store, _Unled(), metrics=metrics)
        self._store = store
        self._clock = clock

    async def show(self, role: HubRole, record: HubRecord) -> None:
        """Say on every policy why nothing is decided here. Writes nothing where that is said already."""
        if not self._store.synced():
            return
        condition = _condition(role, record)

        def change(obj: Object) -> dict[str, Any]:
            status = dict(status_of(obj))
            generation = int(obj["metadata"].get("generation", 1))
            now = rfc3339(self._clock.wall())
            status["conditions"] = merge(status.get("conditions") or [], [condition], now=now, generation=generation)
            return status

        try:
            for policy in self._store.list(FAILOVER_POLICIES):
                namespace, name = _place(policy)
                await self._status.transact(FAILOVER_POLICIES, namespace, name, change)
            for policy in self._store.list(REPLICATION_POLICIES):
                namespace, name = _place(policy)
                await self._status.transact(REPLICATION_POLICIES, namespace, name, change)
        except ClusterError as error:
            log.debug("The role of this hub could not be shown: %s", error)


def _place(policy: Object) -> tuple[str, str]:
    return str(policy["metadata"]["namespace"]), str(policy["metadata"]["name"])


def _condition(role: HubRole, record: HubRecord) -> Condition:
    other = f"hub {record.other}" if record.other else "another hub"
    if role is HubRole.SUPERSEDED:
        text = f"{other} has taken over from this one: nothing is decided or moved here any more"
        return Condition("Ready", "False", "HubSuperseded", text)
    if role is HubRole.PROMOTING:
        text = "a takeover was begun and has not come to its end: give the same command again"
        return Condition("Ready", "Unknown", "HubPromoting", text)
    return Condition("Ready", "Unknown", "HubStandby", f"this hub follows {other} and decides nothing itself")
