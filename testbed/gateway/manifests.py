"""Kubernetes objects that put simulated regions behind a Gateway, as plain dictionaries.

A region is a Service without a selector and an EndpointSlice with the region's real address (EndpointSlices refuse
loopback addresses); the Service carries the label by which Regent knows whose it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.regions import Region

Json = dict[str, Any]
CONTROLLER = "traefik.io/gateway-controller"
INSTANCE_LABEL = "regent.dev/testbed-gateway"
SERVICE_PORT = 80
_MANAGED_BY = "testbed.regent.dev"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Where one region serves an application."""

    region: str
    address: str
    port: int


def backends_of(regions: Iterable[Region]) -> list[Backend]:
    """The plain HTTP port of each simulated region."""
    return [Backend(region=region.name, address=region.address, port=region.ports.http) for region in regions]


def gateway_objects(*, name: str, namespace: str, port: int) -> list[Json]:
    """A GatewayClass that only the instance `name` serves, and a Gateway of it that takes routes of all namespaces."""
    gateway_class = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": name, "labels": {INSTANCE_LABEL: name}},
        "spec": {"controllerName": CONTROLLER},
    }
    listener = {"name": "web", "protocol": "HTTP", "port": port, "allowedRoutes": {"namespaces": {"from": "All"}}}
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"gatewayClassName": name, "listeners": [listener]},
    }
    return [gateway_class, gateway]


def service_name(application: str, region: str) -> str:
    """Name of an application's Service for one region."""
    return f"{application}-{region}"


def region_services(application: str, backends: Iterable[Backend], *, namespace: str) -> list[Json]:
    """For each region a Service `<application>-<region>` and its EndpointSlice, labelled with the region."""
    objects: list[Json] = []
    for backend in backends:
        name = service_name(application, backend.region)
        labels = {"app": application, "regent.dev/region": backend.region}
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"ports": [{"name": "http", "port": SERVICE_PORT, "targetPort": backend.port}]},
        }
        slice_labels = {
            **labels,
            "kubernetes.io/service-name": name,
            "endpointslice.kubernetes.io/managed-by": _MANAGED_BY,
        }
        endpoint_slice = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": namespace, "labels": slice_labels},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": backend.port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [backend.address], "conditions": {"ready": True}}],
        }
        objects += [service, endpoint_slice]
    return objects


def http_route(
    application: str,
    weights: Mapping[str, int],
    *,
    namespace: str,
    gateway: str,
    gateway_namespace: str,
    hostnames: Sequence[str] = (),
) -> Json:
    """An HTTPRoute named as the application, with one rule whose backends are the regions' Services."""
    backend_refs = [
        {"name": service_name(application, region), "port": SERVICE_PORT, "weight": weight}
        for region, weight in weights.items()
    ]
    spec: Json = {
        "parentRefs": [{"name": gateway, "namespace": gateway_namespace}],
        "rules": [{"backendRefs": backend_refs}],
    }
    if hostnames:
        spec["hostnames"] = list(hostnames)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": application, "namespace": namespace},
        "spec": spec,
    }
