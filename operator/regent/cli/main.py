"""`regent`, the command line: also `kubectl regent`, when it is installed as `kubectl-regent`.

Each command stands in a module of its own and is imported when it is used. Exit codes: 0 done, 1 the work failed,
2 wrong use or settings, 3 leadership lost (`regent run`).
"""

from __future__ import annotations

import click

from regent import __version__
from regent.cli.group import RootGroup
from regent.cli.options import cluster_options, output_option

COMMANDS = {
    "run": "regent.cli.run:run",
    "status": "regent.cli.status:status",
    "region": "regent.cli.region:region",
    "failover": "regent.cli.failover:failover",
    "traffic": "regent.cli.traffic:traffic",
    "replication": "regent.cli.replication:replication",
    "vm": "regent.cli.vm:vm",
    "simulate": "regent.cli.simulate:simulate_",
    "agent": "regent.cli.agent:agent",
    "hub": "regent.cli.hub:hub",
    "crds": "regent.cli.crds:crds",
}


@click.group(
    cls=RootGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="regent")
@output_option
@cluster_options
def main(**_options: str | None) -> None:
    """Keep applications up when a whole region goes down.

    Options given here are the defaults of the commands.
    """
