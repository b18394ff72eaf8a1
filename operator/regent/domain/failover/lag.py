"""The replication-lag gate: how far a candidate's data is behind, and whether that is too far.

Two sources are put together: the data steps of the policy (`Snapshot.lags`) and its Required ReplicationPolicies
(`Snapshot.replication`). The worst counts, and an unknown lag counts as over the gate.
"""

from __future__ import annotations

from dataclasses import dataclass

from regent.domain.duration import format_duration
from regent.domain.failover.model import Snapshot
from regent.domain.failover.ranking import LAG_BUCKETS


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a region is behind. `seconds` is None when it is not known; `refusal` is "" within the gate."""

    seconds: float | None
    refusal: str

    def step(self, limit: float) -> str:
        """Write it in the steps by which candidates are ranked: `≤1s`, `≤10s`, `≤30s` (the gate), `>30s`, `unknown`.
        A figure that moved with every look would be written with every look."""
        if self.seconds is None:
            return "unknown"
        for bound in sorted({*LAG_BUCKETS, limit}):
            if self.seconds <= bound <= limit:
                return f"≤{format_duration(bound)}"
        return f">{format_duration(limit)}"


def lag_of(snapshot: Snapshot, region: str) -> Lag | None:
    """Return the lag of `region`, or None when nothing is replicated that a failover would have to wait for."""
    sources: dict[str, float | None] = {}
    if region in snapshot.lags:
        sources["the promotion steps"] = snapshot.lags[region]
    sources.update({f"ReplicationPolicy {name}": by.get(region) for name, by in snapshot.replication.items()})
    if not sources:
        return None
    limit = snapshot.policy.options.max_replication_lag
    rule = f"safety.maxReplicationLag is {format_duration(limit)}"
    unknown = sorted(name for name, seconds in sources.items() if seconds is None)
    if unknown:
        doubt = snapshot.lag_doubts.get(region, "")
        known = f" ({doubt})" if doubt else ""
        return Lag(None, f"the lag by {', '.join(unknown)} is not known{known}, which counts as over; {rule}")
    worst = max(sources, key=lambda name: (sources[name] or 0.0, name))
    seconds = sources[worst] or 0.0
    if seconds <= limit:
        return Lag(seconds, "")
    return Lag(seconds, f"more than {format_duration(step_below(seconds))} behind by {worst}; {rule}")


def step_below(seconds: float) -> float:
    """Return the greatest 1-2-5 step (milliseconds upwards) that is not above `seconds`, so that a message about a lag
    that grows is not rewritten with every look."""
    steps = [base * 10.0**power for power in range(-3, 7) for base in (1, 2, 5)]
    return max((step for step in steps if step <= seconds), default=0.0)
