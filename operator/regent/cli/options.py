"""The options that every reading command takes, and what a command gets of them: an `Invocation`.

`environment.py` gives the outside world of a command; tests put a fake one in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click
from rich.console import Console, RenderableType

from regent.cli.output import Output, as_document, console
from regent.engine.ports import Cluster, Object
from regent.engine.promotion import MemberAccess

if TYPE_CHECKING:
    from regent.cli.probes import CheckOutcome

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Which cluster and namespace a command is about; empty texts are unset."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The outside world of a command."""

    connect: Callable[[ClusterOptions], AbstractAsyncContextManager[Cluster]]
    """Open the API server that the options name."""
    namespace: Callable[[ClusterOptions], str]
    """Name the namespace that kubectl would use with the same options."""
    check: Callable[[Cluster, Object, str], Awaitable[list[CheckOutcome]]]
    """Run each probe of a Region once, from this machine. The last argument is the operator's namespace."""
    members: Callable[[Cluster, Sequence[Object], str], AbstractAsyncContextManager[MemberAccess]]
    """Reach the member clusters of these Regions, with the kubeconfigs in the Secrets of the cluster. The last argument
    is the operator's namespace."""
    wall: Callable[[], float]
    """Seconds since the epoch."""
    monotonic: Callable[[], float]
    """Seconds that never go back, for time-outs."""
    sleep: Callable[[float], Awaitable[None]]
    """Wait for so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One use of a command: its options and the world around it."""

    options: ClusterOptions
    output: Output
    environment: Environment

    @property
    def namespace(self) -> str:
        """The namespace of the command: `--namespace`, else that of the kubeconfig's context."""
        return self.environment.namespace(self.options)

    def read(self, work: Callable[[Cluster], Awaitable[T]]) -> T:
        """Run `work` against the API server and give its result."""

        async def connected() -> T:
            async with self.environment.connect(self.options) as cluster:
                return await work(cluster)

        return asyncio.run(connected())

    def write(self, document: Any, screen: Callable[[Console], RenderableType | None]) -> None:
        """Write `document` as JSON or YAML, or else what `screen` makes for people."""
        if self.output is not Output.TABLE:
            click.echo(as_document(document, self.output), nl=False)
            return
        terminal = console()
        content = screen(terminal)
        if content is not None:
            terminal.print(content)


def cluster_options(command: Callable[P, T]) -> Callable[P, T]:
    """Add `--kubeconfig`, `--context` and `--namespace`."""
    for option in (
        click.option("-n", "--namespace", metavar="NAME", help="Namespace; else that of the kubeconfig's context."),
        click.option("--context", metavar="NAME", help="Context of the kubeconfig; else its current one."),
        click.option(
            "--kubeconfig",
            metavar="PATH",
            type=click.Path(exists=True, dir_okay=False),
            help="Kubeconfig; else $KUBECONFIG, ~/.kube/config, then the in-cluster account.",
        ),
    ):
        command = option(command)
    return command


def output_option(command: Callable[P, T]) -> Callable[P, T]:
    """Add `--output`."""
    return click.option(
        "-o",
        "--output",
        "--format",
        "output",
        type=click.Choice([output.value for output in Output], case_sensitive=False),
        default=Output.TABLE.value,
        show_default=True,
        help="How to write the answer.",
    )(command)


def reading(command: Callable[Concatenate[Invocation, P], T]) -> Callable[P, T]:
    """Make a reading command of a function whose first argument is an Invocation."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> T:
        options = ClusterOptions(**{name: kwargs.pop(name) or "" for name in ("kubeconfig", "context", "namespace")})
        invocation = Invocation(
            options=options, output=Output(kwargs.pop("output")), environment=_environment(click.get_current_context())
        )
        return command(invocation, *args, **kwargs)

    return cluster_options(output_option(wrapped))


def _environment(context: click.Context) -> Environment:
    if not isinstance(context.obj, Environment):
        from regent.cli.environment import real_environment

        context.obj = real_environment()
    return context.obj
