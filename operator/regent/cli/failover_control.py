"""`regent failover approve|cancel|pause|resume|rollback`: a person's word to a run, in `spec.control`.

The command writes what is wanted and then watches whether it comes about. What is possible is for the operator to
judge, at the moment when it acts; only what can no longer come true is refused here.
"""

from __future__ import annotations

from collections.abc import Callable

import click
from rich.console import Console

from regent.cli.fields import name_of, text_at, value_at
from regent.cli.following import Followed, follow
from regent.cli.group import EXIT_FAILURE, Failure
from regent.cli.options import Invocation, reading
from regent.cli.output import console, without_managed_fields
from regent.cli.run_request import CONFLICTS, change_control
from regent.cli.run_screen import plan_screen, run_screen, way, why
from regent.cli.values import Duration
from regent.domain.errors import ConflictError
from regent.engine.ports import Cluster, Object
from regent.engine.records import is_over
from regent.engine.resources import FAILOVERS

WAITING = frozenset({"", "Pending", "Blocked", "AwaitingApproval"})
"""Phases in which an approval is still of use."""

timeout_option = click.option(
    "--timeout", type=Duration(), default="30s", show_default=True, help="How long to wait for the effect."
)
wait_option = click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait until the operator has acted on it."
)


@click.command("approve")
@click.argument("name")
@click.option("--hash", "expected", metavar="HASH", default="", help="Refuse unless the plan has this hash.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; for scripts, best with --hash.")
@wait_option
@timeout_option
@reading
def approve(invocation: Invocation, *, name: str, expected: str, yes: bool, wait: bool, timeout: float) -> None:
    """Approve the plan of the run NAME, exactly as it is shown.

    The hash of the plan is written to spec.control.approvedPlan. When the plan changes between showing and approving,
    nothing is approved and the exit code is 1.

    \b
    Examples:
      regent failover approve shop-9
      regent failover approve shop-9 --yes --hash sha256:…
    """
    namespace = invocation.namespace
    shown = invocation.read(lambda cluster: cluster.get(FAILOVERS, namespace, name))
    chosen = _approvable(shown, expected)
    if value_at(shown, ".spec.control.approvedPlan") != chosen:
        if not yes:
            terminal = console()
            click.echo(f"{name}: {way(shown)}, {text_at(shown, '.status.phase')}: {why(shown)}", err=True)
            # The question goes to standard error with the plan, so that --output json leaves one document.
            Console(stderr=True, width=terminal.width, markup=False, highlight=False).print(plan_screen(shown))
            click.confirm("Approve this plan?", abort=True, err=True)

        async def write(cluster: Cluster) -> Object:
            return await _approve(cluster, shown, chosen)

        shown = invocation.read(write)

    def underway(run: Object) -> bool:
        return value_at(run, ".status.phase") not in (None, *WAITING)

    _finish(invocation, shown, underway, wait=wait, timeout=timeout, wanted="to go on with the approved plan")


def _approvable(run: Object, expected: str) -> str:
    """Give the hash of the plan that may be approved."""
    name, phase = name_of(run), str(value_at(run, ".status.phase") or "")
    found = str(value_at(run, ".status.plan.hash") or "")
    if is_over(run):
        raise Failure(f"{name} is over: {phase}. There is nothing to approve")
    if expected and found and expected != found:
        raise Failure(f"nothing is approved: the plan of {name} is not the one that you mean. Its hash is {found}")
    if value_at(run, ".spec.control.approvedPlan") == found != "":
        return found
    if phase not in WAITING:
        raise Failure(f"{name} does not wait for an approval: it is {phase}")
    if not found:
        raise Failure(f"{name} has no plan yet ({phase or 'Pending'}: {why(run)}); try again when it has")
    return found


async def _approve(cluster: Cluster, shown: Object, chosen: str) -> Object:
    """Write the approval on the very object that was shown; on a newer one only when its plan is the same."""
    run = shown
    for _ in range(CONFLICTS):
        control = {**(value_at(run, ".spec.control") or {}), "approvedPlan": chosen}
        try:
            return await cluster.replace(FAILOVERS, {**run, "spec": {**run["spec"], "control": control}})
        except ConflictError:
            run = await cluster.get(FAILOVERS, run["metadata"]["namespace"], name_of(run))
            if run["metadata"].get("uid") != shown["metadata"].get("uid"):
                raise Failure(f"nothing is approved: {name_of(run)} is another object now") from None
            if value_at(run, ".status.plan.hash") != chosen:
                raise Failure(
                    f"nothing is approved: the plan of {name_of(run)} has changed since it was shown. Look again"
                ) from None
            if is_over(run):
                raise Failure(f"nothing is approved: {name_of(run)} is over: {text_at(run, '.status.phase')}") from None
    raise ConflictError(f"Failover {name_of(run)} changes too often to be approved; try again")


@click.command("cancel")
@click.argument("name")
@wait_option
@timeout_option
@reading
def cancel(invocation: Invocation, *, name: str, wait: bool, timeout: float) -> None:
    """End the run NAME before it commits; nothing has moved then.

    A run that has committed cannot be cancelled: `regent failover rollback` takes it back while that is possible.

    \b
    Example:
      regent failover cancel shop-bcdfghjk
    """
    _desire(invocation, name, "Cancel", is_over, wait=wait, timeout=timeout, refuse=_committed)


@click.command("pause")
@click.argument("name")
@wait_option
@timeout_option
@reading
def pause(invocation: Invocation, *, name: str, wait: bool, timeout: float) -> None:
    """Stop the run NAME before its next step. `regent failover resume` lets it go on.

    \b
    Example:
      regent failover pause shop-9
    """
    _desire(
        invocation, name, "Pause", lambda run: value_at(run, ".status.phase") == "Paused", wait=wait, timeout=timeout
    )


@click.command("resume")
@click.argument("name")
@wait_option
@timeout_option
@reading
def resume(invocation: Invocation, *, name: str, wait: bool, timeout: float) -> None:
    """Let the paused run NAME go on.

    \b
    Example:
      regent failover resume shop-9
    """
    _desire(invocation, name, "Run", lambda run: value_at(run, ".status.phase") != "Paused", wait=wait, timeout=timeout)


@click.command("rollback")
@click.argument("name")
@click.option("--accept-data-loss", is_flag=True, help="Also when writes of the new side are dropped by it.")
@wait_option
@click.option("--timeout", type=Duration(), default="10m", show_default=True, help="How long to wait for the effect.")
@reading
def rollback(invocation: Invocation, *, name: str, accept_data_loss: bool, wait: bool, timeout: float) -> None:
    """Take the run NAME back: restore the state before it, while it is under way and that is possible.

    A run that has ended is taken back by a new one: regent failover execute TO FROM --type Failback.

    \b
    Example:
      regent failover rollback shop-9
    """
    extra = {"acceptDataLoss": True} if accept_data_loss else {}
    _desire(invocation, name, "Rollback", is_over, wait=wait, timeout=timeout, extra=extra)


def _committed(run: Object) -> str:
    epoch = value_at(run, ".status.epoch")
    if not epoch:
        return ""
    return f"it has committed (epoch {epoch}). To take it back: regent failover rollback {name_of(run)}"


REACHED = {"Cancel": "Cancelled", "Rollback": "RolledBack", "Pause": "Paused"}
"""The phase in which what was wanted has come about."""


def _desire(
    invocation: Invocation,
    name: str,
    desired: str,
    until: Callable[[Object], bool],
    *,
    wait: bool,
    timeout: float,
    refuse: Callable[[Object], str] = lambda _: "",
    extra: dict[str, bool] | None = None,
) -> None:
    namespace = invocation.namespace

    async def write(cluster: Cluster) -> Object:
        run = await cluster.get(FAILOVERS, namespace, name)
        phase = str(value_at(run, ".status.phase") or "")
        if is_over(run):
            if REACHED.get(desired) == phase:
                return run
            raise Failure(f"{name} is over: {phase}{_way_back(run) if desired == 'Rollback' else ''}")
        if reason := refuse(run):
            raise Failure(f"{name} cannot be cancelled: {reason}")
        return await change_control(cluster, run, {"desired": desired, **(extra or {})})

    run = invocation.read(write)
    _finish(
        invocation, run, until, wait=wait, timeout=timeout, wanted=f"to {desired.lower()}", ends=REACHED.get(desired)
    )


def _way_back(run: Object) -> str:
    if value_at(run, ".status.phase") != "Succeeded":
        return ""
    source, to = text_at(run, ".spec.from"), text_at(run, ".status.plan.chosen")
    policy = text_at(run, ".spec.policyRef.name")
    return f". To go back: regent failover execute {to} {source} --policy {policy} --type Failback"


def _finish(
    invocation: Invocation,
    run: Object,
    until: Callable[[Object], bool],
    *,
    wait: bool,
    timeout: float,
    wanted: str,
    ends: str | None = None,
) -> None:
    """Wait for the effect and show the run. `ends`: the final phase that was wanted, where one was."""
    followed = Followed(runs=[run])
    if wait:

        async def watch(cluster: Cluster) -> Followed:
            return await follow(cluster, invocation.environment, [run], until=until, timeout=timeout)

        followed = invocation.read(watch)
    run = followed.runs[0]
    now = invocation.environment.wall()
    invocation.write(without_managed_fields(run), lambda _: run_screen(run, now=now))
    phase = value_at(run, ".status.phase")
    if followed.gone:
        raise Failure(f"{name_of(run)} was deleted meanwhile")
    if followed.late:
        raise Failure(
            f"{name_of(run)} was told {wanted}, but has not done so in time (it is {phase or 'Pending'}: {why(run)})"
        )
    if wait and ends and phase != ends:
        click.echo(f"{name_of(run)} ended otherwise: {phase}: {why(run)}", err=True)
        raise click.exceptions.Exit(EXIT_FAILURE)
