"""A hub takes over what another one knew, and fences it off: what `regent hub promote` and `import` have in common.

The order matters. Everything is looked at before anything is written. Then this hub writes down that it is taking over,
and the regions are told the new epochs and its term, so that the old hub is fenced off; then the policies come into
being here, each with its memory; and only at the end may this hub act. So at no moment two hubs may both act, and a
takeover that was cut short is finished by giving it again.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import click

from regent.cli.fields import name_of, value_at
from regent.cli.group import Failure
from regent.cli.hub_document import TAKEN, HubExport
from regent.cli.hub_judgement import Judgement, Takeover, judge, key_of, regions_of
from regent.cli.hub_making import Made, make
from regent.cli.options import Environment
from regent.domain.errors import ClusterError, NotFoundError, PromotionProblemError
from regent.domain.hub import TERM, secrets_named
from regent.domain.hub_term import HubRecord, HubRole, next_term
from regent.engine.hub_epochs import Kept, OvertakenError, raise_kept, read_kept
from regent.engine.hub_record import change_record, read_record
from regent.engine.ports import Cluster
from regent.engine.promotion import MemberAccess
from regent.engine.resources import FAILOVER_POLICIES, LEASES, NAMESPACES, REGIONS, SECRETS

LEASE_LOOKS = 0.5
"""Seconds between two looks at the Lease of an operator."""

P = ParamSpec("P")
T = TypeVar("T")


def takeover_options(command: Callable[P, T]) -> Callable[P, T]:
    """Add `--lease`, `--without` and `--active`."""
    for option in (
        click.option(
            "--active",
            multiple=True,
            metavar="NAMESPACE/NAME=REGION",
            help="The region that a policy has active, where that cannot be known; several times for several.",
        ),
        click.option(
            "--without",
            multiple=True,
            metavar="REGION",
            help="Go on without telling this region, which is not reached; several times for several.",
        ),
        click.option(
            "--lease", default="regent", show_default=True, metavar="NAME", help="Lease of the operators in hubs."
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the person has said."""

    export: HubExport
    operator_namespace: str
    lease: str
    without: frozenset[str]
    active: Mapping[str, str]
    again: str
    """What to do when the old hub has gone on meanwhile."""
    create_namespaces: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was read before anything is written."""

    hub: str
    members: MemberAccess
    kept: Mapping[str, Kept]
    judgement: Judgement
    term: int
    """Of this hub, when it has taken over."""


async def look(
    cluster: Cluster, members: MemberAccess, environment: Environment, wanted: Wanted, *, more: Sequence[str] = ()
) -> Found:
    """Read all that decides.

    Args:
        more: what stands against it already.

    Raises:
        Failure: with everything that stands against it.
    """
    hub = str((await cluster.get(NAMESPACES, "", "kube-system"))["metadata"]["uid"])
    if hub == wanted.export.uid:
        raise Failure("this is the hub that the export was made of; it has nothing to take over from itself")
    refusals = [
        *more,
        *await _missing_namespaces(cluster, wanted),
        *await _missing_secrets(cluster, wanted),
        *await _leading_here(cluster, environment, wanted),
    ]
    kept, silent = await _ask_regions(members, wanted)
    refusals += silent
    here = {key_of(obj): obj for obj in await cluster.list(FAILOVER_POLICIES)}
    judgement = judge(wanted.export.policies, here=here, kept=kept, hub=hub, active=wanted.active)
    refusals += judgement.refusals
    if refusals:
        raise Failure("nothing was written:\n" + "\n".join(f"- {text}" for text in refusals))
    record = await read_record(cluster, wanted.operator_namespace)
    term = next_term(
        (seen.claim(region) for region, seen in kept.items()),
        hub=hub,
        term=record.term,
        least=max((item.fence.epoch // TERM for item in judgement.takeovers), default=0),
    )
    return Found(hub=hub, members=members, kept=kept, judgement=judgement, term=term)


async def write(cluster: Cluster, found: Found, wanted: Wanted) -> list[Made]:
    """Take over, in the order of the module's text."""
    takeovers, own = found.judgement.takeovers, wanted.operator_namespace
    await change_record(cluster, own, lambda record: dataclasses.replace(record, role=HubRole.PROMOTING))
    for region, seen in found.kept.items():
        fences = {key_of(item.policy): item.fence for item in takeovers if region in item.regions}
        try:
            if fences:
                await raise_kept(found.members, region, own, fences, seen=seen, hub=found.hub, term=found.term)
        except OvertakenError as error:
            raise Failure(f"{error}: the old hub still acts. {wanted.again}") from error
        except (ClusterError, PromotionProblemError) as error:
            raise Failure(f"region {region}: {error}; give the same command again, or --without {region}") from error
    with_memory = {key_of(item.policy): item.policy for item in takeovers}
    objects = {
        resource: [with_memory[key_of(obj)] for obj in objs] if resource == FAILOVER_POLICIES else objs
        for resource, objs in wanted.export.objects.items()
    }
    namespaces = wanted.export.namespaces if wanted.create_namespaces else set[str]()
    made = [item async for item in make(cluster, {resource: objects[resource] for resource in TAKEN}, namespaces)]
    acting = HubRecord(role=HubRole.ACTIVE, term=found.term)
    await change_record(cluster, own, lambda _record: acting)
    return made


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


async def _leading_here(cluster: Cluster, environment: Environment, wanted: Wanted) -> list[str]:
    """Whether an operator leads here. It would adopt the policies before they have got their memory back."""
    if await leads(cluster, environment, wanted.operator_namespace, wanted.lease):
        return [f"an operator leads in {wanted.operator_namespace}: scale it to zero first"]
    return []


async def leads(cluster: Cluster, environment: Environment, namespace: str, lease: str) -> bool:
    """Say whether an operator leads in a hub.

    A Lease that names a holder may be that of a process that was killed: only a renewal shows that it lives.
    """
    try:
        first = await cluster.get(LEASES, namespace, lease)
    except NotFoundError:
        return False
    if not value_at(first, ".spec.holderIdentity"):
        return False
    duration = float(value_at(first, ".spec.leaseDurationSeconds") or 15)
    until = environment.monotonic() + duration + LEASE_LOOKS
    while environment.monotonic() < until:
        await environment.sleep(LEASE_LOOKS)
        try:
            now = await cluster.get(LEASES, namespace, lease)
        except NotFoundError:
            return False
        if value_at(now, ".spec.renewTime") != value_at(first, ".spec.renewTime"):
            return True
    return False


def active_regions(texts: tuple[str, ...]) -> dict[str, str]:
    """Read the values of `--active`."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, region = text.partition("=")
        if not equals or not region or key.count("/") != 1:
            raise click.UsageError(f"--active {text[:120]}: write NAMESPACE/NAME=REGION")
        found[key] = region
    return found


def row(item: Takeover) -> list[str]:
    """Give a policy's cells: itself, what is active, its epoch."""
    return [key_of(item.policy), str(value_at(item.policy, ".status.active") or "-"), str(item.fence.epoch)]


def document(judgement: Judgement, made: Sequence[Made]) -> dict[str, Any]:
    """Give the answer as a document."""
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
