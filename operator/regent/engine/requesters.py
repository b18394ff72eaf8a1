"""Who made a run: what its annotation says, where the API server has seen to it that it tells the truth.

An annotation is the client's word. The chart's admission policy makes it more than that: while it is in force nobody
but Regent can write another name than the one that he signed in with. So the annotation counts only when that policy
and its binding were there, and denied, when the run was made; otherwise the requester is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from regent.domain.errors import ForbiddenError, NotFoundError
from regent.engine.ports import Cluster, Object
from regent.engine.records import annotations_of, is_automatic, time_of
from regent.engine.resources import VALIDATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICY_BINDINGS

REQUESTED_BY = "regent.dev/requested-by"
APPROVED_BY = "regent.dev/approved-by"
UNKNOWN = "unknown"
MAX_NAME = 253

TAKES_EFFECT = 5.0
"""Seconds after which a policy that was made is surely in force; API servers learn of it by a watch."""


class Requesters:
    """Finds out who made a run.

    Args:
        policy: name of the chart's ValidatingAdmissionPolicy and of its binding; "": there is none.
    """

    def __init__(self, *, cluster: Cluster, policy: str) -> None:
        self._cluster = cluster
        self._policy = policy

    async def of(self, run: Object) -> str:
        """Return the user that made the run: "regent", a user name as the API server authenticated it, or "unknown".

        Raises:
            ClusterError: the API server could not tell whether the policy is in force.
        """
        if is_automatic(run):
            return "regent"
        return await self._trusted(run, REQUESTED_BY) or UNKNOWN

    async def approver(self, run: Object) -> str:
        """Return the user that last changed what `spec.control` permits, "" when that is not known; raises as `of`."""
        return await self._trusted(run, APPROVED_BY)

    async def _trusted(self, run: Object, annotation: str) -> str:
        name = str(annotations_of(run).get(annotation, ""))
        if not name or not self._policy or not await self._in_force(run):
            return ""
        return name[:MAX_NAME]

    async def _in_force(self, run: Object) -> bool:
        try:
            policy = await self._cluster.get(VALIDATING_ADMISSION_POLICIES, "", self._policy)
            binding = await self._cluster.get(VALIDATING_ADMISSION_POLICY_BINDINGS, "", self._policy)
        except (NotFoundError, ForbiddenError):
            return False
        since = _made([policy, binding])
        made = time_of(run["metadata"].get("creationTimestamp"))
        return _denies(policy, binding) and since is not None and made is not None and made >= since + TAKES_EFFECT


def _denies(policy: Mapping[str, Any], binding: Mapping[str, Any]) -> bool:
    """Whether the two refuse in every namespace: somebody may have softened them without taking them away."""
    bound = binding.get("spec") or {}
    return (
        (policy.get("spec") or {}).get("failurePolicy", "Fail") == "Fail"
        and bound.get("policyName") == policy["metadata"]["name"]
        and "Deny" in (bound.get("validationActions") or ())
        and not any((bound.get("matchResources") or {}).get(field) for field in _NARROWS)
    )


_NARROWS = ("namespaceSelector", "objectSelector", "resourceRules", "excludeResourceRules")


def _made(objects: Iterable[Object]) -> float | None:
    """When the last of them was made; None when that cannot be read."""
    times = [time_of(obj["metadata"].get("creationTimestamp")) for obj in objects]
    known = [time for time in times if time is not None]
    return max(known) if len(known) == len(times) else None
