"""`regent hub import`: another hub takes over what an export says, and fences the old one.

The order matters. Everything is looked at before anything is written. Then the regions are told the new epochs, so that
the old hub is fenced off; only then do the policies come into being here, each with its memory. So at no moment two
hubs may both act, and an import that was cut short is finished by giving it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType

from regent.cli.fields import name_of, value_at
from regent.cli.group import Failure
from regent.cli.hub_document import TAKEN, HubExport, read_export
from regent.cli.hub_epochs import Kept, OvertakenError, raise_kept, read_kept
from regent.cli.hub_export import operator_namespace_option
from regent.cli.hub_judgement import Judgement, Takeover, judge, key_of, regions_of
from regent.cli.hub_making import Made, make
from regent.cli.options import Environment, Invocation, reading
from regent.cli.output import table
from regent.domain.errors import ClusterError, NotFoundError, PromotionProblemError
from regent.domain.hub import secrets_named
from regent.engine.ports import Cluster
from regent.engine.promotion import MemberAccess
from regent.engine.resources import FAILOVER_POLICIES, LEASES, NAMESPACES, REGIONS, SECRETS

LEASE_LOOKS = 0.5
"""Seconds between two looks at the Lease of an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the person has said."""

    export: HubExport
    operator_namespace: str
    lease: str
    without: frozenset[str]
    active: Mapping[str, str]
    create_namespaces: bool
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was read before anything is written."""

    hub: str
    members: MemberAccess
    kept: Mapping[str, Kept]
    judgement: Judgement


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@operator_namespace_option
@click.option("--lease", default="regent", show_default=True, metavar="NAME", help="Lease of the operator here.")
@click.option(
    "--without",
    multiple=True,
    metavar="REGION",
    help="Go on without telling this region, which is not reached; several times for several.",
)
@click.option(
    "--active",
    multiple=True,
    metavar="NAMESPACE/NAME=REGION",
    help="The region that a policy has active, where the export cannot know it; several times for several.",
)
@click.option("--create-namespaces", is_flag=True, help="Make the namespaces that are missing.")
@click.option("--dry-run", is_flag=True, help="Look at everything, write nothing.")
@reading
def import_(
    invocation: Invocation,
    *,
    file: Path,
    operator_namespace: str,
    lease: str,
    without: tuple[str, ...],
    active: tuple[str, ...],
    create_namespaces: bool,
    dry_run: bool,
) -> None:
    """Take over from another hub: make everything in FILE here, and fence the other hub off.

    Every epoch is raised beyond what the old hub can reach, first in the member clusters of the regions, then here, so
    that the old hub is refused there if it still runs. The operator here must not run meanwhile: scale it to zero, and
    up again afterwards. The Secrets that the Regions name, kubeconfigs above all, must be here already.

    Refused, with nothing written, are an export that is older than what this hub has or a region has seen, one that was
    made during a run (say with --active where the role is), and a region that cannot be told (say --without; it is told
    by the first run that enters it). The same import again is harmless.

    \b
    Examples:
      regent hub import hub.yaml --dry-run
      regent hub import hub.yaml --without eu-west-1 --active shop/web=eu-central-1
    """
    wanted = Wanted(
        export=read_export(file),
        operator_namespace=operator_namespace,
        lease=lease,
        without=frozenset(without),
        active=_active(active),
        create_namespaces=create_namespaces,
        dry_run=dry_run,
    )
    environment = invocation.environment

    async def work(cluster: Cluster) -> tuple[Judgement, list[Made]]:
        async with environment.members(cluster, wanted.export.objects[REGIONS], operator_namespace) as members:
            found = await _look(cluster, members, environment, wanted)
            return found.judgement, [] if dry_run else await _write(cluster, found, wanted)

    judgement, made = invocation.read(work)

    def screen(terminal: Console) -> RenderableType | None:
        if dry_run:
            terminal.print("Nothing was written. The policies would be taken over with these epochs:")
            return table(["policy", "active", "epoch"], map(_row, judgement.takeovers))
        terminal.print("Taken over. Scale the operator up here now; see: regent status")
        return table(["kind", "namespace", "name", "result"], ([*item.place, item.result] for item in made))

    invocation.write(_document(judgement, made), screen)


async def _look(cluster: Cluster, members: MemberAccess, environment: Environment, wanted: Wanted) -> Found:
    """Read all that decides; raises Failure with everything that stands against it."""
    hub = str((await cluster.get(NAMESPACES, "", "kube-system"))["metadata"]["uid"])
    if hub == wanted.export.uid:
        raise Failure("this is the hub that the export was made of; it has nothing to take over from itself")
    refusals = [
        *await _missing_namespaces(cluster, wanted),
        *await _missing_secrets(cluster, wanted),
        *await _running(cluster, environment, wanted),
    ]
    kept, silent = await _ask_regions(members, wanted)
    refusals += silent
    here = {key_of(obj): obj for obj in await cluster.list(FAILOVER_POLICIES)}
    judgement = judge(wanted.export.policies, here=here, kept=kept, hub=hub, active=wanted.active)
    refusals += judgement.refusals
    if refusals:
        raise Failure("nothing was written:\n" + "\n".join(f"- {text}" for text in refusals))
    return Found(hub=hub, members=members, kept=kept, judgement=judgement)


async def _write(cluster: Cluster, found: Found, wanted: Wanted) -> list[Made]:
    takeovers = found.judgement.takeovers
    for region, seen in found.kept.items():
        fences = {key_of(item.policy): item.fence for item in takeovers if region in item.regions}
        try:
            if fences:
                await raise_kept(found.members, region, wanted.operator_namespace, fences, seen=seen, hub=found.hub)
        except OvertakenError as error:
            raise Failure(f"{error}: the old hub still acts. Make a new export") from error
        except (ClusterError, PromotionProblemError) as error:
            raise Failure(f"region {region}: {error}; give the same command again, or --without {region}") from error
    with_memory = {key_of(item.policy): item.policy for item in takeovers}
    objects = {
        resource: [with_memory[key_of(obj)] for obj in objs] if resource == FAILOVER_POLICIES else objs
        for resource, objs in wanted.export.objects.items()
    }
    namespaces = wanted.export.namespaces if wanted.create_namespaces else set[str]()
    return [item async for item in make(cluster, {resource: objects[resource] for resource in TAKEN}, namespaces)]


async def _ask_regions(members: MemberAccess, wanted: Wanted) -> tuple[dict[str, Kept], list[str]]:
    """What each region with a cluster of its own has kept, and the sentences about those that cannot be asked."""
    concerned = {name for policy in wanted.export.policies for name in regions_of(policy)}
    asked = [
        name_of(region)
        for region in wanted.export.objects[REGIONS]
        if value_at(region, ".spec.cluster.kubeconfigSecretRef")
        and name_of(region) in concerned
        and name_of(region) not in wanted.without
    ]
    found = await asyncio.gather(
        *(read_kept(members, region, wanted.operator_namespace) for region in asked), return_exceptions=True
    )
    kept: dict[str, Kept] = {}
    refusals: list[str] = []
    for region, result in zip(asked, found, strict=True):
        if isinstance(result, Kept):
            kept[region] = result
        elif isinstance(result, ClusterError | PromotionProblemError):
            refusals.append(f"region {region} cannot be told: {result}. To go on without it: --without {region}")
        else:
            raise result
    return kept, refusals


async def _missing_namespaces(cluster: Cluster, wanted: Wanted) -> list[str]:
    if wanted.create_namespaces:
        return []
    there = {name_of(obj) for obj in await cluster.list(NAMESPACES)}
    missing = sorted(wanted.export.namespaces - there)
    return [f"these namespaces are missing: {', '.join(missing)}; or give --create-namespaces"] if missing else []


async def _missing_secrets(cluster: Cluster, wanted: Wanted) -> list[str]:
    """Kubeconfigs and TLS material of Regions; what policies name in their own namespaces is told by their status."""
    named = {
        item for region in wanted.export.objects[REGIONS] for item in secrets_named(region, wanted.operator_namespace)
    }
    refusals = []
    for namespace, name in sorted(named):
        try:
            await cluster.get(SECRETS, namespace, name)
        except NotFoundError:
            refusals.append(f"Secret {namespace}/{name} is missing: create it first")
    return refusals


async def _running(cluster: Cluster, environment: Environment, wanted: Wanted) -> list[str]:
    """Whether an operator leads here. It would adopt the policies before they have got their memory back.

    A Lease that names a holder may be that of a process that was killed: only a renewal shows that it lives.
    """
    try:
        first = await cluster.get(LEASES, wanted.operator_namespace, wanted.lease)
    except NotFoundError:
        return []
    if not value_at(first, ".spec.holderIdentity"):
        return []
    duration = float(value_at(first, ".spec.leaseDurationSeconds") or 15)
    until = environment.monotonic() + duration + LEASE_LOOKS
    while environment.monotonic() < until:
        await environment.sleep(LEASE_LOOKS)
        try:
            now = await cluster.get(LEASES, wanted.operator_namespace, wanted.lease)
        except NotFoundError:
            return []
        if value_at(now, ".spec.renewTime") != value_at(first, ".spec.renewTime"):
            return [f"an operator leads in {wanted.operator_namespace}: scale it to zero first"]
    return []


def _active(texts: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        key, equals, region = text.partition("=")
        if not equals or not region or key.count("/") != 1:
            raise click.UsageError(f"--active {text[:120]}: write NAMESPACE/NAME=REGION")
        found[key] = region
    return found


def _row(item: Takeover) -> list[str]:
    return [key_of(item.policy), str(value_at(item.policy, ".status.active") or "-"), str(item.fence.epoch)]


def _document(judgement: Judgement, made: list[Made]) -> dict[str, Any]:
    return {
        "policies": [
            {
                "policy": key_of(item.policy),
                "active": value_at(item.policy, ".status.active") or "",
                "epoch": item.fence.epoch,
            }
            for item in judgement.takeovers
        ],
        "objects": [
            {**dict(zip(("kind", "namespace", "name"), item.place, strict=True)), "result": item.result}
            for item in made
        ],
    }
