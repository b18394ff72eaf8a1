"""What a policy says of its traffic targets, resolved from its object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationSpec:
    """Requests through the data plane that prove a cutover. `region_header` names the answer's region, if any."""

    url: str
    host: str = ""
    region_header: str = ""
    successes: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """One target: its kind and name, its own mapping of services to regions, and how a cutover is verified."""

    kind: str
    name: str
    regions_by_service: Mapping[str, str] = field(default_factory=dict)
    verification: VerificationSpec | None = None

    @property
    def ref(self) -> str:
        """`HTTPRoute/shop`: how status and messages name it."""
        return f"{self.kind}/{self.name}"
