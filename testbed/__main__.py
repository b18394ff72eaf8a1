"""`python -m testbed`: builds the testbed's programs and runs control planes at the prompt."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import click

from testbed.controlplane import Component, ControlPlane, ControlPlaneError, kind, registry
from testbed.database.environment import DatabaseError, patroni_environment
from testbed.demo.database import demo_database
from testbed.demo.run import demo
from testbed.toolchain import TOOLS, ToolchainError, control_plane_binary, ensure_all, gateway_api_crds


@click.group()
def main() -> None:
    """Real parts for Regent's tests, demo and benchmarks."""


main.add_command(demo)
main.add_command(demo_database)


@main.command()
@click.argument("tools", nargs=-1, metavar="[TOOL]...")
@click.option("--patroni", is_flag=True, help="Install Patroni, which the databases run on, and build nothing.")
def build(tools: tuple[str, ...], patroni: bool) -> None:
    """Build the programs (all, or those named) that are not in the cache yet, and print their paths."""
    with _errors_as_messages():
        if patroni:
            click.echo(patroni_environment())
            return
        for name, path in ensure_all(tools).items():
            click.echo(f"{name:<24} {TOOLS[name].version:<9} {path}")


@main.group()
def cluster() -> None:
    """Local control planes: etcd, API server and controller manager as plain processes."""


@cluster.command()
@click.option("--name", default="dev", show_default=True, help="What to call it; `cluster path` finds it by this.")
@click.option("--count", default=1, show_default=True, type=click.IntRange(1, 9), help="How many, side by side.")
@click.option(
    "--crds",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Install the resource definitions in this file or directory. May be repeated.",
)
@click.option("--gateway-api", is_flag=True, help="Install the Gateway API's resource definitions.")
def up(name: str, count: int, crds: tuple[Path, ...], gateway_api: bool) -> None:
    """Run control planes in the foreground until Ctrl-C."""
    names = [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]
    ended = threading.Event()
    with _errors_as_messages(), contextlib.ExitStack() as stack:
        taken = sorted({record.name for record in registry.running()} & set(names))
        if taken:
            raise click.ClickException(f"{', '.join(taken)} runs already: choose another --name")
        definitions = [*crds, *([gateway_api_crds()] if gateway_api else [])]
        for component in Component:
            control_plane_binary(component.value)
        _on_signals(ended)
        click.echo(f"starting {', '.join(names)}: a few seconds", err=True)
        planes = _start_all(names, definitions, stack)
        for plane in planes:
            click.echo(f"# {plane.name}: {plane.server}, ready in {plane.ready_seconds:.1f} s")
            click.echo(f"export KUBECONFIG={plane.kubeconfig}")
        click.echo("Ctrl-C stops and removes everything.", err=True)
        _watch(planes, ended)


@cluster.command()
@click.argument("name", default="dev")
def path(name: str) -> None:
    """Print the kubeconfig's path of the running control plane NAME (dev)."""
    found = [record for record in registry.running() if record.name == name and record.kubeconfig is not None]
    if not found:
        raise click.ClickException(f"no control plane {name!r} runs: start it with `make cluster`")
    click.echo(found[-1].kubeconfig)


@cluster.command("list")
def list_() -> None:
    """List the control planes that run, with the process id of their owner."""
    for record in registry.running():
        click.echo(f"{record.name:<20} {record.owner.pid:<9} {record.kubeconfig}")


@cluster.command("kind")
@click.option("--name", default="dev", show_default=True)
@click.option("--config", type=click.Path(exists=True, path_type=Path), help="kind's own configuration file.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), default=Path(".run/kind.kubeconfig"), show_default=True)
def kind_(name: str, config: Path | None, kubeconfig: Path) -> None:
    """Create a cluster with kind and leave it running; needs Docker and kind."""
    with _errors_as_messages():
        kind.create(name=name, kubeconfig=kubeconfig.absolute(), config=config)
        click.echo(f"export KUBECONFIG={kubeconfig.absolute()}")
        removal = " ".join(kind.delete_command(name, kubeconfig=kubeconfig.absolute()))
        click.echo(f"Remove it with: {removal}", err=True)


def _start_all(names: list[str], definitions: list[Path], stack: contextlib.ExitStack) -> list[ControlPlane]:
    """Start all in parallel; those that started are stopped even if another one failed."""

    def start(name: str) -> ControlPlane:
        plane = ControlPlane.start(name=name)
        stack.push(plane.__exit__)
        for definition in definitions:
            plane.install_crds(definition)
        return plane

    with ThreadPoolExecutor(max_workers=len(names)) as pool:
        return list(pool.map(start, names))


def _watch(planes: list[ControlPlane], ended: threading.Event) -> None:
    while not ended.wait(timeout=1.0):
        for plane in planes:
            for component in Component:
                process = plane.process(component)
                if not process.is_running():
                    raise ControlPlaneError(f"{plane.name}: {component.value} ended by itself. {process.tail()}")


def _on_signals(ended: threading.Event) -> None:
    def note(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note)


@contextlib.contextmanager
def _errors_as_messages() -> Iterator[None]:
    """What the user can mend is told in a sentence, not as a traceback."""
    try:
        yield
    except (ToolchainError, ControlPlaneError, DatabaseError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
