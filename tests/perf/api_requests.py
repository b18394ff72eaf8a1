"""What the API server counted: requests by verb and resource, from its own /metrics."""

from __future__ import annotations

from collections import Counter

from testbed.controlplane import Cluster
from testbed.gateway import parse_metrics

WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"})
Request = tuple[str, str]
"""Verb and resource, such as ("PUT", "regions.regent.dev/status")."""


def requests(cluster: Cluster) -> Counter[Request]:
    """Return all requests so far."""
    counts: Counter[Request] = Counter()
    for sample in parse_metrics(cluster.api.raw("GET", "/metrics").decode()):
        if sample.name == "apiserver_request_total":
            labels = sample.labels
            resource = ".".join(filter(None, (labels.get("resource", ""), labels.get("group", ""))))
            sub = f"/{labels['subresource']}" if labels.get("subresource") else ""
            counts[labels["verb"], f"{resource}{sub}"] += int(sample.value)
    return counts


def writes(counts: Counter[Request]) -> Counter[Request]:
    """Only what changes something."""
    return Counter({request: count for request, count in counts.items() if request[0] in WRITES and count})


def is_lease(request: Request) -> bool:
    return request[1].startswith("leases.")
