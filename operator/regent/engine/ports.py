"""The ports of the engine: everything it needs of the world, as small protocols.

Adapters implement them; tests implement them with fakes that pass the same contract tests. No port has a default that
waits for ever: each call is bounded by its adapter. Objects travel as plain dicts in the API's own shape, because
Regent edits objects of others and must keep every field that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from regent.domain.health.model import ProbeResult, ProbeSpec
from regent.engine.resources import Resource

Object = dict[str, Any]
"""A Kubernetes object as served, `apiVersion` and `kind` included."""


class Clock(Protocol):
    """Time. Durations and deadlines come from `monotonic`; `wall` is for showing and for times that cross machines."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch, UTC."""
        ...


class Cluster(Protocol):
    """One Kubernetes API server. Every method raises the errors of `regent.domain.errors` and nothing else.

    `namespace` is "" for cluster-scoped objects. Objects given to write methods carry their own metadata.
    """

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Read one object past any cache; NotFoundError when it is not there."""
        ...

    async def list(self, resource: Resource, namespace: str = "", *, label_selector: str = "") -> Sequence[Object]:
        """List objects (all namespaces when `namespace` is ""), in chunks, consistently."""
        ...

    async def create(self, resource: Resource, obj: Object) -> Object:
        """POST; AlreadyExistsError when the name is taken. The API drops `status` here."""
        ...

    async def replace(self, resource: Resource, obj: Object) -> Object:
        """PUT with the object's resourceVersion; ConflictError when somebody wrote since."""
        ...

    async def replace_status(self, resource: Resource, obj: Object) -> Object:
        """PUT to the status subresource with the object's resourceVersion; ConflictError when somebody wrote since."""
        ...

    async def patch(self, resource: Resource, namespace: str, name: str, change: Object) -> Object:
        """Apply a JSON merge patch. `metadata.resourceVersion` in it makes it a compare-and-set: ConflictError when
        somebody wrote since, also when the object was made anew. Without it the last writer wins."""
        ...

    async def discover(self, api_version: str, kind: str) -> Resource:
        """Return where objects of this kind are served; NotFoundError when the API server does not know it."""
        ...

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        """Delete the object with exactly this uid; NotFoundError when it is gone, ConflictError when it is another."""
        ...


class EndpointProber(Protocol):
    """Probes one endpoint, keeping its connection between calls. Not concurrent: each overlapping probe of an episode
    uses `probe(cold=True)`, which always makes a connection of its own and may overlap with others."""

    async def probe(self, *, timeout: float, cold: bool) -> ProbeResult:
        """Probe once; never raises but CancelledError. `timeout` in seconds covers connect to first byte."""
        ...

    async def close(self) -> None:
        """Close the kept connection."""
        ...


class Prober(Protocol):
    """Makes endpoint probers; TLS contexts are shared between those with equal TLS material."""

    def open(self, spec: ProbeSpec) -> EndpointProber:
        """Return a prober for `spec`; ValueError with a message for the user when its TLS material is unusable."""
        ...

    async def close(self) -> None:
        """Close what is shared."""
        ...


class Recorder(Protocol):
    """Kubernetes Events about an object, aggregated, best effort: losing one never matters to a decision."""

    def event(self, obj: Mapping[str, Any], *, kind: str, reason: str, action: str, note: str) -> None:
        """Queue an event. `kind` is "Normal" or "Warning"; `obj` needs apiVersion, kind and metadata."""
        ...


class Metrics(Protocol):
    """Counters and gauges. Names are those of the reference documentation; labels are bounded."""

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter."""
        ...

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        ...

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation to a histogram."""
        ...

    def forget(self, **labels: str) -> None:
        """Drop every series that carries all these labels: the object they were about is gone."""
        ...


class Leadership(Protocol):
    """Whether this replica may decide and write, and the terms of its lease for fences."""

    @property
    def leading(self) -> bool:
        """True while the lease is held, by the local monotonic clock."""
        ...

    @property
    def transitions(self) -> int:
        """`leaseTransitions` of the held lease: the middle number of every fence."""
        ...

    def check(self) -> None:
        """Raise LeadershipLostError unless leading; called right before every effect."""
        ...
