"""`regent hub export`: Regions, policies, epochs and active regions, without Secrets."""

from __future__ import annotations

import click

from regent.cli.hub_document import TAKEN, HubExport
from regent.cli.options import Invocation, reading
from regent.cli.output import Output, as_document
from regent.cli.selection import place
from regent.domain.hub import exported, secrets_named
from regent.domain.times import rfc3339
from regent.engine.ports import Cluster
from regent.engine.resources import FAILOVER_POLICIES, NAMESPACES

operator_namespace_option = click.option(
    "--operator-namespace", default="regent-system", show_default=True, metavar="NAME", help="Where Regent runs."
)


@click.command("export")
@operator_namespace_option
@reading
def export(invocation: Invocation, *, operator_namespace: str) -> None:
    """Write what this hub knows, for regent hub import in another one.

    That is all Regions and policies, with the epoch and the active region of each FailoverPolicy. Secrets are named on
    standard error and not copied: bring those to the other hub by your own means. Runs and their history stay behind.
    The answer is YAML, or JSON with -o json.

    \b
    Examples:
      regent hub export > hub.yaml
    """
    now = rfc3339(invocation.environment.wall())

    async def gather(cluster: Cluster) -> HubExport:
        system = await cluster.get(NAMESPACES, "", "kube-system")
        objects = {
            resource: [
                exported(obj, with_status=resource == FAILOVER_POLICIES)
                for obj in sorted(await cluster.list(resource), key=place)
                if not obj["metadata"].get("deletionTimestamp")
            ]
            for resource in TAKEN
        }
        return HubExport(uid=str(system["metadata"]["uid"]), time=now, objects=objects)

    found = invocation.read(gather)
    written = Output.YAML if invocation.output is Output.TABLE else invocation.output
    click.echo(as_document(found.document(), written), nl=False)
    everything = [obj for objs in found.objects.values() for obj in objs]
    secrets = {item for obj in everything for item in secrets_named(obj, operator_namespace)}
    for namespace, name in sorted(secrets):
        click.echo(f"Secret {namespace}/{name} is needed in the other hub", err=True)
