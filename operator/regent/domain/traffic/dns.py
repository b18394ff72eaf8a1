"""Which DNS records carry a distribution: pure, for one name and record type.

Exclusive: one record set with the addresses of exactly the regions that have a share; resolvers spread over them
evenly, so shares other than all or nothing are lost, and a name that is an alias can lead to one region only.
Weighted: one record set for each region, whose weight the DNS provider knows how to use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from regent.domain.traffic import shares


class DnsMode(Enum):
    """How shares become records; the values are the API's."""

    EXCLUSIVE = "Exclusive"
    PROVIDER_WEIGHTED = "ProviderWeighted"


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsRecords:
    """What a policy says of one name in DNS."""

    hostname: str
    record_type: str
    """A, AAAA or CNAME."""
    ttl: int
    """Seconds."""
    addresses: Mapping[str, tuple[str, ...]]
    """By region, in the policy's order: what the name leads to while the region has a share."""
    mode: DnsMode = DnsMode.EXCLUSIVE
    identifier_prefix: str = ""
    """ProviderWeighted: what stands before the region's name in a record's set identifier."""
    weight_property: str = ""
    """ProviderWeighted: the provider-specific property that holds the weight."""

    def identifier(self, region: str) -> str:
        """The set identifier of a region's record."""
        return f"{self.identifier_prefix}{region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSet:
    """Records of one name, type and set identifier. `weight` is None where the set has none."""

    targets: tuple[str, ...]
    ttl: int
    identifier: str = ""
    weight: int | None = None


def record_sets(records: DnsRecords, distribution: Mapping[str, int]) -> tuple[RecordSet, ...]:
    """Return the record sets that carry `distribution`; () when no region with a share has an address."""
    carrying = carriers(records, distribution)
    if not carrying:
        return ()
    if records.mode is DnsMode.EXCLUSIVE:
        targets = dict.fromkeys(target for region in carrying for target in records.addresses[region])
        return (RecordSet(targets=tuple(targets), ttl=records.ttl),)
    return tuple(
        RecordSet(
            targets=targets,
            ttl=records.ttl,
            identifier=records.identifier(region),
            weight=distribution.get(region, 0),
        )
        for region, targets in records.addresses.items()
    )


def carriers(records: DnsRecords, distribution: Mapping[str, int]) -> list[str]:
    """The regions that the name leads to under `distribution`. An alias (CNAME) without weights leads to one only: the
    one with the greatest share, the first in the policy's order among equals."""
    found = [name for name in records.addresses if distribution.get(name, 0) > 0]
    if records.record_type == "CNAME" and records.mode is DnsMode.EXCLUSIVE:
        return sorted(found, key=lambda name: -distribution[name])[:1]
    return found


def shares_in_dns(records: DnsRecords, found: Sequence[RecordSet]) -> dict[str, int]:
    """The share of each region in percent as the records have it now; {} when there are none."""
    if not found:
        return {}
    if records.mode is DnsMode.PROVIDER_WEIGHTED:
        by_identifier = {item.identifier: item.weight or 0 for item in found}
        weights = [by_identifier.get(records.identifier(region), 0) for region in records.addresses]
    else:
        present = {canonical(target) for item in found for target in item.targets}
        weights = [int({canonical(t) for t in targets} <= present) for targets in records.addresses.values()]
    if not any(weights):
        return {}
    return dict(zip(records.addresses, shares.split(shares.FULL, weights), strict=True))


def same(wanted: Sequence[RecordSet], found: Sequence[RecordSet]) -> bool:
    """Whether DNS would answer the same: order of records and of addresses does not matter."""
    return sorted(map(_comparable, wanted)) == sorted(map(_comparable, found))


def canonical(name: str) -> str:
    """A host name or address in one of its spellings only, so that equal ones are equal as text."""
    try:
        return str(ip_address(name))
    except ValueError:
        return name.lower().rstrip(".")


def _comparable(item: RecordSet) -> tuple[str, tuple[str, ...], int, int]:
    targets = tuple(sorted(canonical(target) for target in item.targets))
    return item.identifier, targets, item.ttl, -1 if item.weight is None else item.weight
