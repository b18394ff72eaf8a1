"""Promotion of a CronJob: it makes Jobs in the active region, and is suspended in the others.

Suspending does not stop a Job that runs already, so the step is only a standby once none is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.adapters.promotion.driver import ObjectDriver, condition, in_words, owned_by
from regent.adapters.promotion.objects import Access, fence_of
from regent.domain.failover.fence import Fence
from regent.domain.failover.roles import Role, RoleState
from regent.engine.ports import Object
from regent.engine.resources import CRON_JOBS, JOBS

ACCESS: Access = {CRON_JOBS: frozenset({"get", "patch"}), JOBS: frozenset({"list"})}


class CronJobDriver(ObjectDriver):
    """Suspends and resumes one CronJob. `step.settings`: name."""

    async def promote(self, region: str, *, source: str, fence: Fence, run: str) -> None:
        """Resume it."""
        await self._suspend(region, False, fence)

    async def demote(self, region: str, *, successor: str, fence: Fence, run: str) -> None:
        """Suspend it; Jobs that run are left to end."""
        await self._suspend(region, True, fence)

    async def restore(self, region: str, snapshot: Mapping[str, Any], *, fence: Fence, run: str) -> None:
        """Suspend or resume it as it was."""
        if snapshot:
            await self._suspend(region, bool(snapshot["suspend"]), fence)

    async def _suspend(self, region: str, suspend: bool, fence: Fence) -> None:
        wanted = {"spec": {"suspend": suspend}}
        await self._objects.change(region, CRON_JOBS, self._name, fence=fence, edit=lambda _: wanted)

    async def _look(self, region: str) -> RoleState:
        cron_job = await self._objects.read(region, CRON_JOBS, self._name)
        if cron_job is None:
            return self._absent(region, CRON_JOBS.kind, self._name)
        suspended = bool(cron_job["spec"].get("suspend"))
        role, message = Role.ACTIVE, f"CronJob {self._name} is not suspended"
        if suspended:
            running = await self._running(region, cron_job)
            role, message = Role.STANDBY, f"CronJob {self._name} is suspended and none of its Jobs runs"
            if running:
                role = Role.CHANGING
                message = f"CronJob {self._name} is suspended; still running: Job {in_words(running)}: wait or delete"
        return RoleState(role=role, message=message, fence=fence_of(cron_job), snapshot={"suspend": suspended})

    async def _running(self, region: str, cron_job: Object) -> list[str]:
        return [
            str(job["metadata"]["name"])
            for job in await self._objects.listed(region, JOBS)
            if owned_by(job, cron_job)
            and not any(condition(job, kind).get("status") == "True" for kind in ("Complete", "Failed"))
        ]

    @property
    def _name(self) -> str:
        return str(self._step.settings["name"])
