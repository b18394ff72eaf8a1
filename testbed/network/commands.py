"""Runs `ip` and `nft`, and says what to install or which right is missing when they cannot run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_SYSTEM_DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")  # an ordinary user's PATH often lacks the first two
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
_TIMEOUT_SECONDS = 20.0
NAMESPACE_DIRECTORY = Path("/run/netns")


class NetworkError(RuntimeError):
    """The network of the test bed could not be made or changed; the message says what to do about it."""


def tool(name: str) -> str:
    """Path of a system program, or a `NetworkError` that names the package that brings it."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_SYSTEM_DIRECTORIES]))
    if path is None:
        package = {"ip": "iproute2", "nft": "nftables", "setpriv": "util-linux", "unshare": "util-linux"}.get(
            name, name
        )
        raise NetworkError(f"'{name}' is missing: install the package {package} (Debian: apt-get install {package})")
    return path


def require_tools_and_rights() -> None:
    """Raise `NetworkError` unless this process may make network namespaces."""
    for name in ("ip", "nft", "setpriv"):
        tool(name)
    effective = 0
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
    if not (effective >> _CAP_NET_ADMIN) & 1 or not (effective >> _CAP_SYS_ADMIN) & 1:
        raise NetworkError(
            "network namespaces need root, or user namespaces: run the command under `python -m testbed.network -- …`"
        )


def run(argv: Sequence[str], *, script: str | None = None) -> str:
    """Run a program to its end and return what it printed; a failure raises `NetworkError` with its own words."""
    command = [tool(argv[0]), *argv[1:]]
    try:
        done = subprocess.run(
            command, input=script, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NetworkError(f"`{' '.join(argv)}` did not end within {_TIMEOUT_SECONDS:.0f} s") from error
    if done.returncode != 0:
        detail = (done.stderr or done.stdout).strip()
        commands = "" if script is None else f" for:\n{script.strip()}"
        raise NetworkError(f"`{' '.join(argv)}` failed with {done.returncode}: {detail}{commands}")
    return done.stdout


def ip(lines: Sequence[str], *, namespace: str | None = None) -> None:
    """Run several `ip` commands in one process, in the given namespace or in this process's own."""
    prefix = ["ip"] if namespace is None else ["ip", "-n", namespace]
    run([*prefix, "-batch", "-"], script="\n".join(lines) + "\n")


def nft(lines: Sequence[str], *, namespace: str) -> None:
    """Apply nftables statements in a namespace as one transaction: all of them, or none."""
    run(["ip", "netns", "exec", namespace, tool("nft"), "-f", "-"], script="\n".join(lines) + "\n")
