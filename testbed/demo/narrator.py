"""What all demos have in common: steps that are announced and timed, and an orderly end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from testbed.operator import OperatorReplicas
from testbed.scene import Scene


class Narrator:
    """Says at each step what is waited for."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say what is waited for, and how long it took."""
        click.echo(f"[{time.monotonic() - self._began:5.1f} s] {text} … ", nl=False)
        began = time.monotonic()
        yield
        click.echo(f"{time.monotonic() - began:.1f} s")

    def say(self, text: str = "") -> None:
        """Print a line."""
        click.echo(text)

    def show(self, scene: Scene, *what: str) -> None:
        """Print what `kubectl get` prints."""
        self.say(f"\n$ kubectl get {' '.join(what)}")
        argv = [str(scene.cluster.kubectl), "--kubeconfig", str(scene.cluster.kubeconfig), "get", *what]
        self.say(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.rstrip())

    def last_words(self, replicas: OperatorReplicas) -> None:
        """Print what the operator logged last, when a demo ends badly."""
        for member in replicas:
            click.echo(f"\n--- {member.name}\n{member.tail(15)}", err=True)


def perform(play: Callable[[], None], *, interrupted: int = 130) -> None:
    """Play a demo from the command line: as root, with an orderly end, and with a sentence for what goes wrong."""
    if os.geteuid() != 0:
        raise click.ClickException("the demo makes network namespaces: run it as root (sudo make demo)")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: everything is taken down
    try:
        play()
    except (AssertionError, OSError, RuntimeError) as error:  # TimeoutError is an OSError
        raise click.ClickException(f"{type(error).__name__}: {error}") from error
    except KeyboardInterrupt:
        click.echo("\nStopped; everything is removed.")
        raise SystemExit(interrupted) from None
