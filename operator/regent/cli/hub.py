"""`regent hub`: what a hub knows, for another one."""

from __future__ import annotations

import click

from regent.cli.hub_export import export
from regent.cli.hub_import import import_


@click.group()
def hub() -> None:
    """Take what a hub knows into another one, when the cluster that Regent runs in is lost or moves.

    Export regularly, to a place outside the hub; a standby hub has the definitions, the Secrets and an operator scaled
    to zero, and imports when it is to take over.
    """


for _command in (export, import_):
    hub.add_command(_command)
