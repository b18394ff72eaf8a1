"""`regent failover`: start, plan, watch and steer runs. Each command stands in a module of its own."""

from __future__ import annotations

import click

from regent.cli.failover_control import approve, cancel, pause, resume, rollback
from regent.cli.failover_execute import execute, plan
from regent.cli.failover_reading import analytics, history, status


@click.group()
def failover() -> None:
    """Start, plan, watch and steer runs, and count them.

    A run is a Failover object: whoever may create one in a namespace may fail over its policies. Nothing here moves
    traffic by itself; the operator does, by its own rules.
    """


for _command in (execute, plan, history, status, analytics, approve, cancel, pause, resume, rollback):
    failover.add_command(_command)
