"""Writing to the terminal: tables for people, JSON and YAML for programs.

A table keeps its full width when the output is no terminal, so that `grep` and `awk` see whole values.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from regent.cli.fields import printable

UNLIMITED_WIDTH = 4_096
"""Width of a console that is no terminal, in columns."""

STYLES = {
    "Healthy": "green",
    "Degraded": "yellow",
    "Recovering": "cyan",
    "Unhealthy": "red",
    "Unreachable": "bold red",
    "Unknown": "dim",
    "Steady": "green",
    "Blocked": "bold red",
    "FailingOver": "yellow",
    "Suspect": "yellow",
    "Success": "green",
    "Succeeded": "green",
    "Failed": "bold red",
    "Refused": "bold red",
    "Timeout": "bold red",
    "Verified": "green",
    "Conflict": "bold red",
    "True": "green",
    "False": "red",
}
"""Colours of words that mean well or ill, wherever they stand in a cell of their own."""


class Output(Enum):
    """How a reading command writes."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def console() -> Console:
    """Give a console on standard output as it is now; colours only on a terminal, and never with NO_COLOR."""
    width = None if sys.stdout.isatty() else UNLIMITED_WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Lay rows out as kubectl does: upper-case heads, no lines, two blanks between columns."""
    laid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        laid.add_column(column.upper(), overflow="fold")
    for row in rows:
        laid.add_row(*(cell(text) for text in row))
    return laid


def cell(text: str) -> Text:
    """Give a cell's text, coloured when it is a word that means well or ill."""
    return Text(printable(text), style=STYLES.get(text, ""))


def facts(pairs: Iterable[tuple[str, str]]) -> Table:
    """Lay out names and values, one pair a line; pairs without a value are left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if value and value != "-":
            grid.add_row(name, cell(value))
    return grid


def kubernetes_list(objects: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Wrap objects in a List, as kubectl does, without their managedFields."""
    return {"apiVersion": "v1", "kind": "List", "items": [without_managed_fields(obj) for obj in objects]}


def without_managed_fields(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Give a copy of the object without `metadata.managedFields`, which is noise to a reader."""
    metadata = {key: value for key, value in obj.get("metadata", {}).items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def as_document(document: Any, output: Output) -> str:
    """Write a JSON value as the text of the chosen format, with a newline at its end."""
    if output is Output.JSON:
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
