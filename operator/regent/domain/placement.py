"""Where the work of a namespace may be: the rules of its PlacementPolicies, judged for one region at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Locality(Enum):
    """How binding a rule is; the values are the API's."""

    STRICT = "Strict"
    REGION = "Region"
    NONE = "None"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRule:
    """One PlacementPolicy that applies to the object in question."""

    name: str
    compliance: frozenset[str] = frozenset()
    """Frameworks that a region has to carry, all of them."""
    allowed: frozenset[str] = frozenset()
    """Regions that are allowed; empty: all that comply."""
    locality: Locality = Locality.STRICT


@dataclass(frozen=True, slots=True)
class Placed:
    """What the rules say of a region."""

    denied: str = ""
    """Which rule forbids it and why; "" when none does."""
    preferred: bool = True
    """False: a rule with locality Region would rather have another one."""


def judge(rules: Iterable[PlacementRule], region: str, compliance: frozenset[str]) -> Placed:
    """Judge a region that carries these compliance frameworks."""
    denied, preferred = [], True
    for rule in rules:
        why = _against(rule, region, compliance)
        if not why or rule.locality is Locality.NONE:
            continue
        if rule.locality is Locality.STRICT:
            denied.append(f"PlacementPolicy {rule.name}: {why}")
        else:
            preferred = False
    return Placed("; ".join(denied), preferred)


def _against(rule: PlacementRule, region: str, compliance: frozenset[str]) -> str:
    missing = sorted(rule.compliance - compliance)
    if missing:
        return f"the Region does not carry {', '.join(missing)} in spec.compliance"
    if rule.allowed and region not in rule.allowed:
        return "it is not in allowedRegions"
    return ""
