"""`regent replication status`: how far the copies are."""

from __future__ import annotations

import click
from rich.console import Console, RenderableType

from regent.cli.options import Invocation, reading
from regent.cli.output import kubernetes_list, without_managed_fields
from regent.cli.replication_screen import policies_table, policy_screen
from regent.cli.selection import place
from regent.domain.errors import ForbiddenError
from regent.engine.ports import Cluster, Object
from regent.engine.resources import REPLICATION_POLICIES


@click.command("status")
@click.argument("name", required=False)
@reading
def status(invocation: Invocation, *, name: str | None) -> None:
    """Show how far all copies are, or with NAME one ReplicationPolicy in depth.

    Without NAME, policies of all namespaces are shown, or of the namespace given with -n. A lag that is not known is
    never shown as none.

    \b
    Examples:
      regent replication status
      regent replication status eu-west-1-to-eu-central-1 -o yaml
    """
    now = invocation.environment.wall()
    if name is not None:
        policy = invocation.read(lambda cluster: cluster.get(REPLICATION_POLICIES, invocation.namespace, name))
        invocation.write(without_managed_fields(policy), lambda _: policy_screen(policy, now=now))
        return
    policies = sorted(invocation.read(lambda cluster: _listed(cluster, invocation)), key=place)

    def screen(terminal: Console) -> RenderableType | None:
        if not policies:
            terminal.print("Nothing is replicated. See: regent replication setup --help")
            return None
        return policies_table(policies, now=now)

    invocation.write(kubernetes_list(policies), screen)


async def _listed(cluster: Cluster, invocation: Invocation) -> list[Object]:
    namespace = invocation.options.namespace
    try:
        return list(await cluster.list(REPLICATION_POLICIES, namespace))
    except ForbiddenError:
        # Tenants may read their own namespace only: their view is that namespace, not an error.
        if namespace:
            raise
        return list(await cluster.list(REPLICATION_POLICIES, invocation.namespace))
