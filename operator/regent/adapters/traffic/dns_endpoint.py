"""external-dns DNSEndpoints as traffic targets.

Of an object's endpoints only those with the policy's host name and record type are ours; all others stay as they are
and where they are. The object itself is the user's (an empty list of endpoints is enough): Regent neither makes it nor
takes it away, so that who deletes a policy does not take a name out of DNS.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from regent.adapters.traffic.kinds import Reading, RegionOfService, compact
from regent.domain.failover.model import PolicySpec
from regent.domain.traffic.dns import (
    DnsMode,
    DnsRecords,
    RecordSet,
    canonical,
    carriers,
    record_sets,
    same,
    shares_in_dns,
)
from regent.domain.traffic.shares import carrying
from regent.domain.traffic.targets import TargetSpec
from regent.engine.ports import Cluster, Object
from regent.engine.resources import DNS_ENDPOINTS, Resource

Endpoint = dict[str, Any]


class DnsEndpoint:
    """`ObjectKind` of DNSEndpoints.

    Raises:
        ValueError: the target has no records.
    """

    resource: ClassVar[Resource] = DNS_ENDPOINTS
    weight_fields: ClassVar[tuple[str, ...]] = ("endpoints",)
    labelled: ClassVar[bool] = False

    def __init__(self, policy: PolicySpec, spec: TargetSpec) -> None:
        if spec.dns is None:
            raise ValueError(f"{spec.ref} says nothing about DNS")
        self._policy = policy
        self._spec = spec
        self._records: DnsRecords = spec.dns

    @property
    def spec(self) -> TargetSpec:
        """What the policy says about the target."""
        return self._spec

    async def read(self, cluster: Cluster, namespace: str) -> Object:
        """GET the DNSEndpoint."""
        return await cluster.get(DNS_ENDPOINTS, namespace, self._spec.name)

    async def write(self, cluster: Cluster, obj: Object) -> Object:
        """PUT the DNSEndpoint."""
        return await cluster.replace(DNS_ENDPOINTS, obj)

    def edit(self, obj: Object, distribution: Mapping[str, int], region_of: RegionOfService) -> None:
        """See `ObjectKind.edit`. Our endpoints keep what Regent does not know of them, such as other properties."""
        wanted = record_sets(self._records, distribution)
        endpoints = _endpoints(obj)
        ours = [endpoint for endpoint in endpoints if self._is_ours(endpoint)]
        if not wanted or same(wanted, [self._record_set(endpoint) for endpoint in ours]):
            return
        bases = {str(endpoint.get("setIdentifier") or ""): endpoint for endpoint in reversed(ours)}
        edited = [self._edited(bases.get(item.identifier), item) for item in wanted]
        first = next((index for index, endpoint in enumerate(endpoints) if self._is_ours(endpoint)), len(endpoints))
        kept = [endpoint for endpoint in endpoints if not self._is_ours(endpoint)]
        # Everything before our first endpoint is kept, so its index is also where ours go among what is kept.
        spec = obj.get("spec") or {}
        spec["endpoints"] = [*kept[:first], *edited, *kept[first:]]
        obj["spec"] = spec

    def reading(self, obj: Object, distribution: Mapping[str, int], region_of: RegionOfService) -> Reading:
        """See `ObjectKind.reading`."""
        found = [self._record_set(endpoint) for endpoint in _endpoints(obj) if self._is_ours(endpoint)]
        wanted = record_sets(self._records, distribution)
        problem, message = self._problem(distribution)
        accepted, accepted_message = _accepted(obj)
        return Reading(
            shares=shares_in_dns(self._records, found),
            aligned=not wanted or same(wanted, found),
            problem=problem,
            message=message,
            accepted=accepted,
            accepted_message=accepted_message,
            snapshot=compact(
                sorted([item.identifier, sorted(item.targets), item.ttl, item.weight or 0] for item in found)
            ),
        )

    def _problem(self, distribution: Mapping[str, int]) -> tuple[str, str]:
        missing = sorted(entry.name for entry in self._policy.regions if entry.name not in self._records.addresses)
        if missing:
            where = "targets[].dnsEndpoint.records"
            return "MappingIncomplete", f"{self._spec.ref}: {where} has no addresses for {', '.join(missing)}"
        if distribution and not carriers(self._records, distribution):
            return "RuleNotCovered", f"no region with a share has addresses in {self._spec.ref}"
        single = carriers(self._records, distribution)
        if len(single) < len(carrying(distribution)) and self._records.mode is DnsMode.EXCLUSIVE:
            return "", f"a CNAME leads to one name only: {single[0]} carries everything"
        return "", ""

    def _is_ours(self, endpoint: Mapping[str, Any]) -> bool:
        name = canonical(str(endpoint.get("dnsName") or ""))
        return name == canonical(self._records.hostname) and endpoint.get("recordType") == self._records.record_type

    def _record_set(self, endpoint: Mapping[str, Any]) -> RecordSet:
        weight = None
        if self._records.mode is DnsMode.PROVIDER_WEIGHTED:
            weight = _weight(endpoint, self._records.weight_property)
        return RecordSet(
            targets=tuple(map(str, endpoint.get("targets") or ())),
            ttl=int(endpoint.get("recordTTL") or 0),
            identifier=str(endpoint.get("setIdentifier") or ""),
            weight=weight,
        )

    def _edited(self, base: Endpoint | None, item: RecordSet) -> Endpoint:
        edited: Endpoint = copy.deepcopy(base) if base is not None else {"dnsName": self._records.hostname}
        edited["recordType"] = self._records.record_type
        edited["recordTTL"] = item.ttl
        edited["targets"] = list(item.targets)
        if item.identifier:
            edited["setIdentifier"] = item.identifier
        if item.weight is not None:
            _set_property(edited, self._records.weight_property, str(item.weight))
        return edited


def _endpoints(obj: Object) -> Sequence[Endpoint]:
    """The list's entries; external-dns skips nulls in it, and so do we: they are neither ours nor kept."""
    return [item for item in (obj.get("spec") or {}).get("endpoints") or () if isinstance(item, dict)]


def _weight(endpoint: Mapping[str, Any], name: str) -> int | None:
    values = [str(item.get("value", "")) for item in endpoint.get("providerSpecific") or () if item.get("name") == name]
    return int(values[0]) if len(values) == 1 and values[0].isascii() and values[0].isdigit() else None


def _set_property(endpoint: Endpoint, name: str, value: str) -> None:
    others = [item for item in endpoint.get("providerSpecific") or () if item.get("name") != name]
    endpoint["providerSpecific"] = [*others, {"name": name, "value": value}]


def _accepted(obj: Object) -> tuple[bool, str]:
    """external-dns writes the generation when it has read the object, which is before DNS answers so: no proof."""
    generation = int(obj["metadata"].get("generation", 0))
    seen = int((obj.get("status") or {}).get("observedGeneration") or 0)
    if seen < generation:
        return False, "external-dns has not read it yet"
    return True, f"read by external-dns at generation {generation}"
