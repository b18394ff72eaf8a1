"""One policy on one screen: its regions and who could take over, its targets, its last run, what happens next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from regent.cli.fields import items_at, milliseconds, name_of, percent, text_at, texts_at, value_at
from regent.cli.outlook import noteworthy
from regent.cli.output import facts, table
from regent.cli.region_screen import conditions_section, name_at
from regent.cli.run_screen import run_screen
from regent.domain.times import parse_rfc3339
from regent.engine.ports import Object


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView:
    """A policy and what belongs to it, as read."""

    policy: Object
    regions: list[Object] | None
    """All regions; None: the caller may not read them."""
    run: Object | None
    """The committed run, else the last one."""
    replication: list[Object] = field(default_factory=list)
    """ReplicationPolicies that the policy names."""

    def lag(self, region: str) -> str:
        """Write how far the region's data is behind, the worst of it; `-` where nothing is replicated to it. What the
        operator sees of databases is known in steps only."""
        candidate = _named(items_at(self.policy, ".status.candidates"), "region", region)
        return self._copies(region) or str(candidate.get("lag") or "-")

    def _copies(self, region: str) -> str:
        rows = [row for obj in self.replication for row in items_at(obj, ".status.targets") if row["region"] == region]
        known = [int(row["lagMilliseconds"]) for row in rows if row.get("lagMilliseconds") is not None]
        if not rows:
            return ""
        return milliseconds(max(known)) if len(known) == len(rows) else "not known"

    def own_regions(self) -> list[Object]:
        """Give the Regions that the policy names, as far as they exist."""
        named = {item.get("name") for item in items_at(self.policy, ".spec.regions")}
        return [region for region in self.regions or () if name_of(region) in named]


def policy_screen(view: PolicyView, expected: list[str], *, now: float) -> RenderableType:
    """Lay out the screen; `expected` are the sentences about what happens next."""
    policy = view.policy
    worries = noteworthy(list(items_at(policy, ".status.conditions")))
    parts: list[RenderableType] = [
        facts(_head(policy, now)),
        Text(),
        _heading("Regions"),
        table(
            ["region", "role", "share", "health", "state", "lag", "takes over", "reasons"],
            (_region_row(view, item) for item in items_at(policy, ".spec.regions")),
        ),
        *_targets(policy),
        *_run(view.run, policy, now),
        *([*conditions_section(worries, now=now)] if worries else []),
        Text(),
        _heading("Next"),
        *(Text(f"- {sentence}") for sentence in expected),
    ]
    return Group(*parts)


def _heading(text: str) -> Text:
    return Text(text, style="bold")


def _head(policy: Object, now: float) -> list[tuple[str, str]]:
    until = value_at(policy, ".status.cooldownUntil")
    left = parse_rfc3339(until) - now if until else 0.0
    return [
        ("Policy", f"{text_at(policy, '.metadata.namespace')}/{name_of(policy)}"),
        ("Topology", text_at(policy, ".spec.topology")),
        ("Mode", text_at(policy, ".spec.mode") + (", suspended" if value_at(policy, ".spec.suspend") else "")),
        ("Active", text_at(policy, ".status.active")),
        ("Phase", text_at(policy, ".status.phase")),
        ("Ready", text_at(policy, ".status.failoverReady")),
        ("Epoch", text_at(policy, ".status.epoch")),
        ("Fencing", text_at(policy, ".status.effective.fencing")),
        ("Failback", text_at(policy, ".status.effective.failbackMode")),
        ("Cooldown", f"until {until}" if left > 0 else ""),
        ("Last drill", _drill(value_at(policy, ".status.lastDrill"))),
        ("Runs", _totals(value_at(policy, ".status.totals"))),
    ]


def _drill(last: Mapping[str, Any] | None) -> str:
    if not last:
        return ""
    passed = "passed" if last.get("result") == "Succeeded" else text_at(last, "result").lower()
    return f"{text_at(last, 'name')} {passed} at {text_at(last, 'completionTime')}: {text_at(last, 'message')}"


def _totals(totals: Mapping[str, int] | None) -> str:
    return ", ".join(f"{count} {_words(name)}" for name, count in (totals or {}).items() if count)


def _words(camel: str) -> str:
    return "".join(f" {char.lower()}" if char.isupper() else char for char in camel)


def _region_row(view: PolicyView, item: Mapping[str, Any]) -> list[str]:
    policy, name = view.policy, name_at(item)
    region = next((found for found in view.own_regions() if name_of(found) == name), None)
    candidate = _named(items_at(policy, ".status.candidates"), "region", name)
    share = _named(items_at(policy, ".status.distribution"), "region", name)
    return [
        name,
        _role(policy, name),
        percent(share.get("weightPercent", 0)) if share or value_at(policy, ".status.distribution") else "-",
        text_at(region, ".status.health") if region else _absent(view),
        text_at(region, ".spec.adminState"),
        view.lag(name),
        _takes_over(candidate),
        "; ".join(candidate.get("reasons") or ()) or "-",
    ]


def _absent(view: PolicyView) -> str:
    return "not readable" if view.regions is None else "no such Region"


def _named(items: Iterable[Mapping[str, Any]], key: str, name: str) -> Mapping[str, Any]:
    return next((item for item in items if item.get(key) == name), {})


def _role(policy: Object, name: str) -> str:
    if name == value_at(policy, ".status.activeRegion") or name in texts_at(policy, ".status.activeRegions"):
        return "Active"
    return "Standby"


def _takes_over(candidate: Mapping[str, Any]) -> str:
    if not candidate:
        return "-"
    if not candidate.get("eligible"):
        return "no"
    rank = candidate.get("rank")
    return f"rank {rank}" if rank else "yes"


def _targets(policy: Object) -> list[RenderableType]:
    targets = items_at(policy, ".status.targets")
    if not targets:
        return []
    rows = (
        [text_at(item, "target"), text_at(item, "epoch"), text_at(item, "verification"), text_at(item, "message")]
        for item in targets
    )
    return [Text(), _heading("Targets"), table(["target", "epoch", "verification", "message"], rows)]


def _run(run: Object | None, policy: Object, now: float) -> list[RenderableType]:
    if run is None:
        summary = value_at(policy, ".status.lastFailover")
        if not summary:
            return []
        line = f"{text_at(summary, 'name')}: {text_at(summary, 'summary')}, {text_at(summary, 'result')}"
        return [Text(), _heading("Last run"), Text(f"{line} (its Failover object is gone)")]
    return [Text(), _heading("Last run"), run_screen(run, now=now, plan=False)]
