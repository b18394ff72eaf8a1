"""Objects and policies for tests of replication."""

from __future__ import annotations

from typing import Any

from regent.domain.replication import kinds
from regent.domain.replication.model import (
    Category,
    KindRef,
    Link,
    Object,
    ReplicationSpec,
    ResourceSelector,
    SourceRef,
    TargetSpec,
    Transform,
)
from regent.domain.replication.shape import Desired, desired

POLICY_UID = "11111111-2222-3333-4444-555555555555"


def replication_spec(**changes: Any) -> ReplicationSpec:
    given: dict[str, Any] = {
        "namespace": "shop",
        "name": "shop",
        "uid": POLICY_UID,
        "source": SourceRef(region="eu"),
        "targets": (TargetSpec(region="us", namespace="shop"),),
        "resources": (
            ResourceSelector(category=Category.CONFIG, include_secrets=True),
            ResourceSelector(category=Category.WORKLOAD),
        ),
    }
    return ReplicationSpec(**{**given, **changes})


def link_of(spec: ReplicationSpec | None = None, **changes: Any) -> Link:
    target = (spec or replication_spec()).targets[0]
    return Link(**{"source_region": "eu", "target": target, **changes})


def config_map(name: str = "settings", *, namespace: str = "shop", **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def secret(name: str = "keys", **data: str) -> Object:
    return {**config_map(name, **data), "kind": "Secret", "type": "Opaque"}


def deployment(name: str = "web", *, replicas: int | None = 3, image: str = "shop:1") -> Object:
    spec: Object = {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "web", "image": image}]}},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return object_of(kinds.DEPLOYMENT, name, spec)


def object_of(kind: KindRef, name: str, spec: Object, **metadata: Any) -> Object:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "spec": spec,
    }


def stored(obj: Object, *, uid: str = "uid-1", version: str = "7", **metadata: Any) -> Object:
    """The object as an API server would serve it."""
    served = {"uid": uid, "resourceVersion": version, "creationTimestamp": "2026-01-01T00:00:00Z", **metadata}
    return {**obj, "metadata": {**obj["metadata"], **served}}


def no_transform(obj: Object, transform: Transform) -> Object:
    raise AssertionError(f"no transform was expected: {transform}")


KNOWN = {kind.group_kind: kind for kind in vars(kinds).values() if isinstance(kind, KindRef)}


def kind_of(obj: Object) -> KindRef:
    found = kinds.kind_of(obj)
    return KNOWN.get(found.group_kind, found)


def desired_of(obj: Object, spec: ReplicationSpec | None = None, link: Link | None = None, **options: Any) -> Desired:
    spec = spec or replication_spec()
    options.setdefault("transformer", no_transform)
    return desired(obj, spec, link or link_of(spec), kind=kind_of(obj), **options)
