"""Every command that a document or a help text shows is one that the command line understands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from regent.cli.group import InheritingContext
from regent.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))]
SHELL = re.compile(r"^```sh\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def shown_in_documents() -> Iterator[str]:
    for document in DOCUMENTS:
        for block in SHELL.findall((ROOT / document).read_text(encoding="utf-8")):
            yield from (line.strip() for line in block.splitlines() if line.strip().startswith("regent "))


def root() -> click.Context:
    return InheritingContext(main, info_name="regent", **main.context_settings)


def shown_in_help(command: click.Command = main, context: click.Context | None = None) -> Iterator[str]:
    context = context or root()
    for line in (command.help or "").splitlines():
        if line.strip().startswith("regent ") and not line.strip().startswith("regent crds |"):
            yield line.strip()
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from shown_in_help(inner, InheritingContext(inner, parent=context, info_name=name))


def understand(line: str) -> None:
    """Parse a command without running it."""
    words = shlex.split(line, comments=True)
    for stop in ("|", ";", "&&", ">"):
        words = words[: words.index(stop)] if stop in words else words
    command: click.Command = main
    context, arguments = root(), words[1:]
    while arguments[0].startswith("--"):  # an option of all commands, with its value
        assert any(arguments[0] in option.opts for option in main.params), f"no such option: {line}"
        arguments = arguments[2:]
    while isinstance(command, click.Group):
        inner = command.get_command(context, arguments[0])
        assert inner is not None, f"no such command: {line}"
        command, arguments = inner, arguments[1:]
        if isinstance(command, click.Group):
            context = InheritingContext(command, parent=context, info_name=command.name)
    command.make_context(command.name, list(arguments), parent=context)


@pytest.mark.parametrize("line", sorted({*shown_in_documents(), *shown_in_help()}))
def test_it_is_understood(line: str) -> None:
    understand(line)


def test_there_is_something_to_check() -> None:
    assert len(list(shown_in_documents())) >= 15
    assert len(list(shown_in_help())) >= 25


@pytest.mark.parametrize("line", ["regent failover explode x", "regent traffic set --for ever", "regent region show"])
def test_a_wrong_one_would_be_seen(line: str) -> None:
    with pytest.raises((AssertionError, click.UsageError)):
        understand(line)
