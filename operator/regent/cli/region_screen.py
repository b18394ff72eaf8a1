"""One region on one screen: its spec in a few facts, its health with the reasons, what each vantage says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from regent.cli.fields import age, items_at, milliseconds, name_of, percent, text_at, texts_at, value_at
from regent.cli.output import facts, table
from regent.engine.ports import Object

_PROTOCOLS = ("http", "tcp", "grpc")


def policies_of(region: str, policies: Iterable[Object]) -> list[Object]:
    """Give the policies that have the region active."""
    return [
        policy
        for policy in policies
        if region == value_at(policy, ".status.activeRegion") or region in texts_at(policy, ".status.activeRegions")
    ]


def region_screen(region: Object, policies: list[Object] | None, *, now: float) -> RenderableType:
    """Lay out the screen. `policies` are those that have the region active; None: the caller may not list them."""
    parts: list[RenderableType] = [
        facts(_health(region, now)),
        Text(),
        facts([*_spec(region), ("Active in", _active_in(policies))]),
        *_section(
            "Probes", ["name", "role", "check", "interval", "timeout", "failures"], map(_probe, _probes_of(region))
        ),
        *_section(
            "Vantages",
            ["name", "health", "since", "message"],
            (
                [name_at(item), text_at(item, "health"), age(item.get("lastChangeTime"), now), text_at(item, "message")]
                for item in items_at(region, ".status.vantages")
            ),
        ),
        *conditions_section(items_at(region, ".status.conditions"), now=now),
    ]
    return Group(*parts)


def conditions_section(conditions: Iterable[Mapping[str, Any]], *, now: float) -> list[RenderableType]:
    """Lay out conditions, under their heading; nothing when there are none."""
    return _section(
        "Conditions",
        ["type", "status", "since", "reason", "message"],
        (
            [
                text_at(item, "type"),
                text_at(item, "status"),
                _since(item, now),
                text_at(item, "reason"),
                text_at(item, "message"),
            ]
            for item in conditions
        ),
    )


def name_at(item: Mapping[str, Any]) -> str:
    """Give the name of a named item of a list."""
    return text_at(item, "name")


def _since(condition: Mapping[str, Any], now: float) -> str:
    return "-" if condition.get("reason") == "Pending" else age(condition.get("lastTransitionTime"), now)


def _section(heading: str, columns: list[str], rows: Iterable[list[str]]) -> list[RenderableType]:
    listed = list(rows)
    return [Text(), Text(heading, style="bold"), table(columns, listed)] if listed else []


def _health(region: Object, now: float) -> list[tuple[str, str]]:
    report = value_at(region, ".status.report")
    return [
        ("Region", name_of(region)),
        ("Health", text_at(region, ".status.health")),
        ("Why", text_at(region, ".status.message")),
        ("Since", _ago(age(value_at(region, ".status.lastTransitionTime"), now))),
        ("Latency", milliseconds(value_at(region, ".status.latencyMilliseconds"))),
        ("Errors", percent(value_at(region, ".status.errorRatePercent"))),
        ("Free", percent(value_at(region, ".status.capacityAvailablePercent"))),
        ("Report", f"{text_at(report, 'health')}: {text_at(report, 'message')}" if report else ""),
    ]


def _ago(text: str) -> str:
    return text if text == "-" else f"{text} ago"


def _spec(region: Object) -> list[tuple[str, str]]:
    place = value_at(region, ".spec.location.name")
    display = value_at(region, ".spec.displayName")
    capacity = value_at(region, ".spec.capacity.total")
    return [
        ("Known as", display or ""),
        ("Location", place or ""),
        ("Provider", text_at(region, ".spec.provider")),
        ("Tier", text_at(region, ".spec.tier")),
        ("Priority", text_at(region, ".spec.priority")),
        ("State", text_at(region, ".spec.adminState")),
        ("Endpoint", text_at(region, ".spec.endpoint")),
        ("Quorum", text_at(region, ".spec.quorum")),
        ("Capacity", "" if capacity is None else str(capacity)),
        ("Cost", text_at(region, ".spec.cost.multiplier")),
        ("Compliance", ", ".join(value_at(region, ".spec.compliance") or ())),
        ("Cluster", text_at(region, ".spec.cluster.kubeconfigSecretRef.name")),
    ]


def _active_in(policies: list[Object] | None) -> str:
    if policies is None:
        return "not known: you may not list FailoverPolicies in all namespaces"
    return ", ".join(f"{text_at(policy, '.metadata.namespace')}/{name_of(policy)}" for policy in policies) or "none"


def _probes_of(region: Object) -> Iterable[Mapping[str, Any]]:
    return items_at(region, ".spec.probes")


def _probe(probe: Mapping[str, Any]) -> list[str]:
    kind = next((name for name in _PROTOCOLS if name in probe), "-")
    check = probe.get(kind) or {}
    detail = check.get("path") or check.get("port") or check.get("service") or ""
    return [
        name_at(probe),
        text_at(probe, "role"),
        f"{kind} {detail}".strip(),
        text_at(probe, "interval"),
        text_at(probe, "timeout"),
        text_at(probe, "failureThreshold"),
    ]
