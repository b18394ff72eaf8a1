"""The Regent objects of a scene, as plain dictionaries: Regions, a FailoverPolicy, a person's Failover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
API = "regent.dev/v1alpha1"

FAST: Mapping[str, Any] = {
    "interval": "250ms",
    "timeout": "200ms",
    "retryInterval": "50ms",
    "failureThreshold": 3,
    "successThreshold": 2,
}
"""The fast probe settings: a dead region is known in well under a second."""


def region(
    name: str,
    *,
    endpoint: str,
    probe: Mapping[str, Any] | None = None,
    timing: Mapping[str, Any] = FAST,
    recovery: str = "1s",
    **spec: Any,
) -> Json:
    """A Region with one probe (default: GET /healthz at `endpoint`); further fields of the spec as keywords."""
    entry = {"name": "web", **timing, **(probe or {"http": {"path": "/healthz"}})}
    return {
        "apiVersion": API,
        "kind": "Region",
        "metadata": {"name": name},
        "spec": {"endpoint": endpoint, "probes": [entry], "thresholds": {"recoveryPeriod": recovery}, **spec},
    }


def policy(
    name: str,
    names: Sequence[str],
    /,
    *,
    namespace: str,
    route: str = "",
    gateway: str = "",
    host: str = "",
    **spec: Any,
) -> Json:
    """A FailoverPolicy over the regions `names` and an HTTPRoute (by default of the policy's name).

    With `gateway`, a URL, cutovers are proved by requests through it that carry `host`. Further fields of the
    spec are keywords; they replace what is here.
    """
    target: Json = {"httpRoute": {"name": route or name}}
    if gateway:
        target["verification"] = {"url": gateway, "host": host, "regionHeader": "x-region", "successes": 3}
    return {
        "apiVersion": API,
        "kind": "FailoverPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "topology": "ActivePassive",
            "regions": [{"name": entry} for entry in names],
            "targets": [target],
            **spec,
        },
    }


def failover(policy_name: str, *, namespace: str, name: str, **spec: Any) -> Json:
    """A Failover as a person writes it: `type`, `from_`, `to` and further fields as keywords."""
    fields = {key.rstrip("_"): value for key, value in spec.items()}
    return {
        "apiVersion": API,
        "kind": "Failover",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"policyRef": {"name": policy_name}, "type": "Failover", **fields},
    }
