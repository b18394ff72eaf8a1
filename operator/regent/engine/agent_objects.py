"""The three objects on the hub through which the operator and a region's agent know of each other.

- Lease `regent-agent-<region>`: renewed by the agent while it reaches the hub.
- ConfigMap `regent-agent-<region>`: what the agent guards and has isolated; written by the agent.
- ConfigMap `regent-isolate-<region>`: what the operator wants isolated; written by the operator.

Two ConfigMaps, because neither side has to wait for, or can undo, what the other one writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from regent.domain.failover.fence import Fence, parse_fence
from regent.domain.failover.isolation import Presence
from regent.engine.ports import Object
from regent.engine.resources import CONFIG_MAPS

LIMIT_ANNOTATION = "regent.dev/demotion-limit"
"""On the Lease: seconds within which the agent promises to have fenced."""
IMPAIRED_ANNOTATION = "regent.dev/impaired"
"""On the Lease: why the agent could not fence now."""
DEFAULT_LIMIT = 30.0


def agent_name(region: str) -> str:
    """Name of the Lease and of the ConfigMap that the agent writes."""
    return f"regent-agent-{region}"


def request_name(region: str) -> str:
    """Name of the ConfigMap that the operator writes."""
    return f"regent-isolate-{region}"


def config_map(namespace: str, name: str, data: Mapping[str, str]) -> Object:
    """A new ConfigMap."""
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": CONFIG_MAPS.api_version, "kind": CONFIG_MAPS.kind, "metadata": metadata, "data": dict(data)}


def data_key(policy: str) -> str:
    """The key of a ConfigMap for the policy `namespace/name`. Namespaces have no dot, so it can be read back."""
    return policy.replace("/", ".", 1)


def policy_key(key: str) -> str:
    """The policy of a ConfigMap's key."""
    return key.replace(".", "/", 1)


def read_fences(obj: Object | None) -> dict[str, Fence]:
    """The fences in a ConfigMap, by the policy's key; what is not a fence is left out."""
    data = (obj or {}).get("data") or {}
    found = {policy_key(key): parse_fence(str(text)) for key, text in data.items()}
    return {key: fence for key, fence in found.items() if fence is not None}


def presence(lease: Object, told: Object | None) -> Presence:
    """Read an agent's Lease and ConfigMap. What is not as an agent writes it counts as not said."""
    spec = lease.get("spec") or {}
    annotations = lease["metadata"].get("annotations") or {}
    renewal = tuple(str(spec.get(field, "")) for field in ("holderIdentity", "renewTime", "leaseTransitions"))
    isolated = {key: parse_fence(text) for key, text in _texts(told, "isolated").items()}
    return Presence(
        holder=str(spec.get("holderIdentity") or ""),
        # A Lease that was deleted and made again has another uid: its renewals are others.
        renewal=(*renewal, str(lease["metadata"].get("uid", ""))),
        duration=float(spec.get("leaseDurationSeconds") or 0) or DEFAULT_LIMIT,
        demotion_limit=_seconds(annotations.get(LIMIT_ANNOTATION)),
        impaired=str(annotations.get(IMPAIRED_ANNOTATION) or ""),
        guards=_texts(told, "guards"),
        isolated={key: fence for key, fence in isolated.items() if fence is not None},
    )


def _texts(obj: Object | None, key: str) -> dict[str, str]:
    try:
        found = json.loads(((obj or {}).get("data") or {}).get(key) or "{}")
    except ValueError:
        return {}
    return {str(name): str(text) for name, text in found.items()} if isinstance(found, dict) else {}


def _seconds(text: Any) -> float:
    try:
        return min(3600.0, max(0.0, float(text)))
    except (TypeError, ValueError):
        return DEFAULT_LIMIT
