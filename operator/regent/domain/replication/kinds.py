"""Which kinds a selection means, in which order kinds are written, and where a status belongs to what is copied.

The order is the one in which Velero restores: what others refer to comes first, what starts work comes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from regent.domain.replication.model import (
    Category,
    KindRef,
    ObjectKey,
    ReplicationSpec,
    ResourceSelector,
    StorageDriver,
)

RBAC_GROUP = "rbac.authorization.k8s.io"
GATEWAY_GROUP = "gateway.networking.k8s.io"
INSTANCE_TYPE_GROUP = "instancetype.kubevirt.io"

CONFIG_MAP = KindRef("", "v1", "ConfigMap", "configmaps")
SECRET = KindRef("", "v1", "Secret", "secrets")
SERVICE_ACCOUNT = KindRef("", "v1", "ServiceAccount", "serviceaccounts")
ROLE = KindRef(RBAC_GROUP, "v1", "Role", "roles")
ROLE_BINDING = KindRef(RBAC_GROUP, "v1", "RoleBinding", "rolebindings")
DEPLOYMENT = KindRef("apps", "v1", "Deployment", "deployments")
STATEFUL_SET = KindRef("apps", "v1", "StatefulSet", "statefulsets")
CRON_JOB = KindRef("batch", "v1", "CronJob", "cronjobs")
JOB = KindRef("batch", "v1", "Job", "jobs")
AUTOSCALER = KindRef("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
DISRUPTION_BUDGET = KindRef("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
SERVICE = KindRef("", "v1", "Service", "services")
INGRESS = KindRef("networking.k8s.io", "v1", "Ingress", "ingresses")
NETWORK_POLICY = KindRef("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
HTTP_ROUTE = KindRef(GATEWAY_GROUP, "v1", "HTTPRoute", "httproutes")
GRPC_ROUTE = KindRef(GATEWAY_GROUP, "v1", "GRPCRoute", "grpcroutes")
VOLUME_CLAIM = KindRef("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
VOLUME_REPLICATION = KindRef("replication.storage.openshift.io", "v1alpha1", "VolumeReplication", "volumereplications")
REPLICATION_SOURCE = KindRef("volsync.backube", "v1alpha1", "ReplicationSource", "replicationsources")
REPLICATION_DESTINATION = KindRef("volsync.backube", "v1alpha1", "ReplicationDestination", "replicationdestinations")
VIRTUAL_MACHINE = KindRef("kubevirt.io", "v1", "VirtualMachine", "virtualmachines")
DATA_VOLUME = KindRef("cdi.kubevirt.io", "v1beta1", "DataVolume", "datavolumes")
INSTANCE_TYPE = KindRef(INSTANCE_TYPE_GROUP, "v1beta1", "VirtualMachineInstancetype", "virtualmachineinstancetypes")
PREFERENCE = KindRef(INSTANCE_TYPE_GROUP, "v1beta1", "VirtualMachinePreference", "virtualmachinepreferences")

_KINDS: Mapping[Category, tuple[KindRef, ...]] = {
    Category.CONFIG: (CONFIG_MAP,),
    Category.WORKLOAD: (DEPLOYMENT, STATEFUL_SET, CRON_JOB, AUTOSCALER, DISRUPTION_BUDGET),
    Category.NETWORK: (SERVICE, INGRESS, HTTP_ROUTE, GRPC_ROUTE, NETWORK_POLICY),
    Category.STORAGE: (VOLUME_CLAIM,),
    Category.VM: (INSTANCE_TYPE, PREFERENCE, DATA_VOLUME, VIRTUAL_MACHINE),
    Category.STATE: (),
}
OPTIONAL_GROUPS = frozenset(
    {
        GATEWAY_GROUP,
        INSTANCE_TYPE_GROUP,
        VOLUME_REPLICATION.group,
        REPLICATION_SOURCE.group,
        VIRTUAL_MACHINE.group,
        DATA_VOLUME.group,
    }
)
"""Groups that a cluster may well not serve: a category that contains them is then copied without them."""

WAVES: tuple[str, ...] = ("definitions", "config", "access", "network", "storage", "workloads", "others")
"""Names of the waves, in order; a wave starts when the one before has been written or has failed."""

_WAVE: Mapping[tuple[str, str], int] = {
    ("apiextensions.k8s.io", "CustomResourceDefinition"): 0,
    ("", "Namespace"): 0,
    **{kind.group_kind: 1 for kind in (CONFIG_MAP, SECRET, INSTANCE_TYPE, PREFERENCE)},
    **{kind.group_kind: 2 for kind in (SERVICE_ACCOUNT, ROLE, ROLE_BINDING)},
    **{kind.group_kind: 3 for kind in (SERVICE, INGRESS, NETWORK_POLICY, HTTP_ROUTE, GRPC_ROUTE)},
    **{kind.group_kind: 4 for kind in (VOLUME_CLAIM, VOLUME_REPLICATION, REPLICATION_SOURCE, DATA_VOLUME)},
    **{kind.group_kind: 5 for kind in (DEPLOYMENT, STATEFUL_SET, CRON_JOB, JOB, AUTOSCALER, DISRUPTION_BUDGET)},
    VIRTUAL_MACHINE.group_kind: 5,
}


def wave(kind: KindRef) -> int:
    """Return the number of the wave in which objects of this kind are written; kinds that are not known come last,
    since custom objects may refer to anything. Deletions go the other way round."""
    return _WAVE.get(kind.group_kind, len(WAVES) - 1)


def kinds_of(selector: ResourceSelector) -> tuple[KindRef, ...]:
    """Return the kinds that a selection means, in the order of waves; `plural` is "" for kinds that users name.

    A listed kind that is not one of the category's is left out: the API refuses nothing there, and copying more than
    the category says would be worse than copying less. `unknown_kinds` names them.
    """
    if selector.category is Category.STATE:
        found = [KindRef(choice.group, choice.version, choice.kind) for choice in selector.kinds]
    else:
        found = [kind for kind in _category(selector) if not selector.kinds or _listed(kind, selector)]
    return tuple(sorted(dict.fromkeys(found), key=lambda kind: (wave(kind), kind)))


def unknown_kinds(selector: ResourceSelector) -> tuple[str, ...]:
    """Return the listed kinds that the selection's category does not have, for the condition Ready."""
    if selector.category is Category.STATE:
        return ()
    known = {kind.kind for kind in (*_category(selector), *_read_only(selector))}
    return tuple(choice.kind for choice in selector.kinds if choice.kind not in known)


def reads_destinations(selector: ResourceSelector) -> bool:
    """Whether the selection is about ReplicationDestinations in the targets, too. Each region has its own, which are
    read and never copied: a copy would take in data in the region that it is sent from."""
    return any(not selector.kinds or _listed(kind, selector) for kind in _read_only(selector))


def kinds_of_spec(spec: ReplicationSpec) -> tuple[KindRef, ...]:
    """Return the kinds of all selections of a policy, each once, in the order of waves."""
    found: Iterable[KindRef] = dict.fromkeys(kind for selector in spec.resources for kind in kinds_of(selector))
    return tuple(sorted(found, key=lambda kind: (wave(kind), kind)))


def includes_status(spec: ReplicationSpec, kind: KindRef) -> bool:
    """Whether the status of these objects is copied too, because it is the state: only where the policy says so."""
    return any(
        choice.include_status and (choice.group, choice.kind) == kind.group_kind
        for selector in spec.resources
        if selector.category is Category.STATE
        for choice in selector.kinds
    )


def kind_of(obj: Mapping[str, object], *, plural: str = "", namespaced: bool = True) -> KindRef:
    """Return the kind of an object by its `apiVersion` and `kind`."""
    group, _, version = str(obj.get("apiVersion") or "").rpartition("/")
    return KindRef(group, version, str(obj.get("kind") or ""), plural, namespaced)


def key_of(obj: Mapping[str, object], kind: KindRef) -> ObjectKey:
    """Return the key of an object of a known kind."""
    metadata = obj.get("metadata")
    facts = metadata if isinstance(metadata, Mapping) else {}
    return ObjectKey(kind, str(facts.get("namespace") or ""), str(facts.get("name") or ""))


def _category(selector: ResourceSelector) -> tuple[KindRef, ...]:
    kinds = _KINDS[selector.category]
    if selector.category is Category.CONFIG:
        secrets = (SECRET,) if selector.include_secrets else ()
        rbac = (SERVICE_ACCOUNT, ROLE, ROLE_BINDING) if selector.include_rbac else ()
        return (*kinds, *secrets, *rbac)
    if selector.category is Category.STORAGE:
        return (*kinds, REPLICATION_SOURCE if _volsync(selector) else VOLUME_REPLICATION)
    return kinds


def _read_only(selector: ResourceSelector) -> tuple[KindRef, ...]:
    return (REPLICATION_DESTINATION,) if selector.category is Category.STORAGE and _volsync(selector) else ()


def _volsync(selector: ResourceSelector) -> bool:
    return selector.storage is StorageDriver.VOL_SYNC


def _listed(kind: KindRef, selector: ResourceSelector) -> bool:
    return any(
        choice.kind == kind.kind and choice.group in ("", kind.group) and choice.version in ("", kind.version)
        for choice in selector.kinds
    )
