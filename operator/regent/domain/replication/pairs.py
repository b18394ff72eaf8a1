"""Bidirectional replication: what is written for an outcome of `conflict`.

One side is brought to what the other says by a merge patch against exactly the version that was looked at. An apply
would leave to their owners what others have set there and the winner no longer has, and that would come back as a
change of theirs. What belongs to the cluster is in no patch, because neither side of the comparison has it.

How workloads rest or run is no content. With a fixed source each side has its own: nothing that runs is stopped and
nothing that was stopped by a person is started, whichever region is active. Where a FailoverPolicy is followed the
target is the standby, and rests as the policy says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regent.domain.merge_patch import merged
from regent.domain.replication import marks
from regent.domain.replication.conflict import Outcome
from regent.domain.replication.kinds import VIRTUAL_MACHINE, kind_of
from regent.domain.replication.model import Link, Object, ReplicationSpec, Standby, TargetSpec
from regent.domain.replication.namespaces import move
from regent.domain.replication.normalise import normalise, steered
from regent.domain.replication.plan import applied_body
from regent.domain.replication.shape import REGION_LABEL, Desired, relabel, with_weights
from regent.domain.replication.sleep import asleep, retain_rest, woken

_REST = ("replicas", "suspend", "runStrategy", "replicationState", "minReplicas")


def mirrored(link: Link, spec: ReplicationSpec) -> Link:
    """Return the way back: from the target to the source."""
    back = TargetSpec(region=link.source_region, namespace=spec.namespace)
    return Link(source_region=link.target.region, target=back, epoch=link.epoch)


def target_body(
    wanted: Desired,
    spec: ReplicationSpec,
    link: Link,
    outcome: Outcome,
    *,
    winner: Mapping[str, Any],
    loser: Mapping[str, Any] | None,
    observed_at: float,
) -> Object:
    """Return what the target's object is to be for TO_TARGET, with its marks.

    Args:
        wanted: what a copy of the source's object is (`shape.desired`).
        spec: the policy.
        link: which way.
        outcome: what was decided.
        winner: the source's object.
        loser: what is in the target now.
        observed_at: when that was, in seconds since the epoch.
    """
    body = applied_body(
        wanted, spec, link, observed_at=observed_at, target=loser, home=outcome.home, last_common=outcome.common
    )
    if marks.labels_of(winner).get(REGION_LABEL) == link.target.region:
        # The two regions change places, or both labels would become one and none would find its way back.
        body["metadata"]["labels"][REGION_LABEL] = link.source_region
    if loser is not None and not spec.source.follow_policy and not _sleeps(loser):
        body = _awake(body)
        retain_rest(body, loser)
    return body


def source_body(
    winner: Mapping[str, Any],
    loser: Mapping[str, Any] | None,
    spec: ReplicationSpec,
    link: Link,
    outcome: Outcome,
    *,
    observed_at: float,
) -> Object:
    """Return what the source's object is to be for TO_SOURCE: the target's, awake, moved back, with its marks.

    How the source's own workloads rest or run is theirs: replicas, suspension and run strategy stay as in `loser`.
    """
    route = steered(winner) or (loser is not None and steered(loser))
    awake = woken(winner)
    body = normalise(winner if awake is None else merged(winner, awake), drop_weights=route)
    move(body, link.target.namespace, spec.namespace)
    if marks.labels_of(body).get(REGION_LABEL) == link.source_region:
        body["metadata"]["labels"][REGION_LABEL] = link.target.region
    else:
        relabel(body, link.target.region, link.source_region)
    if loser is not None:
        retain_rest(body, loser)
    elif awake is None:
        # A volume is never primary in two regions.
        asleep(body, Standby.RUNNING, autoscaled=False, remembered={})
    if route:
        body = with_weights(body, loser)
    metadata = winner.get("metadata") or {}
    return marks.mark(
        body,
        policy_uid=spec.uid,
        policy_name=spec.full_name,
        source_region=link.target.region,
        source_uid=str(metadata.get("uid") or ""),
        source_rv=str(metadata.get("resourceVersion") or ""),
        content_hash=outcome.common,
        source_hash=outcome.common,
        epoch=link.epoch,
        observed_at=observed_at,
        home=outcome.home,
        last_common=outcome.common,
    )


def change(present: Mapping[str, Any], body: Mapping[str, Any]) -> Object:
    """Return the merge patch that makes the object that is there say what `body` says, and takes a tombstone off."""
    kept = normalise(present, keep_originals=True)
    if steered(present):
        kept = with_weights(kept, present)
    patch = _difference(kept, {name: value for name, value in body.items() if name != "status"})
    patch.setdefault("metadata", {}).setdefault("annotations", {})[marks.MISSING_SINCE] = None
    return patch


def mark_patch(outcome: Outcome, spec: ReplicationSpec, *, other_region: str, epoch: int = 0) -> Object:
    """Return the merge patch that makes a side remember the pair; `epoch` is the link's."""
    return {
        "metadata": {
            "labels": {
                marks.MANAGED_BY_LABEL: marks.MANAGED_BY,
                marks.POLICY_LABEL: spec.uid,
                marks.SOURCE_LABEL: other_region,
            },
            "annotations": {
                marks.POLICY_NAME: spec.full_name,
                marks.LAST_COMMON: outcome.common,
                marks.HOME: outcome.home,
                marks.EPOCH: str(epoch),
                marks.MISSING_SINCE: None,
            },
        }
    }


def served_patch(essence: str, common: str) -> Object:
    """Return the merge patch that makes a side remember what its API server made of the common content."""
    return {"metadata": {"annotations": {marks.SERVED: f"{essence}@{common}"}}}


def rest_change(wanted: Desired, target: Mapping[str, Any], spec: ReplicationSpec, link: Link) -> Object | None:
    """Return the merge patch that makes an object of the target, which says what it should, also rest as it should;
    None when it does, or when how it runs is its own."""
    if link.target_active or not (spec.source.follow_policy or _sleeps(target)):
        return None
    body, present = wanted.body, target.get("spec")
    ours, theirs = body.get("spec"), present if isinstance(present, Mapping) else {}
    noted, notes = _originals(body), _originals(target)
    names = sorted(noted.keys() | notes.keys())
    annotations = {name: noted.get(name) for name in names if noted.get(name) != notes.get(name)}
    fields: Object = {}
    if isinstance(ours, Mapping):
        fields = {name: ours[name] for name in _REST if name in ours and ours[name] != theirs.get(name)}
        if kind_of(target).group_kind == VIRTUAL_MACHINE.group_kind and "running" in theirs and "running" not in ours:
            fields["running"] = None
    patch: Object = {"metadata": {"annotations": annotations}} if annotations else {}
    if fields:
        patch["spec"] = fields
    return patch or None


def _awake(body: Mapping[str, Any]) -> Object:
    wake = woken(body)
    return merged(body, wake) if wake is not None else dict(body)


def _originals(obj: Mapping[str, Any]) -> dict[str, str]:
    return {name: text for name, text in marks.annotations_of(obj).items() if name in marks.ORIGINALS}


def _sleeps(obj: Mapping[str, Any]) -> bool:
    return bool(_originals(obj))


def _difference(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> Object:
    """The merge patch from one to the other. Lists are replaced as a whole, as merge patches do."""
    patch: Object = {name: None for name in present if name not in wanted}
    for name, value in wanted.items():
        there = present.get(name)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            if below := _difference(there, value):
                patch[name] = below
        elif name not in present or there != value:
            patch[name] = value
    return patch
