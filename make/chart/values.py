"""The values of the chart as models: the one source of values.yaml, values.schema.json and the chart's README.

A field's description is the comment above it in values.yaml. Unknown keys are refused, so that a typing error in a
values file ends `helm install` with the name of the key instead of being ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Port = Annotated[int, Field(ge=1, le=65535)]
Strings = dict[str, str]
Objects = list[dict[str, Any]]
Quantity = str | int


class Values(BaseModel):
    """Base of every map in the values."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid")


class Image(Values):
    """Where the image is."""

    repository: Annotated[str, Field(min_length=1)] = Field(
        default="regent",
        description="Image without tag, with the registry that you pushed it to.",
    )
    tag: str = Field(default="", description="Tag; empty means the chart's appVersion.")
    digest: Annotated[str, Field(pattern="^(sha256:[a-f0-9]{64})?$")] = Field(
        default="", description="Digest such as sha256:…; when given, the tag is not used."
    )
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        default="IfNotPresent", description="When the image is pulled."
    )


class Crds(Values):
    """Custom resource definitions."""

    enabled: bool = Field(
        default=True,
        description="Install and upgrade the custom resource definitions with the chart. With false, apply crds/ "
        "yourself before each upgrade.",
    )
    keep: bool = Field(
        default=True,
        description="Leave them, and with them every Region and FailoverPolicy, when the release is uninstalled.",
    )


class Rbac(Values):
    """Permissions."""

    create: bool = Field(default=True, description="Create the roles and bindings of the operator.")
    user_roles: bool = Field(
        default=True,
        description="Create the roles <release>-viewer and -editor, which add themselves to view, edit and admin, "
        "and -operator, which also changes Regions and is to be bound by you.",
    )


class Account(Values):
    """A ServiceAccount of a policy's namespace."""

    namespace: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="Its namespace.")
    name: Annotated[str, Field(min_length=1, max_length=253)] = Field(description="Its name.")


class Promotion(Values):
    """What promotion steps may do in the cluster of the operator itself; member clusters have deploy/member."""

    kinds: list[Literal["Scale", "CronJob", "CloudNativePG", "VolumeReplication", "VirtualMachine"]] = Field(
        default_factory=list,
        description="Kinds of promotion steps whose objects are in this cluster: each gives the operator the rights "
        "that its steps need, such as scaling Deployments and StatefulSets. Empty means none.",
    )
    namespaces: list[Annotated[str, Field(min_length=1, max_length=63)]] = Field(
        default_factory=list,
        description="Namespaces in which the operator has these rights; empty means all.",
    )
    service_accounts: list[Account] = Field(
        default_factory=list,
        description="ServiceAccounts that Patch and Job steps act as in this cluster: [{namespace: …, name: …}]. The "
        "operator may impersonate these and no others; what the steps may do is what you grant to the accounts.",
    )


class Replication(Values):
    """What may be copied from and to the cluster of the operator itself; member clusters have deploy/member."""

    categories: list[Literal["Config", "Secrets", "RBAC", "Workload", "Network", "Storage", "VM"]] = Field(
        default_factory=list,
        description="What ReplicationPolicies may copy from and to this cluster: each gives the operator the right to "
        "read, write and delete the kinds of a category. Secrets and RBAC are the parts of Config that a policy asks "
        "for by includeSecrets and includeRBAC. Empty means nothing.",
    )
    rules: Objects = Field(
        default_factory=list,
        description="More rules, as in a ClusterRole, for kinds of category State: [{apiGroups: […], resources: […], "
        "verbs: [get, list, watch, create, patch, delete]}].",
    )
    namespaces: list[Annotated[str, Field(min_length=1, max_length=63)]] = Field(
        default_factory=list,
        description="Namespaces in which the operator has these rights; empty means all.",
    )


class Webhook(Values):
    """The webhook that writes names in where the API server serves no MutatingAdmissionPolicy."""

    port: Port = Field(default=9443, description="Port of the container.")
    secret_name: str = Field(
        default="",
        description="Secret with `tls.crt` and `tls.key` for `<release>-webhook.<namespace>.svc`. Empty: the chart "
        "makes a pair of its own and keeps it over upgrades; with tools that only render charts give one, or they "
        "make another each time.",
    )
    ca_bundle: str = Field(
        default="",
        description="Certificates, in base64 of PEM, that the API server shall trust; for a Secret of your own.",
    )
    annotations: Strings = Field(
        default_factory=dict,
        description="Annotations of the MutatingWebhookConfiguration, such as cert-manager.io/inject-ca-from.",
    )
    url: str = Field(
        default="",
        description="URL up to the port, such as https://regent.example.com:9443, for API servers that do not reach "
        "Services. Empty: the Service.",
    )


class Admission(Values):
    """What the API server asks or applies when an object is written."""

    fence: bool = Field(
        default=True,
        description="Refuse a write of the operator's own account that carries a lower fence than the object it "
        "changes: what an old leader still had under way. Others' writes are not looked at.",
    )
    fenced_accounts: list[Annotated[str, Field(min_length=1, max_length=512, pattern="^[^'\\\\]+$")]] = Field(
        default_factory=list,
        description="User names whose writes are looked at; empty means the operator's own account.",
    )
    requester: bool = Field(
        default=True,
        description="Let nobody claim to be another user in regent.dev/requested-by and regent.dev/approved-by of a "
        "Failover. Without it Regent does not know who asked, and says `unknown`.",
    )
    placement: bool = Field(
        default=True,
        description="Refuse a FailoverPolicy or ReplicationPolicy that names a region which a PlacementPolicy of its "
        "namespace does not allow. Without it such a policy is taken, says PlacementDenied and does nothing there.",
    )
    stamp_with: Literal["Auto", "V1", "V1beta1", "Webhook", "None"] = Field(
        default="Auto",
        description="What writes these names in: a MutatingAdmissionPolicy of this version, or a webhook of the "
        "operator. Auto: V1 from Kubernetes 1.36, before that V1beta1 where it is served, else Webhook. None: they are "
        "only there when the client wrote them.",
    )
    webhook: Webhook = Field(
        default_factory=Webhook,
        description="The webhook that writes these names in where the API server serves no MutatingAdmissionPolicy.",
    )


class ServiceAccount(Values):
    """The account of the operator."""

    create: bool = Field(default=True, description="Create the ServiceAccount.")
    name: str = Field(default="", description="Its name; empty means that of the release.")
    annotations: Strings = Field(default_factory=dict, description="Its annotations.")


class LeaderElection(Values):
    """Which replica decides."""

    enabled: bool = Field(
        default=True,
        description="Elect the replica that decides and writes; the others stay warm. Turn it off with one replica "
        "only.",
    )


class Http(Values):
    """The operational endpoint: /healthz, /readyz, /metrics."""

    port: Port = Field(default=8080, description="Port of the container and of the Service.")


class Service(Values):
    """The Service in front of the operational endpoint."""

    enabled: bool = Field(default=True, description="Create the Service.")
    annotations: Strings = Field(default_factory=dict, description="Its annotations.")


class NetworkPolicy(Values):
    """What may reach the operator, and what it may reach."""

    enabled: bool = Field(default=True, description="Create the NetworkPolicy.")
    ingress_from: Objects = Field(
        default_factory=list,
        description="Peers (namespaceSelector, podSelector, ipBlock) that may read the operational endpoint; empty "
        "means all.",
    )
    egress: Objects = Field(
        default_factory=list,
        description="Egress rules. Empty means all: the operator must reach the API server, the name service and "
        "every endpoint that it probes, wherever they are.",
    )


class PodDisruptionBudget(Values):
    """How many replicas a drain may take at once."""

    enabled: bool = Field(default=True, description="Create the PodDisruptionBudget.")
    max_unavailable: Quantity = Field(default=1, description="Replicas that may be away, as a number or a percentage.")


class ServiceMonitor(Values):
    """Scraping by the Prometheus operator."""

    enabled: bool = Field(default=False, description="Create a ServiceMonitor; its kind must be installed.")
    interval: Annotated[str, Field(pattern="^([0-9]+(ms|s|m|h))+$")] = Field(
        default="30s", description="Time between two scrapes."
    )
    labels: Strings = Field(default_factory=dict, description="Labels that your Prometheus selects by.")


class Resources(Values):
    """What a replica needs."""

    requests: dict[str, Quantity] = Field(
        default_factory=lambda: dict[str, Quantity](cpu="100m", memory="128Mi"), description="What is reserved."
    )
    limits: dict[str, Quantity] = Field(
        default_factory=lambda: dict[str, Quantity](memory="384Mi"),
        description="What it may use at most. No limit of CPU: throttling would delay probes.",
    )


class Spread(Values):
    """A topology spread constraint; the chart adds the selector."""

    max_skew: Annotated[int, Field(ge=1)] = Field(default=1, description="Largest difference of replicas.")
    topology_key: Annotated[str, Field(min_length=1)] = Field(description="Label of the nodes.")
    when_unsatisfiable: Literal["ScheduleAnyway", "DoNotSchedule"] = Field(
        default="ScheduleAnyway", description="What to do when it cannot hold."
    )


def _spread() -> list[Spread]:
    return [Spread(topology_key="kubernetes.io/hostname"), Spread(topology_key="topology.kubernetes.io/zone")]


class ChartValues(Values):
    """Values of the Regent chart."""

    name_override: Annotated[str, Field(max_length=63)] = Field(
        default="", description="Name in the labels; empty means the chart's."
    )
    fullname_override: Annotated[str, Field(max_length=53)] = Field(
        default="", description="Name of the objects; empty means the release's, with the chart's unless it is in it."
    )
    image: Image = Field(default_factory=Image, description="The image of the operator.")
    image_pull_secrets: Objects = Field(default_factory=list, description="Secrets to pull it with: [{name: …}].")
    replica_count: Annotated[int, Field(ge=0, le=9)] = Field(
        default=2, description="Replicas. All of them watch and probe; one decides. Two survive the loss of a node."
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the operator, as in its settings file (docs/reference/settings.md).",
    )
    extra_args: list[str] = Field(default_factory=list, description="More arguments of `regent run`.")
    extra_env: Objects = Field(
        default_factory=list, description="Environment of the container: [{name: REGENT_…, value: …}]."
    )
    leader_election: LeaderElection = Field(default_factory=LeaderElection, description="Which replica decides.")
    crds: Crds = Field(default_factory=Crds, description="Custom resource definitions.")
    rbac: Rbac = Field(default_factory=Rbac, description="Permissions.")
    promotion: Promotion = Field(default_factory=Promotion, description="What promotion steps may do in this cluster.")
    replication: Replication = Field(
        default_factory=Replication, description="What may be copied from and to this cluster."
    )
    admission: Admission = Field(default_factory=Admission, description="What the API server itself refuses.")
    service_account: ServiceAccount = Field(default_factory=ServiceAccount, description="The operator's account.")
    http: Http = Field(default_factory=Http, description="The operational endpoint: /healthz, /readyz, /metrics.")
    service: Service = Field(default_factory=Service, description="The Service in front of it.")
    network_policy: NetworkPolicy = Field(
        default_factory=NetworkPolicy, description="What may reach the operator, and what it may reach."
    )
    pod_disruption_budget: PodDisruptionBudget = Field(
        default_factory=PodDisruptionBudget, description="How many replicas a drain may take at once."
    )
    service_monitor: ServiceMonitor = Field(
        default_factory=ServiceMonitor, description="Scraping by the Prometheus operator."
    )
    resources: Resources = Field(default_factory=Resources, description="What a replica needs.")
    topology_spread_constraints: list[Spread] = Field(
        default_factory=_spread, description="How replicas are spread; the chart adds the selector."
    )
    pod_annotations: Strings = Field(default_factory=dict, description="Annotations of the pods.")
    pod_labels: Strings = Field(default_factory=dict, description="More labels of the pods.")
    node_selector: Strings = Field(default_factory=dict, description="Labels of the nodes to run on.")
    tolerations: Objects = Field(default_factory=list, description="Taints to put up with.")
    affinity: dict[str, Any] = Field(default_factory=dict, description="Affinity of the pods.")
    priority_class_name: str = Field(
        default="", description="Priority class of the pods, such as system-cluster-critical."
    )
