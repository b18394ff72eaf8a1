"""Which addresses a URL of a user's may lead to.

Whoever writes a policy chooses URLs that Regent calls from inside its pod, so a URL must not lead to what only the pod
can reach: its own loopback, and the metadata service that hands out the node's credentials. What is checked is the
address, never the name: a name can be resolved to something else a moment later. Private ranges stay allowed, because
the services of a cluster live there; a NetworkPolicy is the place for finer rules.
"""

from __future__ import annotations

import ipaddress

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA: frozenset[IPAddress] = frozenset(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254",  # AWS, Azure, Google Cloud, OpenStack and others
            "169.254.170.2",  # AWS, credentials of containers
            "169.254.170.23",  # AWS, credentials of pods
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",  # Google Cloud over IPv6
            "168.63.129.16",  # Azure, the agent of the host
            "100.100.100.200",  # Alibaba Cloud
            "192.0.0.192",  # Oracle Cloud
        ),
    )
)
"""Addresses of cloud metadata services: refused whatever the settings say."""

_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_TRANSLATED = (
    ipaddress.ip_network("64:ff9b::/96"),  # NAT64, RFC 6052
    ipaddress.ip_network("::/96"),  # IPv4-compatible, RFC 4291 (deprecated, but kernels take it)
)


def refusal(address: str, *, allow_loopback: bool) -> str:
    """Return why `address` must not be called, "" when it may.

    Args:
        address: an IP address as the name service or the URL gave it, with or without a zone.
        allow_loopback: setting `egress.allowLoopback`; opens loopback and link-local, never a metadata service.
    """
    plain = ipaddress.ip_address(address.partition("%")[0])
    return next(
        (found for each in _meanings(plain) if (found := _judge(each, allow_loopback=allow_loopback))),
        "",
    )


def _judge(address: IPAddress, *, allow_loopback: bool) -> str:
    if address in METADATA:
        return f"{address} is a metadata service: never called"
    if address.is_multicast or (address.is_reserved and not address.is_loopback):
        return f"{address} is no address of a host"
    if address.is_unspecified or (address.version == 4 and address in _THIS_NETWORK):
        return f"{address} means this machine: never called"
    if (address.is_loopback or address.is_link_local) and not allow_loopback:
        return f"{address} is loopback or link-local: that needs the setting egress.allowLoopback"
    return ""


def _meanings(address: IPAddress) -> tuple[IPAddress, ...]:
    """Return the address, or the IPv4 addresses that an IPv6 one stands for: the kernel or a gateway goes there."""
    if isinstance(address, ipaddress.IPv4Address) or address.is_unspecified or address.is_loopback:
        return (address,)
    inner: list[IPAddress] = []
    if address.ipv4_mapped is not None:
        inner.append(address.ipv4_mapped)
    elif any(address in network for network in _TRANSLATED):
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    elif address.sixtofour is not None:
        inner.append(address.sixtofour)
    elif address.teredo is not None:
        inner += address.teredo
    # `::ffff:0:0/96` and `::/96` count as reserved themselves, so that only what they stand for is judged.
    return tuple(inner) or (address,)
