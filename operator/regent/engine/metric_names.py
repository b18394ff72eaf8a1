"""Every metric that Regent exports: name, type, help, labels and, for histograms, buckets.

The one list: the exporter refuses names and labels that are not in it, and docs/reference/metrics.md is made from it.
Base units (seconds, bytes, ratios), `_total` for counters, labels that are bounded by the number of custom resources.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class MetricType(Enum):
    """How a metric behaves over time."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One declared metric. `buckets` are upper bounds in the metric's unit, at most five for per-region histograms."""

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, MetricType.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, MetricType.GAUGE, text, labels)


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(name, MetricType.HISTOGRAM, text, labels, buckets)


FAST = (0.005, 0.02, 0.1, 0.5, 2.0)
PROBES = (0.01, 0.05, 0.2, 1.0, 5.0)

METRICS: tuple[Metric, ...] = (
    # The runtime: watching, working, writing, leading.
    _gauge("regent_build_info", "Always 1; the version that runs is in the label.", "version"),
    _gauge("regent_leader", "1 while this replica holds the lease, else 0."),
    _gauge("regent_hub_role", "1 for the role that this hub has, else 0.", "role"),
    _gauge("regent_hub_heard_age_seconds", "Time since a standby hub last heard of the hub that it follows."),
    _counter("regent_hub_copies_total", "Copies of the followed hub's objects, by kind and result.", "kind", "result"),
    _gauge("regent_lease_transitions", "How often the lease has changed hands, as the lease says."),
    _counter("regent_lease_renewals_total", "Tries to renew or take the lease.", "result"),
    _gauge("regent_store_objects", "Objects known, by kind.", "kind"),
    _counter("regent_watch_events_total", "Watch events taken in, by kind.", "kind"),
    _counter("regent_watch_restarts_total", "Times that all watches were started anew."),
    _counter("regent_resync_total", "Resyncs, by kind and result (ok or error).", "kind", "result"),
    _counter("regent_resync_repaired_total", "Changes that a resync found and the watch had missed.", "kind"),
    _gauge("regent_resync_age_seconds", "Time since the oldest kind was last listed whole."),
    _gauge("regent_queue_depth", "Objects that are due and wait for a worker."),
    _counter("regent_reconcile_total", "Visits of objects, by kind and result (ok, retry, error).", "kind", "result"),
    _histogram("regent_reconcile_duration_seconds", "Time of one visit of an object.", "kind", buckets=FAST),
    _counter("regent_status_writes_total", "Writes of status (written or conflict), by kind.", "kind", "result"),
    _counter("regent_events_total", "Kubernetes Events, by result (posted, dropped, failed).", "result"),
    _counter("regent_api_requests_total", "Requests to API servers, by verb, kind and status.", "verb", "kind", "code"),
    _histogram("regent_api_request_duration_seconds", "Time of requests to API servers.", "verb", buckets=FAST),
    _gauge("regent_clock_offset_seconds", "How far the API server's clock is ahead of this machine's, to the second."),
    _gauge("regent_event_loop_lag_seconds", "How late the event loop ran its last timer."),
    # Failover: what is decided and done.
    _counter(
        "regent_failovers_total", "Runs that ended, by trigger and terminal phase.",
        "namespace", "policy", "trigger", "result",
    ),
    _histogram(
        "regent_failover_duration_seconds", "From the first failed probe (or the start) to a run's end.", "trigger",
        buckets=(0.5, 1.0, 2.0, 5.0, 30.0),
    ),
    _gauge("regent_policy_epoch", "Epoch of the policy: rises with every committed run.", "namespace", "policy"),
    _gauge(
        "regent_policy_held", "1 while a trigger holds and this rule stands in its way; 0 once it does not any more.",
        "namespace", "policy", "reason",
    ),
    _gauge("regent_policy_suspended", "1 while it, a region of it or all are suspended.", "namespace", "policy"),
    _gauge("regent_policy_budget_spent", "1 while the failover budget is spent.", "namespace", "policy"),
    _gauge("regent_policy_split_brain", "1 while two regions look active.", "namespace", "policy"),
    _gauge("regent_traffic_share_ratio", "Decided share of each region.", "namespace", "policy", "region"),
    _counter(
        "regent_target_writes_total", "Writes of weights, by kind of target and result (written, failed).",
        "namespace", "policy", "target", "result",
    ),
    # Requests to endpoints of the users.
    _counter(
        "regent_receiver_requests_total",
        "Messages to endpoints of users, by purpose (hook, notification, promotion, target) and result (2xx to 5xx, "
        "or the reason why there was no answer).",
        "purpose", "result",
    ),
    _counter(
        "regent_notifications_total", "Notifications, by result (sent, lost).", "namespace", "policy", "result"
    ),
    _gauge("regent_notifications_waiting", "Notifications that are not delivered yet."),
    # Replication: copies of objects in other regions.
    _gauge(
        "regent_replication_lag_seconds", "How far the copies are behind their source; NaN while that is not known.",
        "namespace", "policy", "region",
    ),
    _gauge(
        "regent_replication_verification_age_seconds", "Time since the digests were last found equal; NaN: never.",
        "namespace", "policy", "region",
    ),
    _gauge(
        "regent_replication_storage_lag_seconds",
        "Time since the last complete copy of the volume that is farthest behind; NaN: not known, or no volumes.",
        "namespace", "policy", "region",
    ),
    _gauge("regent_replication_in_sync", "1 while the state is InSync, else 0.", "namespace", "policy", "region"),
    _gauge(
        "regent_replication_objects",
        "Objects by state (desired, in sync, pending, drifted, conflicted, failed).",
        "namespace", "policy", "region", "state",
    ),
    _counter(
        "regent_replication_writes_total",
        "Writes of copies, by result (written, kept, again, conflicted, failed, unavailable, deleted).",
        "namespace", "policy", "region", "result",
    ),
    _counter(
        "regent_replication_transferred_objects_total", "Copies written, by pair of regions.",
        "namespace", "policy", "source", "target",
    ),
    _counter(
        "regent_replication_transferred_bytes_total",
        "Size of the copies written, as JSON without spaces, by pair of regions.",
        "namespace", "policy", "source", "target",
    ),
    _counter("regent_replication_lists_total", "Complete lists of the objects of a kind in a namespace.", "region"),
    _counter("regent_replication_watch_restarts_total", "Watches of objects that failed.", "region"),
    # Health: probes, regions, the observer itself.
    _gauge("regent_region_health", "1 for the health that the region has, 0 for the others.", "region", "health"),
    _histogram("regent_probe_duration_seconds", "Latency of scheduled probes.", "region", buckets=PROBES),
    _counter("regent_probe_results_total", "Probes, by outcome.", "region", "probe", "outcome"),
    _gauge("regent_region_certificate_expiry_time_seconds", "When the first of its certificates expires.", "region"),
    _gauge("regent_observer_score", "How far the operator distrusts its own probes, 0 to 7; at 7 it holds."),
    # The agent inside a region (`regent agent`).
    _gauge("regent_agent_connected", "1 while the agent acts and reaches the hub, else 0."),
    _gauge("regent_agent_stopped", "1 while the agent keeps this region's side stopped.", "namespace", "policy"),
)  # fmt: skip
