"""The words of health: what a probe answers and what a region's verdict says.

Neighbours: `endpoint` turns results into an endpoint's state, `region` turns endpoint states and figures into a
`RegionHealth`, `engine.probing` feeds them. Times are seconds on the monotonic clock unless a name ends in `_time`
(seconds since the epoch).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

MAX_DETAIL = 256
"""Longest text that a probe may say about its failure, in characters: it ends in conditions and events."""


class Outcome(Enum):
    """What one probe found."""

    SUCCESS = "Success"
    REFUSED = "Refused"
    """A definite no: connection reset or refused, TLS failure, an unexpected status or body, NOT_SERVING."""
    TIMEOUT = "Timeout"
    NOT_RUN = "NotRun"
    """We could not even try (no descriptors, local network down, event loop late). Never counts against the region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFigures:
    """Load that a region reports about itself; None is "not said" and never makes a rule true."""

    error_rate_percent: float | None = None
    capacity_available_percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """One probe's answer. `latency` is seconds from the start of the probe (connect included when a connection was
    made) to the first byte; a time-out counts with its full length."""

    outcome: Outcome
    latency: float = 0.0
    detail: str = ""
    reused: bool = False
    """The connection was kept alive from an earlier probe."""
    load: LoadFigures | None = None
    certificate_expiry_time: float | None = None


class EndpointState(Enum):
    """State of one probe seen from one vantage: `Unknown -> Up | Suspect -> Down -> Rising -> Up`."""

    UNKNOWN = "Unknown"
    UP = "Up"
    SUSPECT = "Suspect"
    DOWN = "Down"
    RISING = "Rising"


class ProbeRole(Enum):
    """Whether a probe that is Down takes the region down, or only degrades it."""

    REQUIRED = "Required"
    INFORMATIONAL = "Informational"


class Health(Enum):
    """A region's verdict; the values are the API's."""

    HEALTHY = "Healthy"
    DEGRADED = "Degraded"
    UNHEALTHY = "Unhealthy"
    UNREACHABLE = "Unreachable"
    RECOVERING = "Recovering"
    UNKNOWN = "Unknown"


class AdminState(Enum):
    """What people want of a region; the values are the API's."""

    ENABLED = "Enabled"
    DRAINED = "Drained"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck:
    """GET `path` and expect a status (inclusive ranges) and, if given, a text in the body."""

    path: str = "/"
    expected_statuses: tuple[tuple[int, int], ...] = ((200, 299),)
    host: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body_contains: str = ""
    error_rate_path: str = ""
    """JSONPath into the answer for LoadFigures.error_rate_percent; empty: not asked."""
    capacity_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheck:
    """Open a TCP connection; with TLS also the handshake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcCheck:
    """grpc.health.v1.Health/Check for `service`; SERVING is a success."""

    service: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """How a probe verifies and presents certificates. Material is PEM text, read from Secrets by the caller; None
    as `TlsOptions` means a plain connection."""

    server_name: str = ""
    ca_pem: str = field(default="", repr=False)
    """Private CA bundle; empty: the system's trust store."""
    client_certificate_pem: str = field(default="", repr=False)
    client_key_pem: str = field(default="", repr=False)
    insecure_skip_verify: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec:
    """One probe of one region, resolved: nothing of it has to be looked up again. Hashable, so a scheduler can tell a
    changed probe from an unchanged one."""

    region: str
    name: str
    host: str
    """DNS name or IP address that is connected to."""
    port: int
    check: HttpCheck | TcpCheck | GrpcCheck
    tls: TlsOptions | None = None
    role: ProbeRole = ProbeRole.REQUIRED
    interval: float = 1.0
    timeout: float = 2.0
    retry_interval: float = 0.1
    failure_threshold: int = 3
    success_threshold: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When figures degrade a region (`spec.thresholds`); percent, seconds."""

    degraded_error_rate_percent: float = 10
    degraded_capacity_available_percent: float = 50
    degraded_latency: float = 1.0
    unhealthy_error_rate_percent: float = 50
    unhealthy_capacity_available_percent: float = 20
    recovery_period: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSpec:
    """All that the health of a region is computed from, resolved from its Region object."""

    region: str
    admin_state: AdminState = AdminState.ENABLED
    quorum: int = 1
    probes: tuple[ProbeSpec, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)
    unresolved: tuple[str, ...] = ()
    """Names of Required probes that cannot be run (a Secret is missing): without them there is no verdict Up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Measured figures of a region; None is "no source gives it". Latencies in seconds."""

    latency_p50: float | None = None
    latency_p95: float | None = None
    error_rate_percent: float | None = None
    """Error rate used by the region's rules (Load when configured and fresh, else probes)."""
    load_error_rate_percent: float | None = None
    probe_error_rate_percent: float | None = None
    capacity_available_percent: float | None = None
    samples: int = 0
    """Probe episodes in the window behind the probes' rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionHealth:
    """A region's verdict at one moment, with what it rests on. This is all that failover decisions see of probing."""

    region: str
    health: Health = Health.UNKNOWN
    reason: str = "NotProbedYet"
    """CamelCase, for conditions."""
    message: str = "no probe has answered yet"
    since_time: float = 0.0
    """Wall time of the last change of `health`."""
    down: bool = False
    """The verdict of the vantages, apart from any damping of figures: a quorum says Down."""
    down_since: float | None = None
    """Monotonic time at which the current Down verdict was reached; None while not down."""
    first_failure: float | None = None
    """Monotonic time of the start of the first failed probe of the current outage; None while not failing."""
    down_votes: int = 0
    """Vantages that say Down."""
    vantages: int = 0
    """Vantages with a verdict that is still valid."""
    proved_at: float | None = None
    """Monotonic time of the oldest of the newest successes of all Required probes: since then the region is proved
    to serve. None: some Required probe is not Up."""
    probe_interval: float = 1.0
    """How old the newest answers of the Required probes may get while all is well: the longest interval with its
    jitter, and the time after which an answer is late. Evidence older than this is stale."""
    up_since: float | None = None
    """Monotonic time since when no Required probe has been Down. A lost probe does not break it."""
    figures: Figures = field(default_factory=Figures)
    flapping: bool = False
    suspect_observer: bool = False
    """The prober doubts itself: the verdict is not to be acted on."""
