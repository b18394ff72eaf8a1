"""`regent region recover`: back into service after trouble, and what stands between it and its traffic."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from regent.cli.editing import edit
from regent.cli.fields import items_at, name_of, text_at, value_at
from regent.cli.following import Followed, follow
from regent.cli.group import EXIT_FAILURE
from regent.cli.options import Invocation, reading
from regent.cli.output import facts, table
from regent.cli.run_request import RunRequest, request_run
from regent.cli.run_screen import runs_table
from regent.cli.selection import active_in, place, regions_in
from regent.cli.values import Duration
from regent.domain.conditions import find
from regent.domain.errors import ForbiddenError
from regent.domain.times import parse_rfc3339
from regent.engine.ports import Cluster, Object
from regent.engine.records import ACKNOWLEDGE_ANNOTATION, is_over
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS, REGIONS


@dataclass(slots=True)
class Recovery:
    """What was done and found."""

    region: Object
    enabled: bool
    policies: list[Object]
    acknowledged: list[str] = field(default_factory=list)
    runs: Followed = field(default_factory=lambda: Followed(runs=[]))


@click.command("recover")
@click.argument("name")
@click.option("--failback", is_flag=True, help="Start the failback of every policy that has its home there.")
@click.option("--timeout", type=Duration(), default="10m", show_default=True, help="How long to follow failbacks.")
@reading
def recover(invocation: Invocation, *, name: str, failback: bool, timeout: float) -> None:
    """Take the region NAME back into service after trouble.

    Enables it, ends the cooldown of the policies that left it (the annotation regent.dev/acknowledge), and shows what
    each of them waits for. With --failback their traffic is led home at once, and the exit code is 0 only when each
    failback Succeeded; without it the command that does it is shown. Policies are those of all namespaces, or of yours
    when you may not see the others.

    \b
    Examples:
      regent region recover eu-west-1
      regent region recover eu-west-1 --failback
    """
    now = invocation.environment.wall()

    async def work(cluster: Cluster) -> Recovery:
        region, enabled = await edit(cluster, REGIONS, "", name, _enable)
        found = Recovery(region=region, enabled=enabled, policies=await _policies(cluster, invocation, name))
        for policy in found.policies:
            if _cools_down(policy, now) and name not in active_in(policy):
                await _acknowledge(cluster, policy)
                found.acknowledged.append(f"{text_at(policy, '.metadata.namespace')}/{name_of(policy)}")
        if failback:
            runs = await asyncio.gather(
                *(_failback(cluster, policy, name) for policy in found.policies if _belongs(policy, name))
            )
            found.runs = await follow(cluster, invocation.environment, runs, until=is_over, timeout=timeout)
        return found

    found = invocation.read(work)
    invocation.write(_document(found, name), lambda _: _screen(found, name, now, offer=not failback))
    runs = found.runs
    if runs.late or runs.gone or any(value_at(run, ".status.phase") != "Succeeded" for run in runs.runs):
        raise click.exceptions.Exit(EXIT_FAILURE)


def _enable(region: Object) -> None:
    region["spec"]["adminState"] = "Enabled"


async def _policies(cluster: Cluster, invocation: Invocation, name: str) -> list[Object]:
    try:
        listed = await cluster.list(FAILOVER_POLICIES, invocation.options.namespace)
    except ForbiddenError:
        listed = await cluster.list(FAILOVER_POLICIES, invocation.namespace)
    return sorted((policy for policy in listed if name in regions_in(policy)), key=place)


def _cools_down(policy: Object, now: float) -> bool:
    until = value_at(policy, ".status.cooldownUntil")
    return bool(until) and parse_rfc3339(until) > now


async def _acknowledge(cluster: Cluster, policy: Object) -> None:
    def change(obj: Object) -> None:
        # The epoch of the object that is written: one that has moved on since keeps its new cooldown.
        if value_at(obj, ".status.epoch") == value_at(policy, ".status.epoch"):
            annotations = obj["metadata"].setdefault("annotations", {})
            annotations[ACKNOWLEDGE_ANNOTATION] = str(value_at(obj, ".status.epoch"))

    await edit(cluster, FAILOVER_POLICIES, policy["metadata"]["namespace"], name_of(policy), change)


def _belongs(policy: Object, name: str) -> bool:
    """Tell whether a failback would lead traffic to the region: it was left and is at home there."""
    if name in active_in(policy) or not active_in(policy):
        return False
    if value_at(policy, ".spec.topology") == "ActiveActive":
        entry = next((item for item in items_at(policy, ".spec.regions") if item.get("name") == name), {})
        return entry.get("weightPercent") != 0
    if value_at(policy, ".spec.topology") == "BlueGreen":
        group = str(value_at(policy, ".status.blueGreen.latchedGroup") or "").lower()
        return bool(group) and name in (value_at(policy, f".spec.blueGreen.{group}") or ())
    return str(value_at(policy, ".status.failbackRegion") or "") == name


async def _failback(cluster: Cluster, policy: Object, name: str) -> Object:
    runs = await cluster.list(FAILOVERS, policy["metadata"]["namespace"])
    asked = RunRequest(source=active_in(policy)[0], to=name, type="Failback", reason=f"regent region recover {name}")
    return await request_run(cluster, policy, runs, asked)


def _document(found: Recovery, name: str) -> dict[str, Any]:
    return {
        "region": name,
        "enabled": found.enabled,
        "health": text_at(found.region, ".status.health"),
        "acknowledged": found.acknowledged,
        "policies": [
            {
                "policy": f"{text_at(policy, '.metadata.namespace')}/{name_of(policy)}",
                "active": list(active_in(policy)),
                "waitsFor": _waits_for(policy, name),
                "failback": _command(policy, name),
            }
            for policy in found.policies
        ],
        "runs": [{"name": name_of(run), "phase": text_at(run, ".status.phase")} for run in found.runs.runs],
    }


def _screen(found: Recovery, name: str, now: float, *, offer: bool) -> RenderableType:
    parts: list[RenderableType] = [
        facts(
            [
                ("Region", name),
                ("State", "Enabled" + (" now" if found.enabled else " already")),
                ("Health", text_at(found.region, ".status.health")),
                ("Why", text_at(found.region, ".status.message")),
                ("Cooldown", f"ended for {', '.join(found.acknowledged)}" if found.acknowledged else ""),
            ]
        ),
        Text(),
    ]
    if not found.policies:
        return Group(*parts, Text("No policy that you may see lists it."))
    rows = (
        [
            f"{text_at(policy, '.metadata.namespace')}/{name_of(policy)}",
            ",".join(active_in(policy)) or "-",
            _waits_for(policy, name) or "-",
        ]
        for policy in found.policies
    )
    parts.append(table(["policy", "active", "waits for"], rows))
    commands = [command for policy in found.policies if (command := _command(policy, name))]
    if offer and commands:
        parts += [Text(), Text("To lead the traffic home:", style="bold"), *(Text(f"  {text}") for text in commands)]
    if found.runs.runs:
        parts += [Text(), runs_table(found.runs.runs, now=now)]
    return Group(*parts)


def _waits_for(policy: Object, name: str) -> str:
    if name in active_in(policy):
        return ""
    left = next((row for row in items_at(policy, ".status.rejoin") if row.get("region") == name), None)
    if left is not None:
        return f"to be a standby again: {text_at(left, 'message')}"
    pending = find(value_at(policy, ".status.conditions") or (), "FailbackPending")
    if pending is not None and pending.get("status") == "True":
        return text_at(pending, "message")
    rows = (row for row in items_at(policy, ".status.candidates") if row.get("region") == name)
    return "; ".join(reason for row in rows for reason in row.get("reasons") or ())


def _command(policy: Object, name: str) -> str:
    if not _belongs(policy, name):
        return ""
    source, policy_name = active_in(policy)[0], name_of(policy)
    namespace = text_at(policy, ".metadata.namespace")
    return f"regent failover execute {source} {name} --policy {policy_name} -n {namespace} --type Failback"
