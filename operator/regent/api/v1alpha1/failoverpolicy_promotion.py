"""Promotion steps, hooks, notifications and drills of a FailoverPolicy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from regent.api.v1alpha1 import cel
from regent.api.v1alpha1.base import LIST_SET, ApiModel, Rule, check, list_map
from regent.api.v1alpha1.common import (
    Duration,
    HttpUrl,
    Label,
    ObjectName,
    OptionalCron,
    RawObject,
    RegionName,
    SecretRef,
    TimeZone,
)


class PatroniCluster(ApiModel):
    """The Patroni REST API of one region."""

    region: RegionName = Field(description="Region in which the database runs.")
    url: HttpUrl = Field(
        description="URL of Patroni's REST API there. Where the cluster has several members, one that leads to the "
        "leader, such as a Service that selects it by Patroni's role label."
    )
    host: Annotated[
        str,
        Field(max_length=253),
        check(
            cel.unset_or(cel.matches("self", "^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$")),
            "write a host name or an address",
        ),
    ] = Field(
        default="",
        description="Where the other regions reach its PostgreSQL, to follow it after a promotion. Empty: the address "
        "that Patroni tells (`postgresql.connect_address` of its leader).",
    )
    port: Annotated[int, Field(ge=1, le=65_535)] | None = Field(
        default=None, description="Port of its PostgreSQL. Unset: the one that Patroni tells, or 5432 with `host`."
    )
    primary_slot_name: Annotated[
        str,
        Field(max_length=63),
        check(cel.unset_or(cel.matches("self", "^[a-z0-9_]+$")), "write lower-case letters, digits and underscores"),
    ] = Field(
        default="",
        description="Replication slot that this cluster uses on the primary one while it is a standby. Make it a "
        "permanent slot in the Patroni of every other region. Empty: none.",
    )


class Patroni(ApiModel):
    """PostgreSQL under Patroni: a standby cluster becomes the primary one."""

    clusters: Annotated[list[PatroniCluster], Field(min_length=1, max_length=64), list_map("region")] = Field(
        description="Where Patroni answers, for each region."
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None, description="Secret with `username` and `password` of Patroni's REST API."
    )
    ca_secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret whose `ca.crt` signed the certificates of the https URLs. Unset: those that the system "
        "trusts.",
    )


class NamedObject(ApiModel):
    """An object of the policy's namespace in the region's cluster."""

    name: ObjectName = Field(description="Name of the object.")


class Scale(ApiModel):
    """A workload that is scaled up in the new region and down in the old one."""

    kind: Literal["Deployment", "StatefulSet"] = Field(description="Kind of the workload.")
    name: ObjectName = Field(description="Name of the workload.")
    replicas: Annotated[int, Field(ge=1, le=100_000)] = Field(description="Replicas in the active region.")


class Patch(ApiModel):
    """Merge patches on any object, and a condition to wait for."""

    api_version: Annotated[
        str,
        Field(min_length=1, max_length=253),
        check(
            cel.matches("self", "^([a-z0-9.-]+/)?v[0-9][a-z0-9]*$"),
            "write an apiVersion such as v1 or apps/v1",
        ),
    ] = Field(description="API version of the object, such as apps/v1.")
    kind: Annotated[
        str,
        Field(min_length=1, max_length=63),
        check(cel.matches("self", "^[A-Z][A-Za-z0-9]*$"), "write a kind in CamelCase, such as Deployment"),
    ] = Field(description="Kind of the object.")
    name: ObjectName = Field(description="Name of the object.")
    promote: RawObject = Field(description="JSON merge patch that makes the object active.")
    demote: RawObject = Field(description="JSON merge patch that makes it a standby again.")
    wait_for: Annotated[
        str,
        Field(max_length=256),
        check(
            cel.unset_or(cel.matches("self", cel.WAIT_FOR)),
            "write what kubectl wait takes: condition=Ready, or jsonpath={.status.phase}=Running",
        ),
    ] = Field(
        default="",
        description="What shows that the object is active, as in `kubectl wait --for`: condition=Ready or "
        "jsonpath={.status.phase}=Running. Empty: the patch alone is enough.",
    )


class JobTemplate(ApiModel):
    """The template of a Job, as in a CronJob."""

    metadata: RawObject | None = Field(default=None, description="Labels and annotations of the Job.")
    spec: RawObject = Field(description="Spec of the Job, as in batch/v1.")


class JobStep(ApiModel):
    """A Job that is run in the new region."""

    template: JobTemplate = Field(description="The Job to run; it gets a deterministic name for each run and step.")


class HttpCall(ApiModel):
    """A call of an HTTP endpoint of your own."""

    url: HttpUrl = Field(description="Where the request is posted as JSON. Redirects are not followed.")
    secret_ref: SecretRef | None = Field(
        default=None, description="Secret whose key `key` signs each call (HMAC-SHA256)."
    )


class HttpStep(HttpCall):
    """An endpoint of your own that promotes and demotes what Regent does not know; docs/reference/receivers.md."""

    data: Literal["None", "Held"] = Field(
        default="None",
        description="Held: two active sides would diverge, as with a database: the old side is demoted and caught up "
        "with before the new one is promoted, and safety.fencing defaults to Required. None: the new side is promoted "
        "first, so that clients are always served.",
    )


STEP_FIELDS = {
    "Patroni": "patroni",
    "CloudNativePG": "cloudNativePG",
    "VolumeReplication": "volumeReplication",
    "VirtualMachine": "virtualMachine",
    "Scale": "scale",
    "CronJob": "cronJob",
    "Patch": "patch",
    "Job": "job",
    "HTTP": "http",
}
StepType = Literal[
    "Patroni", "CloudNativePG", "VolumeReplication", "VirtualMachine", "Scale", "CronJob", "Patch", "Job", "HTTP"
]


class PromotionStep(ApiModel):
    """One thing that must become active in the new region; each step can observe, promote and demote."""

    name: Label = Field(description="Name of the step, unique in the policy; shown as Promote/<name>.")
    type: StepType = Field(description="What is promoted. Set the field of the same name, and no other.")
    timeout: Annotated[Duration, cel.within("1s", "24h")] = Field(
        default="30s", description="How long the step may take before the run cascades, rolls back or pauses."
    )
    patroni: Patroni | None = Field(default=None, description="For type Patroni: PostgreSQL under Patroni.")
    cloud_native_pg: NamedObject | None = Field(
        default=None, alias="cloudNativePG", description="For type CloudNativePG: a Cluster of CloudNativePG."
    )
    volume_replication: NamedObject | None = Field(
        default=None, description="For type VolumeReplication: a VolumeReplication of csi-addons."
    )
    virtual_machine: NamedObject | None = Field(
        default=None, description="For type VirtualMachine: a VirtualMachine of KubeVirt."
    )
    scale: Scale | None = Field(default=None, description="For type Scale: a workload to scale up.")
    cron_job: NamedObject | None = Field(
        default=None, description="For type CronJob: a CronJob that is resumed in the new region, suspended in the old."
    )
    patch: Patch | None = Field(default=None, description="For type Patch: merge patches on any object.")
    job: JobStep | None = Field(default=None, description="For type Job: a Job to run.")
    http: HttpStep | None = Field(default=None, description="For type HTTP: an endpoint of your own to call.")

    RULES = (
        Rule(
            cel.exactly_one(*STEP_FIELDS.values())
            + " && "
            + " && ".join(f"(self.type == '{kind}') == has(self.{name})" for kind, name in STEP_FIELDS.items()),
            "set exactly the field that type names: " + ", ".join(f"{k} {f}" for k, f in STEP_FIELDS.items()),
        ),
    )


class Promotion(ApiModel):
    """What must become active in the new region before traffic goes there."""

    steps: Annotated[list[PromotionStep], Field(max_length=32), list_map("name")] = Field(
        default_factory=list,
        description="Run in this order on the new region, and undone in reverse. Objects are those of the policy's "
        "namespace in the region's member cluster, or in the hub when the region has none.",
    )


class Hook(ApiModel):
    """A call before a failover that may veto it."""

    name: Label = Field(description="Name of the hook.")
    http: HttpCall = Field(description="Whom to call; any 2xx answer means go on.")
    timeout: Annotated[Duration, cel.within("100ms", "1m")] = Field(
        default="5s", description="How long to wait for the answer; it delays the failover by as much."
    )
    on_error: Literal["Continue", "Abort"] = Field(
        default="Continue",
        description="What no answer or a bad one does. Continue: the run goes on. Abort: it is a veto.",
    )


class Hooks(ApiModel):
    """Calls at points of a run."""

    before_failover: Annotated[list[Hook], Field(max_length=8), list_map("name")] = Field(
        default_factory=list, description="Called in this order before a run commits."
    )


NotificationEvent = Literal["Started", "Blocked", "ActionRequired", "Completed"]


class Notification(ApiModel):
    """A receiver of CloudEvents."""

    url: HttpUrl = Field(description="Where events are posted, as CloudEvents over HTTP.")
    secret_ref: SecretRef | None = Field(
        default=None, description="Secret whose key `key` signs each event (HMAC-SHA256). `{}`: not signed."
    )
    events: Annotated[list[NotificationEvent], Field(max_length=4), LIST_SET] = Field(
        default=["Started", "Blocked", "ActionRequired", "Completed"],
        description="Which events are sent: a run started, a run is blocked, a person is needed, a run ended.",
    )


class Drills(ApiModel):
    """Failovers that are rehearsed: planned and checked, without a change."""

    schedule: OptionalCron = Field(
        default="", description="When drills run, as a cron schedule of five fields. Empty: never."
    )
    time_zone: TimeZone = Field(default="", description="IANA time zone of the schedule. Empty: UTC.")
