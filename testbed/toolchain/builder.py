"""Builds one tool with `go build`, shows progress, and keeps the log when it fails."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from testbed.toolchain import workspace
from testbed.toolchain.catalog import Tool
from testbed.toolchain.errors import ToolchainError
from testbed.toolchain.golang import go_environment, go_toolchain
from testbed.toolchain.progress import Progress

_LOG_TAIL_LINES = 25


def build(tool: Tool, *, directory: Path, log: Path) -> Path:
    """Build `tool` inside `directory` (empty, the caller's to remove) and give the program's path.

    Raises:
        ToolchainError: the build failed; the message has the end of `log`, which stays.
    """
    progress = Progress()
    module = directory / "module"
    module.mkdir()
    progress.say(
        f"building {tool.name} {tool.version} from Go modules; about {describe_duration(tool.first_build_seconds)} the "
        "first time, seconds when Go's own cache is warm"
    )
    workspace.prepare(tool, module)
    program = directory / tool.name
    command = [
        *nice_prefix(),
        go_toolchain().command,
        *("build", "-trimpath", "-ldflags", tool.linker_flags, "-o", str(program), tool.package),
    ]
    environment = go_environment(*workspace.build_flags(tool))
    run_logged(command, directory=module, environment=environment, log=log, what=f"building {tool.name}")
    progress.say(f"built {tool.name} {tool.version} in {progress.elapsed:.0f} s")
    return program


def run_logged(
    command: Sequence[str], *, directory: Path, environment: Mapping[str, str], log: Path, what: str
) -> None:
    """Run a long command with its output in `log`, saying now and then how long it has taken.

    Raises:
        ToolchainError: it ended with another code than 0.
    """
    progress = Progress()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            while True:
                try:
                    code = process.wait(timeout=1.0)
                    break
                except subprocess.TimeoutExpired:
                    progress.tick(what)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
        raise ToolchainError(f"{what} failed with code {code}. The log is kept in {log} and ends with:\n{tail}")


def nice_prefix() -> list[str]:
    """A build must not starve what runs beside it."""
    return ["nice", "-n", "10"] if shutil.which("nice") else []


def describe_duration(seconds: int) -> str:
    """`40 s` below 90 s, else whole minutes."""
    return f"{seconds} s" if seconds < 90 else f"{round(seconds / 60)} minutes"
