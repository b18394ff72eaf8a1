"""Whether an export may be taken over, and with which epochs: from what it says, what this hub has, and what the
regions have seen. Pure: everything was read before, and nothing is written before this has been passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from regent.cli.fields import items_at, name_of, text_at, value_at
from regent.domain.failover.fence import Fence
from regent.domain.hub import IMPORTED, OPERATION, is_promotion, promotion_fence
from regent.engine.hub_epochs import Kept
from regent.engine.ports import Object

SHARED = ("ActiveActive", "BlueGreen")
"""Topologies in which several regions may serve at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """A policy as this hub is to have it."""

    policy: Object
    """As exported, with the status that it is to get."""
    fence: Fence
    regions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is to be taken over; nothing may be while there are `refusals`."""

    takeovers: list[Takeover]
    refusals: list[str]


def judge(
    policies: Sequence[Object],
    *,
    here: Mapping[str, Object],
    kept: Mapping[str, Kept],
    hub: str,
    active: Mapping[str, str],
) -> Judgement:
    """Judge every policy.

    Args:
        policies: FailoverPolicies as exported.
        here: those of this hub, by `namespace/name`.
        kept: what the regions that were asked have kept, by region.
        hub: uid of this hub.
        active: by `namespace/name`, the region that a person says is active.
    """
    takeovers: list[Takeover] = []
    known = {key_of(policy) for policy in policies}
    refusals = [f"--active {key}: the export has no such FailoverPolicy" for key in active if key not in known]
    for policy in policies:
        key = key_of(policy)
        try:
            takeovers.append(_judge(policy, here.get(key), kept, hub, active.get(key, "")))
        except ValueError as error:
            refusals.append(f"{key}: {error}")
    return Judgement(takeovers=takeovers, refusals=refusals)


def key_of(policy: Object) -> str:
    """Give `namespace/name`, which a policy is known by in every hub and region."""
    return f"{text_at(policy, '.metadata.namespace')}/{name_of(policy)}"


def regions_of(policy: Object) -> tuple[str, ...]:
    """Give the regions of a policy."""
    return tuple(str(item.get("name")) for item in items_at(policy, ".spec.regions"))


def _judge(policy: Object, present: Object | None, kept: Mapping[str, Kept], hub: str, said: str) -> Takeover:
    key, regions = key_of(policy), regions_of(policy)
    epoch = int(value_at(policy, ".status.epoch") or 0)
    seen = [(region, kept[region]) for region in regions if region in kept and key in kept[region].fences]
    own = {found.fences[key] for _, found in seen if found.hub == hub and is_promotion(found.fences[key])}
    foreign = {region: found.fences[key] for region, found in seen if found.fences[key] not in own}
    highest = max([epoch, *(fence.epoch for fence in foreign.values())])
    mine = max(own, default=None)
    fence = promotion_fence(highest, exported_epoch=epoch)
    if mine is not None and mine.epoch > highest:
        # What this hub has left itself, in an import that may not have come to its end, is not gone beyond.
        fence = Fence(mine.epoch, 0, epoch)
    here = int(value_at(present, ".status.epoch") or 0)
    if here > epoch and here != fence.epoch:
        raise ValueError(f"this hub has epoch {here} of it, the export has {epoch}, which is older")
    before = max(mine.sequence if mine is not None else 0, _imported(present))
    if before > epoch:
        raise ValueError(f"this hub has taken it over with epoch {before}, the export has {epoch}, which is older")
    newer = sorted(region for region, found in foreign.items() if found.epoch > epoch)
    operation = value_at(policy, f".status.{OPERATION}")
    if said:
        return Takeover(policy=_with_active(policy, said, fence), fence=fence, regions=regions)
    if newer:
        raise ValueError(
            f"the export is older than what {', '.join(newer)} has seen (epoch {epoch}, there "
            f"{max(foreign[name].epoch for name in newer)}), so what is active now is not known. {_way_out(policy)}"
        )
    if operation:
        raise ValueError(
            f"run {text_at(operation, 'name')} ({text_at(operation, 'from')} to {text_at(operation, 'to')}) was under "
            f"way, and how far it came is not known. {_way_out(policy)}"
        )
    return Takeover(policy=_with_epoch(policy, fence), fence=fence, regions=regions)


def _imported(present: Object | None) -> int:
    text = str((value_at(present, ".metadata.annotations") or {}).get(IMPORTED) or "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def _way_out(policy: Object) -> str:
    if text_at(policy, ".spec.topology") in SHARED:
        return "Make a new export"
    return f"Find out which region serves, then give --active {key_of(policy)}=REGION"


def _with_epoch(policy: Object, fence: Fence) -> Object:
    status = {field: value for field, value in (policy.get("status") or {}).items() if field != OPERATION}
    metadata = policy["metadata"]
    notes = {**(metadata.get("annotations") or {}), IMPORTED: str(int(status.get("epoch") or 0))}
    policy = {**policy, "metadata": {**metadata, "annotations": notes}}
    # A policy that never had anything active is adopted here as it would have been there.
    return {**policy, "status": {**status, "epoch": fence.epoch} if status.get("active") else {}}


def _with_active(policy: Object, region: str, fence: Fence) -> Object:
    if region not in regions_of(policy):
        raise ValueError(f"--active: {region} is none of its regions")
    if text_at(policy, ".spec.topology") in SHARED:
        raise ValueError("--active: with topologies ActiveActive and BlueGreen several regions serve")
    found = _with_epoch(policy, fence)
    alone = [{"region": name, "weightPercent": 100 if name == region else 0} for name in regions_of(policy)]
    status = {**(policy.get("status") or {}), **found["status"], "epoch": fence.epoch, "activeRegion": region}
    status |= {"activeRegions": [region], "active": region, "distribution": alone}
    if status.get("replicationSource"):
        status["replicationSource"] = region
    status.pop(OPERATION, None)
    return {**found, "status": status}
