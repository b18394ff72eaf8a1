"""How a region is probed, and where its load figures come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from regent.api.v1alpha1 import cel
from regent.api.v1alpha1.base import LIST_ATOMIC, ApiModel, Rule, check, list_map
from regent.api.v1alpha1.common import (
    Duration,
    HostHeader,
    Label,
    OptionalHttpUrl,
    ProbeUrl,
    RegionSecretKeyRef,
    RegionSecretRef,
    Text256,
    Text4096,
)

Port = Annotated[int, Field(ge=1, le=65535)]
JsonPath = Annotated[
    str,
    Field(max_length=256),
    check(
        cel.unset_or(cel.matches("self", cel.JSON_PATH)),
        "write a JSONPath to one number, such as .load.errors or .pools[0].free",
    ),
]


class Header(ApiModel):
    """A request header."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=128),
        check(
            cel.matches("self", cel.HEADER_NAME) + " && self.lowerAscii() != 'host'",
            "write a header name without spaces or colons, such as X-Probe; for Host use the field host",
        ),
    ] = Field(description="Name of the header.")
    value: Annotated[
        str,
        Field(max_length=1024),
        check(r"!self.matches(r'[\x00-\x08\x0a-\x1f\x7f]')", "write a header value on one line, without control codes"),
    ] = Field(default="", description="Value of the header. It is not a place for secrets.")


class BodyMatch(ApiModel):
    """What the answer must contain."""

    contains: Text256 = Field(
        default="", description="Text that must occur in the first 64 KiB of the answer's body. Empty: not checked."
    )


class HttpProbe(ApiModel):
    """A GET request; it succeeds when status and body are as expected. Redirects are not followed."""

    path: Annotated[
        str,
        Field(max_length=1024),
        check(
            cel.matches("self", "^/[!-~]*$"),
            "write a path that begins with '/' and has no spaces, such as /healthz",
        ),
    ] = Field(default="/healthz", description="Path and query of the request.")
    expected_statuses: Annotated[
        list[
            Annotated[
                str,
                Field(max_length=7),
                check(
                    cel.matches("self", cel.STATUS_CODES)
                    + " && (self.size() == 3 || self.substring(0, 3) <= self.substring(4))",
                    'write a status or a range of them in quotes, such as "204" or "200-299"',
                ),
            ]
        ],
        Field(min_length=1, max_length=16),
        LIST_ATOMIC,
    ] = Field(default=["200-299"], description="HTTP statuses, or ranges of them, that count as success.")
    host: HostHeader = Field(
        default="", description="Host header of the request and, with TLS, the server name. Empty: the URL's host."
    )
    headers: Annotated[list[Header], Field(max_length=16), list_map("name")] = Field(
        default_factory=list, description="Further request headers."
    )
    body: BodyMatch | None = Field(default=None, description="What the answer must contain.")


class TcpProbe(ApiModel):
    """A TCP connection; it succeeds when it is established."""

    port: Port = Field(description="Port to connect to, on the host of the probe's url or of spec.endpoint.")


class GrpcProbe(ApiModel):
    """A call of grpc.health.v1.Health/Check; it succeeds when the answer is SERVING."""

    port: Port = Field(description="Port to connect to, on the host of the probe's url or of spec.endpoint.")
    service: Annotated[
        str,
        Field(max_length=253),
        check(
            cel.matches("self", "^[A-Za-z0-9_./-]*$"),
            "write the full name of a gRPC service, such as shop.v1.Cart",
        ),
    ] = Field(default="", description="Service whose health is asked for. Empty: the health of the whole server.")


class ProbeTls(ApiModel):
    """How the probe verifies the server and proves itself."""

    server_name: Annotated[
        str,
        Field(max_length=253),
        check(cel.unset_or(cel.matches("self", cel.HOSTNAME)), "write a host name, such as shop.example.com"),
    ] = Field(default="", description="Name for SNI and for the certificate check. Empty: the host of the request.")
    ca_secret_ref: RegionSecretKeyRef | None = Field(
        default=None,
        description="Secret with the certificate authorities to trust, in PEM; key `ca.crt` unless key says otherwise. "
        "Unset: the system's.",
    )
    client_certificate_secret_ref: RegionSecretRef | None = Field(
        default=None, description="Secret of type kubernetes.io/tls with the client certificate (tls.crt, tls.key)."
    )
    insecure_skip_verify: bool = Field(
        default=False, description="Accept any certificate. For tests: whoever answers passes for the region."
    )


class Probe(ApiModel):
    """One way in which the region is probed."""

    name: Label = Field(description="Name of the probe, unique in the region.")
    role: Literal["Required", "Informational"] = Field(
        default="Required",
        description="Required: the region is down when this probe is. Informational: a failure only degrades it.",
    )
    http: HttpProbe | None = Field(default=None, description="Probe by an HTTP or HTTPS request.")
    tcp: TcpProbe | None = Field(default=None, description="Probe by a TCP connection.")
    grpc: GrpcProbe | None = Field(default=None, description="Probe by the gRPC health protocol.")
    url: ProbeUrl = Field(
        default="", description="Where this probe goes when that differs from spec.endpoint. Empty: spec.endpoint."
    )
    tls: ProbeTls | None = Field(
        default=None, description="TLS of the probe, where the URL's scheme is https or grpcs."
    )
    interval: Annotated[Duration, cel.within("100ms", "1h")] = Field(
        default="1s",
        description="From one probe to the next while all is well, 100ms-1h. One second finds a dead region in about "
        "three.",
    )
    timeout: Annotated[Duration, cel.within("1ms", "30s")] = Field(
        default="2s", description="From the start of the connection to the first byte of the answer, at most 30s."
    )
    retry_interval: Annotated[Duration, cel.within("1ms", "1h")] = Field(
        default="100ms",
        description="From the start of one probe to the next after a first failure and while rising, so that a verdict "
        "comes sooner than the interval allows. Not longer than interval.",
    )
    failure_threshold: Annotated[int, Field(ge=1, le=20)] = Field(
        default=3, description="Failures in a row after which the probe is Down; up to so many run at once."
    )
    success_threshold: Annotated[int, Field(ge=1, le=20)] = Field(
        default=2, description="Successes in a row after which a probe that was Down is Up."
    )

    RULES = (
        Rule(cel.exactly_one("http", "tcp", "grpc"), "give exactly one of http, tcp and grpc in each probe"),
        Rule(
            f"!{cel.matches('self.retryInterval', cel.DURATION)} || !{cel.matches('self.interval', cel.DURATION)} || "
            "duration(self.retryInterval) <= duration(self.interval)",
            "write a retryInterval that is not longer than interval",
            ".retryInterval",
        ),
    )


class HealthBody(ApiModel):
    """Where the figures stand in the JSON answer of the region's first http probe."""

    error_rate_percent: JsonPath = Field(
        default="", description="JSONPath to the error rate in percent. Empty: the answer does not carry it."
    )
    capacity_available_percent: JsonPath = Field(
        default="", description="JSONPath to the free capacity in percent. Empty: the answer does not carry it."
    )

    RULES = (
        Rule(
            f"{cel.filled('self.errorRatePercent')} || {cel.filled('self.capacityAvailablePercent')}",
            "give errorRatePercent, capacityAvailablePercent or both, as JSONPaths",
        ),
    )


class PrometheusLoad(ApiModel):
    """PromQL queries that give the figures."""

    address: OptionalHttpUrl = Field(
        default="",
        description="URL of the Prometheus API. Empty: the operator's own; where it has none, "
        "the figures stay unknown.",
    )
    error_rate_percent: Text4096 = Field(
        default="", description="Query that gives the region's error rate in percent as one sample. Empty: none."
    )
    capacity_available_percent: Text4096 = Field(
        default="", description="Query that gives the region's free capacity in percent as one sample. Empty: none."
    )

    RULES = (
        Rule(
            f"{cel.filled('self.errorRatePercent')} || {cel.filled('self.capacityAvailablePercent')}",
            "give errorRatePercent, capacityAvailablePercent or both, as PromQL queries",
        ),
    )


class Load(ApiModel):
    """Where error rate and free capacity come from. A figure that no source gives never makes a threshold true."""

    health_body: HealthBody | None = Field(default=None, description="Figures in the answer of an http probe.")
    prometheus: PrometheusLoad | None = Field(default=None, description="Figures from Prometheus.")
