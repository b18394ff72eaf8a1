"""The Go toolchain of this machine: is it there, is it new enough, and how a build calls it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from testbed.toolchain.catalog import OLDEST_GO
from testbed.toolchain.errors import ToolchainError

_REMEDY = (
    "Install Go {oldest} or newer and put `go` on the PATH, or point KUBEBUILDER_ASSETS at a directory that has the "
    "control plane's programs already."
)


@dataclass(frozen=True, slots=True)
class GoToolchain:
    """The `go` command that builds use, and what it says of itself."""

    command: str
    version: str
    platform: str


@cache
def go_toolchain() -> GoToolchain:
    """Find `go` on the PATH.

    Raises:
        ToolchainError: there is none, it does not run, or it is older than the modules need.
    """
    remedy = _REMEDY.format(oldest=".".join(map(str, OLDEST_GO)))
    command = shutil.which("go")
    if command is None:
        raise ToolchainError(
            f"Go is needed to build the testbed's programs, and there is no `go` on the PATH. {remedy}"
        )
    answer = subprocess.run(
        [command, "env", "-json", "GOVERSION", "GOOS", "GOARCH"],
        env=go_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise ToolchainError(f"`{command} env` failed: {answer.stderr.strip()}. {remedy}")
    values = json.loads(answer.stdout)
    version = str(values["GOVERSION"])
    if parse_version(version) < OLDEST_GO:
        raise ToolchainError(f"{command} is {version}, which is too old for the testbed's programs. {remedy}")
    return GoToolchain(command=command, version=version, platform=f"{values['GOOS']}-{values['GOARCH']}")


def parse_version(text: str) -> tuple[int, int, int]:
    """Read `go1.26.8` (also `go1.27rc1`, `devel go1.27-abc`) as numbers; unknown texts are older than all."""
    found = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        return (0, 0, 0)
    major, minor, patch = found.groups(default="0")
    return (int(major), int(minor), int(patch))


def go_environment(*flags: str) -> dict[str, str]:
    """Environment of a build: the caller's own, less what would make two machines build different programs.

    The toolchain is the local one (its version is part of the cache key, so none may be fetched behind our back),
    workspaces are off, cgo is off, and GOFLAGS are `flags` alone.
    """
    fixed = {
        "CGO_ENABLED": "0",
        "GOFLAGS": " ".join(("-buildvcs=false", *flags)),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GO111MODULE": "on",
    }
    return {**os.environ, **fixed}


def run_go(arguments: Sequence[str], *, directory: Path, flags: Sequence[str] = ()) -> str:
    """Run a short `go` command and give its output.

    Raises:
        ToolchainError: it failed; the message has its last lines.
    """
    command = [go_toolchain().command, *arguments]
    answer = subprocess.run(
        command, cwd=directory, env=go_environment(*flags), capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        tail = "\n".join((answer.stderr or answer.stdout).splitlines()[-15:])
        raise ToolchainError(f"`go {' '.join(arguments)}` failed:\n{tail}")
    return answer.stdout
