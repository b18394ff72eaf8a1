"""The targets of a FailoverPolicy: the objects whose weights follow its decision."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from regent.api.v1alpha1 import cel
from regent.api.v1alpha1.base import LIST_SET, ApiModel, Rule, check, list_map
from regent.api.v1alpha1.common import (
    URL_MESSAGE,
    HostHeader,
    HttpUrl,
    ObjectName,
    OptionalRegionName,
    RegionName,
    SecretRef,
    Text63,
)

Hostname = Annotated[
    str,
    Field(min_length=1, max_length=253),
    check(cel.matches("self", cel.HOSTNAME), "write a DNS name in lower case, such as shop.example.com"),
]


DNS_SERVER = r"^dns://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?$"
VerificationUrl = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    check(
        f"self.startsWith('dns:') ? {cel.matches('self', DNS_SERVER)} : {cel.url('self')}",
        f"{URL_MESSAGE}, or for a dnsEndpoint the DNS server to ask, such as dns://192.0.2.53/",
    ),
]


class RouteBackend(ApiModel):
    """A Service of one region among the backends of a route."""

    region: RegionName = Field(description="Region that the Service belongs to; one of spec.regions.")
    service: ObjectName = Field(description="Name of the Service in the route's backendRefs.")


class RouteTarget(ApiModel):
    """A Gateway API route in the policy's namespace. Regent changes the weights of its backends and nothing else."""

    name: ObjectName = Field(description="Name of the route.")
    backends: Annotated[list[RouteBackend], Field(max_length=128), list_map("region", "service")] = Field(
        default_factory=list,
        description="Which Service belongs to which region. Services that are not listed are mapped by their label "
        "regent.dev/region; those without it are left alone.",
    )


class VirtualServiceDestination(ApiModel):
    """A destination of one region in a VirtualService."""

    region: RegionName = Field(description="Region that the destination belongs to; one of spec.regions.")
    host: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        description="Host of the destination as it stands in the VirtualService."
    )
    subset: Text63 = Field(default="", description="Subset of the destination. Empty: a destination without subset.")


class VirtualServiceTarget(ApiModel):
    """An Istio VirtualService in the policy's namespace."""

    name: ObjectName = Field(description="Name of the VirtualService.")
    destinations: Annotated[list[VirtualServiceDestination], Field(min_length=1, max_length=128)] = Field(
        description="Which destination belongs to which region."
    )


class DnsRecord(ApiModel):
    """The addresses of one region."""

    region: RegionName = Field(description="Region that the addresses belong to; one of spec.regions.")
    targets: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=253)]], Field(min_length=1, max_length=16), LIST_SET
    ] = Field(description="IPv4 addresses (A), IPv6 addresses (AAAA) or one host name (CNAME).")


class ProviderWeighted(ApiModel):
    """How a DNS provider's own weighted records are written."""

    set_identifier_prefix: Text63 = Field(
        default="", description="Prefix of each record's setIdentifier; the region's name follows. Empty: no prefix."
    )
    property: Annotated[str, Field(min_length=1, max_length=128)] = Field(
        description="Provider-specific property that holds the weight, such as aws/weight."
    )


class DnsEndpointTarget(ApiModel):
    """An external-dns DNSEndpoint in the policy's namespace."""

    name: ObjectName = Field(description="Name of the DNSEndpoint.")
    hostname: Hostname = Field(description="DNS name whose records follow the decision.")
    record_type: Literal["A", "AAAA", "CNAME"] = Field(default="A", description="Type of the records.")
    record_ttl: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=5,
        alias="recordTTL",
        description="Time to live of the records in seconds: clients may keep an old answer for that long, so that it "
        "adds to the time of a failover.",
    )
    mode: Literal["Exclusive", "ProviderWeighted"] = Field(
        default="Exclusive",
        description="Exclusive: exactly the regions with a share are in the answer. ProviderWeighted: one weighted "
        "record for each region, for providers that support them.",
    )
    provider_weighted: ProviderWeighted | None = Field(
        default=None, description="For mode ProviderWeighted: how the weights are written."
    )
    records: Annotated[list[DnsRecord], Field(min_length=1, max_length=64), list_map("region")] = Field(
        description="Addresses of each region."
    )

    RULES = (
        Rule(
            "(self.mode == 'ProviderWeighted') == has(self.providerWeighted)",
            "give providerWeighted with mode: ProviderWeighted, and only then",
            ".providerWeighted",
        ),
        Rule(
            "self.recordType == 'CNAME' || self.records.all(r, r.targets.all(t, isIP(t) && "
            "ip(t).family() == (self.recordType == 'A' ? 4 : 6)))",
            "write IPv4 addresses for recordType A, IPv6 addresses for AAAA, or set recordType: CNAME",
            ".records",
        ),
        Rule(
            "self.recordType != 'CNAME' || self.records.all(r, r.targets.size() == 1 && "
            "!isIP(r.targets[0]) && r.targets[0].matches('^[a-z0-9_.-]+$'))",
            "write exactly one host name for each region with recordType CNAME",
            ".records",
        ),
    )


class WebhookTarget(ApiModel):
    """A receiver of your own that is told the distribution. Each call carries the fence, and a signature."""

    url: HttpUrl = Field(description="Where the distribution is posted as JSON. Redirects are not followed.")
    secret_ref: SecretRef | None = Field(
        default=None, description="Secret whose key `key` signs each call (HMAC-SHA256)."
    )


class Verification(ApiModel):
    """Requests through the data plane that prove that traffic has moved."""

    url: VerificationUrl = Field(
        description="URL that goes through the gateway. For a dnsEndpoint also dns://<server>[:<port>]/: that server "
        "is asked for the records of the host name, which must be those of the regions with a share. Name the "
        "authoritative server, or a resolver that clients use; a resolver may keep old answers for recordTTL."
    )
    host: HostHeader = Field(default="", description="Host header of the request. Empty: the URL's host.")
    region_header: Annotated[
        str,
        Field(max_length=128),
        check(
            cel.unset_or(cel.matches("self", cel.HEADER_NAME)),
            "write the name of a response header, such as x-region",
        ),
    ] = Field(
        default="",
        description="Response header in which the application names its region. Empty: a good answer is enough.",
    )
    successes: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3, description="Good answers in a row that prove it."
    )


_KINDS = ("httpRoute", "grpcRoute", "virtualService", "dnsEndpoint", "webhook")


class Target(ApiModel):
    """An object whose weights follow the decision."""

    http_route: RouteTarget | None = Field(default=None, description="A Gateway API HTTPRoute.")
    grpc_route: RouteTarget | None = Field(default=None, description="A Gateway API GRPCRoute.")
    virtual_service: VirtualServiceTarget | None = Field(default=None, description="An Istio VirtualService.")
    dns_endpoint: DnsEndpointTarget | None = Field(default=None, description="An external-dns DNSEndpoint.")
    webhook: WebhookTarget | None = Field(default=None, description="A receiver of your own.")
    cluster: OptionalRegionName = Field(
        default="",
        description="Region in whose member cluster the object is, in the policy's namespace there. Empty: in this "
        "cluster. Objects in member clusters are looked at every 5 seconds instead of being watched.",
    )
    verification: Verification | None = Field(
        default=None,
        description="Requests that prove that traffic has moved. Without it the target's verification stays "
        "AcceptedOnly: a gateway accepts weights before it uses them.",
    )

    RULES = (
        Rule(
            cel.exactly_one(*_KINDS),
            "give exactly one of httpRoute, grpcRoute, virtualService, dnsEndpoint and webhook in each target",
        ),
        Rule(
            f"!has(self.webhook) || !{cel.filled('self.cluster')}",
            "remove cluster: a webhook is called from here",
            ".cluster",
        ),
        Rule(
            "has(self.dnsEndpoint) || !has(self.verification) || !self.verification.url.startsWith('dns:')",
            "only a dnsEndpoint is verified by asking a DNS server: write an http or https URL",
            ".verification",
        ),
    )


def _cluster_of(target: str) -> str:
    return f"(has({target}.cluster) ? {target}.cluster : '')"


def _unique(member: str, key: str, kind: str) -> Rule:
    return Rule(
        f"!has(self.targets) || self.targets.all(t, !has(t.{member}) || self.targets.exists_one(u, "
        f"has(u.{member}) && u.{member}.{key} == t.{member}.{key} && "
        f"{_cluster_of('u')} == {_cluster_of('t')}))",
        f"name each {kind} in one target only: put its mappings together",
        ".targets",
    )


def _known_regions(path: str, items: str) -> Rule:
    member = path.split(".", maxsplit=1)[0]
    return Rule(
        f"!has(self.targets) || self.targets.all(t, !has(t.{member}) || !has(t.{path}) || "
        f"t.{path}.all(x, self.regions.exists(r, r.name == x.region)))",
        f"targets[].{path}[].region: name a region of spec.regions, or remove the {items}",
        ".targets",
    )


TARGET_RULES = (
    _unique("httpRoute", "name", "HTTPRoute"),
    _unique("grpcRoute", "name", "GRPCRoute"),
    _unique("virtualService", "name", "VirtualService"),
    _unique("dnsEndpoint", "name", "DNSEndpoint"),
    _unique("webhook", "url", "webhook URL"),
    _known_regions("httpRoute.backends", "backend"),
    _known_regions("grpcRoute.backends", "backend"),
    _known_regions("virtualService.destinations", "destination"),
    _known_regions("dnsEndpoint.records", "record"),
    Rule(
        f"!has(self.targets) || self.targets.all(t, !{cel.filled('t.cluster')} || "
        "self.regions.exists(r, r.name == t.cluster))",
        "targets[].cluster: name a region of spec.regions, or remove it for objects in this cluster",
        ".targets",
    ),
)
