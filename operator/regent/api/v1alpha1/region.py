"""Region: a place that serves traffic, how it is probed, and what is known of it.

Regions are cluster-scoped. The parts about probing stand in `region_probes.py`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from regent.api.v1alpha1 import cel
from regent.api.v1alpha1.base import AGE, ApiModel, Column, Resource, Rule, check, list_map, nested
from regent.api.v1alpha1.common import (
    ComplianceSet,
    Duration,
    LongCount,
    ObjectMeta,
    ObjectName,
    OptionalNamespace,
    Percent,
    ProbeUrl,
    SecretKey,
    Text63,
    Text128,
)
from regent.api.v1alpha1.region_probes import Load, Probe
from regent.api.v1alpha1.region_status import Health, RegionStatus

__all__ = ["AdminState", "Health", "Region", "RegionSpec", "RegionStatus", "Tier"]

Tier = Literal["Primary", "Secondary", "Tertiary"]
AdminState = Literal["Enabled", "Drained", "Disabled"]


def _decimal(low: int, high: int, example: str) -> object:
    return check(
        f"{cel.matches('self', cel.DECIMAL)} && double(self) >= {low}.0 && double(self) <= {high}.0",
        f'write a decimal in quotes from {low} to {high}, such as "{example}"',
    )


Latitude = Annotated[str, Field(max_length=24), _decimal(-90, 90, "53.3")]
Longitude = Annotated[str, Field(max_length=24), _decimal(-180, 180, "-6.2")]
Multiplier = Annotated[str, Field(max_length=24), _decimal(0, 1000, "1.1")]


class Location(ApiModel):
    """Where the region is; used for distances, locality and the map."""

    name: Text128 = Field(default="", description="Name of the place for people, such as Ireland.")
    latitude: Latitude | None = Field(
        default=None, description="Latitude in degrees as a decimal in quotes, -90 to 90; north is positive."
    )
    longitude: Longitude | None = Field(
        default=None, description="Longitude in degrees as a decimal in quotes, -180 to 180; east is positive."
    )

    RULES = (
        Rule(
            "has(self.latitude) == has(self.longitude)",
            "give latitude and longitude together, or neither",
        ),
    )


class DegradedThresholds(ApiModel):
    """From where a region counts as Degraded. Any one is enough."""

    error_rate_percent: Percent = Field(
        default=10, description="Degraded above this error rate, in percent of requests or probes."
    )
    capacity_available_percent: Percent = Field(
        default=50, description="Degraded below this free capacity, in percent of the whole."
    )
    latency: Annotated[Duration, cel.within("1ms", "30s")] = Field(
        default="1s",
        description="Degraded above this median latency of the last minute. It must be below the timeout of a probe, "
        "else it can never be reached.",
    )


class UnhealthyThresholds(ApiModel):
    """From where a region counts as Unhealthy. Both must hold."""

    error_rate_percent: Percent = Field(
        default=50, description="Unhealthy above this error rate, when free capacity is short too."
    )
    capacity_available_percent: Percent = Field(
        default=20, description="Unhealthy below this free capacity, when the error rate is high too."
    )


class Thresholds(ApiModel):
    """Figures from which a region is Degraded or Unhealthy, and how long it recovers."""

    degraded: DegradedThresholds = nested(DegradedThresholds, "From where the region is Degraded; any one is enough.")
    unhealthy: UnhealthyThresholds = nested(UnhealthyThresholds, "From where the region is Unhealthy; both must hold.")
    recovery_period: Annotated[Duration, cel.within("0s", "24h")] = Field(
        default="120s",
        description="Continuous success that turns Recovering into Healthy. Two minutes outlast a restart loop.",
    )

    RULES = (
        Rule(
            "!has(self.unhealthy) || !has(self.degraded) || "
            "self.unhealthy.errorRatePercent >= self.degraded.errorRatePercent",
            "write an errorRatePercent for unhealthy that is not below the one for degraded",
            ".unhealthy.errorRatePercent",
        ),
        Rule(
            "!has(self.unhealthy) || !has(self.degraded) || "
            "self.unhealthy.capacityAvailablePercent <= self.degraded.capacityAvailablePercent",
            "write a capacityAvailablePercent for unhealthy that is not above the one for degraded",
            ".unhealthy.capacityAvailablePercent",
        ),
    )


class Capacity(ApiModel):
    """What the region can take."""

    total: LongCount = Field(
        description="Full capacity in units of your choice (requests per second, virtual machines); use the same unit "
        "in every region. Reports carry the same unit."
    )


class Cost(ApiModel):
    """What the region costs compared with others."""

    multiplier: Multiplier = Field(
        default="1", description="Cost of a unit of work relative to the other regions, as a decimal in quotes, 0-1000."
    )


class KubeconfigSecretRef(ApiModel):
    """The Secret that says how the member cluster is reached: its kubeconfig, or what another tool keeps of it."""

    ATOMIC = True

    namespace: OptionalNamespace = Field(
        default="",
        description="Namespace of the Secret. Empty means the operator's namespace; any other one must be listed in "
        "the setting `secretNamespaces`, else the Region becomes Ready=False/SecretNamespaceNotAllowed.",
    )
    name: ObjectName = Field(description="Name of the Secret.")
    key: SecretKey = Field(
        default="kubeconfig",
        description="Key in the Secret that holds the kubeconfig. A kubeconfig with exec, auth-provider, file paths or "
        "insecure TLS is refused. Leave it out for a Secret of Cluster API (<cluster>-kubeconfig, key value) or of "
        "Argo CD (keys server and config): these are known by their form.",
    )


class MemberCluster(ApiModel):
    """The Kubernetes cluster of the region, where its workloads, databases and copies live."""

    kubeconfig_secret_ref: KubeconfigSecretRef = Field(
        description="Secret that holds the cluster's kubeconfig; also a cluster Secret of Cluster API or of Argo CD."
    )
    uid: Text63 = Field(
        default="",
        description="UID of the cluster's kube-system namespace. When it is set and differs from the one found, the "
        "connection is refused, so that a swapped kubeconfig never acts on the wrong cluster.",
    )


class WorkerPool(ApiModel):
    """The workers for jobs of the region."""

    size: Annotated[int, Field(ge=0, le=1_000_000)] = Field(description="Number of jobs that can run at once.")


class Jobs(ApiModel):
    """Where jobs of the region are queued."""

    queue_name: Annotated[
        str,
        Field(max_length=63),
        check(
            cel.unset_or(cel.matches("self", cel.LABEL)), "write the name of a queue: lower-case letters, digits, '-'"
        ),
    ] = Field(default="", description="Queue that jobs placed in this region are labelled with. Empty: none.")
    worker_pool: WorkerPool | None = Field(default=None, description="Workers that serve the queue.")


class RegionSpec(ApiModel):
    """What a region is and how it is watched."""

    display_name: Text128 = Field(default="", description="Name for people. Empty means the object's name.")
    provider: Text63 = Field(default="", description="Who runs the region, such as AWS, GCP, Azure or OnPremises.")
    location: Location | None = Field(default=None, description="Where the region is.")
    tier: Tier = Field(
        default="Secondary",
        description="Rank among the regions: Primary is preferred to Secondary, Secondary to Tertiary. Regent never "
        "rewrites it.",
    )
    priority: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=100, description="Preference among candidates, 0-1000; higher is preferred and stands before the tier."
    )
    suspend: bool = Field(
        default=False,
        description="No automatic run moves traffic to this region or away from it. It is probed and shown as usual; "
        "people may still move traffic.",
    )
    admin_state: AdminState = Field(
        default="Enabled",
        description="Enabled: in service. Drained: observed, carries no traffic and is never a candidate. Disabled: "
        "as Drained, and not probed.",
    )
    endpoint: ProbeUrl = Field(
        default="", description="URL at which the region is reached; probes start from it. Empty: each probe has a url."
    )
    quorum: Annotated[int, Field(ge=1, le=32)] = Field(
        default=1, description="Vantages that must agree before status.health says Unreachable."
    )
    probes: Annotated[list[Probe], Field(max_length=16), list_map("name")] = Field(
        default_factory=list, description="How the region is probed; at least one unless adminState is Disabled."
    )
    load: Load | None = Field(
        default=None,
        description="Where error rate and free capacity come from. Without it, probes give error rate and latency.",
    )
    thresholds: Thresholds = nested(Thresholds, "Figures from which the region is Degraded or Unhealthy.")
    capacity: Capacity | None = Field(default=None, description="What the region can take.")
    cost: Cost | None = Field(default=None, description="What the region costs compared with others.")
    compliance: ComplianceSet = Field(
        default_factory=list, description="Compliance frameworks that the region satisfies, such as GDPR or SOC2."
    )
    cluster: MemberCluster | None = Field(
        default=None, description="The region's member cluster. Unset: the region has none, or it is the hub."
    )
    jobs: Jobs | None = Field(default=None, description="Where jobs of the region are queued.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.adminState == 'Disabled' || (has(self.probes) && self.probes.size() > 0)",
            "add at least one probe (http, tcp or grpc), or set adminState: Disabled",
            ".probes",
        ),
        Rule(
            f"!has(self.probes) || {cel.filled('self.endpoint')} || self.probes.all(p, {cel.filled('p.url')})",
            "set spec.endpoint, or a url in every probe: without either there is nothing to probe",
            ".endpoint",
        ),
        Rule(
            "!has(self.probes) || self.probes.all(p, !has(p.http) || "
            f"({cel.filled('p.url')} ? p.url : (has(self.endpoint) ? self.endpoint : '')).matches('^(https?:|$)'))",
            "an http probe needs an http:// or https:// address: set the probe's url, or spec.endpoint",
            ".probes",
        ),
        Rule(
            "!has(self.load) || !has(self.load.healthBody) || (has(self.probes) && self.probes.exists(p, has(p.http)))",
            "load.healthBody reads the answer of an http probe: add one, or use load.prometheus",
            ".load",
        ),
    )


class Region(Resource):
    """A place that serves traffic: Regent probes it, and moves traffic and roles to or away from it."""

    KIND = "Region"
    PLURAL = "regions"
    SINGULAR = "region"
    SHORT_NAMES = ("rgn",)
    NAMESPACED = False
    COLUMNS = (
        Column("Tier", ".spec.tier", "Rank among the regions"),
        Column("State", ".spec.adminState", "Enabled, Drained or Disabled"),
        Column("Health", ".status.health", "What Regent knows of it"),
        Column("Latency", ".status.latencyMilliseconds", "Median latency in milliseconds", "integer"),
        Column("Free", ".status.capacityAvailablePercent", "Free capacity in percent", "integer"),
        Column("Endpoint", ".spec.endpoint", "Where it is reached"),
        AGE,
        Column("Provider", ".spec.provider", "Who runs it", wide=True),
        Column("Priority", ".spec.priority", "Preference; higher is preferred", "integer", wide=True),
        Column("Cost", ".spec.cost.multiplier", "Cost relative to the other regions", wide=True),
        Column("Message", ".status.message", "Why it has this health", wide=True),
    )
    SELECTABLE_FIELDS = (".spec.tier", ".spec.adminState", ".spec.provider", ".status.health")
    RULES = (cel.name_rule(63),)

    metadata: ObjectMeta = Field(default_factory=ObjectMeta, description="Standard metadata.")
    spec: RegionSpec = Field(description="What the region is and how it is watched.")
    status: RegionStatus = nested(RegionStatus, "What is known of the region; written by Regent.")
