"""Promotion of a Deployment or StatefulSet: scaled up in the active region, to zero in the others.

The object itself is written and not its scale subresource, so that fence and replicas change together. A workload is
only a standby once its last pod is gone: a Deployment's status does not count pods that are terminating, and these may
well write until the end of their grace period, or for ever on a node that cannot be reached.

A HorizontalPodAutoscaler leaves a workload at zero alone and has the say about its replicas above that; where it would
not (`minReplicas: 0`, KEDA), or would not let the replicas of the step come up, the step says so instead of fighting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.adapters.promotion.driver import ObjectDriver, condition, in_words, owned_by
from regent.adapters.promotion.objects import Access, Patch, fence_of
from regent.domain.errors import PromotionProblemError
from regent.domain.failover.fence import Fence
from regent.domain.failover.roles import Role, RoleState
from regent.engine.ports import Object
from regent.engine.resources import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, PODS, STATEFUL_SETS, Resource

KINDS: dict[str, Resource] = {resource.kind: resource for resource in (DEPLOYMENTS, STATEFUL_SETS)}
ACCESS: Access = {
    DEPLOYMENTS: frozenset({"get", "patch"}),
    STATEFUL_SETS: frozenset({"get", "patch"}),
    HORIZONTAL_POD_AUTOSCALERS: frozenset({"list"}),
    PODS: frozenset({"list"}),
}


class ScaleDriver(ObjectDriver):
    """Scales one workload. `step.settings`: kind, name, replicas."""

    async def promote(self, region: str, *, source: str, fence: Fence, run: str) -> None:
        """Scale up to the replicas of the step; an autoscaler's choice is left to it."""
        autoscaler = await self._autoscaler(region)
        if autoscaler is not None:
            self._refuse_low_ceiling(autoscaler)

        def edit(workload: Object) -> Patch:
            if autoscaler is not None and _wanted(workload) > 0:
                return {}
            return {"spec": {"replicas": self._replicas}}

        await self._objects.change(region, self._resource, self._name, fence=fence, edit=edit)

    async def demote(self, region: str, *, successor: str, fence: Fence, run: str) -> None:
        """Scale to zero."""
        autoscaler = await self._autoscaler(region)
        if autoscaler is not None:
            self._refuse_scaler_from_zero(autoscaler)
        await self._objects.change(
            region, self._resource, self._name, fence=fence, edit=lambda _: {"spec": {"replicas": 0}}
        )

    async def restore(self, region: str, snapshot: Mapping[str, Any], *, fence: Fence, run: str) -> None:
        """Scale to what it was."""
        if snapshot:
            wanted = {"spec": {"replicas": int(snapshot["replicas"])}}
            await self._objects.change(region, self._resource, self._name, fence=fence, edit=lambda _: wanted)

    async def _look(self, region: str) -> RoleState:
        workload = await self._objects.read(region, self._resource, self._name)
        if workload is None:
            return self._absent(region, self._resource.kind, self._name)
        role, message = await self._role(region, workload)
        return RoleState(role=role, message=message, fence=fence_of(workload), snapshot={"replicas": _wanted(workload)})

    async def _role(self, region: str, workload: Object) -> tuple[Role, str]:
        status, wanted = workload.get("status") or {}, _wanted(workload)
        what = f"{self._resource.kind} {self._name}"
        if int(status.get("observedGeneration", 0)) < int(workload["metadata"].get("generation", 0)):
            return Role.CHANGING, f"{what}: the change to {wanted} replicas has not been taken up yet"
        if wanted == 0:
            left = [pod["metadata"]["name"] for pod in await self._pods(region, workload)]
            if int(status.get("replicas", 0)) or left:
                return Role.CHANGING, f"{what} is scaled to 0; still there: {in_words(left) or status['replicas']}"
            return Role.STANDBY, f"{what} is scaled to 0 and its last pod is gone"
        enough = self._replicas
        if wanted < enough and await self._autoscaler(region) is not None:
            enough = wanted
        ready = int(status.get("readyReplicas", 0))
        if wanted < enough or ready < enough:
            failure = condition(workload, "ReplicaFailure")
            why = f": {failure.get('message')}" if failure.get("status") == "True" else ""
            return Role.CHANGING, f"{what}: {ready} of {enough} replicas are ready{why}"[:512]
        return Role.ACTIVE, f"{what}: {ready} replicas are ready"

    async def _pods(self, region: str, workload: Object) -> list[Object]:
        """Return the pods of the workload that may still run."""
        pods = await self._objects.listed(region, PODS, selector=_selector(workload["spec"].get("selector") or {}))
        return [
            pod
            for pod in pods
            if _made_by(pod, workload) and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        ]

    async def _autoscaler(self, region: str) -> Object | None:
        for autoscaler in await self._objects.listed(region, HORIZONTAL_POD_AUTOSCALERS):
            target = autoscaler["spec"].get("scaleTargetRef") or {}
            if (target.get("kind"), target.get("name")) == (self._resource.kind, self._name):
                return autoscaler
        return None

    def _refuse_low_ceiling(self, autoscaler: Object) -> None:
        ceiling = int(autoscaler["spec"].get("maxReplicas", self._replicas))
        if ceiling < self._replicas:
            raise PromotionProblemError(
                "AutoscalerInTheWay",
                f"HorizontalPodAutoscaler {autoscaler['metadata']['name']} keeps {self._resource.kind} {self._name} at "
                f"{ceiling} replicas or less, the step wants {self._replicas}: raise maxReplicas, or lower replicas",
            )

    def _refuse_scaler_from_zero(self, autoscaler: Object) -> None:
        name = autoscaler["metadata"]["name"]
        if any(owner.get("kind") == "ScaledObject" for owner in autoscaler["metadata"].get("ownerReferences") or ()):
            cure = "pause the ScaledObject in the standby region (autoscaling.keda.sh/paused-replicas)"
        elif autoscaler["spec"].get("minReplicas") == 0:
            cure = "set its minReplicas to 1 or more"
        else:
            return
        raise PromotionProblemError(
            "AutoscalerInTheWay",
            f"HorizontalPodAutoscaler {name} may scale {self._resource.kind} {self._name} up again from 0: {cure}",
        )

    @property
    def _resource(self) -> Resource:
        return KINDS[self._step.settings["kind"]]

    @property
    def _name(self) -> str:
        return str(self._step.settings["name"])

    @property
    def _replicas(self) -> int:
        return int(self._step.settings["replicas"])


def _wanted(workload: Object) -> int:
    replicas = workload["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def _made_by(pod: Object, workload: Object) -> bool:
    """Say whether the pod is the workload's own: two workloads may share all the labels that they select by."""
    if workload["kind"] == STATEFUL_SETS.kind:
        return owned_by(pod, workload)
    # The pods of a Deployment are owned by its ReplicaSets, which are named after it and the hash of their template.
    revision = (pod["metadata"].get("labels") or {}).get("pod-template-hash", "")
    owner = f"{workload['metadata']['name']}-{revision}"
    return any(
        reference.get("kind") == "ReplicaSet" and reference.get("name") == owner
        for reference in pod["metadata"].get("ownerReferences") or ()
    )


def _selector(selector: Mapping[str, Any]) -> str:
    """Return a label selector as a query's text."""
    terms = [f"{name}={value}" for name, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        name, values = expression["key"], ",".join(expression.get("values") or ())
        forms = {"Exists": name, "DoesNotExist": f"!{name}", "In": f"{name} in ({values})"}
        terms.append(forms.get(expression["operator"], f"{name} notin ({values})"))
    return ",".join(terms)
