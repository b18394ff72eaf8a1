"""Promotion by a Job that is run in the new region: for what no other step knows how to do.

A Job is an act and not a state, so it is active in a region once it has succeeded there and until it is demoted, which
undoes nothing: the Job is marked, and stopped when it still runs. Each run has a Job of its own by a name that follows
from the run, so that a step which is repeated after a crash finds its Job instead of running it twice. The policy's
ServiceAccount is impersonated; it needs get, list, create and patch of Jobs.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from typing import Any

from regent.adapters.promotion.driver import ObjectDriver, condition
from regent.adapters.promotion.objects import Patch, fence_of, refuse_older
from regent.domain.errors import PromotionProblemError
from regent.domain.failover.fence import ANNOTATION, Fence
from regent.domain.failover.roles import Role, RoleState
from regent.engine.ports import Object
from regent.engine.resources import JOBS

POLICY_LABEL = "regent.dev/policy-uid"
STEP_LABEL = "regent.dev/step"
REGION_LABEL = "regent.dev/region"
MANAGED_LABEL = "regent.dev/managed-by"
RUN_ANNOTATION = "regent.dev/failover"
DEMOTED_ANNOTATION = "regent.dev/demoted"


class JobDriver(ObjectDriver):
    """Runs one Job. `step.settings`: template."""

    one_for_each_region = True

    async def promote(self, region: str, *, source: str, fence: Fence, run: str) -> None:
        """Create the run's Job, unless it is there."""
        for known in await self._jobs(region):
            refuse_older(known, fence)
        job = await self._objects.create(region, JOBS, self._job(region, fence, run))
        if _failed(job):
            raise PromotionProblemError("JobFailed", _failure(job))
        if _demoted(job):
            # The run went away from this region and has come back to it: a second run of the Job would be a surprise.
            raise PromotionProblemError(
                "JobDemoted", f"Job {job['metadata']['name']} has been stopped by this run already; start a new run"
            )

    async def demote(self, region: str, *, successor: str, fence: Fence, run: str) -> None:
        """Mark the newest Job as demoted, and stop it when it runs. What it did stays done."""
        newest = _newest(await self._jobs(region))
        if newest is not None:
            await self._mark(region, newest, fence, demoted=True)

    async def restore(self, region: str, snapshot: Mapping[str, Any], *, fence: Fence, run: str) -> None:
        """Mark the newest Job as it was marked; a Job that did not exist then is demoted."""
        newest = _newest(await self._jobs(region))
        if newest is not None:
            demoted = snapshot.get("job") != newest["metadata"]["name"] or bool(snapshot.get("demoted"))
            await self._mark(region, newest, fence, demoted=demoted)

    async def _look(self, region: str) -> RoleState:
        job = _newest(await self._jobs(region))
        if job is None:
            return RoleState(role=Role.STANDBY, message=f"the Job of step {self._step.name} has not run in {region}")
        name, active = str(job["metadata"]["name"]), int((job.get("status") or {}).get("active", 0))
        if _demoted(job):
            role, message = Role.STANDBY, f"Job {name} was demoted; what it did stays done"
            if active:
                role, message = Role.CHANGING, f"Job {name} was demoted and still has {active} pods"
        elif condition(job, "Complete").get("status") == "True":
            role, message = Role.ACTIVE, f"Job {name} has succeeded"
        elif _failed(job):
            role, message = Role.CHANGING, _failure(job)
        else:
            role, message = Role.CHANGING, f"Job {name} runs, {active} pods active"
        return RoleState(
            role=role, message=message, fence=fence_of(job), snapshot={"job": name, "demoted": _demoted(job)}
        )

    async def _mark(self, region: str, job: Object, fence: Fence, *, demoted: bool) -> None:
        def edit(present: Object) -> Patch:
            patch: Patch = {"metadata": {"annotations": {DEMOTED_ANNOTATION: "true" if demoted else None}}}
            if not _finished(present):
                patch["spec"] = {"suspend": demoted}
            return patch

        await self._objects.change(region, JOBS, str(job["metadata"]["name"]), fence=fence, edit=edit)

    async def _jobs(self, region: str) -> list[Object]:
        """Return the step's Jobs in the region, which may share its cluster with others."""
        selector = f"{POLICY_LABEL}={self._policy.uid},{STEP_LABEL}={self._step.name},{REGION_LABEL}={region}"
        return list(await self._objects.listed(region, JOBS, selector=selector))

    def _job(self, region: str, fence: Fence, run: str) -> Object:
        template = self._step.settings["template"]
        given = template.get("metadata") or {}
        key = "/".join((run.rpartition("/")[2], self._step.name, region))
        metadata = {
            "namespace": self._objects.namespace,
            "name": f"regent-{self._step.name[:40].rstrip('-.')}-{hashlib.sha256(key.encode()).hexdigest()[:12]}",
            "labels": {
                **(given.get("labels") or {}),
                MANAGED_LABEL: "regent",
                POLICY_LABEL: self._policy.uid,
                STEP_LABEL: self._step.name,
                REGION_LABEL: region,
            },
            "annotations": {
                **(given.get("annotations") or {}),
                ANNOTATION: str(fence),
                RUN_ANNOTATION: run.rpartition("/")[0],
            },
        }
        spec = copy.deepcopy(dict(template["spec"]))
        return {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "metadata": metadata, "spec": spec}


def _newest(jobs: list[Object]) -> Object | None:
    """Return the Job of the latest run: fences rise, clocks need not."""
    return max(
        jobs, key=lambda job: (fence_of(job) or Fence(0), job["metadata"].get("creationTimestamp", "")), default=None
    )


def _demoted(job: Object) -> bool:
    return DEMOTED_ANNOTATION in (job["metadata"].get("annotations") or {})


def _failed(job: Object) -> bool:
    return condition(job, "Failed").get("status") == "True"


def _finished(job: Object) -> bool:
    return _failed(job) or condition(job, "Complete").get("status") == "True"


def _failure(job: Object) -> str:
    failed = condition(job, "Failed")
    return f"Job {job['metadata']['name']} failed: {failed.get('reason', '')}: {failed.get('message', '')}"[:512]
