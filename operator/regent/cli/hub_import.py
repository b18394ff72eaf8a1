"""`regent hub import`: another hub takes over what an export says, and fences the old one; see `hub_takeover`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console, RenderableType

from regent.cli.hub_document import read_export
from regent.cli.hub_export import operator_namespace_option
from regent.cli.hub_judgement import Judgement
from regent.cli.hub_making import Made
from regent.cli.hub_takeover import Wanted, active_regions, document, look, row, takeover_options, write
from regent.cli.options import Invocation, reading
from regent.cli.output import table
from regent.engine.ports import Cluster
from regent.engine.resources import REGIONS


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@operator_namespace_option
@takeover_options
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
        active=active_regions(active),
        again="Make a new export",
        create_namespaces=create_namespaces,
    )
    environment = invocation.environment

    async def work(cluster: Cluster) -> tuple[Judgement, list[Made]]:
        async with environment.members(cluster, wanted.export.objects[REGIONS], operator_namespace) as members:
            found = await look(cluster, members, environment, wanted)
            return found.judgement, [] if dry_run else await write(cluster, found, wanted)

    judgement, made = invocation.read(work)

    def screen(terminal: Console) -> RenderableType | None:
        if dry_run:
            terminal.print("Nothing was written. The policies would be taken over with these epochs:")
            return table(["policy", "active", "epoch"], map(row, judgement.takeovers))
        terminal.print("Taken over. Scale the operator up here now; see: regent status")
        return table(["kind", "namespace", "name", "result"], ([*item.place, item.result] for item in made))

    invocation.write(document(judgement, made), screen)
