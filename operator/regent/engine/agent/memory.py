"""What an agent has to know when the hub is gone: the policies of its region, and what it has stopped of them.

Kept in a ConfigMap of the region's own cluster, so that an agent that is restarted while it is cut off knows what to
stop, and one that is restarted after that does not take the region for served. The note that something will be stopped
is written before it is stopped.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from regent.domain.errors import AlreadyExistsError, ConflictError, NotFoundError, UnavailableError
from regent.domain.failover.fence import Fence, parse_fence
from regent.engine.agent_objects import config_map
from regent.engine.ports import Cluster, Object
from regent.engine.resources import CONFIG_MAPS

log = logging.getLogger("regent.agent")

NAME = "regent-agent"
STATE = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """One policy whose side in this region was stopped."""

    fence: Fence
    """What the changes carried."""
    snapshots: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`RoleState.snapshot` of each step before, by its name."""


class Memory:
    """The agent's notes. Reads and writes raise ClusterError.

    Args:
        cluster: the region's own.
        namespace: the agent's.
    """

    def __init__(self, *, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._object: Object | None = None
        self.loaded = False
        self.policies: dict[str, Object] = {}
        """FailoverPolicies as last read from the hub, by `namespace/name`."""
        self.stopped: dict[str, Stopped] = {}
        """By the policy's key."""

    async def load(self) -> None:
        """Read the notes of whoever acted before; nobody has when there are none."""
        try:
            self._object = await self._cluster.get(CONFIG_MAPS, self._namespace, NAME)
        except NotFoundError:
            self._object = None
        self.policies, self.stopped = _read(self._object)
        self.loaded = True

    async def learn(self, policies: Mapping[str, Object]) -> None:
        """Note the policies as the hub has them now."""
        if policies != self.policies:
            await self._save(dict(policies), self.stopped)

    async def note(self, key: str, stopped: Stopped | None) -> None:
        """Note that a policy's side is going to be stopped, or (None) that it is no more."""
        wanted = {name: entry for name, entry in self.stopped.items() if name != key}
        if stopped is not None:
            wanted[key] = stopped
        if wanted != self.stopped:
            await self._save(self.policies, wanted)

    async def _save(self, policies: dict[str, Object], stopped: dict[str, Stopped]) -> None:
        body = {
            "policies": policies,
            "stopped": {key: {"fence": str(s.fence), "snapshots": s.snapshots} for key, s in stopped.items()},
        }
        data = {STATE: json.dumps(body, sort_keys=True, separators=(",", ":"))}
        try:
            if self._object is None:
                self._object = await self._cluster.create(CONFIG_MAPS, config_map(self._namespace, NAME, data))
            else:
                self._object = await self._cluster.replace(CONFIG_MAPS, {**self._object, "data": data})
        except (ConflictError, AlreadyExistsError, NotFoundError) as error:
            # Another agent acts here too, or somebody edits our notes: what they say now comes first.
            self.loaded = False
            raise UnavailableError(f"the notes were written by another: {error}", status=error.status) from error
        self.policies, self.stopped = policies, stopped


def trimmed(policy: Object) -> Object:
    """What an agent needs of a FailoverPolicy."""
    metadata, status = policy["metadata"], policy.get("status") or {}
    return {
        "apiVersion": policy["apiVersion"],
        "kind": policy["kind"],
        "metadata": {name: metadata[name] for name in ("namespace", "name", "uid", "generation") if name in metadata},
        "spec": policy["spec"],
        "status": {name: status[name] for name in _STATUS if name in status},
    }


_STATUS = ("activeRegion", "distribution", "epoch", "operation")


def _read(obj: Object | None) -> tuple[dict[str, Object], dict[str, Stopped]]:
    """Read the notes; unreadable ones (somebody edited them) count as none, loudly."""
    text = ((obj or {}).get("data") or {}).get(STATE)
    if not text:
        return {}, {}
    try:
        body = json.loads(text)
        stopped = {
            str(key): Stopped(fence=parse_fence(entry["fence"]) or Fence(0), snapshots=entry["snapshots"])
            for key, entry in body["stopped"].items()
        }
        return dict(body["policies"]), stopped
    except (ValueError, KeyError, TypeError, AttributeError):
        log.exception("The agent's notes cannot be read; they are taken for empty")
        return {}, {}
