"""The settings of the operator: one tree, each field with its unit, its default and why.

Precedence: defaults < YAML file (`--config`) < environment (`REGENT_<SECTION>__<FIELD>`) < flags. Unknown keys and bad
values end the start with a list of everything that is wrong, each with where it came from. Nothing imports a global:
`wiring.py` reads the tree and passes plain values on. docs/reference/settings.md is made from it
(`python -m regent.settings`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from regent.domain.duration import format_duration, parse_duration
from regent.domain.errors import SettingsError

PREFIX = "REGENT_"
_TEST_BED = re.compile(r"^REGENT_(CLUSTER|CACHE|CRASH|TEST_[A-Z0-9_]+)$")
"""Variables that are not settings of the operator: those of the test bed that may have started it."""
_SERVICE_LINK = re.compile(r"^REGENT_([A-Z0-9_]+_)?(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT(_\d+_(TCP|UDP|SCTP).*)?)$")
"""What Kubernetes puts into every container beside a Service whose name begins with `regent`."""
MAX_FILE = 1_000_000


def _duration(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError("write a duration as text, such as 250ms, 2s or 1m30s")
    return parse_duration(value)


def _between(low: str, high: str) -> AfterValidator:
    least, most = parse_duration(low), parse_duration(high)

    def check(value: float) -> float:
        if not least <= value <= most:
            raise ValueError(f"must be between {low} and {high}")
        return value

    return AfterValidator(check)


def _address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise ValueError("write an address as host:port, such as 127.0.0.1:8080 or [::]:8080")
    ip_address(host.strip("[]") or "0.0.0.0")  # noqa: S104
    return value


def _address_or_none(value: str) -> str:
    return _address(value) if value else value


_Duration = Annotated[
    float, BeforeValidator(_duration), PlainSerializer(format_duration, return_type=str, when_used="json")
]
_Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class _Section(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, validate_default=False, use_attribute_docstrings=True
    )


class KubernetesSettings(_Section):
    """How the API server is reached."""

    kubeconfig: Annotated[str, Field(max_length=4096)] = ""
    """Path of a kubeconfig file. Empty: $KUBECONFIG, ~/.kube/config, then the service account of the pod."""
    context: Annotated[str, Field(max_length=253)] = ""
    """Context in the kubeconfig. Empty: its current context."""
    request_timeout: Annotated[_Duration, _between("500ms", "60s")] = 5.0
    """Time for one request. A LIST is many requests; 5s is far above what a healthy API server takes."""
    failover_request_timeout: Annotated[_Duration, _between("500ms", "60s")] = 2.0
    """Time for one request of a failover: shorter, because trying again is better than waiting."""
    connections: Annotated[int, Field(ge=2, le=1000)] = 32
    """Connections for everything but failovers. More are no faster: the API server's fairness limits come first."""
    failover_connections: Annotated[int, Field(ge=2, le=1000)] = 32
    """Connections that only the writes of failovers use, so that nothing else can delay them."""


class HttpSettings(_Section):
    """The operational endpoint: /healthz, /readyz, /metrics."""

    address: Annotated[str, AfterValidator(_address)] = "127.0.0.1:8080"
    """Address and port. Loopback by default; the chart sets 0.0.0.0, where the kubelet and Prometheus are callers."""


class LeaderElectionSettings(_Section):
    """Which replica decides and writes."""

    enabled: bool = True
    """Off: this process believes that it is alone, and writes without a lease. For development only."""
    lease_name: _Name = "regent"
    """Name of the Lease in Regent's namespace. Two installations in one namespace need two names."""
    lease_duration: Annotated[_Duration, _between("1s", "60s")] = 5.0
    """Whole seconds after which others take over from a dead leader. Shorter risks losing it to a slow API server."""
    renew_interval: Annotated[_Duration, _between("100ms", "20s")] = 1.0
    """Time between renewals, at most 40 % of the duration; a standby looks twice as often."""


class FailoverSettings(_Section):
    """Limits on what is decided automatically, for all policies."""

    suspend_all: bool = False
    """No new automatic run in any policy; committed runs finish. The big red switch."""
    startup_grace: Annotated[_Duration, _between("0s", "10m")] = 10.0
    """No automatic run for this long after a leader starts: probes need evidence of their own first."""
    max_clock_skew: Annotated[_Duration, _between("0s", "1m")] = 2.0
    """A warning is logged when this machine's clock is further from the API server's: cooldowns use it."""


class EgressSettings(_Section):
    """Where hooks, webhooks and verification requests may go."""

    allow_loopback: bool = False
    """Also loopback and link-local addresses. Off, because those reach the pod itself and what serves its node."""


class AdmissionSettings(_Section):
    """What the API server checks before Regent sees it."""

    policy: Annotated[str, Field(max_length=253)] = ""
    """Name of the ValidatingAdmissionPolicy that lets nobody claim another's name in a Failover; the chart sets it.
    Empty: there is none, and who asked for a run is unknown."""
    address: Annotated[str, AfterValidator(_address_or_none)] = ""
    """Address and port of the admission webhook that writes these names in, where the API server serves no
    MutatingAdmissionPolicy. Empty: it is not served."""
    certificate: Annotated[str, Field(max_length=4096)] = ""
    """Path of the webhook's certificate, in PEM. It is read again when it changes."""
    key: Annotated[str, Field(max_length=4096)] = ""
    """Path of the private key of that certificate, in PEM."""

    @model_validator(mode="after")
    def _whole(self) -> AdmissionSettings:
        if self.address and not (self.certificate and self.key):
            raise ValueError("give certificate and key with admission.address: the API server calls over TLS only")
        return self


class StandbySettings(_Section):
    """A hub that follows another one, and can take over from it. See `regent hub promote`."""

    follow: Annotated[str, Field(pattern=r"^([a-z0-9]([-.a-z0-9]*[a-z0-9])?)?$", max_length=253)] = ""
    """Name of the Secret in Regent's namespace whose key `kubeconfig` leads to the hub to follow. Empty: this hub
    follows none. A hub that was promoted acts, whatever stands here."""
    secrets: bool = False
    """Copy the Secrets too that Regions and policies there name, in Regent's namespace and in secretNamespaces. Off:
    bring them here by other means, or a promoted hub reaches no region."""


class WatchSettings(_Section):
    """Following the cluster."""

    resync_interval: Annotated[_Duration, _between("5s", "1h")] = 300.0
    """Time between two full lists of each kind, which find what a watch missed."""


class ReconcileSettings(_Section):
    """Work on objects."""

    workers: Annotated[int, Field(ge=1, le=256)] = 16
    """Objects handled at the same time. They mostly wait for the API server, so more than CPUs."""
    failovers: Annotated[int, Field(ge=1, le=256)] = 4
    """Policies that begin an automatic failover at the same time; more wait for their turn and decide when they have
    it. Few, so that the first weights of many are written early instead of all of them late."""
    stuck_after: Annotated[_Duration, _between("10s", "1h")] = 300.0
    """/healthz fails when one visit of an object lasts longer than this."""


class LogSettings(_Section):
    """Logging, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level of Regent's own lines; libraries log warnings and worse."""
    format: Literal["auto", "json", "text"] = "auto"
    """auto: text on a terminal, else one JSON object a line."""


class Settings(_Section):
    """All settings of `regent run`."""

    namespace: _Name = "regent-system"
    """Regent's own namespace: its Lease, and the Secrets that Regions refer to."""
    secret_namespaces: Annotated[list[_Name], Field(max_length=100)] = []
    """Further namespaces whose Secrets are read: by Regions that refer to them, and by the policies in them (keys that
    sign hooks, notifications, webhooks). Each needs the Role that the chart makes for it."""
    kubernetes: KubernetesSettings = KubernetesSettings()
    http: HttpSettings = HttpSettings()
    leader_election: LeaderElectionSettings = LeaderElectionSettings()
    failover: FailoverSettings = FailoverSettings()
    egress: EgressSettings = EgressSettings()
    admission: AdmissionSettings = AdmissionSettings()
    standby: StandbySettings = StandbySettings()
    watch: WatchSettings = WatchSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    log: LogSettings = LogSettings()


def load(*, file: str = "", environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """Read the settings.

    Args:
        file: path of a YAML file, "" for none.
        environment: all variables; those that begin with REGENT_ count.
        flags: values by dotted key, such as {"http.address": "127.0.0.1:8080"}; None values are flags not given.

    Raises:
        SettingsError: with everything that is wrong, one problem a line.
    """
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: list[str] = []
    if file:
        _merge(tree, _read(file), f"file {file}", origins)
    for key, value, variable in _from_environment(environment, problems):
        _put(tree, key, value, f"environment {variable}", origins)
    for key, value in flags.items():
        if value is not None:
            _put(tree, key, value, "flag", origins)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        problems += [_problem(item, origins) for item in error.errors(include_url=False, include_input=False)]
    else:
        problems += _contradictions(settings)
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _contradictions(settings: Settings) -> Iterator[str]:
    election = settings.leader_election
    if election.lease_duration != int(election.lease_duration):
        yield "leaderElection.leaseDuration: must be whole seconds, because the Lease object counts in them"
    if election.renew_interval > 0.4 * election.lease_duration:
        yield "leaderElection.renewInterval: must be at most 40 % of leaderElection.leaseDuration"


def _read(file: str) -> dict[str, Any]:
    try:
        with Path(file).open("rb") as stream:
            text = stream.read(MAX_FILE + 1)
        if len(text) > MAX_FILE:
            raise SettingsError(f"file {file}: larger than {MAX_FILE} bytes")
        found = yaml.safe_load(text)
    except OSError as error:
        raise SettingsError(f"file {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise SettingsError(f"file {file}: {where}not YAML: {getattr(error, 'problem', error)}") from error
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise SettingsError(f"file {file}: must be a mapping of settings, such as failover: {{startupGrace: 10s}}")
    return found


def _merge(tree: dict[str, Any], found: dict[str, Any], origin: str, origins: dict[str, str], path: str = "") -> None:
    for key, value in found.items():
        dotted = f"{path}{key}"
        origins[dotted] = origin
        if isinstance(value, dict):
            _merge(tree.setdefault(key, {}), value, origin, origins, f"{dotted}.")
        else:
            tree[key] = value


def _put(tree: dict[str, Any], dotted: str, value: Any, origin: str, origins: dict[str, str]) -> None:
    *sections, field = dotted.split(".")
    for section in sections:
        inner = tree.get(section)
        tree[section] = tree = inner if isinstance(inner, dict) else {}
    tree[field] = value
    origins[dotted] = origin


def _from_environment(environment: Mapping[str, str], problems: list[str]) -> Iterator[tuple[str, Any, str]]:
    known = {_variable(key).replace("_", ""): (key, field) for key, field in fields()}
    for variable, text in sorted(environment.items()):
        if not variable.startswith(PREFIX) or _TEST_BED.match(variable) or _SERVICE_LINK.match(variable):
            continue
        found = known.get(variable.upper().replace("_", ""))
        if found is None or ("." in found[0]) is not ("__" in variable):
            problems.append(f"environment {variable}: unknown setting{_nearest(variable)}")
            continue
        key, field = found
        yield key, _parsed(text, field), variable


def _parsed(text: str, field: FieldInfo) -> Any:
    """Give text the type that the field wants; what does not fit stays text and is refused with the field's message."""
    shape = str(field.annotation)
    if shape.startswith("list") or "list[" in shape:
        return [part.strip() for part in text.split(",") if part.strip()]
    if field.annotation is bool:
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    if field.annotation is int:
        return int(text) if text.strip().lstrip("+-").isdecimal() else text
    return text


def fields(model: type[BaseModel] = Settings, path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Return every setting as (dotted key as the file has it, field), in the order of the tree."""
    for name, field in model.model_fields.items():
        key = f"{path}{field.alias or name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{key}.")
        else:
            yield key, field


def _variable(key: str) -> str:
    return PREFIX + "__".join(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", part).upper() for part in key.split("."))


def _nearest(variable: str) -> str:
    import difflib

    names = [_variable(key) for key, _ in fields()]
    close = difflib.get_close_matches(variable, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _problem(error: Any, origins: dict[str, str]) -> str:
    dotted = ".".join(str(part) for part in error["loc"])
    key = next((known for known in (dotted, dotted.rpartition(".")[0]) if known in origins), "")
    origin = f" ({origins[key]})" if key else ""
    if error["type"] == "extra_forbidden":
        return f"{dotted}{origin}: unknown setting{_similar(dotted)}"
    return f"{dotted}{origin}: {error['msg'].removeprefix('Value error, ')}"


def _similar(dotted: str) -> str:
    import difflib

    known = [key for key, _ in fields()] + [key.partition(".")[0] for key, _ in fields()]
    close = difflib.get_close_matches(dotted, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def reference_markdown() -> str:
    """Return docs/reference/settings.md."""
    lines = [
        "# Settings",
        "",
        "Defaults < YAML file (`regent run --config FILE`) < environment < flags. Durations are written as `250ms`,",
        "`2s` or `1m30s`. An unknown key or a bad value ends the start with exit code 2 and lists all that is wrong.",
        "Generated from `regent/settings.py`; do not edit.",
        "",
        "| key in the file | environment | default | meaning |",
        "|---|---|---|---|",
    ]
    defaults = json.loads(Settings().model_dump_json(by_alias=True))
    for key, field in fields():
        value: Any = defaults
        for part in key.split("."):
            value = value[part]
        shown = json.dumps(value) if not isinstance(value, str) or not value else value
        text = (field.description or "").replace("|", "\\|").replace("\n", " ")
        lines.append(f"| `{key}` | `{_variable(key)}` | `{shown}` | {text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(reference_markdown(), end="")  # noqa: T201
