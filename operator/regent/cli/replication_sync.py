"""`regent replication sync`: a pass at once, and the wait for its end.

A pass is asked for by a new text in `spec.trigger.syncToken`; each target answers with the same text in its status
once everything that the source held is there.
"""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass

import click
from rich.console import Console, RenderableType

from regent.cli.editing import edit
from regent.cli.fields import items_at, name_of, text_at, value_at
from regent.cli.group import EXIT_FAILURE, Failure
from regent.cli.options import Environment, Invocation, reading
from regent.cli.output import UNLIMITED_WIDTH, without_managed_fields
from regent.cli.replication_screen import policy_screen
from regent.cli.values import Duration
from regent.domain.errors import NotFoundError, UnavailableError
from regent.domain.times import rfc3339
from regent.engine.ports import Cluster, Object
from regent.engine.resources import REPLICATION_POLICIES

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A pass that was asked for."""

    policy: Object
    token: str
    before: str
    """The token that was there; finding it again means that somebody has put it back."""


@click.command("sync")
@click.argument("name")
@click.option("--wait/--no-wait", help="Wait until the pass is complete in every target.")
@click.option("--timeout", type=Duration(), default="10m", show_default=True, help="How long --wait waits.")
@reading
def sync(invocation: Invocation, *, name: str, wait: bool, timeout: float) -> None:
    """Copy everything of the ReplicationPolicy NAME now, whatever its trigger is.

    With --wait the exit code is 0 only when the pass is complete in every target and no object is left out of it:
    none has failed, none is in conflict. Twice is harmless: nothing is written that is there already.

    \b
    Examples:
      regent replication sync eu-west-1-to-eu-central-1 --wait --timeout 2m
    """
    namespace, environment = invocation.namespace, invocation.environment
    token = f"{rfc3339(environment.wall())}-{secrets.token_hex(3)}"

    async def work(cluster: Cluster) -> tuple[Object, bool]:
        asked = await _ask(cluster, namespace, name, token)
        if not wait:
            return asked.policy, True
        return await _follow(cluster, environment, asked, timeout)

    policy, complete = invocation.read(work)
    left = _left_out(policy) if wait else 0

    def screen(terminal: Console) -> RenderableType | None:
        if not wait:
            terminal.print(f"Asked for a pass of {name}. See: regent replication status {name} -n {namespace}")
            if reason := _held(policy):
                terminal.print(f"It will wait: {reason}.")
            return None
        return policy_screen(policy, now=environment.wall())

    invocation.write(without_managed_fields(policy), screen)
    if not complete:
        reason = _held(policy) or "its targets have not answered"
        raise Failure(f"the pass was not complete within the time: {reason}")
    if left:
        click.echo(f"The pass is complete, but {left} objects are left out: they failed or conflict.", err=True)
        raise click.exceptions.Exit(EXIT_FAILURE)


async def _ask(cluster: Cluster, namespace: str, name: str, token: str) -> Asked:
    before: list[str] = []

    def change(policy: Object) -> None:
        trigger = policy["spec"].setdefault("trigger", {})
        before[:] = [str(trigger.get("syncToken") or "")]
        trigger["syncToken"] = token

    policy, _ = await edit(cluster, REPLICATION_POLICIES, namespace, name, change)
    return Asked(policy=policy, token=token, before=before[0])


async def _follow(cluster: Cluster, environment: Environment, asked: Asked, timeout: float) -> tuple[Object, bool]:
    """Look again and again; gives the policy as it was last seen, and whether the pass is complete."""
    metadata = asked.policy["metadata"]
    deadline, pause, policy = environment.monotonic() + timeout, FIRST_PAUSE, asked.policy
    said = _Said()
    while True:
        if _complete(policy, asked):
            return policy, True
        said.say(_held(policy) or _progress(policy))
        left = deadline - environment.monotonic()
        if left <= 0:
            return policy, False
        await environment.sleep(min(pause, left))
        pause = min(LONGEST_PAUSE, pause * 1.3)
        try:
            policy = await cluster.get(REPLICATION_POLICIES, metadata["namespace"], metadata["name"])
        except UnavailableError as error:
            said.say(f"{error}; still trying")
            continue
        except NotFoundError:
            raise Failure(f"ReplicationPolicy {metadata['name']} was deleted") from None
        if policy["metadata"].get("uid") != metadata.get("uid"):
            raise Failure(f"ReplicationPolicy {metadata['name']} was deleted and made anew")


def _complete(policy: Object, asked: Asked) -> bool:
    """Whether every target has answered with the token, or with one that somebody else has set after it.

    Raises:
        Failure: somebody has put the token back, so that no answer will come.
    """
    current = str(value_at(policy, ".spec.trigger.syncToken") or "")
    if current in ("", asked.before):
        raise Failure(
            f"spec.trigger.syncToken of {name_of(policy)} was set back by somebody else; leave it out of what a GitOps "
            "tool applies"
        )
    generation = int(value_at(policy, ".metadata.generation") or 0)
    if int(value_at(policy, ".status.observedGeneration") or 0) < generation:
        return False  # the rows may be those of another set of targets
    rows = {text_at(row, "region"): row.get("syncToken") for row in items_at(policy, ".status.targets")}
    regions = [name for name in str(value_at(policy, ".status.targetRegions") or "").split(",") if name]
    return bool(regions) and all(rows.get(region) in (asked.token, current) for region in regions)


def _held(policy: Object) -> str:
    """Why no pass begins now; "" when nothing stands against it."""
    if value_at(policy, ".spec.suspend"):
        return "spec.suspend is true"
    ready = next((item for item in items_at(policy, ".status.conditions") if item.get("type") == "Ready"), None)
    if ready is not None and ready.get("status") == "False":
        return f"{text_at(ready, 'reason')}: {text_at(ready, 'message')}"
    if value_at(policy, ".status.state") == "Paused":
        return "copying is paused: " + ("; ".join(_errors(policy)) or "see regent replication status")
    return ""


def _errors(policy: Object) -> list[str]:
    return [str(error) for row in items_at(policy, ".status.targets") for error in row.get("errors") or ()]


def _progress(policy: Object) -> str:
    rows = items_at(policy, ".status.targets")
    return ", ".join(
        f"{text_at(row, 'region')} {text_at(row, 'state')} ({text_at(row, 'objects.pending')} pending)" for row in rows
    )


def _left_out(policy: Object) -> int:
    counts = [row.get("objects") or {} for row in items_at(policy, ".status.targets")]
    return sum(int(count.get("failed") or 0) + int(count.get("conflicted") or 0) for count in counts)


class _Said:
    """Writes lines to standard error, each once in a row: the answer on standard output stays one document."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, width=UNLIMITED_WIDTH if not sys.stderr.isatty() else None, markup=False)
        self._last = ""

    def say(self, line: str) -> None:
        if line and line != self._last:
            self._last = line
            self._console.print(line, highlight=False)
