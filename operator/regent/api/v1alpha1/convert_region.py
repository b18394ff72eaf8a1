"""Region objects as domain values: what is probed, how it is judged, what the region is.

Secrets are not read here: the plan names them. Neighbours: `region.py` and `region_probes.py` hold the models,
`engine.region_setup` uses the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from regent.api.v1alpha1.common import RegionSecretRef
from regent.api.v1alpha1.region import Region, RegionSpec
from regent.api.v1alpha1.region import Thresholds as ApiThresholds
from regent.api.v1alpha1.region_probes import HttpProbe, Probe
from regent.domain.duration import parse_duration
from regent.domain.health.model import (
    AdminState,
    GrpcCheck,
    HttpCheck,
    ProbeRole,
    ProbeSpec,
    TcpCheck,
    Thresholds,
    TlsOptions,
)
from regent.domain.health.plan import ClusterReference, ProbePlan, RegionFacts, RegionPlan, SecretReference

_TLS_SCHEMES = ("https", "grpcs")
_PORTS = {"https": 443, "http": 80}


def region_plan(manifest: Mapping[str, Any] | Region) -> RegionPlan:
    """Return what a Region object says.

    Raises:
        ValueError: the spec cannot be used; the message says what to write instead. The API server refuses such
            objects, but one may have been stored by an older schema.
    """
    region = manifest if isinstance(manifest, Region) else Region.parse(manifest)
    spec = region.spec
    body = spec.load.health_body if spec.load is not None else None
    first_http = next((probe.name for probe in spec.probes if probe.http is not None), "")
    return RegionPlan(
        facts=_facts(region),
        quorum=spec.quorum,
        probes=tuple(
            _probe(
                probe,
                region=region.metadata.name,
                endpoint=spec.endpoint,
                figures=(body.error_rate_percent, body.capacity_available_percent)
                if body is not None and probe.name == first_http
                else ("", ""),
            )
            for probe in spec.probes
        ),
        thresholds=_thresholds(spec.thresholds),
        prometheus=spec.load is not None and spec.load.prometheus is not None,
    )


def _facts(region: Region) -> RegionFacts:
    spec: RegionSpec = region.spec
    cluster = None
    if spec.cluster is not None:
        reference = spec.cluster.kubeconfig_secret_ref
        cluster = ClusterReference(
            kubeconfig=SecretReference(name=reference.name, namespace=reference.namespace, key=reference.key),
            uid=spec.cluster.uid,
        )
    return RegionFacts(
        name=region.metadata.name,
        uid=region.metadata.uid or "",
        admin_state=AdminState(spec.admin_state),
        tier=spec.tier,
        priority=spec.priority,
        compliance=frozenset(spec.compliance),
        capacity_total=spec.capacity.total if spec.capacity is not None else None,
        cost_multiplier=float(spec.cost.multiplier) if spec.cost is not None else 1.0,
        cluster=cluster,
    )


def _thresholds(given: ApiThresholds) -> Thresholds:
    return Thresholds(
        degraded_error_rate_percent=given.degraded.error_rate_percent,
        degraded_capacity_available_percent=given.degraded.capacity_available_percent,
        degraded_latency=parse_duration(given.degraded.latency),
        unhealthy_error_rate_percent=given.unhealthy.error_rate_percent,
        unhealthy_capacity_available_percent=given.unhealthy.capacity_available_percent,
        recovery_period=parse_duration(given.recovery_period),
    )


def _probe(probe: Probe, *, region: str, endpoint: str, figures: tuple[str, str]) -> ProbePlan:
    url = urlsplit(probe.url or endpoint)
    if not url.hostname:
        raise ValueError(f"probe {probe.name} has no address: set spec.endpoint, or the probe's url")
    check, port = _check(probe, url, figures)
    tls = _tls(probe, url)
    spec = ProbeSpec(
        region=region,
        name=probe.name,
        host=url.hostname,
        port=port,
        check=check,
        tls=tls,
        role=ProbeRole(probe.role),
        interval=parse_duration(probe.interval),
        timeout=parse_duration(probe.timeout),
        retry_interval=parse_duration(probe.retry_interval),
        failure_threshold=probe.failure_threshold,
        success_threshold=probe.success_threshold,
    )
    if tls is None or probe.tls is None:
        return ProbePlan(spec=spec)
    authorities = probe.tls.ca_secret_ref
    return ProbePlan(
        spec=spec,
        ca=_secret(authorities, key=(authorities.key if authorities is not None else None) or "ca.crt"),
        client_certificate=_secret(probe.tls.client_certificate_secret_ref, key="tls.crt"),
    )


def _check(probe: Probe, url: SplitResult, figures: tuple[str, str]) -> tuple[HttpCheck | TcpCheck | GrpcCheck, int]:
    """Return what is asked, and on which port."""
    if probe.tcp is not None:
        return TcpCheck(), probe.tcp.port
    if probe.grpc is not None:
        return GrpcCheck(service=probe.grpc.service), probe.grpc.port
    http = probe.http or HttpProbe()
    if url.scheme not in _PORTS:
        raise ValueError(f"probe {probe.name} is an http probe and needs an http:// or https:// address")
    check = HttpCheck(
        path=http.path,
        expected_statuses=tuple(_statuses(text) for text in http.expected_statuses),
        host=http.host,
        headers=tuple((header.name, header.value) for header in http.headers),
        body_contains=http.body.contains if http.body is not None else "",
        error_rate_path=figures[0],
        capacity_path=figures[1],
    )
    return check, url.port or _PORTS[url.scheme]


def _statuses(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    return int(low), int(high or low)


def _tls(probe: Probe, url: SplitResult) -> TlsOptions | None:
    """Return the TLS options, None for a plain connection.

    A TCP probe has a port of its own, so the scheme of the region's endpoint says nothing about it: it speaks TLS when
    its own url or its tls field says so.
    """
    if probe.tcp is not None:
        wanted = probe.tls is not None or urlsplit(probe.url).scheme in _TLS_SCHEMES
    else:
        wanted = url.scheme in _TLS_SCHEMES
    if not wanted:
        return None
    host = probe.http.host if probe.http is not None else ""
    asked = probe.tls.server_name if probe.tls is not None else ""
    return TlsOptions(
        server_name=asked or urlsplit(f"//{host}").hostname or url.hostname or "",
        insecure_skip_verify=probe.tls is not None and probe.tls.insecure_skip_verify,
    )


def _secret(reference: RegionSecretRef | None, *, key: str) -> SecretReference | None:
    if reference is None or not reference.name:
        return None
    return SecretReference(name=reference.name, namespace=reference.namespace, key=key)
