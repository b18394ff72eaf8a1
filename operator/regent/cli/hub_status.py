"""`regent hub status`: what this hub is there for, and what it has copied."""

from __future__ import annotations

import click
from rich.console import Console, RenderableType

from regent.cli.fields import name_of, value_at
from regent.cli.hub_export import operator_namespace_option
from regent.cli.options import Invocation, reading
from regent.cli.output import table
from regent.domain.hub_term import HubRecord
from regent.engine.hub_record import read_record
from regent.engine.ports import Cluster, Object
from regent.engine.resources import FAILOVER_POLICIES


@click.command("status")
@operator_namespace_option
@reading
def status(invocation: Invocation, *, operator_namespace: str) -> None:
    """Show whether this hub acts, follows another one, or has been superseded.

    \b
    Examples:
      regent hub status
    """

    async def gather(cluster: Cluster) -> tuple[HubRecord, list[dict[str, object]]]:
        policies = await cluster.list(FAILOVER_POLICIES)
        return await read_record(cluster, operator_namespace), [_row(policy) for policy in policies]

    record, rows = invocation.read(gather)
    role = record.role.value if record.role else "Active"
    found = {"role": role, "term": record.term, "otherHub": record.other, "policies": rows}

    def screen(terminal: Console) -> RenderableType | None:
        other = f", other hub {record.other}" if record.other else ""
        terminal.print(f"Role {role}, term {record.term}{other}")
        return table(["policy", "active", "epoch"], ([str(cell) for cell in row.values()] for row in rows))

    invocation.write(found, screen)


def _row(policy: Object) -> dict[str, object]:
    return {
        "policy": f"{value_at(policy, '.metadata.namespace')}/{name_of(policy)}",
        "active": str(value_at(policy, ".status.active") or "-"),
        "epoch": int(value_at(policy, ".status.epoch") or 0),
    }
