"""All regions and policies on one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from regent.cli.fields import age, name_of, percent, text_at, value_at
from regent.cli.output import table
from regent.domain.conditions import find
from regent.engine.ports import Object


def status_screen(
    regions: Sequence[Object] | None, policies: Sequence[Object], namespace: str, *, now: float
) -> RenderableType:
    """Lay out the screen; `namespace` is "" for all of them, `regions` is None when they may not be read."""
    where = f"in namespace {namespace}" if namespace else "in all namespaces"
    head = "Regions: not readable with your permissions"
    if regions is not None:
        head = _counted("region", regions, ".status.health")
    parts: list[RenderableType] = [Text(head, style="bold")]
    if regions:
        parts.append(_regions(regions, now))
    parts += [Text(), Text(f"{_counted('policy', policies, '.status.phase')} {where}", style="bold")]
    if policies:
        parts.append(_policies(policies))
    asked = [policy for policy in policies if _asks(policy)]
    if asked:
        parts += [Text(), Text("Asks for a person", style="bold red"), _requests(asked)]
    return Group(*parts)


def _counted(noun: str, objects: Sequence[Object], path: str) -> str:
    plural = {"region": "regions", "policy": "policies"}[noun]
    counts = Counter(text_at(obj, path) for obj in objects)
    by_state = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    return f"{len(objects)} {noun if len(objects) == 1 else plural}" + (f" ({by_state})" if by_state else "")


def _regions(regions: Sequence[Object], now: float) -> RenderableType:
    return table(
        ["region", "tier", "state", "health", "since", "latency", "free", "active in", "message"],
        (
            [
                name_of(region),
                text_at(region, ".spec.tier"),
                text_at(region, ".spec.adminState"),
                text_at(region, ".status.health"),
                age(value_at(region, ".status.lastTransitionTime"), now),
                _milliseconds(value_at(region, ".status.latencyMilliseconds")),
                percent(value_at(region, ".status.capacityAvailablePercent")),
                _policies_count(value_at(region, ".status.primaryOf")),
                text_at(region, ".status.message"),
            ]
            for region in regions
        ),
    )


def _milliseconds(value: int | None) -> str:
    return "-" if value is None else f"{value} ms"


def _policies_count(value: int | None) -> str:
    return "-" if not value else f"{value} policy" if value == 1 else f"{value} policies"


def _policies(policies: Sequence[Object]) -> RenderableType:
    return table(
        ["namespace", "policy", "topology", "mode", "active", "phase", "ready", "epoch", "last"],
        (
            [
                text_at(policy, ".metadata.namespace"),
                name_of(policy),
                text_at(policy, ".spec.topology"),
                "Suspended" if value_at(policy, ".spec.suspend") else text_at(policy, ".spec.mode"),
                text_at(policy, ".status.active"),
                text_at(policy, ".status.phase"),
                text_at(policy, ".status.failoverReady"),
                text_at(policy, ".status.epoch"),
                text_at(policy, ".status.lastFailover.summary"),
            ]
            for policy in policies
        ),
    )


def _asks(policy: Object) -> bool:
    condition = find(value_at(policy, ".status.conditions") or (), "ActionRequired")
    return condition is not None and condition.get("status") == "True"


def _requests(policies: Sequence[Object]) -> RenderableType:
    def message(policy: Object) -> str:
        condition = find(value_at(policy, ".status.conditions") or (), "ActionRequired")
        return text_at(condition, "message")

    return table(
        ["policy", "message"],
        ([f"{text_at(policy, '.metadata.namespace')}/{name_of(policy)}", message(policy)] for policy in policies),
    )
