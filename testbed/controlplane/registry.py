"""Remembers running control planes on disk, so that the next start can clear away what a killed one left.

The kernel kills the programs with their owner, except where it cannot (the owner died between starting a program and
the program's asking for that, or the owner runs where `setpriv` is missing). What always stays behind is the working
directory. Each control plane therefore has a record: its owner and its programs, each by process id, start time and
command line. A process id alone is never enough: it may belong to somebody else by now.
"""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from testbed.locks import file_lock
from testbed.paths import cache_root


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one with the same id."""

    pid: int
    started: int
    """Clock ticks from boot to its start, which does not change when it executes another program."""
    boot: str
    argv: tuple[str, ...]
    """The command line, or its last words (a launcher may still stand before them)."""

    @classmethod
    def of(cls, pid: int, argv: Sequence[str]) -> "ProcessIdentity":
        """Identity of a running process.

        Raises:
            ProcessLookupError: there is none with this id.
        """
        started = start_ticks(pid)
        if started is None:
            raise ProcessLookupError(f"there is no process {pid}")
        return cls(pid=pid, started=started, boot=_boot_id(), argv=tuple(argv))

    def is_alive(self) -> bool:
        """Whether this very process still runs (one that waits to be reaped does not)."""
        if self.boot != _boot_id() or start_ticks(self.pid) != self.started:
            return False
        running = _command_line(self.pid)
        return len(running) >= len(self.argv) > 0 and running[-len(self.argv) :] == self.argv

    def kill(self) -> bool:
        """SIGKILL it if it is still this very process, and say whether it was."""
        try:
            handle = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            # Checked after the handle was taken: from here on the id cannot pass to another process unnoticed.
            if not self.is_alive():
                return False
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            return True
        finally:
            os.close(handle)


def start_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None when it is gone or only waits to be reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in brackets and may hold anything, brackets and spaces too.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _command_line(pid: int) -> tuple[str, ...]:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ()
    return tuple(word.decode(errors="replace") for word in raw.rstrip(b"\0").split(b"\0"))


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True)
class Record:
    """One control plane: who runs it, where, and with which programs."""

    name: str
    directory: Path
    owner: ProcessIdentity
    programs: tuple[ProcessIdentity, ...] = ()
    kubeconfig: Path | None = None

    def write(self, path: Path) -> None:
        """Replace the record on disk in one step: a reader never sees half of it."""
        content = {
            **asdict(self),
            "directory": str(self.directory),
            "kubeconfig": None if self.kubeconfig is None else str(self.kubeconfig),
        }
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(content))
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read a record.

        Raises:
            OSError, ValueError, KeyError, TypeError: it is gone or not readable as one.
        """
        content = json.loads(path.read_text())
        return cls(
            name=content["name"],
            directory=Path(content["directory"]),
            owner=_identity(content["owner"]),
            programs=tuple(_identity(entry) for entry in content["programs"]),
            kubeconfig=None if content["kubeconfig"] is None else Path(content["kubeconfig"]),
        )


def _identity(content: dict[str, Any]) -> ProcessIdentity:
    return ProcessIdentity(**{**content, "argv": tuple(content["argv"])})


def own_identity() -> ProcessIdentity:
    """Identity of this process."""
    return ProcessIdentity.of(os.getpid(), _command_line(os.getpid()))


def records_directory() -> Path:
    """Where the records stand, one file each."""
    directory = cache_root() / "clusters"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def running() -> list[Record]:
    """Records of the control planes whose owner lives."""
    found = []
    for path in sorted(records_directory().glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = Record.read(path)
            if record.owner.is_alive():
                found.append(record)
    return found


def reap() -> list[Record]:
    """Kill the programs and remove the directories of control planes whose owner is gone; give their records."""
    reaped = []
    directory = records_directory()
    with file_lock(directory / ".lock"):
        for path in sorted(directory.glob("*.json")):
            try:
                record = Record.read(path)
            except OSError:
                continue  # its owner removed it just now
            except (ValueError, KeyError, TypeError):
                path.unlink(missing_ok=True)  # of another version of the testbed: nothing in it can be trusted
                continue
            if record.owner.is_alive():
                continue
            for program in record.programs:
                program.kill()
            if is_ours(record.directory):
                shutil.rmtree(record.directory, ignore_errors=True)
            path.unlink(missing_ok=True)
            reaped.append(record)
    return reaped


MARKER = ".regent-control-plane"
"""Name of the file by which a working directory is known as ours before anything removes it."""


def is_ours(directory: Path) -> bool:
    """Whether the testbed made this directory."""
    return (directory / MARKER).is_file()
