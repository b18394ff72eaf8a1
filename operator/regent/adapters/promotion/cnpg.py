"""Promotion of a CloudNativePG Cluster: the switchover of its distributed topology.

The Cluster has the same name in the region of each policy and says which member of the topology it is
(`spec.replica.self`, its own name when unset). Demoting changes `primary` and `source` to the successor; CloudNativePG
then shuts the primary down, archives the end of its WAL and publishes `status.demotionToken`. Promoting sets `primary`
to itself together with that token as `promotionToken`: CloudNativePG promotes only once everything up to it has been
replayed. Without a token (the other side cannot be asked, or died before it wrote one) it is a failover, after which
the old side has to be cloned anew, as CloudNativePG's documentation says.

What a Cluster is asked to be and what its instances are is not the same: roles are read from what the instances report.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from regent.adapters.promotion.driver import ObjectDriver, condition
from regent.adapters.promotion.objects import Access, Patch, fence_of
from regent.domain.errors import PromotionProblemError, UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.failover.roles import Role, RoleState, SyncState
from regent.engine.ports import Object
from regent.engine.resources import CNPG_CLUSTERS

ACCESS: Access = {CNPG_CLUSTERS: frozenset({"get", "patch"})}
FIELDS = ("primary", "source")
"""What a Cluster is asked to be. The token is not part of it: it is an argument of one promotion, used up by it."""


class CloudNativePgDriver(ObjectDriver):
    """Switches one Cluster. `step.settings`: name."""

    async def promote(self, region: str, *, source: str, fence: Fence, run: str) -> None:
        """Make it the primary of the topology, with the token of `source` where there is one."""
        token, peer = await self._token(source) if source and source != region else ("", "")

        def edit(cluster: Object) -> Patch:
            replica = _replica(cluster)
            if not _is_replica(cluster):
                # Asked for already. The token stays as it is: taking it away would turn a switchover into a failover.
                return {}
            wanted = {"primary": _self(cluster), "promotionToken": token or None, "source": peer or replica["source"]}
            return {"spec": {"replica": wanted}}

        await self._objects.change(region, CNPG_CLUSTERS, self._name, fence=fence, edit=edit)

    async def demote(self, region: str, *, successor: str, fence: Fence, run: str) -> None:
        """Make it a replica of the successor."""
        found = await self._successor(successor)

        def edit(cluster: Object) -> Patch:
            peer = found or _only_peer(cluster)
            if peer == _self(cluster):
                raise PromotionProblemError(
                    "TopologyAmbiguous",
                    f"Cluster {self._name} is member {peer} of the topology in {region} and in {successor}: set "
                    "spec.replica.self to a name of its own in each region",
                )
            return {"spec": {"replica": {"primary": peer, "source": peer, "promotionToken": None}}}

        await self._objects.change(region, CNPG_CLUSTERS, self._name, fence=fence, edit=edit)

    async def restore(self, region: str, snapshot: Mapping[str, Any], *, fence: Fence, run: str) -> None:
        """Ask for what was asked for: a demoted primary gets its own token back and goes on where it stopped."""
        if not snapshot:
            return

        def edit(cluster: Object) -> Patch:
            wanted: dict[str, Any] = {name: snapshot.get(name) for name in FIELDS}
            if snapshot.get("primary") != _self(cluster):
                wanted["promotionToken"] = None
            elif _is_replica(cluster):
                wanted["promotionToken"] = (cluster.get("status") or {}).get("demotionToken") or None
            return {"spec": {"replica": wanted}}

        await self._objects.change(region, CNPG_CLUSTERS, self._name, fence=fence, edit=edit)

    async def sync(self, source: str, to: str) -> SyncState:
        """Say whether the end of `source` is known. That `to` replays up to it before it is promoted is what the token
        is for; CloudNativePG does not publish how far a replica is."""
        try:
            cluster = await self._objects.read(source, CNPG_CLUSTERS, self._name)
        except UnavailableError as error:
            return SyncState(done=False, message=str(error))
        if cluster is None:
            return SyncState(done=False, message=self._absent(source, CNPG_CLUSTERS.kind, self._name).message)
        if not _is_replica(cluster) or not (cluster.get("status") or {}).get("demotionToken"):
            return SyncState(done=False, message=f"Cluster {self._name} in {source} has no demotion token yet")
        return SyncState(
            done=True,
            message=f"Cluster {self._name} in {source} ended; its token makes the promotion wait for all of it",
        )

    async def _look(self, region: str) -> RoleState:
        cluster = await self._objects.read(region, CNPG_CLUSTERS, self._name)
        if cluster is None:
            return self._absent(region, CNPG_CLUSTERS.kind, self._name)
        replica = _replica(cluster)
        role, message = self._role(cluster)
        position, history = _end(cluster)
        return RoleState(
            role=role,
            message=message[:512],
            fence=fence_of(cluster),
            position=position,
            history=history,
            snapshot={name: replica.get(name) for name in FIELDS},
        )

    def _role(self, cluster: Object) -> tuple[Role, str]:
        status, what = cluster.get("status") or {}, f"Cluster {self._name}"
        phase = f"{status.get('phase') or 'no phase'}"
        reported = status.get("instancesReportedState") or {}
        writing = [name for name, state in reported.items() if state.get("isPrimary")]
        if _is_replica(cluster):
            if writing:
                return Role.CHANGING, f"{what} is asked to be a replica; still primary: {', '.join(writing)} ({phase})"
            if not reported and not status.get("demotionToken"):
                return Role.CHANGING, f"{what} is asked to be a replica; no instance reports what it is ({phase})"
            return Role.STANDBY, f"{what} is a replica of {_replica(cluster).get('primary')}"
        token = _replica(cluster).get("promotionToken") or ""
        if token and token != status.get("lastPromotionToken"):
            return Role.CHANGING, f"{what} is replaying up to its promotion token ({phase})"
        if status.get("currentPrimary") not in writing:
            return Role.CHANGING, f"{what} is asked to be the primary; no instance is one yet ({phase})"
        ready = condition(cluster, "Ready")
        if ready and ready.get("status") != "True":
            return Role.ACTIVE, f"{what} accepts writes on {status['currentPrimary']}, but is not Ready ({phase})"
        return Role.ACTIVE, f"{what} accepts writes on {status['currentPrimary']}"

    async def _token(self, source: str) -> tuple[str, str]:
        """Return the demotion token of `source` and which member of the topology it is; "" for what is not known."""
        try:
            cluster = await self._objects.read(source, CNPG_CLUSTERS, self._name)
        except UnavailableError:
            return "", ""
        if cluster is None or not cluster["spec"].get("replica"):
            return "", ""
        # One of an earlier demotion may still stand there while it is the primary: its operator has not looked yet.
        token = (cluster.get("status") or {}).get("demotionToken", "") if _is_replica(cluster) else ""
        return str(token), _self(cluster)

    async def _successor(self, region: str) -> str:
        """Return which member of the topology the Cluster in `region` is; "" when it cannot be asked."""
        try:
            cluster = await self._objects.read(region, CNPG_CLUSTERS, self._name)
        except UnavailableError:
            return ""
        return _self(cluster) if cluster is not None else ""

    @property
    def _name(self) -> str:
        return str(self._step.settings["name"])


def _replica(cluster: Object) -> Mapping[str, Any]:
    """Return `spec.replica` of a member of a distributed topology."""
    replica: Mapping[str, Any] | None = cluster["spec"].get("replica")
    name = cluster["metadata"]["name"]
    if not replica or not replica.get("primary"):
        raise PromotionProblemError(
            "NotDistributed",
            f"Cluster {name} is no member of a distributed topology: set spec.replica.primary and .source, and "
            "spec.externalClusters, as CloudNativePG documents it",
        )
    if replica.get("enabled") is not None:
        raise PromotionProblemError(
            "StandaloneReplica",
            f"Cluster {name} sets spec.replica.enabled, which cannot be switched back: take it out and use primary",
        )
    return replica


def _self(cluster: Object) -> str:
    return str((cluster["spec"].get("replica") or {}).get("self") or cluster["metadata"]["name"])


def _is_replica(cluster: Object) -> bool:
    return bool(_replica(cluster)["primary"] != _self(cluster))


def _only_peer(cluster: Object) -> str:
    """Return the one other member of the topology: of two, the successor need not be asked."""
    peers = [
        entry["name"] for entry in cluster["spec"].get("externalClusters") or () if entry["name"] != _self(cluster)
    ]
    if len(peers) == 1:
        return str(peers[0])
    raise UnavailableError("the successor cannot be asked which member of the topology it is")


def _end(cluster: Object) -> tuple[int | None, str]:
    """Return the position and timeline of a demotion token: where the old primary's history ends."""
    token = (cluster.get("status") or {}).get("demotionToken")
    if not token or not _is_replica(cluster):
        return None, ""
    try:
        content = json.loads(base64.b64decode(token, validate=True))
        high, _, low = str(content["latestCheckpointREDOLocation"]).partition("/")
        return (int(high, 16) << 32) + int(low, 16), str(content["latestCheckpointTimelineID"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None, ""
