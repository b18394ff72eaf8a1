"""What is overwritten on purpose although somebody else wrote it: a record of it is kept in the region where it was.

The record is made before the overwriting, and without it nothing is overwritten. It is a ConfigMap in the namespace of
the object, or a Secret where the object is one, so that nobody reads it who could not read the object. Records are no
content: they are never copied (`normalise.skip_reason`), and go after a while.
"""

from __future__ import annotations

import base64
import hashlib

from regent.domain.errors import AlreadyExistsError, InvalidError, NotFoundError
from regent.domain.replication import marks
from regent.domain.replication.content import canonical
from regent.domain.replication.kinds import CONFIG_MAP, SECRET, kind_of
from regent.domain.replication.model import KindRef
from regent.domain.times import parse_rfc3339, rfc3339
from regent.engine.ports import Object
from regent.engine.replication.ports import CopyCluster
from regent.engine.resources import Resource

KEEP = 7 * 86400.0
"""Seconds that a record is kept."""
KEEP_AT_MOST = 100
"""Records of one policy in one namespace; the oldest go first."""
MAX_BYTES = 900_000
"""A ConfigMap holds 1 MiB in all."""
KEPT_AT = "regent.dev/kept-at"
KEPT_OBJECT = "regent.dev/kept-object"
KEPT_REASON = "regent.dev/kept-reason"


def record(obj: Object, *, policy_uid: str, reason: str, now: float) -> Object:
    """Return the record of an object. Its name is that of exactly this version, so that it is made once only.

    Raises:
        InvalidError: the object is too large for a record.
    """
    metadata = obj["metadata"]
    kept = {name: value for name, value in metadata.items() if name != "managedFields"}
    body = canonical({**obj, "metadata": kept})
    if len(body) > MAX_BYTES:
        raise InvalidError(f"it has {len(body)} bytes, of which no record can be kept: it is not overwritten")
    version = f"{metadata.get('uid')}.{metadata.get('resourceVersion')}"
    secret = kind_of(obj).group_kind == SECRET.group_kind
    kind = SECRET if secret else CONFIG_MAP
    made: Object = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": f"regent-kept-{hashlib.sha256(version.encode()).hexdigest()[:20]}",
            "namespace": str(metadata.get("namespace") or ""),
            "labels": {marks.KEPT_LABEL: policy_uid},
            "annotations": {
                KEPT_AT: rfc3339(now),
                KEPT_OBJECT: f"{obj.get('kind')}/{metadata.get('name')}",
                KEPT_REASON: reason,
            },
        },
    }
    if secret:
        return {**made, "type": "regent.dev/kept", "data": {"object.json": base64.b64encode(body).decode()}}
    return {**made, "data": {"object.json": body.decode("utf-8", "replace")}}


async def keep(cluster: CopyCluster, obj: Object, *, policy_uid: str, reason: str, now: float) -> str:
    """Keep a record of an object that is about to be overwritten; return the record's kind and name, for people.

    Raises:
        ClusterError: no record could be made, so nothing may be overwritten.
    """
    made = record(obj, policy_uid=policy_uid, reason=reason, now=now)
    resource = _resource(kind_of(made))
    try:
        await cluster.create(resource, made)
    except AlreadyExistsError:
        pass  # from an attempt that did not get further
    else:
        await _clean(cluster, resource, made, now)
    return f"{made['kind']} {made['metadata']['name']}"


async def _clean(cluster: CopyCluster, resource: Resource, made: Object, now: float) -> None:
    namespace, uid = made["metadata"]["namespace"], made["metadata"]["labels"][marks.KEPT_LABEL]
    found = await cluster.list(resource, namespace, label_selector=f"{marks.KEPT_LABEL}={uid}")
    by_age = sorted(found, key=_kept_at, reverse=True)
    for number, obj in enumerate(by_age):
        if number < KEEP_AT_MOST and now - _kept_at(obj) < KEEP:
            continue
        metadata = obj["metadata"]
        try:
            await cluster.delete(resource, namespace, metadata["name"], uid=metadata["uid"])
        except NotFoundError:
            continue


def _kept_at(obj: Object) -> float:
    try:
        return parse_rfc3339(str(marks.annotations_of(obj).get(KEPT_AT, "")))
    except ValueError:
        return 0.0


def _resource(kind: KindRef) -> Resource:
    kind = SECRET if kind.kind == SECRET.kind else CONFIG_MAP
    return Resource(kind.group, kind.version, kind.plural, kind.kind)
