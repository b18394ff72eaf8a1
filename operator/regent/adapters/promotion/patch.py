"""Promotion by merge patches on any object: the author of the policy says what active and standby look like.

The policy's ServiceAccount is impersonated, so that a policy can do no more than that account may. The role is read by
comparing the object with the patches: it is active when it has everything that `promote` sets (and what `waitFor` asks
for has come), a standby when it has everything that `demote` sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.adapters.promotion.driver import ObjectDriver
from regent.adapters.promotion.objects import Patch, fence_of
from regent.adapters.promotion.wait import parse_wait
from regent.domain.errors import PromotionProblemError
from regent.domain.failover.fence import Fence
from regent.domain.failover.roles import Role, RoleState
from regent.domain.merge_patch import applied, inverse
from regent.engine.ports import Object
from regent.engine.resources import SECRETS, Resource


class PatchDriver(ObjectDriver):
    """Patches one object. `step.settings`: apiVersion, kind, name, promote, demote, waitFor."""

    async def promote(self, region: str, *, source: str, fence: Fence, run: str) -> None:
        """Apply the patch `promote`."""
        await self._apply(region, self._step.settings["promote"], fence)

    async def demote(self, region: str, *, successor: str, fence: Fence, run: str) -> None:
        """Apply the patch `demote`."""
        await self._apply(region, self._step.settings["demote"], fence)

    async def restore(self, region: str, snapshot: Mapping[str, Any], *, fence: Fence, run: str) -> None:
        """Bring back every field that either patch names."""
        if snapshot:
            await self._apply(region, snapshot["fields"], fence)

    async def _apply(self, region: str, patch: Mapping[str, Any], fence: Fence) -> None:
        resource = await self._resource(region)
        if resource is None:
            raise self._objects.missing(region, self._kind, self._name)
        await self._objects.change(region, resource, self._name, fence=fence, edit=lambda _: dict(patch))

    async def _look(self, region: str) -> RoleState:
        wait = parse_wait(str(self._step.settings.get("waitFor") or ""))
        resource = await self._resource(region)
        obj = await self._objects.read(region, resource, self._name) if resource is not None else None
        if obj is None:
            return self._absent(region, self._kind, self._name)
        settings, what = self._step.settings, f"{self._kind} {self._name}"
        if applied(obj, settings["promote"]):
            role, message = Role.ACTIVE, f"{what} has what promote sets"
            if wait is not None and not wait.met(obj):
                role, message = Role.CHANGING, f"{message}; waiting for {wait}"
        elif applied(obj, settings["demote"]):
            role, message = Role.STANDBY, f"{what} has what demote sets"
        else:
            role, message = Role.CHANGING, f"{what} has neither all that promote nor all that demote sets"
        return RoleState(role=role, message=message, fence=fence_of(obj), snapshot={"fields": self._fields(obj)})

    def _fields(self, obj: Object) -> Patch:
        """Return the patch that brings back every field which either patch names."""
        return _union(inverse(obj, self._step.settings["promote"]), inverse(obj, self._step.settings["demote"]))

    async def _resource(self, region: str) -> Resource | None:
        resource = await self._objects.discover(region, str(self._step.settings["apiVersion"]), self._kind)
        if resource is not None and (resource.group, resource.plural) == (SECRETS.group, SECRETS.plural):
            # What is needed for the way back is kept in the run, where a Secret's contents must not stand.
            raise PromotionProblemError("KindNotAllowed", f"promotion step {self._step.name}: Secrets are not patched")
        return resource

    @property
    def _kind(self) -> str:
        return str(self._step.settings["kind"])

    @property
    def _name(self) -> str:
        return str(self._step.settings["name"])


def _union(first: Patch, second: Patch) -> Patch:
    """Return a patch that names what either names. Both are of the same object, so they never contradict; where one
    goes deeper than the other, the one that brings back the whole value wins."""
    result = dict(first)
    for name, value in second.items():
        present = result.get(name)
        if name in result and isinstance(present, dict) and isinstance(value, dict):
            result[name] = _union(present, value)
        else:
            result[name] = value
    return result
