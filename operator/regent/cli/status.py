"""`regent status`: everything in one screen, or one policy in depth."""

from __future__ import annotations

import asyncio
from typing import Any

import click
from rich.console import Console

from regent.cli.fields import items_at, name_of, text_at, value_at
from regent.cli.options import Invocation, reading
from regent.cli.outlook import outlook
from regent.cli.output import without_managed_fields
from regent.cli.policy_screen import PolicyView, policy_screen
from regent.cli.status_screen import status_screen
from regent.domain.errors import ForbiddenError, NotFoundError
from regent.engine.ports import Cluster, Object
from regent.engine.resources import FAILOVER_POLICIES, FAILOVERS, REGIONS, REPLICATION_POLICIES


@click.command()
@click.argument("policy", required=False)
@reading
def status(invocation: Invocation, *, policy: str | None) -> None:
    """Show how regions and policies are; with POLICY, one policy in depth.

    Without POLICY, policies of all namespaces are shown, or of the namespace given with -n.
    """
    if policy is None:
        _show_all(invocation)
    else:
        _show_policy(invocation, policy)


def _show_all(invocation: Invocation) -> None:
    async def gathered(cluster: Cluster) -> tuple[list[Object] | None, list[Object], str]:
        regions = await _readable(cluster.list(REGIONS))
        namespace = invocation.options.namespace
        try:
            return regions, list(await cluster.list(FAILOVER_POLICIES, namespace)), namespace
        except ForbiddenError:
            # Tenants may read their own namespace only: their view is that namespace, not an error.
            if namespace:
                raise
            namespace = invocation.namespace
            return regions, list(await cluster.list(FAILOVER_POLICIES, namespace)), namespace

    regions, policies, namespace = invocation.read(gathered)
    regions = None if regions is None else sorted(regions, key=name_of)
    policies.sort(key=_place)
    document = {
        "namespace": namespace,
        "regions": [without_managed_fields(obj) for obj in regions or ()],
        "policies": [without_managed_fields(obj) for obj in policies],
    }
    now = invocation.environment.wall()
    invocation.write(document, lambda _: status_screen(regions, policies, namespace, now=now))


def _place(obj: Object) -> tuple[str, str]:
    return str(value_at(obj, ".metadata.namespace")), name_of(obj)


def _show_policy(invocation: Invocation, name: str) -> None:
    namespace = invocation.namespace

    async def gathered(cluster: Cluster) -> PolicyView:
        policy = await cluster.get(FAILOVER_POLICIES, namespace, name)
        regions, run, replication = await asyncio.gather(
            _readable(cluster.list(REGIONS)), _last_run(cluster, policy), _replication(cluster, policy)
        )
        return PolicyView(policy=policy, regions=regions, run=run, replication=replication)

    view = invocation.read(gathered)
    now = invocation.environment.wall()
    expected = outlook(view.policy, view.run, now=now)
    document: dict[str, Any] = {
        "policy": without_managed_fields(view.policy),
        "regions": [without_managed_fields(obj) for obj in view.own_regions()],
        "replication": [without_managed_fields(obj) for obj in view.replication],
        "run": without_managed_fields(view.run) if view.run else None,
        "next": expected,
    }

    def screen(_: Console) -> Any:
        return policy_screen(view, expected, now=now)

    invocation.write(document, screen)


async def _replication(cluster: Cluster, policy: Object) -> list[Object]:
    """Read the ReplicationPolicies that the policy names, as far as they exist and may be read."""
    names = [text_at(item, "name") for item in items_at(policy, ".spec.replicationPolicyRefs")]
    if not names:
        return []
    found = await _readable(cluster.list(REPLICATION_POLICIES, str(value_at(policy, ".metadata.namespace"))))
    return [obj for obj in found or () if name_of(obj) in names]


async def _last_run(cluster: Cluster, policy: Object) -> Object | None:
    """Read the committed run, else the last one; None when there is none or it has been pruned."""
    name = value_at(policy, ".status.operation.name") or value_at(policy, ".status.lastFailover.name")
    if not name:
        return None
    try:
        return await cluster.get(FAILOVERS, str(value_at(policy, ".metadata.namespace")), str(name))
    except (NotFoundError, ForbiddenError):
        return None


async def _readable(listing: Any) -> list[Object] | None:
    """Wait for a list; None when the caller may not read it."""
    try:
        return list(await listing)
    except ForbiddenError:
        return None
