"""What a policy says of its traffic targets, resolved from its object."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from regent.domain.traffic.dns import DnsRecords

HTTP_ROUTE = "HTTPRoute"
GRPC_ROUTE = "GRPCRoute"
VIRTUAL_SERVICE = "VirtualService"
DNS_ENDPOINT = "DNSEndpoint"
WEBHOOK = "Webhook"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationSpec:
    """Requests through the data plane that prove a cutover. `region_header` names the answer's region, if any."""

    url: str
    """http or https: what is requested. dns: the server that is asked for the target's host name."""
    host: str = ""
    region_header: str = ""
    successes: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSpec:
    """A receiver that is told the distribution. `secret` names the Secret whose key `key` signs; "": unsigned."""

    url: str
    secret: str = ""

    @property
    def name(self) -> str:
        """The receiver in status and messages: its host and a hash. Paths and queries of webhooks are often secrets."""
        host = urlsplit(self.url).hostname or "unknown"
        return f"{host[:190]}-{hashlib.sha256(self.url.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """One target: its kind and name, where it lives, its mapping to regions, and how a cutover is verified."""

    kind: str
    name: str
    cluster: str = ""
    """Region in whose member cluster the object is; "": the hub."""
    regions_by_service: Mapping[str, str] = field(default_factory=dict)
    """Routes: region by the Service's name. VirtualServices: region by `destination_key`."""
    dns: DnsRecords | None = None
    """DNSEndpoints only."""
    webhook: WebhookSpec | None = None
    """Webhooks only."""
    verification: VerificationSpec | None = None

    @property
    def ref(self) -> str:
        """`HTTPRoute/shop`, or `HTTPRoute/shop@eu-west-1` in a member cluster: how status and messages name it."""
        place = f"@{self.cluster}" if self.cluster else ""
        return f"{self.kind}/{self.name}{place}"

    @property
    def exclusive(self) -> bool:
        """Whether it is an object that only one policy can steer. A receiver can listen to several."""
        return self.kind != WEBHOOK


def destination_key(host: str, subset: str) -> str:
    """How a destination of a VirtualService is named in mappings and messages."""
    return f"{host}/{subset}" if subset else host
