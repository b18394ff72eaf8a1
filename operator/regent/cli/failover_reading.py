"""`regent failover history`, `status` and `analytics`: what runs did and do."""

from __future__ import annotations

import asyncio

import click
from rich.console import Console, Group, RenderableType
from rich.text import Text

from regent.cli.analytics_screen import analytics_screen
from regent.cli.fields import name_of, value_at
from regent.cli.following import follow
from regent.cli.group import EXIT_FAILURE
from regent.cli.options import Invocation, reading
from regent.cli.output import kubernetes_list, without_managed_fields
from regent.cli.run_screen import destination, run_screen, runs_table
from regent.cli.values import Duration
from regent.domain.failover.analytics import analyse
from regent.engine.ports import Cluster, Object
from regent.engine.records import is_over, read_shares, time_of
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS
from regent.engine.run_facts import analytics_document, runs_of_policies, totals_of

LONGEST_HISTORY = 10_000

policy_option = click.option("--policy", metavar="NAME", default="", help="Only runs of this policy.")
all_namespaces_option = click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")


@click.command("history")
@click.option("--region", metavar="NAME", default="", help="Only runs that left, entered or were to enter this region.")
@policy_option
@click.option("--dry-runs", is_flag=True, help="Dry runs too.")
@click.option(
    "--limit", type=click.IntRange(1, LONGEST_HISTORY), default=20, show_default=True, help="The newest so many."
)
@all_namespaces_option
@reading
def history(
    invocation: Invocation, *, region: str, policy: str, dry_runs: bool, limit: int, all_namespaces: bool
) -> None:
    """List runs, the newest first.

    A policy keeps the last spec.historyLimit runs as objects; of those that were pruned, the operator's log has one
    line each, and `regent failover analytics` counts them.

    \b
    Examples:
      regent failover history --region eu-west-1 --limit 5
      regent failover history --policy shop -o json
    """
    runs = _listed(invocation, all_namespaces=all_namespaces, policy=policy)
    runs = [
        run
        for run in runs
        if (not region or region in regions_of(run)) and (dry_runs or not value_at(run, ".spec.dryRun"))
    ]
    runs = sorted(runs, key=newest_first)[:limit]
    now = invocation.environment.wall()

    def screen(terminal: Console) -> RenderableType | None:
        if not runs:
            terminal.print("No runs" + (" match." if region or policy else " yet."))
            return None
        return runs_table(runs, now=now)

    invocation.write(kubernetes_list(runs), screen)


@click.command("status")
@click.argument("name", required=False)
@click.option("--follow/--no-follow", "following", help="Stay until the run ends.")
@click.option("--timeout", type=Duration(), default="10m", show_default=True, help="How long --follow stays.")
@all_namespaces_option
@reading
def status(invocation: Invocation, *, name: str | None, following: bool, timeout: float, all_namespaces: bool) -> None:
    """Show the run NAME with its plan and the time of every step; without NAME, all runs that are not over.

    With --follow the exit code is 0 only when the run Succeeded.

    \b
    Examples:
      regent failover status
      regent failover status shop-9 --follow
    """
    if name is None:
        if following:
            raise click.UsageError("name the run that is to be followed")
        _show_open(invocation, all_namespaces=all_namespaces)
        return
    if all_namespaces:
        raise click.UsageError("a run is named within one namespace: give -n, not --all-namespaces")
    namespace = invocation.namespace

    async def read(cluster: Cluster) -> Object:
        run = await cluster.get(FAILOVERS, namespace, name)
        if not following:
            return run
        return (await follow(cluster, invocation.environment, [run], until=is_over, timeout=timeout)).runs[0]

    run = invocation.read(read)
    now = invocation.environment.wall()
    invocation.write(without_managed_fields(run), lambda _: run_screen(run, now=now))
    if following and value_at(run, ".status.phase") != "Succeeded":
        raise click.exceptions.Exit(EXIT_FAILURE)


def _show_open(invocation: Invocation, *, all_namespaces: bool) -> None:
    runs = sorted(_listed(invocation, all_namespaces=all_namespaces), key=newest_first)
    unfinished = [run for run in runs if not is_over(run)]
    now = invocation.environment.wall()

    def screen(_: Console) -> RenderableType:
        if unfinished:
            return runs_table(unfinished, now=now)
        real = [run for run in runs if not value_at(run, ".spec.dryRun")]
        last = [Text(), Text("The last one:", style="bold"), run_screen(real[0], now=now)] if real else []
        return Group(Text("No run is under way."), *last)

    invocation.write(kubernetes_list(unfinished), screen)


@click.command("analytics")
@policy_option
@click.option(
    "--since", type=Duration(), help="Only runs that ended within this span, such as 24h; pruned runs have no date."
)
@all_namespaces_option
@reading
def analytics(invocation: Invocation, *, policy: str, since: float | None, all_namespaces: bool) -> None:
    """Count runs: success by strategy, triggers, the time of each step, traffic over time, recovery.

    Runs whose objects were pruned are in the totals, marked; nothing else is known of them. Success is the share of
    runs that Succeeded among those that Succeeded, Failed or were RolledBack. Dry runs do not count, and drills are
    counted apart.

    \b
    Examples:
      regent failover analytics
      regent failover analytics --policy shop --since 168h -o yaml
    """
    namespace = "" if all_namespaces else invocation.namespace

    async def gathered(cluster: Cluster) -> tuple[list[Object], list[Object]]:
        runs, policies = await asyncio.gather(
            cluster.list(FAILOVERS, namespace), cluster.list(FAILOVER_POLICIES, namespace)
        )
        return list(runs), list(policies)

    runs, policies = invocation.read(gathered)
    now = invocation.environment.wall()
    if policy:
        runs = [run for run in runs if value_at(run, ".spec.policyRef.name") == policy]
        policies = [item for item in policies if name_of(item) == policy]
    if since is not None:
        runs = [run for run in runs if (time_of(value_at(run, ".status.completionTime")) or now) >= now - since]
    found = analyse(
        runs_of_policies(runs, policies), totals={} if since is not None else totals_of(policies), until=now
    )
    invocation.write(analytics_document(found), lambda _: analytics_screen(found))


def regions_of(run: Object) -> set[str]:
    """Name the regions that a run is about: those that it leaves and enters, and all that it tried."""
    plan = value_at(run, ".status.plan") or {}
    before, after = read_shares(plan.get("before")), read_shares(plan.get("after"))
    moved = {name for name in {*before, *after} if before.get(name, 0) != after.get(name, 0)}
    tried = {str(item.get("region")) for item in value_at(run, ".status.attempts") or ()}
    return {*moved, *tried, str(value_at(run, ".spec.from") or ""), destination(run)} - {""}


def newest_first(run: Object) -> tuple[float, str]:
    """Give what runs are sorted by."""
    return -(time_of(value_at(run, ".metadata.creationTimestamp")) or 0.0), name_of(run)


def _listed(invocation: Invocation, *, all_namespaces: bool, policy: str = "") -> list[Object]:
    namespace = "" if all_namespaces else invocation.namespace

    async def listed(cluster: Cluster) -> list[Object]:
        return list(await cluster.list(FAILOVERS, namespace))

    return [run for run in invocation.read(listed) if not policy or value_at(run, ".spec.policyRef.name") == policy]
