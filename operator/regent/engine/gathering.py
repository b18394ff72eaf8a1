"""Gathers what one visit of a FailoverPolicy needs: the policy as read, its runs, the world around it, its ports.

Everything comes from memory; a visit that has written gathers again, and the store already has what the API server
answered.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from regent.domain.failover.model import PolicySpec, PolicyState, Snapshot
from regent.domain.traffic.targets import TargetSpec
from regent.engine.history import runs_of
from regent.engine.ports import Object
from regent.engine.promotion import DriverFactory
from regent.engine.records import policy_state
from regent.engine.resources import FAILOVER_POLICIES
from regent.engine.role_watch import RoleWatch
from regent.engine.run_context import Context
from regent.engine.snapshots import Snapshots
from regent.engine.store import Store
from regent.engine.traffic import TargetFactory, rival

ReadPolicy = Callable[[Mapping[str, Any]], tuple[PolicySpec, tuple[TargetSpec, ...]]]


class Gathering:
    """Makes the context of a visit. Keeps each spec as read until its generation changes."""

    def __init__(
        self,
        *,
        store: Store,
        snapshots: Snapshots,
        targets: TargetFactory,
        drivers: DriverFactory,
        watch: RoleWatch | None,
        read_policy: ReadPolicy,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._targets = targets
        self._drivers = drivers
        self._watch = watch
        self._read_policy = read_policy
        self._parsed: dict[str, tuple[int, tuple[PolicySpec, tuple[TargetSpec, ...]]]] = {}

    def parse(self, policy: Object) -> tuple[PolicySpec, tuple[TargetSpec, ...]]:
        """Read the policy's spec, once for each generation.

        Raises:
            ValueError: it cannot be read.
        """
        uid, generation = str(policy["metadata"]["uid"]), int(policy["metadata"].get("generation", 1))
        known = self._parsed.get(uid)
        if known is None or known[0] != generation:
            known = (generation, self._read_policy(policy))
            self._parsed[uid] = known
        return known[1]

    def gather(self, policy: Object, spec: PolicySpec, target_specs: Sequence[TargetSpec]) -> Context:
        """Gather for a policy as it is in `policy`.

        Raises:
            PromotionProblemError: a promotion step names something that there is no driver for.
        """
        state = policy_state(policy)
        runs = runs_of(self._store, spec)
        return Context(
            policy=policy,
            spec=spec,
            state=state,
            snapshot=self._snapshot(spec, state, runs),
            targets=self._targets.targets(spec, target_specs),
            runs=runs,
            drivers=self._drivers.drivers(spec),
        )

    def _snapshot(self, spec: PolicySpec, state: PolicyState, runs: Sequence[Object]) -> Snapshot:
        snapshot = self._snapshots.build(spec, state, runs)
        if self._watch is None or not spec.options.promotion:
            return snapshot
        roles = self._watch.roles(spec.uid)
        return dataclasses.replace(
            snapshot,
            lags=roles.lags(spec),
            lag_doubts=roles.said(spec, lambda state: state.doubt if state.lag is None else ""),
            diverged=roles.said(spec, lambda state: state.diverged),
            roles=roles.active(),
            roles_seen=bool(roles.states),
        )

    def again(self, context: Context, target_specs: Sequence[TargetSpec]) -> Context:
        """Gather again after a write of ours: the store already has what the API server answered."""
        policy = self._store.get(FAILOVER_POLICIES, context.spec.namespace, context.spec.name) or context.policy
        return self.gather(policy, context.spec, target_specs)

    def taken(self, spec: PolicySpec, target_specs: Sequence[TargetSpec]) -> str:
        """Why a target belongs to another policy; "" when all are free."""
        if not target_specs:
            return ""
        others = []
        for obj in self._store.list(FAILOVER_POLICIES, spec.namespace):
            if obj["metadata"]["uid"] != spec.uid and not obj["metadata"].get("deletionTimestamp"):
                try:
                    others.append(self.parse(obj))
                except ValueError:
                    continue
        for target in target_specs:
            owner = rival(spec, target, others)
            if owner:
                return f"{target.ref} belongs to the older FailoverPolicy {owner}; remove it from one of the two"
        return ""
