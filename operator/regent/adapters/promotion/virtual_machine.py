"""Promotion of a KubeVirt VirtualMachine: it runs in the active region and is halted in the others.

A machine is a standby when its VirtualMachineInstance is gone: only then is nothing left that could write to its
disks. The run strategy that it had is kept in an annotation while it is halted, so that a machine which is to be run
again on failure only (RerunOnFailure) comes back as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.adapters.promotion.driver import ObjectDriver
from regent.adapters.promotion.objects import Access, Patch, fence_of
from regent.domain.failover.fence import Fence
from regent.domain.failover.roles import Role, RoleState
from regent.engine.ports import Object
from regent.engine.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES

ACCESS: Access = {
    VIRTUAL_MACHINES: frozenset({"get", "patch"}),
    VIRTUAL_MACHINE_INSTANCES: frozenset({"get"}),
}
STRATEGY_ANNOTATION = "regent.dev/run-strategy"
HALTED, ALWAYS = "Halted", "Always"
STARTING = (ALWAYS, "RerunOnFailure")
"""Strategies that start a machine by themselves; under the others (Manual, Once) a promotion would start nothing."""


class VirtualMachineDriver(ObjectDriver):
    """Starts and halts one machine. `step.settings`: name."""

    async def promote(self, region: str, *, source: str, fence: Fence, run: str) -> None:
        """Run it, with the strategy that it had before it was halted."""

        def edit(machine: Object) -> Patch:
            kept = _annotations(machine).get(STRATEGY_ANNOTATION, "")
            wanted = next((name for name in (_strategy(machine), kept) if name in STARTING), ALWAYS)
            return {"metadata": {"annotations": {STRATEGY_ANNOTATION: None}}, "spec": _run(machine, wanted)}

        await self._objects.change(region, VIRTUAL_MACHINES, self._name, fence=fence, edit=edit)

    async def demote(self, region: str, *, successor: str, fence: Fence, run: str) -> None:
        """Halt it."""

        def edit(machine: Object) -> Patch:
            patch: Patch = {"spec": _run(machine, HALTED)}
            if _strategy(machine) != HALTED:
                patch["metadata"] = {"annotations": {STRATEGY_ANNOTATION: _strategy(machine)}}
            return patch

        await self._objects.change(region, VIRTUAL_MACHINES, self._name, fence=fence, edit=edit)

    async def restore(self, region: str, snapshot: Mapping[str, Any], *, fence: Fence, run: str) -> None:
        """Give it the strategy that it had, and the remembered one."""
        if snapshot:
            kept, strategy = snapshot.get("kept"), str(snapshot["runStrategy"])
            await self._objects.change(
                region,
                VIRTUAL_MACHINES,
                self._name,
                fence=fence,
                edit=lambda machine: {
                    "metadata": {"annotations": {STRATEGY_ANNOTATION: kept}},
                    "spec": _run(machine, strategy),
                },
            )

    async def _look(self, region: str) -> RoleState:
        machine = await self._objects.read(region, VIRTUAL_MACHINES, self._name)
        if machine is None:
            return self._absent(region, VIRTUAL_MACHINES.kind, self._name)
        role, message = await self._role(region, machine)
        return RoleState(
            role=role,
            message=message[:512],
            fence=fence_of(machine),
            snapshot={
                "runStrategy": _strategy(machine),
                "kept": _annotations(machine).get(STRATEGY_ANNOTATION),
            },
        )

    async def _role(self, region: str, machine: Object) -> tuple[Role, str]:
        status, strategy = machine.get("status") or {}, _strategy(machine)
        shown = str(status.get("printableStatus") or "Unknown")
        what = f"VirtualMachine {self._name} ({strategy})"
        if strategy != HALTED:
            if shown == "Running" and status.get("ready"):
                return Role.ACTIVE, f"{what} is running"
            failure = (status.get("startFailure") or {}).get("consecutiveFailCount")
            why = f", {failure} failed starts" if failure else ""
            return Role.CHANGING, f"{what} is {shown}{why}"
        if await self._objects.read(region, VIRTUAL_MACHINE_INSTANCES, self._name) is not None:
            return Role.CHANGING, f"{what} is {shown}: its instance is still there"
        if shown != "Stopped" or status.get("created") or status.get("runStrategy", HALTED) != HALTED:
            return Role.CHANGING, f"{what}: its controller says {shown}"
        return Role.STANDBY, f"{what} is stopped"

    @property
    def _name(self) -> str:
        return str(self._step.settings["name"])


def _annotations(machine: Object) -> Mapping[str, str]:
    return machine["metadata"].get("annotations") or {}


def _strategy(machine: Object) -> str:
    """The run strategy; the older field `running` says Always or Halted."""
    spec = machine["spec"]
    if "running" in spec:
        return ALWAYS if spec["running"] else HALTED
    return str(spec.get("runStrategy") or HALTED)


def _run(machine: Object, strategy: str) -> dict[str, Any]:
    """Return the part of the spec that says `strategy`: the two fields exclude each other."""
    if "running" in machine["spec"] and strategy in (ALWAYS, HALTED):
        return {"running": strategy == ALWAYS}
    return {"running": None, "runStrategy": strategy}
