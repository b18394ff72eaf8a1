"""What of an object belongs to it, and not to the cluster that it is in.

The rules are the union of what Karmada prunes before it propagates an object and what Velero resets before it restores
one, with KubeVirt's and Regent's own fields. Two clusters that hold the same object give the same result, so equal
hashes mean equal content. Both functions take anything: objects come from clusters that others write to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from regent.domain.replication import marks
from regent.domain.replication.compare import CHANGED_AT
from regent.domain.replication.content import MAX_DEPTH, MAX_OBJECT_BYTES, canonical, too_deep
from regent.domain.replication.kinds import (
    GRPC_ROUTE,
    HTTP_ROUTE,
    JOB,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    VIRTUAL_MACHINE,
    VOLUME_CLAIM,
    kind_of,
)
from regent.domain.replication.model import Object

SERVER_METADATA = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    CHANGED_AT,
    "selfLink",
    "ownerReferences",
    "finalizers",
    "generateName",
)
STEERED_BY = "regent.dev/policy"
"""Annotation on a route whose weights a FailoverPolicy sets: these weights are never copied."""

CLUSTER_ANNOTATIONS = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deployment.kubernetes.io/revision",
        "deployment.kubernetes.io/revision-history",
        "deployment.kubernetes.io/desired-replicas",
        "deployment.kubernetes.io/max-replicas",
        "deprecated.daemonset.template.generation",
        "pv.kubernetes.io/bind-completed",
        "pv.kubernetes.io/bound-by-controller",
        "pv.kubernetes.io/provisioned-by",
        "volume.kubernetes.io/selected-node",
        "volume.kubernetes.io/storage-provisioner",
        "volume.beta.kubernetes.io/storage-provisioner",
        "batch.kubernetes.io/job-tracking",
        "control-plane.alpha.kubernetes.io/leader",
        "endpoints.kubernetes.io/last-change-trigger-time",
        "kubemacpool.io/transaction-timestamp",
        "kubevirt.io/latest-observed-api-version",
        "kubevirt.io/storage-observed-api-version",
        STEERED_BY,
        "regent.dev/backend-ratios",
        "regent.dev/adopt",
        "regent.dev/acknowledge",
    }
)
CLUSTER_ANNOTATION_PREFIXES = ("kopf.zalando.org/", "kopf.dev/", "applyset.kubernetes.io/")
JOB_LABELS = frozenset(
    {"controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"}
)
NEVER = frozenset({"Pod", "ReplicaSet", "EndpointSlice", "Endpoints", "ControllerRevision", "Event", "Lease"})
"""Kinds of the core groups that each cluster makes for itself."""
OWNED = frozenset({"Job", "DataVolume", "PersistentVolumeClaim", "HorizontalPodAutoscaler"})
"""Kinds that are not copied where a controller owns them: the copy of the owner makes them anew."""
CLUSTERS_OWN = {
    "ConfigMap": frozenset({"kube-root-ca.crt", "openshift-service-ca.crt", "istio-ca-root-cert"}),
    "ServiceAccount": frozenset({"default"}),
    "Service": frozenset({"kubernetes"}),
}
CLUSTERS_OWN_SECRETS = frozenset({"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"})


def skip_reason(obj: Mapping[str, Any]) -> str:
    """Return why this object is never copied, as a sentence for people; "" when it may be copied."""
    if too_deep(obj):
        return f"it is nested deeper than {MAX_DEPTH} levels"
    kind, metadata = str(obj.get("kind") or ""), _metadata(obj)
    name = str(metadata.get("name") or "")
    group = kind_of(obj).group
    if kind in NEVER and group in ("", "apps", "events.k8s.io", "discovery.k8s.io", "coordination.k8s.io"):
        return f"every cluster makes its own {kind} objects"
    if name in CLUSTERS_OWN.get(kind, frozenset()) and group == "":
        return f"every cluster makes its own {kind} {name}"
    if kind == SECRET.kind and group == "" and str(obj.get("type")) in CLUSTERS_OWN_SECRETS:
        return f"a Secret of type {obj.get('type')} is worth something in its own cluster only"
    if marks.KEPT_LABEL in marks.labels_of(obj):
        return "it is a record of what was overwritten here"
    if metadata.get("deletionTimestamp"):
        return "it is being deleted"
    owner = _controller(metadata)
    if owner and kind in OWNED:
        return f"it belongs to {owner}, which makes its own in every cluster"
    if kind == JOB.kind and group == JOB.group and _finished(obj):
        return "the Job has finished"
    size = len(canonical(obj))
    if size > MAX_OBJECT_BYTES:
        return f"it has {size} bytes; an API server takes {MAX_OBJECT_BYTES}"
    return ""


def steered(obj: Mapping[str, Any]) -> bool:
    """Whether a FailoverPolicy sets the weights of this route."""
    return STEERED_BY in marks.annotations_of(obj)


def normalise(
    obj: Mapping[str, Any],
    *,
    include_status: bool = False,
    keep_originals: bool = False,
    drop_weights: bool = False,
) -> Object:
    """Return the object without what belongs to its cluster; a deep copy, so it may be changed.

    Args:
        obj: as served; anything else gives something, never an error.
        include_status: keep the status, where it is what is copied.
        keep_originals: keep what Regent noted about a sleeping copy: for comparing a copy with what it should be.
        drop_weights: take the weights of a route's backends off even if it is not marked as steered, because the object
            that it is compared with is. A steered route loses them in any case.
    """
    drop_weights = drop_weights or steered(obj)
    result: Object = {name: value for name, value in obj.items() if name != "status" or include_status}
    result = copy.deepcopy(result)
    metadata = result.get("metadata")
    if isinstance(metadata, dict):
        _clean_metadata(metadata, keep_originals=keep_originals)
    kind = kind_of(obj)
    if drop_weights and kind.group_kind in (HTTP_ROUTE.group_kind, GRPC_ROUTE.group_kind):
        _drop_weights(result)
    clean = _BY_KIND.get(kind.group_kind)
    if clean is not None:
        clean(result)
    return result


def _clean_metadata(metadata: dict[str, Any], *, keep_originals: bool) -> None:
    for name in SERVER_METADATA:
        metadata.pop(name, None)
    labels, notes = metadata.get("labels"), metadata.get("annotations")
    if isinstance(labels, dict):
        metadata["labels"] = {name: value for name, value in labels.items() if name not in marks.LABELS}
    if isinstance(notes, dict):
        dropped = marks.ANNOTATIONS | CLUSTER_ANNOTATIONS | (frozenset() if keep_originals else marks.ORIGINALS)
        metadata["annotations"] = {
            name: value
            for name, value in notes.items()
            if name not in dropped and not str(name).startswith(CLUSTER_ANNOTATION_PREFIXES)
        }
    for name in ("labels", "annotations"):
        # API servers leave empty maps out, so an object that has lost its last label is one without labels.
        if name in metadata and not metadata[name]:
            del metadata[name]


def _metadata(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    found = obj.get("metadata")
    return found if isinstance(found, Mapping) else {}


def _controller(metadata: Mapping[str, Any]) -> str:
    owners = metadata.get("ownerReferences")
    for owner in owners if isinstance(owners, list) else ():
        if isinstance(owner, Mapping) and owner.get("controller"):
            return f"{owner.get('kind')} {owner.get('name')}"
    return ""


def _finished(job: Mapping[str, Any]) -> bool:
    status = job.get("status")
    conditions = status.get("conditions") if isinstance(status, Mapping) else None
    return any(
        isinstance(item, Mapping) and item.get("type") in ("Complete", "Failed") and item.get("status") == "True"
        for item in (conditions if isinstance(conditions, list) else ())
    )


def _spec(obj: Mapping[str, Any], *path: str) -> dict[str, Any]:
    """Return the map at a path, or an empty one that belongs to nothing."""
    here: Any = obj
    for name in path:
        here = here.get(name) if isinstance(here, dict) else None
    return here if isinstance(here, dict) else {}


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _drop_weights(route: Object) -> None:
    for rule in _items(_spec(route, "spec").get("rules")):
        for reference in _items(rule.get("backendRefs")):
            reference.pop("weight", None)


def _clean_service(service: Object) -> None:
    """Addresses and ports that the cluster gave; "None" stays, because it makes the Service headless."""
    spec = _spec(service, "spec")
    if spec.get("clusterIP") != "None":
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)
    spec.pop("healthCheckNodePort", None)
    spec.pop("ipFamilies", None)
    if spec.get("ipFamilyPolicy") == "SingleStack":
        # The default of a cluster with one family: in one with the other family it would be refused with these.
        spec.pop("ipFamilyPolicy")
    for port in _items(spec.get("ports")):
        port.pop("nodePort", None)


def _clean_claim(claim: Object) -> None:
    _spec(claim, "spec").pop("volumeName", None)


def _clean_volume(volume: Object) -> None:
    reference = _spec(volume, "spec", "claimRef")
    reference.pop("uid", None)
    reference.pop("resourceVersion", None)


def _clean_job(job: Object) -> None:
    """Labels and selector that the API server makes of the Job's uid, unless its author made them."""
    spec = _spec(job, "spec")
    if spec.get("manualSelector"):
        return
    spec.pop("selector", None)
    for labels in (_spec(job, "metadata", "labels"), _spec(spec, "template", "metadata", "labels")):
        for name in JOB_LABELS:
            labels.pop(name, None)
    for metadata in (_spec(job, "metadata"), _spec(spec, "template", "metadata")):
        if metadata.get("labels") == {}:
            del metadata["labels"]


def _clean_service_account(account: Object) -> None:
    """The Secrets that a cluster's controllers made for the account."""
    name = str(_spec(account, "metadata").get("name") or "")
    made = tuple(f"{name}-{what}-" for what in ("token", "dockercfg"))
    for field in ("secrets", "imagePullSecrets"):
        listed = account.get(field)
        if isinstance(listed, list):
            kept = [item for item in listed if not _is_named(item, made)]
            account[field] = kept
            if not kept:
                del account[field]


def _is_named(item: Any, prefixes: tuple[str, ...]) -> bool:
    return isinstance(item, dict) and str(item.get("name") or "").startswith(prefixes)


def _clean_machine(machine: Object) -> None:
    """Fields that KubeVirt writes into the templates of volumes."""
    for template in _items(_spec(machine, "spec").get("dataVolumeTemplates")):
        template.pop("status", None)
        _spec(template, "metadata").pop("creationTimestamp", None)
    _spec(machine, "spec", "template", "metadata").pop("creationTimestamp", None)


_BY_KIND: Mapping[tuple[str, str], Callable[[Object], None]] = {
    SERVICE.group_kind: _clean_service,
    VOLUME_CLAIM.group_kind: _clean_claim,
    ("", "PersistentVolume"): _clean_volume,
    JOB.group_kind: _clean_job,
    SERVICE_ACCOUNT.group_kind: _clean_service_account,
    VIRTUAL_MACHINE.group_kind: _clean_machine,
}
