"""`regent region stats|compare|recommend|capacity`: regions side by side, by what the objects show now."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from regent.cli.fields import EMPTY, age, milliseconds, name_of, percent, text_at, texts_at, value_at
from regent.cli.group import EXIT_FAILURE, Failure
from regent.cli.options import Invocation, reading
from regent.cli.output import facts, table
from regent.cli.region_screen import policies_of
from regent.domain.capacity import Loss, RegionCapacity, losses
from regent.domain.errors import ForbiddenError
from regent.domain.failover.analytics import RegionCount, analyse
from regent.engine.ports import Cluster, Object
from regent.engine.recommendation import recommend
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS, REGIONS, Resource
from regent.engine.run_facts import runs_of_policies
from regent.engine.run_objects import candidate_rows
from regent.engine.store import Store

DOWN = frozenset({"Unreachable", "Unknown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Regions with what policies and runs say about them. None: the caller may not list those of all namespaces."""

    regions: list[Object]
    policies: list[Object] | None
    counts: dict[str, RegionCount] | None

    def active_in(self, region: str) -> str:
        """Write the number of policies that have the region active."""
        return EMPTY if self.policies is None else str(len(policies_of(region, self.policies)))

    def count(self, region: str) -> RegionCount | None:
        """Give what runs did to the region."""
        if self.counts is None:
            return None
        return self.counts.get(region, RegionCount(region=region, left=0, entered=0, faults=0))


def _overview(invocation: Invocation) -> Overview:
    async def readable(cluster: Cluster, resource: Resource) -> list[Object] | None:
        try:
            return list(await cluster.list(resource))
        except ForbiddenError:
            return None

    async def gathered(cluster: Cluster) -> Overview:
        regions, policies, runs = await asyncio.gather(
            cluster.list(REGIONS), readable(cluster, FAILOVER_POLICIES), readable(cluster, FAILOVERS)
        )
        counts = None
        if runs is not None:
            found = analyse(runs_of_policies(runs, policies or ()), totals={}, until=invocation.environment.wall())
            counts = {row.region: row for row in found.regions}
        return Overview(regions=sorted(regions, key=name_of), policies=policies, counts=counts)

    return invocation.read(gathered)


def _chosen(overview: Overview, names: Sequence[str]) -> list[Object]:
    known = {name_of(region): region for region in overview.regions}
    missing = [name for name in names if name not in known]
    if missing:
        raise Failure(f"there is no Region {', '.join(missing)}; see: regent region list")
    return [known[name] for name in names] if names else overview.regions


def _row(overview: Overview, region: Object) -> dict[str, Any]:
    name = name_of(region)
    count = overview.count(name)
    policies = None if overview.policies is None else policies_of(name, overview.policies)
    return {
        "region": name,
        "tier": value_at(region, ".spec.tier"),
        "priority": value_at(region, ".spec.priority"),
        "adminState": value_at(region, ".spec.adminState"),
        "health": value_at(region, ".status.health"),
        "latencyMilliseconds": value_at(region, ".status.latencyMilliseconds"),
        "errorRatePercent": value_at(region, ".status.errorRatePercent"),
        "capacityAvailablePercent": value_at(region, ".status.capacityAvailablePercent"),
        "capacityTotal": value_at(region, ".spec.capacity.total"),
        "costMultiplier": value_at(region, ".spec.cost.multiplier"),
        "compliance": list(texts_at(region, ".spec.compliance")),
        "activeIn": None if policies is None else len(policies),
        "runs": None if count is None else {"faults": count.faults, "left": count.left, "entered": count.entered},
    }


@click.command("stats")
@click.argument("name", required=False)
@reading
def stats(invocation: Invocation, *, name: str | None) -> None:
    """Count regions by health and state, or show the figures of the region NAME.

    Runs are those that still exist as Failover objects.

    \b
    Examples:
      regent region stats
      regent region stats eu-west-1 -o json
    """
    overview = _overview(invocation)
    if name is not None:
        (region,) = _chosen(overview, [name])
        now = invocation.environment.wall()
        invocation.write(_row(overview, region), lambda _: facts(_figures(overview, region, now)))
        return
    by_health = Counter(text_at(region, ".status.health") for region in overview.regions)
    by_state = Counter(text_at(region, ".spec.adminState") for region in overview.regions)
    counts = list((overview.counts or {}).values())
    document = {
        "regions": len(overview.regions),
        "byHealth": dict(by_health),
        "byState": dict(by_state),
        "policies": None if overview.policies is None else len(overview.policies),
        "faults": None if overview.counts is None else sum(row.faults for row in counts),
        "moves": None if overview.counts is None else sum(row.left for row in counts),
    }

    def listed(counter: Counter[str]) -> str:
        return ", ".join(f"{count} {word}" for word, count in counter.most_common())

    invocation.write(
        document,
        lambda _: facts(
            [
                ("Regions", str(document["regions"])),
                ("Health", listed(by_health)),
                ("State", listed(by_state)),
                ("Policies", _number(document["policies"])),
                ("Faults", _number(document["faults"])),
                ("Moves", _number(document["moves"])),
            ]
        ),
    )


def _number(value: object) -> str:
    return "not readable with your permissions" if value is None else str(value)


def _figures(overview: Overview, region: Object, now: float) -> list[tuple[str, str]]:
    count = overview.count(name_of(region))
    since = age(value_at(region, ".status.lastTransitionTime"), now)
    return [
        ("Region", name_of(region)),
        ("Health", text_at(region, ".status.health")),
        ("Since", since if since == EMPTY else f"{since} ago"),
        ("Latency", milliseconds(value_at(region, ".status.latencyMilliseconds"))),
        ("Errors", percent(value_at(region, ".status.errorRatePercent"))),
        ("Free", percent(value_at(region, ".status.capacityAvailablePercent"))),
        ("Active in", overview.active_in(name_of(region))),
        ("Faults", _number(None if count is None else count.faults)),
        ("Left", _number(None if count is None else count.left)),
        ("Entered", _number(None if count is None else count.entered)),
    ]


@click.command("compare")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@reading
def compare(invocation: Invocation, *, names: tuple[str, ...]) -> None:
    """Show regions side by side: all, or those named.

    \b
    Example:
      regent region compare eu-west-1 eu-central-1
    """
    overview = _overview(invocation)
    regions = _chosen(overview, names)
    rows = [_row(overview, region) for region in regions]

    def screen(_: object) -> RenderableType:
        return table(
            ["region", "tier", "priority", "state", "health", "latency", "errors", "free", "capacity", "cost",
             "active in", "faults", "compliance"],
            (
                [
                    text_at(row, "region"),
                    text_at(row, "tier"),
                    text_at(row, "priority"),
                    text_at(row, "adminState"),
                    text_at(row, "health"),
                    milliseconds(row["latencyMilliseconds"]),
                    percent(row["errorRatePercent"]),
                    percent(row["capacityAvailablePercent"]),
                    text_at(row, "capacityTotal"),
                    text_at(row, "costMultiplier"),
                    text_at(row, "activeIn"),
                    text_at(row, ".runs.faults"),
                    ",".join(row["compliance"]) or EMPTY,
                ]
                for row in rows
            ),
        )  # fmt: skip

    invocation.write({"items": rows}, screen)


@click.command("recommend")
@click.option("--compliance", multiple=True, metavar="NAME", help="It has to satisfy this framework, such as GDPR.")
@click.option("--exclude", multiple=True, metavar="NAME", help="Leave this region out.")
@reading
def recommend_(invocation: Invocation, *, compliance: tuple[str, ...], exclude: tuple[str, ...]) -> None:
    """Show the best region now, and why the others come after it.

    Regions are ranked as a failover ranks its candidates: health, priority, tier, free capacity, latency. The exit code
    is 1 when none can be chosen.

    \b
    Example:
      regent region recommend --compliance GDPR --exclude eu-west-1
    """

    async def gathered(cluster: Cluster) -> Store:
        store = Store()
        for region in await cluster.list(REGIONS):
            store.observe(REGIONS, region)
        return store

    store = invocation.read(gathered)
    rows = recommend(store, wall=invocation.environment.wall(), compliance=compliance, exclude=exclude)
    best = next((row.region for row in rows if row.eligible), "")

    def screen(_: object) -> RenderableType:
        listed = table(
            ["rank", "region", "recommended", "reasons"],
            (
                [
                    str(row.rank or EMPTY),
                    row.region,
                    "yes" if row.eligible else "no",
                    "; ".join(row.notes or row.reasons) or EMPTY,
                ]
                for row in rows
            ),
        )
        return Group(Text(f"Recommended: {best or 'none'}", style="bold"), listed)

    invocation.write({"recommended": best, "candidates": candidate_rows(rows)}, screen)
    if not best:
        raise click.exceptions.Exit(EXIT_FAILURE)


@click.command("capacity")
@reading
def capacity(invocation: Invocation) -> None:
    """Show what each region has free, and whether the others could take its load if it were lost.

    Needs spec.capacity.total and a source of free capacity (spec.load); regions without figures count as having nothing
    free. The exit code is 1 when the load of some region would not fit.

    \b
    Example:
      regent region capacity -o json
    """
    regions = _overview(invocation).regions
    measured = [_capacity(region) for region in regions]
    judged = {loss.region: loss for loss in losses(measured)}
    rows = [
        {
            "region": item.region,
            "total": item.total,
            "freePercent": item.free_percent,
            "used": item.used,
            "free": item.free,
            "serving": item.serving,
            "ifLost": _loss_document(judged.get(item.region)),
        }
        for item in measured
    ]

    def screen(_: object) -> RenderableType:
        return table(
            ["region", "capacity", "free", "in use", "if lost"],
            (
                [
                    item.region,
                    _amount(item.total),
                    percent(item.free_percent),
                    _amount(item.used),
                    _verdict(judged.get(item.region)),
                ]
                for item in measured
            ),
        )

    invocation.write({"items": rows}, screen)
    if any(loss.short for loss in judged.values()):
        raise click.exceptions.Exit(EXIT_FAILURE)


def _capacity(region: Object) -> RegionCapacity:
    serving = text_at(region, ".spec.adminState") == "Enabled" and text_at(region, ".status.health") not in DOWN
    return RegionCapacity(
        region=name_of(region),
        total=value_at(region, ".spec.capacity.total"),
        free_percent=value_at(region, ".status.capacityAvailablePercent"),
        serving=serving,
    )


def _loss_document(loss: Loss | None) -> dict[str, Any] | None:
    if loss is None:
        return None
    return {
        "load": loss.load,
        "freeElsewhere": loss.free_elsewhere,
        "short": loss.short,
        "withoutFigure": list(loss.unknown),
    }


def _verdict(loss: Loss | None) -> str:
    if loss is None:
        return "it serves nothing"
    if loss.short is None:
        return "not known"
    doubt = f" (nothing is known of {', '.join(loss.unknown)})" if loss.unknown else ""
    if loss.short:
        return f"{_amount(loss.short)} of its {_amount(loss.load)} would find no room{doubt}"
    return f"its {_amount(loss.load)} fit into {_amount(loss.free_elsewhere)} elsewhere"


def _amount(value: float | None) -> str:
    return EMPTY if value is None else f"{value:,.0f}".replace(",", " ")
