"""Where the work of a namespace may be: the rules of its PlacementPolicies, judged for one region at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


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


class Transfer(Enum):
    """Whether data may be copied from one region to another; the values are the API's."""

    ALLOWED = "Allowed"
    DENIED = "Denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopedRule:
    """One PlacementPolicy of the namespace."""

    rule: PlacementRule
    selector: Mapping[str, Any] = field(default_factory=dict)
    transfer: Transfer = Transfer.ALLOWED


def scoped_rule(obj: Mapping[str, Any]) -> ScopedRule:
    """Read a PlacementPolicy object as served. What cannot be understood is read as the stricter of its values."""
    spec = obj.get("spec") or {}
    locality, transfer = spec.get("locality"), spec.get("crossRegionTransfer") or Transfer.ALLOWED.value
    return ScopedRule(
        rule=PlacementRule(
            name=str((obj.get("metadata") or {}).get("name") or ""),
            compliance=frozenset(map(str, spec.get("compliance") or ())),
            allowed=frozenset(map(str, spec.get("allowedRegions") or ())),
            locality=next((item for item in Locality if item.value == locality), Locality.STRICT),
        ),
        selector=spec.get("selector") or {},
        transfer=next((item for item in Transfer if item.value == transfer), Transfer.DENIED),
    )


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


def satisfies(rule: PlacementRule, region: str, compliance: frozenset[str]) -> bool:
    """Whether a region is one that the rule wants, however binding it is."""
    return not _against(rule, region, compliance)


def _against(rule: PlacementRule, region: str, compliance: frozenset[str]) -> str:
    missing = sorted(rule.compliance - compliance)
    if missing:
        return f"the Region does not carry {', '.join(missing)} in spec.compliance"
    if rule.allowed and region not in rule.allowed:
        return "it is not in allowedRegions"
    return ""
