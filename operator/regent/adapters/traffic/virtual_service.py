"""Istio VirtualServices as traffic targets.

Weights stand at the destinations of `http`, `tls` and `tcp` rules and are percentages: a rule's weights add up to 100.
A destination without a weight has all of it when it is the only one, and none beside others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from regent.adapters.traffic.kinds import RegionOfService
from regent.adapters.traffic.weighted import Reference, WeightedKind
from regent.domain.traffic.backends import Total
from regent.domain.traffic.shares import FULL
from regent.domain.traffic.targets import destination_key
from regent.engine.ports import Cluster, Object
from regent.engine.resources import VIRTUAL_SERVICES, Resource

PROTOCOLS = ("http", "tls", "tcp")


class VirtualService(WeightedKind):
    """`ObjectKind` of VirtualServices. Redirects, direct responses, delegates and mirrors are left alone."""

    resource: ClassVar[Resource] = VIRTUAL_SERVICES
    weight_fields: ClassVar[tuple[str, ...]] = PROTOCOLS
    labelled: ClassVar[bool] = False
    total: ClassVar[Total] = Total.PERCENT
    mapping: ClassVar[str] = "targets[].virtualService.destinations"
    how_to_map: ClassVar[str] = f"add a destination, and list it under {mapping}"

    async def read(self, cluster: Cluster, namespace: str) -> Object:
        """GET the VirtualService."""
        return await cluster.get(VIRTUAL_SERVICES, namespace, self._spec.name)

    async def write(self, cluster: Cluster, obj: Object) -> Object:
        """PUT the VirtualService."""
        return await cluster.replace(VIRTUAL_SERVICES, obj)

    def rules(self, obj: Object) -> Iterable[tuple[str, list[Reference]]]:
        """See `WeightedKind.rules`."""
        spec = obj.get("spec") or {}
        for protocol in PROTOCOLS:
            for index, rule in enumerate(spec.get(protocol) or []):
                yield f"{protocol}[{index}]", rule.get("route") or []

    def name_of(self, reference: Mapping[str, Any]) -> str:
        """See `WeightedKind.name_of`."""
        destination = reference.get("destination") or {}
        return destination_key(str(destination.get("host", "")), str(destination.get("subset") or ""))

    def region_of(self, reference: Mapping[str, Any], region_of: RegionOfService) -> str | None:
        """See `WeightedKind.region_of`."""
        return self._spec.regions_by_service.get(self.name_of(reference))

    @staticmethod
    def default_weight(references: Sequence[Mapping[str, Any]]) -> int:
        """See `WeightedKind.default_weight`."""
        return FULL if len(references) == 1 else 0

    def accepted(self, obj: Object) -> tuple[bool, str]:
        """The API server has it: Istio writes no status unless it is told to. Where it does, an error that its analysis
        found in this very generation counts against it."""
        status = obj.get("status") or {}
        generation = int(obj["metadata"].get("generation", 0))
        errors = [item for item in status.get("validationMessages") or () if item.get("level") == "ERROR"]
        if errors and _number(status.get("observedGeneration")) >= generation:
            kind = errors[0].get("type") or {}
            return False, f"Istio: {kind.get('code', '')} {kind.get('name', '')}"[:256]
        return True, f"stored at generation {generation}"


def _number(value: object) -> int:
    """Istio writes the generation as a string or as a number; what is neither is older than all."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() else -1
