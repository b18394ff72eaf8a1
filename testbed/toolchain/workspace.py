"""Lays out the main module that a tool is built from: a go.mod, a go.sum, and local stand-ins for missing modules."""

import re
import shutil
from pathlib import Path

from testbed.toolchain.catalog import MODULES, CommittedModule, DerivedModule, Tool
from testbed.toolchain.golang import run_go
from testbed.toolchain.upstream import module_directory


def build_flags(tool: Tool) -> tuple[str, ...]:
    """GOFLAGS of the tool's build: only a derived go.mod may be completed by the `go` command."""
    return ("-mod=readonly",) if isinstance(tool.source, CommittedModule) else ("-mod=mod",)


def prepare(tool: Tool, directory: Path) -> None:
    """Write the tool's main module into the empty `directory`.

    Raises:
        ToolchainError: the module archive cannot be had or has another hash than the pinned one.
    """
    if isinstance(tool.source, CommittedModule):
        for name in ("go.mod", "go.sum"):
            shutil.copyfile(MODULES / tool.source.directory / name, directory / name)
    else:
        _derive(tool, tool.source, directory)


def _derive(tool: Tool, source: DerivedModule, directory: Path) -> None:
    """Start from the release's own go.mod, so that Go never walks the whole module graph (see `catalog`)."""
    archive = module_directory(tool.module, tool.version, checksum=source.checksum)
    text = (archive / "go.mod").read_text()
    renamed = re.sub(r"^module .*$", f"module regent.example/tools/{tool.name}", text, count=1, flags=re.MULTILINE)
    (directory / "go.mod").write_text(renamed)
    # copyfile, not copy: the module cache is read only and `go` must be able to add lines.
    shutil.copyfile(archive / "go.sum", directory / "go.sum")
    edits = ["-require", f"{tool.module}@{tool.version}", "-tool", tool.package]
    for path, stand_in in source.replacements:
        target = directory / "replaced" / Path(stand_in).name
        shutil.copytree(MODULES / stand_in, target)
        edits += ["-replace", f"{path}=./{target.relative_to(directory)}"]
    run_go(["mod", "edit", *edits], directory=directory, flags=["-mod=mod"])
    # Adds the two go.sum lines of the release itself, which its own go.sum cannot have.
    run_go(["mod", "download", f"{tool.module}@{tool.version}"], directory=directory, flags=["-mod=mod"])
