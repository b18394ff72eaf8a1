"""Real DNS without a cloud: Knot as the authoritative server, external-dns that fills it from a cluster's objects."""

from testbed.dns.external_dns import ExternalDns, external_dns_crds
from testbed.dns.knot import DnsServer, DnsServerError

__all__ = ["DnsServer", "DnsServerError", "ExternalDns", "external_dns_crds"]
