"""`regent failover execute` and `plan`: ask for runs, and follow them to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from regent.cli.fields import items_at, name_of, text_at, value_at
from regent.cli.following import Followed, follow
from regent.cli.group import EXIT_FAILURE
from regent.cli.options import Environment, Invocation, reading
from regent.cli.output import kubernetes_list, without_managed_fields
from regent.cli.run_request import RunRequest, request_run
from regent.cli.run_screen import run_screen, runs_table
from regent.cli.selection import Selected, Wanted, select
from regent.cli.values import Duration, Moment, Stage, moment
from regent.domain.errors import ForbiddenError, NotFoundError, RegentError
from regent.domain.times import rfc3339
from regent.engine.ports import Cluster, Object
from regent.engine.records import is_over
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS

STALLED = 2.0
"""Seconds for which a plan must have been blocked to be taken for that: one late probe is no answer."""
STRATEGIES = {"immediate": "Immediate", "graceful": "Graceful", "gradual": "Gradual"}
STAGES = ({"percent": 10, "hold": "30s"}, {"percent": 50, "hold": "60s"})
"""Of a gradual run, where neither the command nor the policy says any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a command asks for, before it is known of which policies."""

    wanted: Wanted
    request: RunRequest
    all_namespaces: bool = False
    strategy: str = ""
    stages: tuple[dict[str, Any], ...] = ()

    def for_policy(self, policy: Object) -> RunRequest:
        """Give the request to one policy; its own stages and drain are kept where the command says none."""
        kind = STRATEGIES.get(self.strategy)
        if kind is None:
            return self.request
        own = value_at(policy, ".spec.transition") or {}
        transition: dict[str, Any] = {"type": kind}
        if kind == "Gradual":
            transition["steps"] = list(self.stages or items_at(own, "steps") or STAGES)
        elif kind == "Graceful" and own.get("drain"):
            transition["drain"] = own["drain"]
        return replace(self.request, transition=transition)


@click.command("execute")
@click.argument("source", metavar="FROM")
@click.argument("to", metavar="[TO]", required=False, default="")
@click.option(
    "--policy", metavar="NAME", default="", help="Whose run it is; not needed when one policy has FROM active."
)
@click.option("--all-policies", is_flag=True, help="A run for every policy that has FROM active.")
@click.option("-A", "--all-namespaces", is_flag=True, help="With --all-policies: those of all namespaces.")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["Failover", "Switchover", "Failback", "Drill"], case_sensitive=False),
    default="Failover",
    show_default=True,
    help="Switchover: planned, nothing is lost. Failback: back to where the role came from. Drill: a rehearsal.",
)
@click.option(
    "--strategy",
    type=click.Choice(list(STRATEGIES), case_sensitive=False),
    help="How traffic moves; else as the policy says.",
)
@click.option(
    "--step",
    "stages",
    type=Stage(),
    multiple=True,
    help="A stage of --strategy gradual, such as 10:30s; may be given several times.",
)
@click.option("--reason", metavar="TEXT", default="", help="Why, for the audit record.")
@click.option("--force", is_flag=True, help="Skip budget, windows and the target's health; never lease and epoch.")
@click.option("--accept-data-loss", is_flag=True, help="Go on when lag is over the gate or fencing is not proved.")
@click.option("--dry-run", is_flag=True, help="Plan and gates only; the object of the run stays for the record.")
@click.option("--schedule", type=Moment(), help="When it starts: 2026-11-22T02:00:00Z, or +30m from now.")
@click.option("--wait/--no-wait", default=None, help="Follow the run to its end.  [default: on, off with --schedule]")
@click.option("--timeout", type=Duration(), default="10m", show_default=True, help="How long to follow it.")
@reading
def execute(
    invocation: Invocation,
    *,
    source: str,
    to: str,
    policy: str,
    all_policies: bool,
    all_namespaces: bool,
    kind: str,
    strategy: str | None,
    stages: tuple[dict[str, Any], ...],
    reason: str,
    force: bool,
    accept_data_loss: bool,
    dry_run: bool,
    schedule: str | None,
    wait: bool | None,
    timeout: float,
) -> None:
    """Move a policy, or all policies, away from the region FROM.

    TO is the region that takes over; left out, Regent chooses the best candidate. The run is followed until it ends,
    and the exit code is 0 only when it Succeeded. The same command twice is harmless: it follows the run that is under
    way, and does nothing when TO is active already. Ctrl-C stops the following, not the run.

    \b
    Examples:
      regent failover execute eu-west-1 eu-central-1
      regent failover execute eu-west-1 eu-central-1 --policy shop --type Switchover --strategy gradual --step 10:1m
      regent failover execute eu-west-1 eu-central-1 --all-policies -A --reason "region is going down"
      regent failover execute eu-west-1 --policy shop --schedule 2026-11-22T02:00:00Z --reason maintenance
    """
    _check(policy=policy, every=all_policies, all_namespaces=all_namespaces, stages=stages, strategy=strategy)
    if to == source:
        raise click.UsageError(f"FROM and TO are both {source}")
    order = Order(
        wanted=Wanted(source=source, to=to, name=policy, every=all_policies),
        request=RunRequest(
            source=source,
            to=to,
            type=kind,
            dry_run=dry_run,
            reason=reason,
            schedule_time=rfc3339(moment(schedule, now=invocation.environment.wall())) if schedule else "",
            relative=bool(schedule and schedule.startswith("+")),
            force=force,
            accept_data_loss=accept_data_loss,
        ),
        all_namespaces=all_namespaces,
        strategy=(strategy or "").lower(),
        stages=stages,
    )
    following = not schedule if wait is None else wait
    _carry_out(invocation, order, timeout=timeout if following else None)


@click.command("plan")
@click.argument("source", metavar="FROM")
@click.argument("to", metavar="[TO]", required=False, default="")
@click.option("--policy", metavar="NAME", default="", help="Whose plan; not needed when one policy has FROM active.")
@click.option("--all-policies", is_flag=True, help="The plan of every policy that has FROM active.")
@click.option("-A", "--all-namespaces", is_flag=True, help="With --all-policies: those of all namespaces.")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["Failover", "Switchover", "Failback"], case_sensitive=False),
    default="Failover",
    show_default=True,
    help="Kind of run that is planned.",
)
@click.option("--force", is_flag=True, help="As the run would be with --force.")
@click.option("--keep", is_flag=True, help="Keep the Failover object of the dry run.")
@click.option("--timeout", type=Duration(), default="30s", show_default=True, help="How long to wait for the plan.")
@reading
def plan(
    invocation: Invocation,
    *,
    source: str,
    to: str,
    policy: str,
    all_policies: bool,
    all_namespaces: bool,
    kind: str,
    force: bool,
    keep: bool,
    timeout: float,
) -> None:
    """Show what a run away from FROM would do, without doing it.

    The operator makes the plan, in a dry run: every candidate with its reasons, the rule that stands in the way if one
    does, the shares before and after, and the hash that an approval would name. The exit code is 0 when the run could
    start now. The object of the dry run is deleted again, so that it does not push real runs out of the history.

    \b
    Examples:
      regent failover plan eu-west-1 eu-central-1
      regent failover plan eu-west-1 --all-policies -o json
    """
    _check(policy=policy, every=all_policies, all_namespaces=all_namespaces, stages=(), strategy=None)
    if to == source:
        raise click.UsageError(f"FROM and TO are both {source}")
    order = Order(
        wanted=Wanted(source=source, to=to, name=policy, every=all_policies),
        request=RunRequest(source=source, to=to, type=kind, dry_run=True, force=force, reason="regent failover plan"),
        all_namespaces=all_namespaces,
    )
    _carry_out(invocation, order, timeout=timeout, discard=not keep)


def _check(
    *, policy: str, every: bool, all_namespaces: bool, stages: Sequence[dict[str, Any]], strategy: str | None
) -> None:
    if policy and every:
        raise click.UsageError("give --policy or --all-policies, not both")
    if all_namespaces and not every:
        raise click.UsageError("--all-namespaces goes with --all-policies only")
    if stages and (strategy or "").lower() != "gradual":
        raise click.UsageError("--step goes with --strategy gradual only")


def _carry_out(invocation: Invocation, order: Order, *, timeout: float | None, discard: bool = False) -> None:
    """Ask for the runs, follow them unless `timeout` is None, show them, and end with the exit code.

    `discard`: they are dry runs that are looked at once and deleted.
    """
    made: list[Object] = []

    async def work(cluster: Cluster) -> tuple[Selected, Followed]:
        selected = await _selected(cluster, invocation, order)
        for policy, reason in selected.unable:
            click.echo(f"{name_of(policy)} is left out: {reason}", err=True)
        made.extend(await _requested(cluster, selected.policies, order))
        if timeout is None:
            return selected, Followed(runs=made)
        until = _Planned(invocation.environment) if discard else is_over
        followed = await follow(cluster, invocation.environment, made, until=until, timeout=timeout)
        if discard:
            await asyncio.gather(*(_discard(cluster, run) for run in followed.runs))
        return selected, followed

    try:
        selected, followed = invocation.read(work)
    except KeyboardInterrupt:
        _say_goes_on(made)
        raise click.exceptions.Exit(EXIT_FAILURE) from None
    _show(invocation, selected, followed)
    if timeout is not None:
        _end(selected, followed, order)


async def _selected(cluster: Cluster, invocation: Invocation, order: Order) -> Selected:
    namespace = "" if order.all_namespaces else invocation.namespace
    return select(await cluster.list(FAILOVER_POLICIES, namespace), order.wanted)


async def _requested(cluster: Cluster, policies: Sequence[Object], order: Order) -> list[Object]:
    namespaces = sorted({policy["metadata"]["namespace"] for policy in policies})
    listed = await asyncio.gather(*(cluster.list(FAILOVERS, namespace) for namespace in namespaces))
    runs = dict(zip(namespaces, listed, strict=True))
    asked = (
        request_run(cluster, policy, runs[policy["metadata"]["namespace"]], order.for_policy(policy))
        for policy in policies
    )
    # All are asked for even when one cannot be: a region that burns is left by as many policies as possible.
    results = await asyncio.gather(*asked, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    if errors and len(errors) == len(results):
        raise errors[0]
    for policy, result in zip(policies, results, strict=True):
        if isinstance(result, RegentError):
            click.echo(f"{name_of(policy)}: {result}", err=True)
        elif isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


class _Planned:
    """Tells whether a dry run has its answer: it is over, or a rule has stood in its way for a while."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._blocked_since: dict[str, float] = {}

    def __call__(self, run: Object) -> bool:
        if value_at(run, ".status.phase") != "Blocked":
            self._blocked_since.pop(name_of(run), None)
            return is_over(run)
        now = self._environment.monotonic()
        return now - self._blocked_since.setdefault(name_of(run), now) >= STALLED


async def _discard(cluster: Cluster, run: Object) -> None:
    metadata = run["metadata"]
    try:
        await cluster.delete(FAILOVERS, metadata["namespace"], metadata["name"], uid=metadata["uid"])
    except NotFoundError:
        pass
    except ForbiddenError:
        click.echo(f"Failover {metadata['name']}, a dry run, stays: you may not delete it", err=True)


def _show(invocation: Invocation, selected: Selected, followed: Followed) -> None:
    now = invocation.environment.wall()
    for policy in selected.there:
        active = text_at(policy, ".status.active")
        click.echo(f"Nothing to do for {name_of(policy)}: {active} is active already", err=True)
    runs = followed.runs
    document = without_managed_fields(runs[0]) if len(runs) == 1 else kubernetes_list(runs)

    def screen(_: object) -> RenderableType | None:
        if len(runs) == 1:
            return run_screen(runs[0], now=now)
        return Group(*([runs_table(runs, now=now)] if runs else [Text("No run was made.")]))

    invocation.write(document, screen)


def _end(selected: Selected, followed: Followed, order: Order) -> None:
    """End with exit code 1 unless every run has succeeded."""
    for name in followed.gone:
        click.echo(f"{name} was deleted before it ended", err=True)
    if followed.late:
        open_runs = [name_of(run) for run in followed.runs if not is_over(run) and name_of(run) not in followed.gone]
        click.echo(f"Not over in time: {', '.join(open_runs)}. The operator goes on; look with:", err=True)
        for name in open_runs:
            click.echo(f"  regent failover status {name} --follow", err=True)
    whole = len(followed.runs) == len(selected.policies) and not (selected.unable or followed.late or followed.gone)
    if not whole or any(value_at(run, ".status.phase") != "Succeeded" for run in followed.runs):
        raise click.exceptions.Exit(EXIT_FAILURE)


def _say_goes_on(made: Sequence[Object]) -> None:
    if not made:
        click.echo("Stopped before it was answered: look whether a run was made with regent failover status", err=True)
    for run in made:
        click.echo(
            f"{name_of(run)} goes on. To stop it before it commits: regent failover cancel {name_of(run)}", err=True
        )
