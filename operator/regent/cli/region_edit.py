"""`regent region add|enable|drain|disable`: making a Region, and taking it in and out of service."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from regent.cli.editing import differences, edit
from regent.cli.fields import name_of, value_at
from regent.cli.group import Failure
from regent.cli.options import Invocation, reading
from regent.cli.output import without_managed_fields
from regent.cli.region_screen import policies_of
from regent.domain.errors import AlreadyExistsError, ForbiddenError
from regent.engine.ports import Cluster, Object
from regent.engine.resources import FAILOVER_POLICIES, REGIONS


class ProbeOption(click.ParamType[dict[str, Any]]):
    """A probe in short: `http:/healthz`, `tcp:5432`, `grpc:9000` or `grpc:9000/shop.v1.Cart`."""

    name = "probe"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """Read the text as an entry of `spec.probes`, without its name."""
        if isinstance(value, dict):
            return value
        kind, _, rest = str(value).partition(":")
        if kind == "http" and rest.startswith("/"):
            return {"http": {"path": rest}}
        port, slash, service = rest.partition("/")
        good_port = port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65_535
        if kind == "tcp" and good_port and not slash:
            return {"tcp": {"port": int(port)}}
        if kind == "grpc" and good_port:
            return {"grpc": {"port": int(port), **({"service": service} if service else {})}}
        raise click.BadParameter(
            f"{str(value)[:60]!r}: write http:/healthz, tcp:5432 or grpc:9000[/service]", ctx=ctx, param=param
        )


@click.command("add")
@click.argument("name")
@click.argument("display_name")
@click.argument("endpoint")
@click.option("--primary", is_flag=True, help="The same as --tier Primary.")
@click.option("--tier", type=click.Choice(["Primary", "Secondary", "Tertiary"], case_sensitive=False), help="Its rank.")
@click.option("--priority", type=click.IntRange(0, 1000), help="Preference; higher is preferred.")
@click.option("--capacity", type=click.IntRange(0), help="Full capacity, in the unit of all your regions.")
@click.option(
    "--probe",
    "probes",
    type=ProbeOption(),
    multiple=True,
    help="http:/path, tcp:port or grpc:port[/service]; several times for several.  [default: http:/healthz]",
)
@click.option("--provider", default="", help="Who runs it, such as AWS.")
@click.option("--compliance", multiple=True, metavar="NAME", help="A framework that it satisfies, such as GDPR.")
@click.option("--cost", metavar="DECIMAL", default="", help="Cost relative to the other regions, such as 1.1.")
@reading
def add(
    invocation: Invocation,
    *,
    name: str,
    display_name: str,
    endpoint: str,
    primary: bool,
    tier: str | None,
    priority: int | None,
    capacity: int | None,
    probes: tuple[dict[str, Any], ...],
    provider: str,
    compliance: tuple[str, ...],
    cost: str,
) -> None:
    """Register a region.

    NAME is its name everywhere, DISPLAY_NAME one for people, ENDPOINT the URL at which it is reached. Nothing else
    changes until a FailoverPolicy lists it. The same command twice is harmless; a region that exists and differs is
    left as it is, with exit code 1.

    \b
    Examples:
      regent region add eu-west-1 "Europe (Ireland)" https://eu-west-1.shop.example.com --primary --capacity 5000
      regent region add eu-db "Database" tcp://10.0.0.5 --probe tcp:5432
    """
    if primary and tier not in (None, "Primary"):
        raise click.UsageError(f"--primary and --tier {tier} contradict each other")
    wanted: dict[str, Any] = {
        "displayName": display_name,
        "endpoint": endpoint,
        "tier": "Primary" if primary else tier,
        "priority": priority,
        "capacity": None if capacity is None else {"total": capacity},
        "probes": _named(probes or ({"http": {"path": "/healthz"}},)),
        "provider": provider or None,
        "compliance": list(compliance) or None,
        "cost": {"multiplier": cost} if cost else None,
    }
    spec = {field: value for field, value in wanted.items() if value is not None}
    manifest = {
        "apiVersion": REGIONS.api_version,
        "kind": REGIONS.kind,
        "metadata": {"name": name},
        "spec": spec,
    }

    async def create(cluster: Cluster) -> tuple[Object, bool]:
        try:
            return await cluster.create(REGIONS, manifest), True
        except AlreadyExistsError:
            return await cluster.get(REGIONS, "", name), False

    made, new = invocation.read(create)
    different = [] if new else differences(spec, made.get("spec") or {})
    if different:
        raise Failure(f"Region {name} exists and differs in {', '.join(different)}; change it with kubectl edit")

    def screen(terminal: Console) -> None:
        said = "was registered" if new else "is registered already"
        terminal.print(f"Region {name} {said}. See: regent region show {name}")

    invocation.write(without_managed_fields(made), screen)


def _named(probes: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    """Name each probe after what it does: `http`, then `http-2`."""
    named: list[dict[str, Any]] = []
    for probe in probes:
        kind = next(iter(probe))
        count = sum(kind in earlier for earlier in named)
        named.append({"name": kind if not count else f"{kind}-{count + 1}", **probe})
    return named


def set_state(invocation: Invocation, name: str, state: str) -> tuple[Object, bool, list[Object] | None]:
    """Write the region's adminState; gives the region, whether it changed, and the policies that have it active
    (None: the caller may not list them)."""

    def change(obj: Object) -> None:
        obj["spec"]["adminState"] = state

    async def write(cluster: Cluster) -> tuple[Object, bool, list[Object] | None]:
        region, changed = await edit(cluster, REGIONS, "", name, change)
        try:
            return region, changed, policies_of(name, await cluster.list(FAILOVER_POLICIES))
        except ForbiddenError:
            return region, changed, None

    return invocation.read(write)


def _state_command(name: str, state: str, text: str) -> click.Command:
    @reading
    def command(invocation: Invocation, *, name: str) -> None:
        region, changed, policies = set_state(invocation, name, state)

        def screen(terminal: Console) -> None:
            terminal.print(f"Region {name} {'is now' if changed else 'was already'} {state}.")
            for policy in policies or () if state != "Enabled" else ():
                place = f"{value_at(policy, '.metadata.namespace')}/{name_of(policy)}"
                terminal.print(f"It is active in {place}, which moves away if another region can take over.")
            if policies is None:
                terminal.print("Which policies have it active is not known: you may not list them.")

        invocation.write(without_managed_fields(region), screen)

    return click.command(name, help=text)(click.argument("name")(command))


enable = _state_command(
    "enable",
    "Enabled",
    """Take the region NAME into service.

    It can be chosen again once it is proved healthy. Traffic that it had before does not return by itself unless the
    policy's failback says so; `regent region recover` looks after that too.
    """,
)
drain = _state_command(
    "drain",
    "Drained",
    """Move all traffic away from the region NAME, and let it take none.

    It is still probed. Every policy that has it active makes a Switchover, which waits for neither cooldown nor budget;
    without another region that can take over, traffic stays.
    """,
)
disable = _state_command("disable", "Disabled", "Drain the region NAME, and probe it no more.")
