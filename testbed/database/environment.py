"""What the databases run on: PostgreSQL of the distribution, and Patroni in a Python environment of its own.

The environment cannot be the project's: PostgreSQL refuses to run as root, so Patroni runs as the user postgres, who
can read neither an interpreter nor a cache below root's home directory. It is made from the system's interpreter in a
directory that everybody may enter.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from testbed.locks import file_lock
from testbed.toolchain.progress import Progress

USER = "postgres"
_INTERPRETER = Path("/usr/bin/python3")
_LOCK_FILE = Path(__file__).resolve().parents[2] / "requirements" / "patroni.lock"
_INSTALLATIONS = Path("/usr/lib/postgresql")
_TIMEOUT = 600.0


class DatabaseError(RuntimeError):
    """The databases of the test bed could not be started, or did not become what they should; says what to do."""


def require_rights() -> None:
    """Raise `DatabaseError` unless this process may start programs as the user postgres."""
    if os.geteuid() != 0:
        raise DatabaseError("the databases need root: PostgreSQL runs as the user postgres, which only root can become")
    try:
        pwd.getpwnam(USER)
    except KeyError:
        raise DatabaseError("there is no user postgres: apt-get install postgresql") from None


def postgresql_binaries() -> Path:
    """The directory of the newest installed PostgreSQL that has a server."""
    found = [path.parent for path in _INSTALLATIONS.glob("*/bin/postgres") if path.parents[1].name.isdigit()]
    if not found:
        raise DatabaseError(f"there is no PostgreSQL server in {_INSTALLATIONS}: apt-get install postgresql")
    return max(found, key=lambda path: int(path.parent.name))


def patroni_environment() -> Path:
    """The `bin` directory of the environment with Patroni, installed first where it is not there yet (15 s).

    One directory per lock file and interpreter: a changed lock makes another one. A killed installation leaves nothing
    that would be taken for a finished one.
    """
    require_rights()
    if not _INTERPRETER.exists():
        raise DatabaseError(f"there is no {_INTERPRETER}: apt-get install python3")
    root = _shared_cache()
    key = hashlib.sha256(_LOCK_FILE.read_bytes() + str(_INTERPRETER.resolve()).encode()).hexdigest()[:16]
    home = root / f"patroni-{key}"
    progress = Progress()
    with file_lock(
        root / ".patroni.lock", while_waiting=lambda holder, _: progress.tick(f"waiting for Patroni: {holder} installs")
    ):
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            _install(home, progress)
            (home / "complete").touch()
    return home / "bin"


def _install(home: Path, progress: Progress) -> None:
    progress.say(f"installing Patroni into {home} (once, about 15 s)")
    _run([str(_INTERPRETER), "-m", "venv", "--without-pip", str(home)], progress)
    # pip of the project's own environment: the system's venv module often comes without one.
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "--quiet"]
    _run([*pip, "--disable-pip-version-check", "--require-hashes", "--requirement", str(_LOCK_FILE)], progress)
    _run(["chmod", "-R", "go+rX", str(home)], progress)
    progress.say(f"Patroni is installed, {progress.elapsed:.0f} s")


def _run(argv: list[str], progress: Progress) -> None:
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        while process.poll() is None:
            try:
                process.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                progress.tick("installing Patroni")
                if progress.elapsed > _TIMEOUT:
                    process.kill()
        if process.returncode != 0:
            output.seek(0)
            words = output.read().decode(errors="replace").strip()[-2000:]
            raise DatabaseError(f"`{' '.join(argv[:4])} …` failed with {process.returncode}:\n{words}")


def _shared_cache() -> Path:
    """A directory of ours that the user postgres can enter."""
    root = Path(os.environ.get("REGENT_SHARED_CACHE") or "/var/cache/regent")
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    for path in (root, *root.parents):
        if not path.stat().st_mode & 0o001:
            raise DatabaseError(
                f"the user postgres may not enter {path}: set REGENT_SHARED_CACHE to a directory open to everybody"
            )
    return root
