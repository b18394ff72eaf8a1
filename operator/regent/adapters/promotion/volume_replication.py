"""Promotion of a replicated volume: a VolumeReplication of csi-addons, primary in one region and secondary in others.

The controller's status is believed only at the generation that was written (its conditions carry it). How current the
copies are is known on the primary's side alone: while it is primary by `lastSyncTime`, and after it was demoted by its
conditions, which are healthy again (neither Degraded nor Resyncing) once the demoted state is on the other side. Only
then may the other side be promoted without a loss: the controller forces a promotion that the storage refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.adapters.promotion.driver import ObjectDriver, condition
from regent.adapters.promotion.objects import Access, fence_of
from regent.domain.errors import UnavailableError
from regent.domain.failover.fence import Fence
from regent.domain.failover.roles import Role, RoleState, SyncState
from regent.domain.times import parse_rfc3339
from regent.engine.ports import Object
from regent.engine.resources import VOLUME_REPLICATIONS

ACCESS: Access = {VOLUME_REPLICATIONS: frozenset({"get", "patch"})}
PRIMARY, SECONDARY = "primary", "secondary"
STATES = {PRIMARY: "Primary", SECONDARY: "Secondary"}


class VolumeReplicationDriver(ObjectDriver):
    """Promotes and demotes one volume. `step.settings`: name."""

    async def promote(self, region: str, *, source: str, fence: Fence, run: str) -> None:
        """Make it primary."""
        await self._set(region, PRIMARY, fence)

    async def demote(self, region: str, *, successor: str, fence: Fence, run: str) -> None:
        """Make it secondary; what uses the volume must have been stopped by the steps after this one."""
        await self._set(region, SECONDARY, fence)

    async def restore(self, region: str, snapshot: Mapping[str, Any], *, fence: Fence, run: str) -> None:
        """Ask for the replication state that was asked for."""
        if snapshot:
            await self._set(region, str(snapshot["replicationState"]), fence)

    async def sync(self, source: str, to: str) -> SyncState:
        """Say whether the state in which `source` was demoted is on the other side."""
        try:
            volume = await self._objects.read(source, VOLUME_REPLICATIONS, self._name)
        except UnavailableError as error:
            return SyncState(done=False, message=str(error))
        if volume is None:
            return SyncState(done=False, message=self._absent(source, VOLUME_REPLICATIONS.kind, self._name).message)
        if not _settled(volume, SECONDARY):
            return SyncState(done=False, message=f"{self._what} is not demoted in {source} yet: {_said(volume)}")
        for kind in ("Degraded", "Resyncing"):
            found = condition(volume, kind)
            if found.get("status") != "False" or not _current(found, volume):
                return SyncState(done=False, message=f"{self._what} in {source}: {found.get('message') or kind}")
        return SyncState(
            done=True, message=f"{self._what}: the demoted state of {source} has been replicated", behind=0
        )

    async def _set(self, region: str, state: str, fence: Fence) -> None:
        wanted = {"spec": {"replicationState": state}}
        await self._objects.change(region, VOLUME_REPLICATIONS, self._name, fence=fence, edit=lambda _: wanted)

    async def _look(self, region: str) -> RoleState:
        volume = await self._objects.read(region, VOLUME_REPLICATIONS, self._name)
        if volume is None:
            return self._absent(region, VOLUME_REPLICATIONS.kind, self._name)
        wanted = str(volume["spec"].get("replicationState"))
        role, message, lag = Role.CHANGING, f"{self._what} is asked to be {wanted}: {_said(volume)}", None
        if _settled(volume, wanted):
            role = Role.ACTIVE if wanted == PRIMARY else Role.STANDBY
            message = f"{self._what} is {wanted}"
            if role is Role.ACTIVE:
                lag = self._lag(volume)
        return RoleState(
            role=role,
            message=message[:512],
            fence=fence_of(volume),
            lag=lag,
            snapshot={"replicationState": wanted},
        )

    def _lag(self, volume: Object) -> float | None:
        """How old the newest complete copy is, in seconds."""
        try:
            return max(0.0, self._clock.wall() - parse_rfc3339(str(volume["status"]["lastSyncTime"])))
        except (KeyError, ValueError):
            return None

    @property
    def _what(self) -> str:
        return f"VolumeReplication {self._name}"

    @property
    def _name(self) -> str:
        return str(self._step.settings["name"])


def _settled(volume: Object, wanted: str) -> bool:
    """Say whether the controller has brought the volume into the state `wanted`, and has seen what is asked now."""
    completed = condition(volume, "Completed")
    return (
        wanted in STATES
        and volume["spec"].get("replicationState") == wanted
        and (volume.get("status") or {}).get("state") == STATES[wanted]
        and completed.get("status") == "True"
        and _current(completed, volume)
    )


def _current(found: Mapping[str, Any], volume: Object) -> bool:
    return int(found.get("observedGeneration", 0)) >= int(volume["metadata"].get("generation", 0))


def _said(volume: Object) -> str:
    """What the controller says about it, the reason of a failure first."""
    completed, status = condition(volume, "Completed"), volume.get("status") or {}
    if completed.get("status") == "False" and _current(completed, volume):
        return f"{completed.get('message')}: {condition(volume, 'Degraded').get('message') or status.get('message')}"
    return str(status.get("message") or "its controller has not said anything yet")
