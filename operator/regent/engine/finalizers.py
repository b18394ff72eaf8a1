"""Keeps a run and its policy from vanishing while roles are on the move.

A run that promotes takes seconds to minutes, and half of it must not be forgotten because somebody deletes an object:
from Commit to its end the run and its policy carry the finalizer `regent.dev/run`. A run that only moves weights is
over before anybody could delete anything, and is left without: four more writes would make it half as dear again.
"""

from __future__ import annotations

import contextlib

from regent.domain.errors import ConflictError, NotFoundError
from regent.engine.ports import Cluster, Leadership, Object
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS
from regent.engine.store import Store

FINALIZER = "regent.dev/run"


class Finalizers:
    """Puts the finalizer on objects and takes it off. Idempotent; a conflict is left to the next visit."""

    def __init__(self, *, cluster: Cluster, store: Store, leadership: Leadership) -> None:
        self._cluster = cluster
        self._store = store
        self._leadership = leadership

    async def hold_run(self, run: Object) -> Object:
        """Put it on the run; return the run as it is then."""
        if not _wanted(run, held=True):
            return run
        self._leadership.check()
        written = await self._cluster.replace(FAILOVERS, _with(run))
        self._store.observe(FAILOVERS, written)
        return written

    async def hold_policy(self, policy: Object) -> Object:
        """Put it on the policy; return the policy as it is then."""
        if not _wanted(policy, held=True):
            return policy
        self._leadership.check()
        written = await self._cluster.replace(FAILOVER_POLICIES, _with(policy))
        self._store.observe(FAILOVER_POLICIES, written)
        return written

    async def let_run_go(self, run: Object) -> None:
        """Take it off a run that is over."""
        if _wanted(run, held=False):
            self._leadership.check()
            # Gone, or written by another: the next visit looks at what is there then.
            with contextlib.suppress(NotFoundError, ConflictError):
                self._store.observe(FAILOVERS, await self._cluster.replace(FAILOVERS, _without(run)))

    async def let_policy_go(self, policy: Object) -> None:
        """Take it off a policy that no run holds."""
        if _wanted(policy, held=False):
            self._leadership.check()
            with contextlib.suppress(NotFoundError, ConflictError):
                self._store.observe(FAILOVER_POLICIES, await self._cluster.replace(FAILOVER_POLICIES, _without(policy)))


def held(obj: Object) -> bool:
    """Whether the object carries the finalizer."""
    return FINALIZER in (obj["metadata"].get("finalizers") or ())


def _wanted(obj: Object, *, held: bool) -> bool:
    """Whether a write is needed. The API refuses a new finalizer on an object that is being deleted."""
    present = FINALIZER in (obj["metadata"].get("finalizers") or ())
    return not present and not obj["metadata"].get("deletionTimestamp") if held else present


def _with(obj: Object) -> Object:
    finalizers = [*(obj["metadata"].get("finalizers") or ()), FINALIZER]
    return {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}}


def _without(obj: Object) -> Object:
    finalizers = [item for item in obj["metadata"].get("finalizers") or () if item != FINALIZER]
    return {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}}
