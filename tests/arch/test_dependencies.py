"""What is required is imported, and what is imported is required: nobody pays for a library that is not used."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "operator" / "regent"
COMES_WITH = {"pydantic-core"}
"""Halves of a required library that are pinned to it by itself."""


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required() -> set[str]:
    lines = (ROOT / "requirements" / "runtime.in").read_text(encoding="utf-8").splitlines()
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines if not line.startswith(("#", "-")))
    return {normalised(found.group()) for found in names if found}


def imported_modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def imported() -> set[str]:
    """Name the distributions that the operator imports."""
    known = packages_distributions()
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for module in imported_modules(ast.parse(path.read_text(encoding="utf-8"))):
            top = module.partition(".")[0]
            if top not in sys.stdlib_module_names and top != "regent":
                found.update(normalised(name) for name in known.get(top, [top]))
    return found


def test_every_requirement_is_used() -> None:
    assert not required() - imported(), "take these out of requirements/runtime.in"


def test_every_import_is_required() -> None:
    assert not imported() - required() - COMES_WITH, (
        "add these to requirements/runtime.in: another library may stop bringing them"
    )


def test_every_requirement_has_its_reason() -> None:
    record = (ROOT / "docs" / "adr" / "0003-dependencies.md").read_text(encoding="utf-8")
    assert not [name for name in required() if name not in record]
