"""What routes and VirtualServices have in common: rules, each with references to backends that carry weights."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from regent.adapters.traffic.kinds import Reading, RegionOfService, annotations_of, compact
from regent.domain.failover.model import PolicySpec
from regent.domain.traffic.backends import Backend, Total, Weights, adopt_ratios, shares_of, weigh
from regent.domain.traffic.targets import TargetSpec
from regent.engine.ports import Cluster, Object
from regent.engine.resources import Resource

RATIOS_ANNOTATION = "regent.dev/backend-ratios"
Reference = dict[str, Any]


class WeightedKind(ABC):
    """An `ObjectKind` whose weights stand at references in rules."""

    resource: ClassVar[Resource]
    weight_fields: ClassVar[tuple[str, ...]]
    labelled: ClassVar[bool]
    total: ClassVar[Total]
    mapping: ClassVar[str]
    """Field of the policy's target that maps references to regions, for messages."""
    how_to_map: ClassVar[str]
    """What to do about a region without a reference, for messages."""

    def __init__(self, policy: PolicySpec, spec: TargetSpec) -> None:
        self._policy = policy
        self._spec = spec

    @property
    def spec(self) -> TargetSpec:
        """What the policy says about the target."""
        return self._spec

    @abstractmethod
    async def read(self, cluster: Cluster, namespace: str) -> Object:
        """See `ObjectKind.read`."""

    @abstractmethod
    async def write(self, cluster: Cluster, obj: Object) -> Object:
        """See `ObjectKind.write`."""

    @abstractmethod
    def rules(self, obj: Object) -> Iterable[tuple[str, list[Reference]]]:
        """Give every rule of the object that sends to backends: its name for people, and its references themselves."""

    @abstractmethod
    def name_of(self, reference: Mapping[str, Any]) -> str:
        """Give the name by which mapping and ratios know the reference."""

    @abstractmethod
    def region_of(self, reference: Mapping[str, Any], region_of: RegionOfService) -> str | None:
        """Give the region that the reference belongs to; None: it is not ours to touch."""

    @abstractmethod
    def accepted(self, obj: Object) -> tuple[bool, str]:
        """Say whether the data plane's controller took this very version of the object, and what it says."""

    @staticmethod
    def default_weight(references: Sequence[Mapping[str, Any]]) -> int:
        """Give the weight of a reference without one, in a rule with these references."""
        return 1

    def edit(self, obj: Object, distribution: Mapping[str, int], region_of: RegionOfService) -> None:
        """See `ObjectKind.edit`."""
        rules = [references for _, references in self.rules(obj)]
        backends = [self._backends(references, region_of) for references in rules]
        ratios = _ratios(obj) or adopt_ratios(backends)
        wanted = weigh(backends, distribution, ratios, self.total).rules
        for references, of_rule, weights in zip(rules, backends, wanted, strict=True):
            for reference, backend, weight in zip(references, of_rule, weights, strict=True):
                if weight != backend.weight:  # an absent weight that is right by its default stays absent
                    reference["weight"] = weight
        if ratios:
            obj["metadata"].setdefault("annotations", {})[RATIOS_ANNOTATION] = compact(ratios)

    def reading(self, obj: Object, distribution: Mapping[str, int], region_of: RegionOfService) -> Reading:
        """See `ObjectKind.reading`."""
        names = [name for name, _ in self.rules(obj)]
        backends = [self._backends(references, region_of) for _, references in self.rules(obj)]
        weights = weigh(backends, distribution, _ratios(obj) or adopt_ratios(backends), self.total)
        problem, message = self._problem(names, backends, weights, distribution)
        accepted, accepted_message = self.accepted(obj)
        return Reading(
            shares=shares_of(backends),
            aligned=[[backend.weight for backend in rule] for rule in backends]
            == [list(rule) for rule in weights.rules],
            problem=problem,
            message=message,
            accepted=accepted,
            accepted_message=accepted_message,
            snapshot=compact([[[b.service, b.weight] for b in rule] for rule in backends]),
        )

    def _backends(self, references: Sequence[Mapping[str, Any]], region_of: RegionOfService) -> list[Backend]:
        default = self.default_weight(references)
        return [
            Backend(
                service=self.name_of(reference),
                region=self.region_of(reference, region_of),
                weight=int(reference.get("weight", default)),
            )
            for reference in references
        ]

    def _problem(
        self, names: Sequence[str], backends: list[list[Backend]], weights: Weights, distribution: Mapping[str, int]
    ) -> tuple[str, str]:
        ref = self._spec.ref
        present = {backend.region for rule in backends for backend in rule}
        services = {backend.service for rule in backends for backend in rule}
        unknown = sorted(set(self._spec.regions_by_service) - services)
        if unknown:
            return "BackendNotFound", f"{self.mapping} names {', '.join(unknown)}, which {ref} does not send to"
        missing = sorted(entry.name for entry in self._policy.regions if entry.name not in present)
        if missing:
            return "MappingIncomplete", f"{ref} has no backend for {', '.join(missing)}: {self.how_to_map}"
        covered = len(weights.uncovered) < sum(any(b.region for b in rule) for rule in backends)
        if distribution and not covered:
            return "RuleNotCovered", f"no rule of {ref} has a backend of a region with a share"
        if not weights.uncovered:
            return "", ""
        numbers = ", ".join(names[index] for index in weights.uncovered)
        return "", f"RuleNotCovered: rule {numbers} of {ref} has no backend of a region with a share and stays as it is"


def _ratios(obj: Object) -> dict[str, int]:
    """The ratios that were remembered at adoption; text that is not ours is ignored, never trusted."""
    text = annotations_of(obj).get(RATIOS_ANNOTATION, "")
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): value for name, value in found.items() if isinstance(value, int) and 0 <= value <= 1_000_000}
