"""What a ReplicationPolicy copies, and how copies are changed on the way."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from regent.api.v1alpha1 import cel
from regent.api.v1alpha1.base import LIST_ATOMIC, LIST_SET, ApiModel, Rule, check
from regent.api.v1alpha1.common import NAME_MESSAGE, LabelSelector, RawValue

Category = Literal["Config", "Workload", "Network", "Storage", "VM", "State"]
KindName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    check(cel.matches("self", "^[A-Z][A-Za-z0-9]*$"), "write a kind in CamelCase, such as ConfigMap"),
]
ListedName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    check(cel.matches("self", "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"), NAME_MESSAGE),
]
ObjectNames = Annotated[list[ListedName], Field(max_length=128), LIST_SET]


CelExpression = Annotated[str, Field(min_length=1, max_length=1024)]


class KindRef(ApiModel):
    """A kind of objects."""

    group: Annotated[
        str,
        Field(max_length=253),
        check(
            cel.unset_or(cel.matches("self", cel.SUBDOMAIN)),
            "write an API group in lower case, such as shop.example.com; empty is the core group",
        ),
    ] = Field(default="", description="API group of the kind. Empty: the core group.")
    version: Annotated[
        str,
        Field(max_length=63),
        check(cel.unset_or(cel.matches("self", "^v[0-9][a-z0-9]*$")), "write an API version, such as v1 or v1beta1"),
    ] = Field(default="", description="API version of the kind. Empty: the one that the API server prefers.")
    kind: KindName = Field(description="Name of the kind, such as ConfigMap.")
    include_status: bool = Field(
        default=False, description="Copy the status too; with category State, where the status is the state."
    )


class StorageOptions(ApiModel):
    """How volumes are replicated; Regent sets roles and reads lags, the driver moves the data."""

    driver: Literal["VolumeReplication", "VolSync"] = Field(
        default="VolumeReplication",
        description="VolumeReplication: csi-addons replicates the volume. VolSync: VolSync copies it.",
    )


class ResourceSelection(ApiModel):
    """A set of objects of the policy's namespace."""

    category: Category = Field(
        description="Config: ConfigMap, and on request Secret, ServiceAccount, Role, RoleBinding. Workload: "
        "Deployment, StatefulSet, CronJob, HorizontalPodAutoscaler, PodDisruptionBudget. Network: Service, Ingress, "
        "HTTPRoute, GRPCRoute, NetworkPolicy; weights that Regent owns are never copied. Storage: volume claims and "
        "their replication. VM: KubeVirt's VirtualMachine, DataVolume and instance types. State: the kinds listed.",
    )
    include_secrets: bool = Field(default=False, description="With category Config: copy Secrets too.")
    include_rbac: bool = Field(
        default=False,
        alias="includeRBAC",
        description="With category Config: copy ServiceAccounts, Roles and RoleBindings too.",
    )
    storage: StorageOptions | None = Field(default=None, description="With category Storage: the driver.")
    kinds: Annotated[list[KindRef], Field(max_length=32), LIST_ATOMIC] = Field(
        default_factory=list,
        description="With category State: the kinds to copy, with their version. Else: only these kinds of the "
        "category. Empty: all of them.",
    )
    selector: LabelSelector | None = Field(default=None, description="Only objects with these labels. Unset: all.")
    names: ObjectNames = Field(default_factory=list, description="Only objects with these names. Empty: all.")
    exclude: ObjectNames = Field(default_factory=list, description="Objects that are not copied, by name.")

    RULES = (
        Rule(
            "self.category == 'Config' || !((has(self.includeSecrets) && self.includeSecrets) || "
            "(has(self.includeRBAC) && self.includeRBAC))",
            "set includeSecrets and includeRBAC with category: Config only",
            ".category",
        ),
        Rule(
            "self.category == 'Storage' || !has(self.storage)",
            "give storage with category: Storage only",
            ".storage",
        ),
        Rule(
            "self.category != 'State' || (has(self.kinds) && self.kinds.size() > 0 && "
            f"self.kinds.all(k, {cel.filled('k.version')}))",
            "list kinds, each with its version, with category: State",
            ".kinds",
        ),
        Rule(
            "self.category == 'State' || !has(self.kinds) || "
            "!self.kinds.exists(k, has(k.includeStatus) && k.includeStatus)",
            "set includeStatus with category: State only",
            ".kinds",
        ),
        Rule(
            "!has(self.names) || !has(self.exclude) || !self.names.exists(n, n in self.exclude)",
            "an object stands in names and in exclude: remove it from one of them",
            ".exclude",
        ),
    )


class JsonPatchOperation(ApiModel):
    """An operation of a JSON patch (RFC 6902)."""

    op: Literal["add", "remove", "replace"] = Field(description="What to do at the path.")
    path: Annotated[
        str,
        Field(max_length=256),
        check(
            cel.matches("self", cel.JSON_POINTER) + " && !self.startsWith('/metadata/name') && self != '/metadata'",
            "write a JSON pointer such as /spec/replicas; name and namespace of a copy are not patched: "
            "use targets[].namespace",
        ),
    ] = Field(description="JSON pointer to the place, such as /spec/replicas.")
    value: RawValue | None = Field(
        default=None, description="New value, for add and replace; JSON of any type. Ignored by remove."
    )


class CelAssignment(ApiModel):
    """A place in the copy, and the expression that gives its value."""

    path: Annotated[
        str,
        Field(max_length=256),
        check(
            cel.matches("self", cel.JSON_POINTER) + " && !self.startsWith('/metadata/name') && self != '/metadata' && "
            "!self.startsWith('/metadata/*') && !self.startsWith('/*') && !self.startsWith('/apiVersion') && "
            "!self.startsWith('/kind')",
            "write a JSON pointer such as /spec/replicas, with * for every element below spec; apiVersion, kind, name "
            "and namespace of a copy stay",
        ),
    ] = Field(
        description="JSON pointer to the place, such as /spec/replicas; * stands for every element of a list or "
        "object, as in /spec/template/spec/containers/*/image. A place that is not there is added when its parent is; "
        "where * finds nothing, nothing is done."
    )
    expression: CelExpression = Field(
        description="CEL expression that gives the new value. self is the value at the place (null when there is "
        "none), object the copy before this transform. null removes a member of an object."
    )


class Transform(ApiModel):
    """A change that copies get on the way to a target."""

    kinds: Annotated[list[KindName], Field(max_length=32), LIST_SET] = Field(
        default_factory=list, description="Only objects of these kinds. Empty: all."
    )
    names: Annotated[list[ListedName], Field(max_length=32), LIST_SET] = Field(
        default_factory=list, description="Only objects with these names. Empty: all."
    )
    when: Annotated[str, Field(max_length=1024)] = Field(
        default="",
        description="Only objects for which this CEL expression over object gives true, such as "
        "has(object.metadata.labels) && object.metadata.labels.tier == 'web'. Empty: all.",
    )
    patch: Annotated[list[JsonPatchOperation], Field(min_length=1, max_length=16), LIST_ATOMIC] | None = Field(
        default=None, description="JSON patch (RFC 6902) on the copy; a remove of what is not there does nothing."
    )
    assignments: Annotated[list[CelAssignment], Field(min_length=1, max_length=16), LIST_ATOMIC] | None = Field(
        default=None,
        alias="cel",
        description="Values that CEL expressions give, each at its place; the places do not overlap.",
    )

    RULES = (Rule(cel.exactly_one("patch", "cel"), "give exactly one of patch and cel"),)
