"""`regent region`: list, show and probe regions. What changes them stands in modules of its own."""

from __future__ import annotations

from typing import get_args

import click
from rich.console import Console
from rich.table import Table

from regent.api.v1alpha1.region import Health, Region, Tier
from regent.cli.fields import age, name_of, percent, text_at, value_at
from regent.cli.group import EXIT_FAILURE
from regent.cli.options import Invocation, reading
from regent.cli.output import kubernetes_list, table, without_managed_fields
from regent.cli.region_check import check_document, check_region, check_screen, required_failed
from regent.cli.region_compare import capacity, compare, recommend_, stats
from regent.cli.region_edit import add, disable, drain, enable
from regent.cli.region_recover import recover
from regent.cli.region_screen import policies_of, region_screen
from regent.domain.errors import ForbiddenError
from regent.engine.ports import Cluster, Object
from regent.engine.resources import FAILOVER_POLICIES, REGIONS


@click.group()
def region() -> None:
    """Register regions, look at them, take them in and out of service."""


for _command in (add, enable, drain, disable, recover, stats, compare, recommend_, capacity):
    region.add_command(_command)


@region.command("list")
@click.option(
    "--health",
    multiple=True,
    type=click.Choice(get_args(Health), case_sensitive=False),
    help="Only regions of this health; may be given several times.",
)
@click.option("--tier", type=click.Choice(get_args(Tier), case_sensitive=False), help="Only regions of this tier.")
@click.option("--healthy-only", is_flag=True, help="The same as --health Healthy.")
@click.option("--wide", is_flag=True, help="All columns, the message too.")
@reading
def list_(invocation: Invocation, *, health: tuple[str, ...], tier: str | None, healthy_only: bool, wide: bool) -> None:
    """List regions, with the columns of kubectl get regions."""
    if healthy_only and health and set(health) != {"Healthy"}:
        raise click.UsageError("give --healthy-only or --health, not both")
    wanted = {"Healthy"} if healthy_only else set(health)

    async def listed(cluster: Cluster) -> list[Object]:
        return [
            obj
            for obj in await cluster.list(REGIONS)
            if (not wanted or value_at(obj, ".status.health") in wanted)
            and (not tier or value_at(obj, ".spec.tier") == tier)
        ]

    regions = sorted(invocation.read(listed), key=name_of)
    now = invocation.environment.wall()

    def screen(terminal: Console) -> Table | None:
        if not regions:
            terminal.print("No regions" + (" match." if wanted or tier else ": create one with kubectl apply."))
            return None
        return region_table(regions, now=now, wide=wide)

    invocation.write(kubernetes_list(regions), screen)


def region_table(regions: list[Object], *, now: float, wide: bool) -> Table:
    """Lay regions out in the printer columns of their kind."""
    columns = [column for column in Region.COLUMNS if wide or not column.wide]
    units = {".status.capacityAvailablePercent": percent, ".status.latencyMilliseconds": _latency}

    def cells(obj: Object) -> list[str]:
        row = [name_of(obj)]
        for column in columns:
            if column.type == "date":
                row.append(age(value_at(obj, column.path), now))
            elif column.path in units:
                row.append(units[column.path](value_at(obj, column.path)))
            else:
                row.append(text_at(obj, column.path))
        return row

    return table(["Name", *(column.name for column in columns)], (cells(obj) for obj in regions))


def _latency(value: int | None) -> str:
    return "-" if value is None else f"{value} ms"


@region.command("show")
@click.argument("name")
@reading
def show(invocation: Invocation, *, name: str) -> None:
    """Show one region: what it is, how it is, and the policies that have it active."""

    async def gathered(cluster: Cluster) -> tuple[Object, list[Object] | None]:
        shown = await cluster.get(REGIONS, "", name)
        try:
            return shown, policies_of(name, await cluster.list(FAILOVER_POLICIES))
        except ForbiddenError:
            return shown, None

    shown, policies = invocation.read(gathered)
    now = invocation.environment.wall()
    invocation.write(without_managed_fields(shown), lambda _: region_screen(shown, policies, now=now))


@region.command("health-check")
@click.argument("name")
@click.option(
    "--operator-namespace",
    default="regent-system",
    show_default=True,
    metavar="NAME",
    help="Where the Secrets are that the region's probes name without a namespace.",
)
@reading
def health_check(invocation: Invocation, *, name: str, operator_namespace: str) -> None:
    """Probe a region now, from this machine.

    Each probe runs once, on a connection of its own. What this machine sees may differ from what the operator sees:
    compare with regent region show. The exit code is 1 when a Required probe fails.
    """
    outcomes = check_region(invocation, name, operator_namespace)
    invocation.write(check_document(name, outcomes), lambda _: check_screen(name, outcomes))
    if required_failed(outcomes):
        raise click.exceptions.Exit(EXIT_FAILURE)
