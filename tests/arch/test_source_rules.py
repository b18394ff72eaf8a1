"""Rules of the source tree that no linter knows: each is checked on the files, and shown to catch a breach."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "operator" / "regent"
MAX_LINES = 400
MAX_TEST_LINES = 600
"""Tables of cases are long, and splitting one hides what is missing in it."""

CLOCK = SOURCE / "adapters" / "clock.py"
TELLS_TIME = {
    ("time", "time"),
    ("time", "time_ns"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
}

SPAWNS = {"create_task", "ensure_future"}
MAY_SPAWN: dict[str, str] = {
    # file: why its tasks cannot be lost. A task that nobody waits for swallows its error.
    "engine/supervise.py": "the supervisor itself",
    "engine/reconcile.py": "its workers are gathered, and cancelled when one ends",
    "engine/probing.py": "a probe's task never raises, and goes with its target; closings are awaited",
    "engine/region_clusters.py": "a check logs and reports every error itself, and is cancelled and awaited at the end",
    "engine/region_access.py": "closings of connections: a failing one is logged, and all are awaited at the end",
    "adapters/probes/connect.py": "attempts on several addresses race; all are awaited or cancelled before it returns",
    "adapters/kopf/bridge.py": "waits for an event beside kopf's own tasks, and is cancelled when it returns",
}

# A host of a package registry: dependencies come from whatever index the machine is set up for.
REGISTRY_HOST = re.compile(
    r"(?:pypi\.org|pythonhosted\.org|registry\.npmjs\.org|proxy\.golang\.org|sum\.golang\.org|rubygems\.org)"
)
BINARY = {".png", ".ico", ".svg", ".gz", ".tgz", ".woff2"}


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def tracked_files() -> Iterator[Path]:
    """Files that git keeps or would keep: what is ignored never leaves the machine."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path.suffix not in BINARY:
            yield path


def called_names(tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Give (owner, name, line) of every attribute and of every name imported from a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            yield name, node.attr, node.lineno
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield (node.module or "").rpartition(".")[2], alias.name, node.lineno


def time_tellers(tree: ast.AST) -> list[int]:
    return [line for owner, name, line in called_names(tree) if (owner, name) in TELLS_TIME]


def spawners(tree: ast.AST) -> list[int]:
    """Find where tasks are made; those of a TaskGroup, which waits for them, are called on a name `group`."""
    return [line for owner, name, line in called_names(tree) if name in SPAWNS and owner != "group"]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def where(path: Path, lines: list[int]) -> str:
    return f"{path.relative_to(ROOT)}: lines {lines}"


@pytest.mark.parametrize(
    ("folders", "limit"), [(("operator", "testbed", "make"), MAX_LINES), (("tests",), MAX_TEST_LINES)]
)
def test_files_are_short(folders: tuple[str, ...], limit: int) -> None:
    sizes = {path: path.read_text(encoding="utf-8").count("\n") for path in python_files(*folders)}
    long = {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > limit}
    assert not long, f"split these files, none may be longer than {limit} lines: {long}"


def test_only_the_clock_tells_the_time() -> None:
    found = [
        where(path, lines)
        for path in python_files("operator")
        if path != CLOCK and (lines := time_tellers(parse(path)))
    ]
    assert not found, f"take the time from a Clock: {found}"


def test_tasks_have_an_owner() -> None:
    found = [
        where(path, lines)
        for path in python_files("operator")
        if str(path.relative_to(SOURCE)) not in MAY_SPAWN and (lines := spawners(parse(path)))
    ]
    assert not found, f"let the supervisor run it, or give a reason in MAY_SPAWN: {found}"


def test_every_reason_to_spawn_is_still_needed() -> None:
    idle = [name for name in MAY_SPAWN if not (SOURCE / name).exists() or not spawners(parse(SOURCE / name))]
    assert not idle, f"remove from MAY_SPAWN: {idle}"


def test_operator_is_no_package() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists(), "it would shadow the standard library's operator module"


def test_modules_say_what_they_are_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in python_files("operator", "testbed", "make")
        if path.read_text(encoding="utf-8").strip() and not ast.get_docstring(parse(path))
    ]
    assert not silent, f"begin with a docstring: purpose and neighbours: {silent}"


def test_no_registry_is_named() -> None:
    own = Path(__file__).resolve()
    found = [
        str(path.relative_to(ROOT))
        for path in tracked_files()
        if path != own and REGISTRY_HOST.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found, f"name no package registry: {found}"


@pytest.mark.parametrize("name", ["runtime.lock", "dev.lock"])
def test_lock_files_pin_hashes_and_no_index(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    assert "://" not in text, "lock with --no-emit-index-url"
    pinned = re.findall(r"^[A-Za-z0-9_.\[\]-]+==", text, flags=re.MULTILINE)
    assert pinned
    blocks = re.split(r"^(?=[A-Za-z0-9_.\[\]-]+==)", text, flags=re.MULTILINE)[1:]
    assert not [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block]


@pytest.mark.parametrize(
    ("finder", "breach"),
    [
        (time_tellers, "import time\nnow = time.time()"),
        (time_tellers, "from time import time\nnow = time()"),
        (time_tellers, "import datetime\nnow = datetime.datetime.now()"),
        (time_tellers, "import time\nnow = clock or time.time"),
        (spawners, "import asyncio\nasyncio.create_task(work())"),
        (spawners, "from asyncio import create_task"),
        (spawners, "loop.create_task(work())"),
        (spawners, "asyncio.ensure_future(work())"),
    ],
)
def test_the_rules_catch_a_breach(finder, breach: str) -> None:  # type: ignore[no-untyped-def]
    assert finder(ast.parse(breach))


def test_the_rules_let_the_monotonic_clock_pass() -> None:
    assert not time_tellers(ast.parse("import time\nnow = time.monotonic()"))


def test_a_registry_host_would_be_seen() -> None:
    assert REGISTRY_HOST.search("--index-url https://" + "pypi" + ".org/simple")
