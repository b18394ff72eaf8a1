"""`regent hub`: what a hub knows, for another one."""

from __future__ import annotations

import click

from regent.cli.hub_export import export
from regent.cli.hub_import import import_
from regent.cli.hub_promote import promote
from regent.cli.hub_status import status


@click.group()
def hub() -> None:
    """Take what a hub knows into another one, when the cluster that Regent runs in is lost or moves.

    A standby hub follows the one that acts (setting standby.follow) and takes over by promote. Without one, export
    regularly, to a place outside the hub, and import in another cluster.
    """


for _command in (status, promote, export, import_):
    hub.add_command(_command)
