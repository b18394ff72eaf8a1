"""What a Region's spec says, before its Secrets have been read.

`api.v1alpha1.convert_region` makes a `RegionPlan` of the object; `engine.region_setup` reads the Secrets that it names
and makes a `HealthSpec` of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from regent.domain.health.model import AdminState, HealthSpec, ProbeSpec, Thresholds, TlsOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReference:
    """A Secret; an empty namespace means the operator's."""

    name: str
    namespace: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterReference:
    """The region's member cluster."""

    kubeconfig: SecretReference
    uid: str = ""
    """Wanted uid of its kube-system namespace; empty: any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFacts:
    """What a Region's spec says about the region itself."""

    name: str
    uid: str = ""
    admin_state: AdminState = AdminState.ENABLED
    tier: str = "Secondary"
    priority: int = 100
    compliance: frozenset[str] = frozenset()
    capacity_total: int | None = None
    """In units of the user's choice; None: not said."""
    cost_multiplier: float = 1.0
    cluster: ClusterReference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePlan:
    """A probe and the Secrets that its TLS needs."""

    spec: ProbeSpec
    ca: SecretReference | None = None
    client_certificate: SecretReference | None = None

    def resolved(self, *, ca_pem: str, certificate_pem: str, key_pem: str) -> ProbeSpec:
        """Return the probe with its TLS material."""
        if self.spec.tls is None:
            return self.spec
        tls: TlsOptions = replace(
            self.spec.tls, ca_pem=ca_pem, client_certificate_pem=certificate_pem, client_key_pem=key_pem
        )
        return replace(self.spec, tls=tls)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionPlan:
    """A Region's spec as values."""

    facts: RegionFacts
    quorum: int = 1
    probes: tuple[ProbePlan, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)
    prometheus: bool = False
    """The spec asks for figures from Prometheus."""

    @property
    def secrets(self) -> bool:
        """Whether Secrets have to be read."""
        return self.facts.cluster is not None or any(probe.ca or probe.client_certificate for probe in self.probes)

    def health_spec(self, probes: tuple[ProbeSpec, ...], *, unresolved: tuple[str, ...] = ()) -> HealthSpec:
        """Return what is probed and judged, with the probes that could be resolved."""
        return HealthSpec(
            region=self.facts.name,
            admin_state=self.facts.admin_state,
            quorum=self.quorum,
            probes=probes,
            thresholds=self.thresholds,
            unresolved=unresolved,
        )
