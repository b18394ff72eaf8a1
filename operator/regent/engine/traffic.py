"""The port of traffic targets: objects whose weights Regent rewrites.

A target can always *observe* what it *applies*, so that every write can be preceded by a look: applying twice is
harmless, and a restarted run skips what is already there. Owning is settled here too: one policy per object, the older
one wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from regent.domain.failover.fence import Fence
from regent.domain.failover.model import PolicySpec
from regent.domain.traffic.targets import TargetSpec
from regent.engine.resources import DNS_ENDPOINTS, GRPC_ROUTES, HTTP_ROUTES, VIRTUAL_SERVICES, Resource

OWNER_ANNOTATION = "regent.dev/policy"

TARGET_FIELDS: Mapping[Resource, str] = {
    HTTP_ROUTES: "httpRoute",
    GRPC_ROUTES: "grpcRoute",
    VIRTUAL_SERVICES: "virtualService",
    DNS_ENDPOINTS: "dnsEndpoint",
}
"""Kinds of objects that can be targets, and the field by which a policy's target names one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetState:
    """What a target looks like now, measured against the distribution it should carry."""

    ref: str
    exists: bool = True
    shares: Mapping[str, int] = field(default_factory=dict)
    """Share of each region in percent, by the weights as they stand."""
    aligned: bool = False
    """The weights are those that the wanted distribution gives."""
    fence: Fence | None = None
    owner: str = ""
    """`namespace/name/uid` of the policy that the object says it belongs to."""
    problem: str = ""
    """CamelCase reason why the target cannot be steered; empty: it can."""
    message: str = ""
    accepted: bool = False
    """The data plane's controller says that it took the very generation that carries the weights."""
    accepted_message: str = ""
    writer: str = ""
    """Field manager that wrote the weights last, where it is not Regent."""
    snapshot: str = ""
    """The weights as canonical text, for the run's snapshot and its hash."""
    poll: float | None = None
    """Seconds after which it must be looked at again, because nothing tells when it changes; None: changes are told."""


class TrafficTarget(Protocol):
    """One object that follows a policy's distribution."""

    @property
    def spec(self) -> TargetSpec:
        """What the policy says about it."""
        ...

    async def observe(self, distribution: Mapping[str, int], *, fresh: bool = False) -> TargetState:
        """Look; `fresh` reads past the cache.

        A target that cannot be read now is no error but the problem `TargetUnreachable`: one dead region must not keep
        a policy from its others. Only `fresh` raises ClusterError, for an object of the hub.
        """
        ...

    async def apply(self, distribution: Mapping[str, int], *, fence: Fence, owner: str) -> TargetState:
        """Make the weights those of `distribution` and put fence and owner on the object.

        Reads again after a conflict, so that nothing that others wrote is lost. Raises FencedOffError when the object
        carries a greater fence, TargetProblemError when it cannot be steered, ClusterError when the write failed.
        """
        ...


class TargetFactory(Protocol):
    """Makes the targets of a policy."""

    def targets(self, policy: PolicySpec, specs: Sequence[TargetSpec]) -> Sequence[TrafficTarget]:
        """Return one target for each spec."""
        ...


class Verifier(Protocol):
    """Sends requests through the data plane."""

    async def check(self, target: TargetSpec, *, expected: frozenset[str]) -> str:
        """Send one request; "" when it was answered well by one of the `expected` regions, else what was wrong."""
        ...


def names_in_hub(policy: Mapping[str, Any], resource: Resource) -> set[str]:
    """Names of the objects of this kind in the hub that a FailoverPolicy object has as targets."""
    field_name = TARGET_FIELDS[resource]
    targets = (policy.get("spec") or {}).get("targets") or ()
    return {
        str(target[field_name].get("name"))
        for target in targets
        if target.get(field_name) and not target.get("cluster")
    }


def owner_text(policy: PolicySpec) -> str:
    """The value of the owner annotation for `policy`."""
    return f"{policy.namespace}/{policy.name}/{policy.uid}"


def rival(policy: PolicySpec, spec: TargetSpec, others: Sequence[tuple[PolicySpec, Sequence[TargetSpec]]]) -> str:
    """Name the policy that has an older claim on the target, or "" when `policy` owns it.

    The older policy wins, then the lower uid: every replica comes to the same answer, and a new policy never takes a
    route away from one that serves.
    """
    own = (policy.created_time, policy.uid)
    for other, specs in others:
        same_object = (
            spec.exclusive and other.namespace == policy.namespace and any(item.ref == spec.ref for item in specs)
        )
        if same_object and other.uid != policy.uid and (other.created_time, other.uid) < own:
            return other.key
    return ""
