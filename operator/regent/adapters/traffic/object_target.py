"""A traffic target that is a Kubernetes object, whatever its kind and whichever cluster it is in.

Lists of weights are atomic for server-side apply, so a weight alone cannot be owned: the object is read, its weights
are changed in place and it is written back whole with its resourceVersion. Everything else, fields that Regent does not
know included, goes back as it came. Objects are the users': one that is missing is a problem that is shown, never made.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from regent.adapters.traffic.kinds import ObjectKind, Reading, annotations_of, last_writer
from regent.adapters.traffic.places import Place, UnreachablePlaceError
from regent.domain.errors import (
    ClusterError,
    ConflictError,
    FencedOffError,
    NotFoundError,
    TargetProblemError,
    UnavailableError,
)
from regent.domain.failover.fence import ANNOTATION as FENCE_ANNOTATION
from regent.domain.failover.fence import Fence, parse_fence
from regent.domain.traffic.targets import TargetSpec
from regent.engine.ports import Object
from regent.engine.traffic import OWNER_ANNOTATION, TargetState

READ_RETRY = 1.0
"""Seconds after which an object that the API server did not give is asked for again."""
MAX_CONFLICTS = 8
"""Rereads after a conflict before giving up until the next visit."""


class ObjectTarget:
    """Implements `TrafficTarget`.

    Args:
        kind: how its kind of object holds weights.
        place: the cluster that it is in.
        namespace: the policy's.
    """

    def __init__(self, *, kind: ObjectKind, place: Place, namespace: str) -> None:
        self._kind = kind
        self._place = place
        self._namespace = namespace

    @property
    def spec(self) -> TargetSpec:
        """What the policy says about the object."""
        return self._kind.spec

    async def observe(self, distribution: Mapping[str, int], *, fresh: bool = False) -> TargetState:
        """Look at the object, as it is known here or (fresh) at the API server."""
        try:
            obj = await self._place.look(self._kind, self._namespace, fresh=fresh)
        except UnreachablePlaceError as error:
            return TargetState(
                ref=self.spec.ref, exists=False, problem=error.problem, message=str(error), poll=error.retry_after
            )
        except ClusterError as error:
            if fresh:
                raise  # who asks past the caches needs the truth, and asks again
            message = f"{self.spec.ref} cannot be read: {error}"[:512]
            return TargetState(
                ref=self.spec.ref, exists=False, problem="TargetUnreachable", message=message, poll=READ_RETRY
            )
        if obj is None:
            return TargetState(
                ref=self.spec.ref,
                exists=False,
                problem="TargetNotFound",
                message=self._missing(),
                poll=self._place.poll,
            )
        return self._state(obj, distribution)

    async def apply(self, distribution: Mapping[str, int], *, fence: Fence, owner: str) -> TargetState:
        """Write the weights; see `TrafficTarget.apply`."""
        obj = await self._place.look(self._kind, self._namespace)
        for _ in range(MAX_CONFLICTS):
            if obj is None:
                raise TargetProblemError("TargetNotFound", self._missing())
            state = self._state(obj, distribution)
            if state.problem:
                raise TargetProblemError(state.problem, state.message)
            if state.fence is not None and state.fence > fence:
                raise FencedOffError(f"{self.spec.ref} carries fence {state.fence}, ours is {fence}")
            if state.aligned and state.fence == fence and state.owner == owner:
                return state
            try:
                written = await self._place.write(self._kind, self._edited(obj, distribution, fence, owner))
            except ConflictError:
                # Somebody wrote since we read: their change is kept, so read again and edit that.
                obj = await self._place.look(self._kind, self._namespace, fresh=True)
                continue
            except NotFoundError:
                obj = None
                continue
            return self._state(written, distribution)
        raise UnavailableError(f"{self.spec.ref} was changed by others {MAX_CONFLICTS} times while we wrote it")

    def _edited(self, obj: Object, distribution: Mapping[str, int], fence: Fence, owner: str) -> Object:
        edited = copy.deepcopy(obj)
        self._kind.edit(edited, distribution, self._region_of)
        marks = edited["metadata"].setdefault("annotations", {})
        marks[FENCE_ANNOTATION] = str(fence)
        marks[OWNER_ANNOTATION] = owner
        return edited

    def _state(self, obj: Object, distribution: Mapping[str, int]) -> TargetState:
        reading: Reading = self._kind.reading(obj, distribution, self._region_of)
        marks = annotations_of(obj)
        return TargetState(
            ref=self.spec.ref,
            shares=reading.shares,
            aligned=reading.aligned,
            fence=parse_fence(marks.get(FENCE_ANNOTATION, "")),
            owner=marks.get(OWNER_ANNOTATION, ""),
            problem=reading.problem,
            message=reading.message,
            accepted=reading.accepted,
            accepted_message=reading.accepted_message,
            writer=last_writer(obj, self._kind.weight_fields),
            snapshot=reading.snapshot,
            poll=self._place.poll,
        )

    def _region_of(self, namespace: str, service: str) -> str:
        return self._place.region_of_service(namespace, service)

    def _missing(self) -> str:
        resource = self._kind.resource
        where = f"in the cluster of region {self.spec.cluster}" if self.spec.cluster else "in the cluster"
        return (
            f"{self.spec.ref} does not exist in namespace {self._namespace}; create it (kind {resource.kind} of "
            f"{resource.group} must be installed {where})"
        )
