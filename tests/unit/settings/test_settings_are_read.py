"""No setting is for show: each is read by the source that runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

import regent
from regent.settings import Settings

SOURCE = Path(regent.__file__).parent
WIRING = tuple(path.read_text() for path in sorted(SOURCE.glob("wiring*.py")))
"""What builds the operator from its settings: wiring.py and its parts."""


def names(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Return the path of attributes of every setting, such as ("failover", "suspend_all")."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from names(field.annotation, (*path, name))
        else:
            yield (*path, name)


def chain(node: ast.AST, known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return what is read of the settings as a path; () when it is something else."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        if node.attr == "_settings":
            return tuple(reversed(attributes))
        attributes.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name) and node.id in known:
        return (*known[node.id], *reversed(attributes))
    return ()


def read_in(tree: ast.AST) -> set[tuple[str, ...]]:
    """Return the paths that functions read of their settings, also through local names for a section."""
    found: set[tuple[str, ...]] = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        known: dict[str, tuple[str, ...]] = {"settings": ()}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                section = chain(node.value, known)
                if section:
                    known[node.targets[0].id] = section
        found |= {chain(node, known) for node in ast.walk(function) if isinstance(node, ast.Attribute)}
    return found


def unread(*sources: str) -> set[str]:
    read = set().union(*(read_in(ast.parse(source)) for source in sources))
    return {".".join(path) for path in names(Settings) if path not in read}


def test_every_setting_is_read() -> None:
    assert not unread(*WIRING), "read these in wiring.py, or take them out of settings.py"


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("egress.allow_loopback", "settings.egress.allow_loopback"),
        ("reconcile.workers", "settings.reconcile.workers"),
        ("leader_election.lease_name", "election.lease_name"),
        ("kubernetes.connections", "kubernetes.connections"),
    ],
)
def test_a_setting_that_is_no_longer_read_is_found(path: str, line: str) -> None:
    assert unread(*(source.replace(line, "None") for source in WIRING)) == {path}
