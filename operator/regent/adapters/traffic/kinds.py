"""What one kind of target object has to say for itself; `object_target` does the rest for all of them.

A kind reads weights off its object, and puts weights into a copy of it. Reading, writing, fences, owners, conflicts and
caches are not its business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from regent.domain.traffic.targets import TargetSpec
from regent.engine.ports import Cluster, Object
from regent.engine.resources import Resource

REGION_LABEL = "regent.dev/region"
MANAGER = "regent"

RegionOfService = Callable[[str, str], str]
"""The region that the Service (namespace, name) says it belongs to; "" when it says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What an object says, measured against a distribution. The fields are those of `TargetState`."""

    shares: Mapping[str, int] = field(default_factory=dict)
    aligned: bool = False
    problem: str = ""
    message: str = ""
    accepted: bool = False
    accepted_message: str = ""
    snapshot: str = ""


class ObjectKind(Protocol):
    """One kind of object, for one target of one policy."""

    resource: ClassVar[Resource]
    weight_fields: ClassVar[tuple[str, ...]]
    """Fields of `spec` that hold the weights: who wrote them last is who else steers the object."""
    labelled: ClassVar[bool]
    """Whether Services' labels say which backend belongs to which region."""

    @property
    def spec(self) -> TargetSpec:
        """What the policy says about the target."""
        ...

    async def read(self, cluster: Cluster, namespace: str) -> Object:
        """GET the object. The resource is named at the call, because access rules are made from calls."""
        ...

    async def write(self, cluster: Cluster, obj: Object) -> Object:
        """PUT the object."""
        ...

    def reading(self, obj: Object, distribution: Mapping[str, int], region_of: RegionOfService) -> Reading:
        """Read the weights and judge them."""
        ...

    def edit(self, obj: Object, distribution: Mapping[str, int], region_of: RegionOfService) -> None:
        """Put the weights of `distribution` into `obj`, which is the caller's own copy, and touch nothing else."""
        ...


def annotations_of(obj: Object) -> Mapping[str, Any]:
    """The object's annotations; {} when it has none."""
    return obj["metadata"].get("annotations") or {}


def compact(value: object) -> str:
    """Canonical JSON: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def last_writer(obj: Object, fields: tuple[str, ...]) -> str:
    """The field manager, other than ours, that wrote one of these fields of the spec last."""
    writers = [
        entry
        for entry in obj["metadata"].get("managedFields") or ()
        if not entry.get("subresource") and _wrote(entry, fields)
    ]
    latest = max(writers, key=lambda entry: str(entry.get("time", "")), default=None)
    manager = str((latest or {}).get("manager", ""))
    return "" if manager == MANAGER else manager


def _wrote(entry: Mapping[str, Any], fields: tuple[str, ...]) -> bool:
    spec = (entry.get("fieldsV1") or {}).get("f:spec") or {}
    return any(f"f:{name}" in spec for name in fields)
