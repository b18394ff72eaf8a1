"""How a copy looks in a target: normalised, moved to its namespace, asleep where the region is a standby, transformed.

`desired` gives what a copy should be; `awake` takes the sleep off again, with what the copy itself remembers, so that
a promotion needs nothing of a region that is gone. Neighbours: `sleep` has the rules per kind, `namespaces` moves the
references, `plan` compares the result with what is in the target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from regent.domain.replication import marks
from regent.domain.replication.content import content_hash
from regent.domain.replication.kinds import GRPC_ROUTE, HTTP_ROUTE, key_of
from regent.domain.replication.model import KindRef, Link, Object, ObjectKey, ReplicationSpec, Transform
from regent.domain.replication.namespaces import move
from regent.domain.replication.normalise import normalise, steered
from regent.domain.replication.sleep import asleep, essence, retain_original, woken

REGION_LABEL = "regent.dev/region"

Transformer = Callable[[Object, Transform], Object]
"""Applies one transform to an object of its own and returns the result; raises ValueError with a sentence for people
when it cannot be applied. The object may be changed in place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What the copy of one object should be in one target."""

    key: ObjectKey
    """Of the copy: its namespace is the target's."""
    source_key: ObjectKey
    body: Object
    """Without marks and without weights that Regent owns; see `plan.applied_body` for what is sent."""
    content_hash: str
    """Of `body`."""
    source_hash: str
    """Of the source's essence (`source_essence`): normalised, whether it sleeps or not, not changed for this target."""
    essence: str
    """Hash of the essence of `body`."""
    source_uid: str
    source_version: str
    source_changed_at: float | None = None
    """When somebody last changed the source, by its cluster's clock; None: not known."""
    source_marks: marks.Marks | None = None
    """Marks on the source itself, which has them when it was a copy before the direction turned round."""
    steered: bool = False
    """A FailoverPolicy sets the weights of this route."""


def desired(
    source_obj: Mapping[str, Any],
    spec: ReplicationSpec,
    link: Link,
    *,
    kind: KindRef,
    transformer: Transformer,
    include_status: bool = False,
    target: Mapping[str, Any] | None = None,
    autoscaled: bool = False,
    changed_at: float | None = None,
) -> Desired:
    """Return what the copy of `source_obj` should be in the target of `link`.

    Args:
        source_obj: as served; `normalise.skip_reason` of it must be "".
        spec: the policy.
        link: which way.
        kind: the object's kind, which becomes part of the keys.
        transformer: applies the target's transforms that fit the object.
        include_status: `kinds.includes_status(spec, kind)`.
        target: what is in the target now, if anything: what a demoted source was is kept from there.
        autoscaled: a HorizontalPodAutoscaler sets the replicas of this workload, so a running copy has its own.
        changed_at: when somebody last changed the source (`plan.changed_at`), for conflictPolicy NewestWins.

    Raises:
        ValueError: a transform cannot be applied; the message is for people.
    """
    steered_route = steered(source_obj) or (target is not None and steered(target))
    body = normalise(source_obj, include_status=include_status, drop_weights=steered_route)
    source_hash = content_hash(essence(body))
    move(body, spec.namespace, link.target.namespace)
    relabel(body, link.source_region, link.target.region)
    asleep(body, spec.standby, autoscaled=autoscaled, remembered=marks.annotations_of(source_obj))
    retain_original(body, source_obj, target)
    name = str((body.get("metadata") or {}).get("name") or "")
    for transform in link.target.transforms:
        if transform.applies(kind.kind, name):
            body = transformer(body, transform)
    metadata = source_obj.get("metadata") or {}
    source_key = key_of(source_obj, kind)
    return Desired(
        key=ObjectKey(kind, link.target.namespace, source_key.name),
        source_key=source_key,
        body=body,
        content_hash=content_hash(body),
        source_hash=source_hash,
        essence=content_hash(essence(body)),
        source_uid=str(metadata.get("uid") or ""),
        source_version=str(metadata.get("resourceVersion") or ""),
        source_changed_at=changed_at,
        source_marks=marks.read_marks(source_obj),
        steered=steered_route,
    )


def source_essence(obj: Mapping[str, Any], *, include_status: bool = False, steered_route: bool = False) -> str:
    """Return the hash by which an object is known again after the direction has turned round: of its content, whatever
    namespace-wide moves, marks and sleep were done to it."""
    body = normalise(obj, include_status=include_status, drop_weights=steered_route)
    return content_hash(essence(body))


def awake(obj: Mapping[str, Any]) -> Object | None:
    """Return the merge patch that wakes a sleeping copy with what it was in its source; None when it does not sleep.

    The patch also takes the note off. What was noted wins over what the copy has now, unless the copy runs already.
    """
    return woken(obj)


def with_weights(body: Mapping[str, Any], target: Mapping[str, Any] | None) -> Object:
    """Return a steered route's body with the weights that the target's route has for the same backends.

    Route rules are lists that server-side apply replaces as a whole, so leaving the weights out would reset them.
    A backend that the target does not have keeps the API's default.
    """
    result = normalise(body, keep_originals=True)
    if target is None or (result.get("kind") not in (HTTP_ROUTE.kind, GRPC_ROUTE.kind)):
        return result
    rules = _rules(result)
    present = _rules(target)
    for index, rule in enumerate(rules):
        weights = {
            _backend(reference): reference["weight"]
            for reference in (_list(present[index].get("backendRefs")) if index < len(present) else ())
            if "weight" in reference
        }
        for reference in _list(rule.get("backendRefs")):
            if _backend(reference) in weights:
                reference["weight"] = weights[_backend(reference)]
    return result


def relabel(body: Object, source_region: str, target_region: str) -> None:
    """Make an object that says it belongs to one region say that it belongs to another, in place."""
    metadata = body.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    if isinstance(labels, dict) and labels.get(REGION_LABEL) == source_region:
        labels[REGION_LABEL] = target_region


def _rules(route: Mapping[str, Any]) -> list[dict[str, Any]]:
    spec = route.get("spec")
    return _list(spec.get("rules")) if isinstance(spec, Mapping) else []


def _list(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _backend(reference: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(reference.get(name) or "") for name in ("group", "kind", "namespace", "name", "port"))
