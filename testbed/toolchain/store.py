"""The cache of built programs: one directory per tool and build key, put in place whole, built by one process only."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from testbed.locks import file_lock
from testbed.paths import cache_root
from testbed.toolchain import builder, workspace
from testbed.toolchain.catalog import MODULES, TOOLS, CommittedModule, Tool
from testbed.toolchain.errors import ToolchainError
from testbed.toolchain.golang import GoToolchain, go_toolchain
from testbed.toolchain.progress import Progress


def build_key(tool: Tool, go: GoToolchain) -> str:
    """Sixteen hex digits over all that decides what the built program is.

    Version, flags, linker variables, Go release, platform, and the pinned module files: a change of any of them
    gives another directory, so a stale program is never used.
    """
    recipe = {
        "module": tool.module,
        "version": tool.version,
        "package": tool.package,
        "ldflags": tool.linker_flags,
        "flags": workspace.build_flags(tool),
        "go": go.version,
        "platform": go.platform,
        "source": _source_fingerprint(tool),
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def _source_fingerprint(tool: Tool) -> list[str]:
    source = tool.source
    if isinstance(source, CommittedModule):
        directories, pinned = [source.directory], []
    else:
        directories, pinned = [stand_in for _, stand_in in source.replacements], [source.checksum]
    for directory in directories:
        for file in sorted((MODULES / directory).rglob("*")):
            if file.is_file():
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                pinned.append(f"{file.relative_to(MODULES).as_posix()} {digest}")
    return pinned


def ensure(name: str) -> Path:
    """Path of the program `name` from the cache, built first where it is not there yet.

    Two processes that ask at once build once: the second waits for the first. A build that fails or is killed
    leaves nothing in the cache.

    Raises:
        ToolchainError: the name is unknown, Go is missing or too old, or the build fails.
    """
    tool = TOOLS.get(name)
    if tool is None:
        raise ToolchainError(f"there is no tool {name!r}; the tools are {', '.join(TOOLS)}")
    go = go_toolchain()
    return place(tool, key=build_key(tool, go), build=builder.build)


def ensure_all(names: Iterable[str] = ()) -> dict[str, Path]:
    """`ensure` for each of `names` in turn (all tools when there are none)."""
    return {name: ensure(name) for name in (tuple(names) or tuple(TOOLS))}


def place(tool: Tool, *, key: str, build: Callable[..., Path]) -> Path:
    """The cached program of `tool` under `key`, made by `build` under the lock where it is missing."""
    tools = cache_root() / "tools"
    home = tools / f"{tool.name}-{key}"
    program = home / tool.name
    if program.is_file():
        return program
    waiting = Progress()
    tell = partial(_tell_waiting, waiting, tool.name)
    # One lock for all tools: two builds at once share most packages and would compile them twice.
    with file_lock(tools / ".build.lock", while_waiting=tell):
        if program.is_file():
            return program
        _remove_abandoned(tools)
        scratch = Path(tempfile.mkdtemp(prefix=f".building-{tool.name}-", dir=tools))
        try:
            built = build(tool, directory=scratch, log=tools / "logs" / f"{tool.name}-{key}.log")
            _publish(tool, built=built, key=key, home=home)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return program


def _tell_waiting(progress: Progress, name: str, holder: str, _waited: float) -> None:
    progress.tick(f"waiting for {name}: {holder} is building")


def _remove_abandoned(tools: Path) -> None:
    """Remove what a killed builder left; safe because the caller holds the only build lock."""
    for leftover in tools.glob(".building-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _publish(tool: Tool, *, built: Path, key: str, home: Path) -> None:
    """Move the finished program into place in one rename: a reader sees all of it or nothing."""
    ready = Path(tempfile.mkdtemp(prefix=f".building-ready-{tool.name}-", dir=home.parent))
    shutil.move(built, ready / tool.name)
    (ready / tool.name).chmod(0o755)
    note = {"name": tool.name, "module": tool.module, "version": tool.version, "key": key}
    (ready / "build.json").write_text(json.dumps(note, indent=2) + "\n")
    ready.chmod(0o755)
    if home.exists():  # a directory without its program: someone removed the file by hand
        shutil.rmtree(home)
    ready.rename(home)


def control_plane_binary(name: str) -> Path:
    """Path of one of the control plane's programs: from `KUBEBUILDER_ASSETS` if it has it, else from the local build.

    A directory made for controller tests usually lacks kube-controller-manager; that one is then built.

    Raises:
        ToolchainError: `KUBEBUILDER_ASSETS` names no directory, or the build fails.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS", "")
    if assets:
        directory = Path(assets).expanduser()
        if not directory.is_dir():
            raise ToolchainError(
                f"KUBEBUILDER_ASSETS is {assets!r}, which is no directory: correct it, or unset it for the local build"
            )
        candidate = directory / name
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    return ensure(name)
