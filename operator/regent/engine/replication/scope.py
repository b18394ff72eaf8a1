"""From where to where a policy copies now, read off the store: its source, its targets, and what stands against them.

The source may be a FailoverPolicy's: then the direction turns when that policy's record of it does, at the right step
of a run, and the copies carry its epoch, so that a replicator that was left behind finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from regent.domain.conditions import Condition
from regent.domain.placement import scoped_rule
from regent.domain.replication.conflict import refusal
from regent.domain.replication.kinds import unknown_kinds
from regent.domain.replication.model import Link as Way
from regent.domain.replication.model import ReplicationSpec
from regent.domain.replication.placement import denied
from regent.engine.ports import Object
from regent.engine.resources import FAILOVER_POLICIES, PLACEMENT_POLICIES, REGIONS
from regent.engine.store import Store

Denied = Callable[[Mapping[str, str]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """From where to where. `problem`: what has to be put right in the spec; `paused`: why nothing is copied now."""

    source_region: str = ""
    ways: tuple[Way, ...] = ()
    problem: Condition | None = None
    paused: str = ""
    epoch: int = 0
    failover: str = ""
    """Name of the FailoverPolicy whose direction is followed; "" with a fixed source."""


def scope_of(spec: ReplicationSpec, store: Store, *, shared: Callable[[str, str], bool]) -> Scope:
    """Return the scope of a policy.

    Args:
        shared: says whether two regions are in one cluster.
    """
    source, epoch, followed = spec.source.region, 0, spec.source.follow_policy
    owners = owners_of(spec, store)
    if followed:
        policy = store.get(FAILOVER_POLICIES, spec.namespace, followed)
        if policy is None:
            return Scope(problem=_not_ready("FailoverPolicyNotFound", f"FailoverPolicy {followed} does not exist"))
        status = policy.get("status") or {}
        operation = status.get("operation") or {}
        source = str(status.get("replicationSource") or operation.get("from") or status.get("activeRegion") or "")
        # A run raises the epoch when it begins; the copies that it waits for are still those of the one before. Those
        # that it has promoted are of the new one, so this direction cannot write them any more.
        epoch = int(status.get("epoch") or 0) - (1 if operation else 0)
        if not source:
            text = f"FailoverPolicy {followed} has no active region yet"
            return Scope(problem=_not_ready("SourceUnknown", text), failover=followed)
    own = spec.namespace
    active = {name for owner in owners if not owner.get("operation") for name in _active(owner)}
    ways = tuple(
        Way(
            source_region=source,
            target=target,
            epoch=epoch,
            target_active=source not in active and target.region in active,
        )
        for target in spec.targets
        if target.region != source or (target.namespace != own and not followed)
    )
    return Scope(
        source_region=source,
        ways=ways,
        problem=_problem(spec, store, source, ways, shared),
        paused=_paused(spec, store, source),
        epoch=epoch,
        failover=followed,
    )


def owners_of(spec: ReplicationSpec, store: Store) -> list[Mapping[str, Any]]:
    """Return the status of each FailoverPolicy whose regions these are: the one that is followed, and those that name
    the policy."""
    return [
        policy.get("status") or {}
        for policy in store.list(FAILOVER_POLICIES, spec.namespace)
        if policy["metadata"]["name"] == spec.source.follow_policy or names(policy, spec.name)
    ]


def names(policy: Object, name: str) -> bool:
    """Whether a FailoverPolicy names a ReplicationPolicy."""
    refs = (policy.get("spec") or {}).get("replicationPolicyRefs") or ()
    return any(ref.get("name") == name for ref in refs)


def _active(status: Mapping[str, Any]) -> set[str]:
    found = status.get("activeRegions") or [status.get("activeRegion")]
    return {str(name) for name in found if name}


def _problem(
    spec: ReplicationSpec, store: Store, source: str, ways: tuple[Way, ...], shared: Callable[[str, str], bool]
) -> Condition | None:
    if refused := refusal(spec, targets=len(ways)):
        return _not_ready("BidirectionalImpossible", refused)
    strange = [kind for selector in spec.resources for kind in unknown_kinds(selector)]
    if strange:
        text = f"resources[].kinds: {', '.join(strange)} is not of the category, or needs includeSecrets or includeRBAC"
        return _not_ready("KindNotInCategory", text)
    names = (source, *(way.target.region for way in ways))
    missing = sorted({name for name in names if store.get(REGIONS, "", name) is None})
    if missing:
        return _not_ready("RegionNotFound", f"Region {', '.join(missing)} does not exist: create it")
    for way in ways:
        if way.target.namespace == spec.namespace and shared(source, way.target.region):
            return _not_ready(
                "SameCluster",
                f"{source} and {way.target.region} are in one cluster, where a copy would be its own source: set "
                "targets[].namespace",
            )
    if not ways:
        return _not_ready("NoTargets", f"no target is left besides the source {source}")
    return None


def _paused(spec: ReplicationSpec, store: Store, source: str) -> str:
    if spec.suspend:
        return "spec.suspend is true"
    region = store.get(REGIONS, "", source) or {}
    if (region.get("spec") or {}).get("adminState") == "Disabled":
        return f"the source {source} is Disabled"
    return ""


def target_paused(store: Store, region: str) -> str:
    """Why nothing is written to a target now, by its Region: "" when it is."""
    obj = store.get(REGIONS, "", region) or {}
    return f"region {region} is Disabled" if (obj.get("spec") or {}).get("adminState") == "Disabled" else ""


def denied_by_placement(store: Store, spec: ReplicationSpec, way: Way) -> Denied:
    """Return what says why an object with these labels may not be in the target's region; "" when it may.

    A rule that selects the policy itself by its labels refuses all that it copies, as at admission.
    """
    region = way.target.region
    compliance = frozenset(map(str, ((store.get(REGIONS, "", region) or {}).get("spec") or {}).get("compliance") or ()))
    rules = [
        scoped_rule(obj)
        for obj in store.list(PLACEMENT_POLICIES, spec.namespace)
        if not obj["metadata"].get("deletionTimestamp")
    ]

    def judged(labels: Mapping[str, str]) -> str:
        return denied(rules, labels, source_region=way.source_region, target_region=region, compliance=compliance)

    whole = judged(spec.labels)

    def refused(labels: Mapping[str, str]) -> str:
        why = whole or judged(labels)
        return f"PlacementDenied: {why}" if why else ""

    return refused


def _not_ready(reason: str, message: str) -> Condition:
    return Condition("Ready", "False", reason, message)
