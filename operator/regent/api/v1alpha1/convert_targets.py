"""The targets of FailoverPolicy objects to domain values. Part of `convert_failoverpolicy`."""

from __future__ import annotations

from regent.api.v1alpha1.failoverpolicy_targets import DnsEndpointTarget, Target, Verification
from regent.domain.traffic.dns import DnsMode, DnsRecords
from regent.domain.traffic.targets import (
    DNS_ENDPOINT,
    GRPC_ROUTE,
    HTTP_ROUTE,
    VIRTUAL_SERVICE,
    WEBHOOK,
    TargetSpec,
    VerificationSpec,
    WebhookSpec,
    destination_key,
)


def target_spec(model: Target) -> TargetSpec:
    """Return what a policy says of one target.

    Raises:
        ValueError: it is of no kind that this version knows.
    """
    verification = _verification(model.verification)
    for kind, route in ((HTTP_ROUTE, model.http_route), (GRPC_ROUTE, model.grpc_route)):
        if route is not None:
            return TargetSpec(
                kind=kind,
                name=route.name,
                cluster=model.cluster,
                regions_by_service={backend.service: backend.region for backend in route.backends},
                verification=verification,
            )
    if model.virtual_service is not None:
        service = model.virtual_service
        return TargetSpec(
            kind=VIRTUAL_SERVICE,
            name=service.name,
            cluster=model.cluster,
            regions_by_service={destination_key(item.host, item.subset): item.region for item in service.destinations},
            verification=verification,
        )
    if model.dns_endpoint is not None:
        return TargetSpec(
            kind=DNS_ENDPOINT,
            name=model.dns_endpoint.name,
            cluster=model.cluster,
            dns=_records(model.dns_endpoint),
            verification=verification,
        )
    if model.webhook is not None:
        secret = model.webhook.secret_ref.name if model.webhook.secret_ref is not None else ""
        webhook = WebhookSpec(url=model.webhook.url, secret=secret)
        return TargetSpec(kind=WEBHOOK, name=webhook.name, webhook=webhook, verification=verification)
    raise ValueError("a target is of no kind that this version knows")


def _records(model: DnsEndpointTarget) -> DnsRecords:
    weighted = model.provider_weighted
    return DnsRecords(
        hostname=model.hostname,
        record_type=model.record_type,
        ttl=model.record_ttl,
        addresses={record.region: tuple(record.targets) for record in model.records},
        mode=DnsMode(model.mode),
        identifier_prefix=weighted.set_identifier_prefix if weighted is not None else "",
        weight_property=weighted.property if weighted is not None else "",
    )


def _verification(model: Verification | None) -> VerificationSpec | None:
    if model is None or not model.url:
        return None
    return VerificationSpec(
        url=model.url, host=model.host, region_header=model.region_header, successes=model.successes
    )
