"""ReplicationPolicies on a screen: a table of all of them, or one with its targets and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from regent.api.v1alpha1.replicationpolicy import ReplicationPolicy
from regent.cli.fields import EMPTY, age, items_at, milliseconds, name_of, text_at, value_at
from regent.cli.outlook import noteworthy
from regent.cli.output import facts, table
from regent.cli.region_screen import conditions_section
from regent.engine.ports import Object

COUNTS = ("desired", "inSync", "pending", "drifted", "conflicted", "failed")


def policies_table(policies: Iterable[Object], *, now: float) -> Table:
    """Lay policies out in the printer columns of their kind, with their namespace before them."""

    def cells(obj: Object) -> list[str]:
        row = [text_at(obj, ".metadata.namespace"), name_of(obj)]
        for column in ReplicationPolicy.COLUMNS:
            if column.type == "date":
                row.append(age(value_at(obj, column.path), now))
            elif column.path == ".status.lagMilliseconds":
                row.append(lag_text(value_at(obj, column.path)))
            else:
                row.append(text_at(obj, column.path))
        return row

    return table(["Namespace", "Name", *(column.name for column in ReplicationPolicy.COLUMNS)], map(cells, policies))


def policy_screen(policy: Object, *, now: float) -> RenderableType:
    """Lay one policy out."""
    conditions = list(items_at(policy, ".status.conditions"))
    worries = noteworthy(conditions)
    targets = items_at(policy, ".status.targets")
    parts: list[RenderableType] = [facts(_head(policy, now))]
    if targets:
        parts += [Text(), Text("Targets", style="bold"), _targets(targets, now)]
    parts += _transfers_section(items_at(policy, ".status.transferred"))
    parts += wrongs_section(targets)
    if worries:
        parts += conditions_section(worries, now=now)
    return Group(*parts)


def wrongs_section(targets: Iterable[Mapping[str, Any]]) -> list[RenderableType]:
    """Lay out what is wrong in the targets, under its heading; nothing when nothing is."""
    rows = [[text_at(target, "region"), str(error)] for target in targets for error in target.get("errors") or ()]
    return [Text(), Text("Problems", style="bold"), table(["region", "problem"], rows)] if rows else []


def lag_text(lag: Any) -> str:
    """Write a lag; what is not known is said to be so, not left out as if there were none."""
    return "not known" if lag is None else milliseconds(lag)


def size_text(size: int) -> str:
    """Write a number of bytes in the unit that fits it."""
    for unit, width in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= width:
            return f"{size / width:.1f} {unit}"
    return f"{size} B"


def _head(policy: Object, now: float) -> list[tuple[str, str]]:
    followed = value_at(policy, ".spec.source.followPolicy")
    source = text_at(policy, ".status.sourceRegion")
    if source == EMPTY:
        source = text_at(policy, ".spec.source.region")
    verified = age(value_at(policy, ".status.lastVerifiedTime"), now)
    return [
        ("Replication", f"{text_at(policy, '.metadata.namespace')}/{name_of(policy)}"),
        ("State", text_at(policy, ".status.state")),
        ("Source", f"{source}, as FailoverPolicy {followed} says" if followed else source),
        ("Copies", ", ".join(_selection(item) for item in items_at(policy, ".spec.resources"))),
        ("Strategy", text_at(policy, ".spec.strategy")),
        ("Direction", text_at(policy, ".spec.direction")),
        ("When", _trigger(policy)),
        ("Suspended", "yes" if value_at(policy, ".spec.suspend") else ""),
        ("In sync", text_at(policy, ".status.inSyncTargets")),
        ("Lag", lag_text(value_at(policy, ".status.lagMilliseconds"))),
        ("Objects", text_at(policy, ".status.objects")),
        ("Verified", EMPTY if verified == EMPTY else f"{verified} ago"),
    ]


def _selection(selection: Mapping[str, Any]) -> str:
    more = [text for field, text in (("includeSecrets", "Secrets"), ("includeRBAC", "RBAC")) if selection.get(field)]
    more += [text_at(kind, "kind") for kind in selection.get("kinds") or ()]
    return text_at(selection, "category") + (f" ({', '.join(more)})" if more else "")


def _trigger(policy: Object) -> str:
    mode = text_at(policy, ".spec.trigger.mode")
    detail = {"Interval": ".spec.trigger.interval", "Schedule": ".spec.trigger.schedule"}.get(mode)
    return f"{mode} {text_at(policy, detail)}" if detail else mode


def _transfers_section(pairs: Iterable[Mapping[str, Any]]) -> list[RenderableType]:
    rows = [
        [*(text_at(pair, field) for field in ("source", "target", "objects")), size_text(int(pair.get("bytes") or 0))]
        for pair in pairs
    ]
    heading = Text("Transferred since the policy was made", style="bold")
    return [Text(), heading, table(["from", "to", "objects", "size"], rows)] if rows else []


def _targets(targets: Iterable[Mapping[str, Any]], now: float) -> Table:
    found = list(targets)
    heads = ["region", "state", "lag", "objects", "in sync", "pending", "drifted", "conflicted", "failed"]
    with_volumes = any(row.get("storage") for row in found)
    rows = (
        [
            text_at(row, "region"),
            text_at(row, "state"),
            lag_text(row.get("lagMilliseconds")),
            *(text_at(row, f"objects.{count}") for count in COUNTS),
            age(row.get("lastSyncTime"), now),
            age(row.get("lastVerifiedTime"), now),
            *([volumes_text(row.get("storage"), now)] if with_volumes else []),
        ]
        for row in found
    )
    return table([*heads, "synced", "verified", *(["volumes"] if with_volumes else [])], rows)


def volumes_text(storage: Any, now: float) -> str:
    """Write how many volumes there are and how old their newest complete copies are."""
    if not storage:
        return EMPTY
    synced = age(storage.get("lastSyncTime"), now)
    return f"{storage.get('volumes', 0)}, lag {'not known' if synced == EMPTY else synced}"
