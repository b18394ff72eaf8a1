"""A real Gateway API data plane as a plain process: Traefik in front of the simulated regions.

`traefik` runs it, `manifests` makes the objects that connect it to regions, `metrics` reads what it says of itself.
"""

from testbed.gateway.manifests import Backend, backends_of, http_route, region_services
from testbed.gateway.metrics import Sample, parse_metrics
from testbed.gateway.traefik import GatewayError, TraefikGateway

__all__ = [
    "Backend",
    "GatewayError",
    "Sample",
    "TraefikGateway",
    "backends_of",
    "http_route",
    "parse_metrics",
    "region_services",
]
