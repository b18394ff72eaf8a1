"""The gauges of a policy, as each visit leaves them.

Neighbours: `policies` calls it after it has written the status; `policy_warnings` words the same as conditions.
"""

from __future__ import annotations

from regent.domain.failover.model import Decision, Hold
from regent.domain.failover.split_brain import suspected
from regent.domain.traffic import shares
from regent.engine.policy_warnings import budget_spent, suspensions
from regent.engine.ports import Metrics
from regent.engine.run_context import Context


class PolicyMetrics:
    """Sets the gauges, and takes them away with their policy."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._held: dict[tuple[str, str], str] = {}
        """The rule that was last seen in the way, by policy."""

    def measure(self, context: Context, decision: Decision) -> None:
        """Set what the visit has found."""
        labels = {"namespace": context.spec.namespace, "policy": context.spec.name}
        self._metrics.gauge("regent_policy_epoch", context.state.epoch, **labels)
        self._hold(decision.reason if isinstance(decision, Hold) else "", context.spec.namespace, context.spec.name)
        self._metrics.gauge("regent_policy_suspended", float(bool(suspensions(context.snapshot))), **labels)
        self._metrics.gauge("regent_policy_budget_spent", float(budget_spent(context.snapshot)), **labels)
        self._metrics.gauge("regent_policy_split_brain", float(bool(suspected(context.snapshot))), **labels)
        for region, share in context.state.distribution.items():
            self._metrics.gauge("regent_traffic_share_ratio", share / shares.FULL, region=region, **labels)

    def forget(self, namespace: str, name: str) -> None:
        """The policy is gone."""
        self._held.pop((namespace, name), None)
        self._metrics.forget(namespace=namespace, policy=name)

    def _hold(self, reason: str, namespace: str, name: str) -> None:
        before = self._held.get((namespace, name), "")
        if before and before != reason:
            self._metrics.gauge("regent_policy_held", 0.0, namespace=namespace, policy=name, reason=before)
        if reason:
            self._held[namespace, name] = reason
            self._metrics.gauge("regent_policy_held", 1.0, namespace=namespace, policy=name, reason=reason)
        else:
            self._held.pop((namespace, name), None)
