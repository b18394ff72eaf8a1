"""`regent replication`: set up copies of objects in other regions, and look after them."""

from __future__ import annotations

import click

from regent.cli.replication_diff import diff
from regent.cli.replication_reading import status
from regent.cli.replication_setup import setup
from regent.cli.replication_sync import sync


@click.group()
def replication() -> None:
    """Keep copies of objects in other regions, and look after them.

    A ReplicationPolicy says what is copied, from where and to where; whoever may create one in a namespace may copy its
    objects. Nothing here copies anything by itself; the operator does, with its own rights.
    """


for _command in (setup, status, sync, diff):
    replication.add_command(_command)
